"""The executable specification of the rasteriser: every Gaussian at every pixel, plain torch, no tiles.

Written from the contract of `gsplat.rasterization` 1.5.3 (pinhole, unpacked) and differentiated by autograd,
in the type of its input (float64 for proofs). It is slow on purpose: images of a few thousand pixels, some
hundred Gaussians. Where gsplat's kernels take a hard decision, so does this, at the same threshold:

- a Gaussian is drawn if its depth lies in [near_plane, far_plane], its blurred covariance has a positive
  determinant, its opacity (times the compensation, if antialiased) is at least 1/255, its box is larger than
  `radius_clip` and touches the image;
- a pixel takes a Gaussian if its alpha there is at least 1/255; alpha is cut at 0.999, no gradient above;
- a pixel is finished by the Gaussian that would bring its transmittance to 1e-4 or less, which is left out.
"""

import math

import torch
from torch import Tensor

ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
EXTENT_MAX = 3.33  # standard deviations; never binding, since alpha = 1/255 lies within 3.3291 of them


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
) -> tuple[Tensor, Tensor, dict]:
    """Images (C, H, W, X), alphas (C, H, W, 1) and meta, as gsplat gives them for the same arguments.

    meta holds gsplat's `radii` (C, N, 2) int32, `depths` (C, N), `conics` (C, N, 3), `opacities` (C, N) and,
    as a list of C tensors, `means2d` (N, 2): zero where a Gaussian is not drawn. Beyond gsplat's keys,
    `decided` (C, H, W) says where no decision was close (see `blend`); `absolute_gradient` needs `at_pixels`.
    """
    images, alphas, metas = [], [], []
    for camera, (viewmat, K) in enumerate(zip(viewmats, Ks, strict=True)):
        drawn, radii, means2d, depths, conics, compensations = project(
            means, quats, scales, opacities, viewmat, K, width, height, near_plane, far_plane, radius_clip,
            eps2d, rasterize_mode == "antialiased",
        )  # fmt: skip
        given = colors[camera] if colors.dim() == (3 if sh_degree is None else 4) else colors
        features = given[drawn]
        if sh_degree is not None:
            position = torch.linalg.inv(viewmat)[:3, 3]
            features = spherical_harmonics(sh_degree, means[drawn] - position, features)
            features = (features + 0.5).clamp(min=0)
        background = features.new_zeros(features.shape[-1]) if backgrounds is None else backgrounds[camera]
        if render_mode != "RGB":
            keep = features.shape[-1] if render_mode.startswith("RGB") else 0
            features = torch.cat([features[:, :keep], depths[:, None]], dim=1)
            background = torch.cat([background[:keep], background.new_zeros(1)])

        full = {
            "means2d": means2d,
            "depths": depths,
            "conics": conics,
            "opacities": opacities[drawn] * compensations,
        }
        full = {
            name: values.new_zeros(len(means), *values.shape[1:]).index_copy(0, drawn, values)
            for name, values in full.items()
        }
        centres = full["means2d"]
        if centres.requires_grad:
            centres.retain_grad()
        image, alpha, decided, at_pixels = blend(
            centres[drawn], conics, full["opacities"][drawn], depths, features, background, width, height
        )
        if render_mode.endswith("ED"):
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
        images.append(image)
        alphas.append(alpha)
        metas.append(full | {"radii": radii, "decided": decided, "at_pixels": (drawn, at_pixels)})
    meta: dict = {name: [one[name] for one in metas] for name in metas[0]}
    for name in ("radii", "depths", "conics", "opacities", "decided"):
        meta[name] = torch.stack(meta[name])
    return torch.stack(images), torch.stack(alphas), meta


def project(
    means, quats, scales, opacities, viewmat, K, width, height, near, far, radius_clip, eps2d, antialiased
):  # fmt: skip
    """The Gaussians that one camera draws, as ellipses in its image (EWA splatting, Zwicker et al. 2001).

    Returns:
        drawn (V,) indices; radii (N, 2) int32; and for the drawn ones means2d (V, 2), depths (V,), conics
        (V, 3) as (a, b, c) of a x^2 + 2 b x y + c y^2, compensations (V,).
    """
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    depth = (means @ rotation.T + translation)[:, 2]
    # Everything beyond is computed for those in range alone: no division by a depth of zero, no NaN gradient.
    index = torch.nonzero((depth >= near) & (depth <= far))[:, 0]
    x, y, z = (means[index] @ rotation.T + translation).unbind(1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=1)

    # The Jacobian of the projection, with its slopes held within the image and 15 % of its size beyond.
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    slope_x = torch.minimum((width - cx) / fx + margin_x, torch.maximum(-(cx / fx + margin_x), x / z))
    slope_y = torch.minimum((height - cy) / fy + margin_y, torch.maximum(-(cy / fy + margin_y), y / z))
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], dim=1)
    half = jacobian.reshape(-1, 2, 3) @ rotation @ rotation_matrices(quats[index]) * scales[index][:, None, :]
    covariance = half @ half.transpose(1, 2)
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    sharp = a * c - b * b
    a, c = a + eps2d, c + eps2d
    determinant = a * c - b * b

    valid = determinant > 0
    compensations = torch.ones_like(z)
    if antialiased:
        ratio = (sharp / torch.where(valid, determinant, 1)).clamp(min=0)
        # sqrt has no gradient at 0; such a Gaussian has no opacity left and is not drawn.
        compensations = torch.where(ratio > 0, ratio, 1).sqrt() * (ratio > 0)
    opacity = opacities[index] * compensations
    valid = valid & (opacity >= ALPHA_MIN)
    with torch.no_grad():
        extent = (2 * (opacity / ALPHA_MIN).clamp(min=1).log()).sqrt().clamp(max=EXTENT_MAX)
        box = torch.ceil(extent[:, None] * torch.stack([a, c], dim=1).sqrt())
        valid = valid & (box > radius_clip).any(dim=1)
        size = torch.tensor([width, height], dtype=box.dtype)
        valid = valid & ((means2d + box > 0) & (means2d - box < size)).all(dim=1)
    radii = torch.zeros(len(means), 2, dtype=torch.int32)
    radii[index[valid]] = box[valid].to(torch.int32)
    conics = torch.stack([c, -b, a], dim=1)[valid] / determinant[valid, None]
    return index[valid], radii, means2d[valid], z[valid], conics, compensations[valid]


def rotation_matrices(quats: Tensor) -> Tensor:
    """(N, 3, 3) rotations of (N, 4) quaternions, w first, of any length above zero."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def spherical_harmonics(degree: int, directions: Tensor, coefficients: Tensor) -> Tensor:
    """(N, 3) sums of real spherical harmonics: directions (N, 3) of any length, coefficients (N, K, 3)."""
    x, y, z = (directions / directions.norm(dim=1, keepdim=True)).unbind(1)
    xx, yy, zz = x * x, y * y, z * z

    def root(number: float) -> float:
        return math.sqrt(number / math.pi)

    bases = [
        root(1 / 4) * torch.ones_like(x),
        -root(3 / 4) * y, root(3 / 4) * z, -root(3 / 4) * x,
        root(15 / 4) * x * y, -root(15 / 4) * y * z, root(5 / 16) * (3 * zz - 1), -root(15 / 4) * x * z,
        root(15 / 16) * (xx - yy),
        -root(35 / 32) * y * (3 * xx - yy), root(105 / 4) * x * y * z, -root(21 / 32) * y * (5 * zz - 1),
        root(7 / 16) * z * (5 * zz - 3), -root(21 / 32) * x * (5 * zz - 1), root(105 / 16) * z * (xx - yy),
        -root(35 / 32) * x * (xx - 3 * yy),
    ]  # fmt: skip
    count = (degree + 1) ** 2
    return (torch.stack(bases[:count], dim=1)[..., None] * coefficients[:, :count]).sum(dim=1)


def blend(means2d, conics, opacities, depths, features, background, width, height, margin=1e-4):
    """Front-to-back compositing of V ellipses at the pixels' centres (0.5, 0.5), (1.5, 0.5), ...

    Returns:
        image (H, W, D); alpha (H, W, 1); decided (H, W), False where an alpha lies within the relative
        `margin` of 1/255 or 0.999, or a transmittance near 1e-4, so that float32 may rightly decide
        otherwise; and the centres as each pixel sees them, (H W, V, 2), with each pixel's own gradient.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 1, 2).to(means2d.dtype) + 0.5
    at_pixels = means2d[None].repeat(len(pixels), 1, 1)
    if at_pixels.requires_grad:
        at_pixels.retain_grad()
    dx, dy = (at_pixels - pixels).unbind(-1)
    a, b, c = conics.unbind(1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    raw = opacities * torch.exp(-sigma)
    alpha = torch.where((sigma >= 0) & (raw >= ALPHA_MIN), raw.clamp(max=ALPHA_MAX), 0)

    order = torch.argsort(depths, stable=True)  # equal depths: the lower index is in front
    alpha = alpha[:, order]
    after = torch.exp(torch.cumsum(torch.log1p(-alpha), dim=1))  # a cumulative product with a fast gradient
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    weight = torch.where(after > TRANSMITTANCE_MIN, alpha * before, 0)

    covered = weight.sum(dim=1, keepdim=True)
    image = weight @ features[order] + (1 - covered) * background
    close = (raw / ALPHA_MIN - 1).abs().minimum((raw / ALPHA_MAX - 1).abs()) < margin
    close |= (after / TRANSMITTANCE_MIN - 1).abs() < 10 * margin
    decided = ~close.any(dim=1)
    shape = (height, width)
    return image.reshape(*shape, -1), covered.reshape(*shape, 1), decided.reshape(shape), at_pixels


def absolute_gradient(meta: dict) -> Tensor:
    """(C, N, 2) sums over pixels of |d loss / d means2d|, gsplat's `absgrad`; after a backward pass."""
    result = torch.zeros_like(torch.stack([one.detach() for one in meta["means2d"]]))
    for camera, (drawn, at_pixels) in enumerate(meta["at_pixels"]):
        if len(drawn):
            result[camera, drawn] = at_pixels.grad.abs().sum(dim=0)
    return result
