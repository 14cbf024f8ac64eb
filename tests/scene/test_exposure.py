"""Exposures: the arithmetic, the schedule, what they recover, their mean, their file, and a resumed run."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import render
from scene.dataset import SceneOptions, load_scene
from scene.exposure import ExposureOptions, Exposures, expose, load_exposures
from tests.programs import BUSY, break_off, ply, run_train
from utils.checkpoints import checkpoint_path
from utils.errors import UserError

IDENTITY = torch.eye(3, 4)
NAMES = ("a.png", "b.png", "c.png")
HUGE = f'{{"a": [[{"9" * 400}, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}}'


def deviating(count: int, spread: float = 0.15) -> torch.Tensor:
    """(count, 3, 4) matrices near the identity, whose mean it is."""
    matrices = spread * torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(1))
    return matrices - matrices.mean(dim=0) + IDENTITY


def test_a_matrix_takes_row_vectors_of_colour():
    matrix = torch.tensor([[2.0, 1, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.3]])  # red adds to green
    colour = torch.tensor([0.1, 0.2, 0.4])
    result = expose(colour.reshape(3, 1, 1), matrix).flatten()
    torch.testing.assert_close(result, torch.tensor([0.3, 0.5, 0.7]))
    torch.testing.assert_close(result, colour @ matrix[:, :3] + matrix[:, 3])


def test_values_and_gradients_are_those_of_plain_torch():
    generator = torch.Generator().manual_seed(0)
    rgb, matrix, pull = (torch.rand(shape, generator=generator) for shape in ((3, 7, 9), (3, 4), (3, 7, 9)))
    results = []
    for apply in (expose, lambda c, e: torch.einsum("ihw,ij->jhw", c, e[:, :3]) + e[:, 3, None, None]):
        c, e = rgb.clone().requires_grad_(), matrix.clone().requires_grad_()
        value = apply(c, e)
        value.backward(pull)
        results.append((value.detach(), c.grad, e.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_has_the_same_bits_at_any_number_of_threads():
    rgb = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            matrix = IDENTITY.clone().requires_grad_()
            expose(rgb, matrix).backward(rgb)
            assert matrix.grad is not None
            found.append(matrix.grad)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_the_rate_falls_log_linearly_and_may_rise_first():
    plain = ExposureOptions()
    assert plain.rate(500, 1000) == pytest.approx((0.01 * 0.001) ** 0.5)
    assert plain.rate(1000, 1000) == pytest.approx(0.001)
    slow = ExposureOptions(exposure_lr_delay_steps=200, exposure_lr_delay_mult=0.1)
    assert slow.rate(100, 1000) == pytest.approx(plain.rate(100, 1000) * (0.1 + 0.9 * 0.5**0.5))
    assert slow.rate(200, 1000) == pytest.approx(plain.rate(200, 1000))
    assert ExposureOptions(exposure_lr_final=0).rate(1, 1000) == 0


def fitted(truth: torch.Tensor, names: tuple[str, ...], steps: int = 900) -> Exposures:
    """Exposures fitted to pictures of known ones, one photograph a step."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 8, 8, generator=generator) for _ in names]
    exposures = Exposures(names, ExposureOptions(), steps, "cpu")
    for step in range(1, steps + 1):
        number = step % len(names)
        result = exposures(names[number], pictures[number])
        (result - expose(pictures[number], truth[number])).abs().mean().backward()
        exposures.step(step)
    return exposures


def test_known_gains_and_offsets_are_recovered():
    truth = deviating(3)
    found = fitted(truth, NAMES).matrices.detach()
    assert (truth - IDENTITY).abs().max() > 0.2
    torch.testing.assert_close(found, truth, rtol=0, atol=0.01)


def test_the_mean_is_the_identity_and_what_all_share_is_left_to_the_scene():
    """Twice the light in every photograph is the scene's, not the exposures'."""
    torch.testing.assert_close(fitted(deviating(3), NAMES).matrices.mean(dim=0), IDENTITY, rtol=0, atol=1e-6)
    same = fitted((2 * IDENTITY).expand(3, 3, 4), NAMES, steps=100)
    torch.testing.assert_close(same.matrices.mean(dim=0), IDENTITY, rtol=0, atol=1e-6)
    alone = fitted(deviating(3), NAMES[:1], steps=50)
    assert torch.equal(alone.matrices[0], IDENTITY)


def test_a_view_that_does_not_train_is_left_as_it_is():
    rgb = torch.rand(3, 4, 4)
    assert Exposures(NAMES, ExposureOptions(), 10, "cpu")("d.png", rgb) is rgb


def test_the_file_is_the_references_and_reads_back_equal(tmp_path):
    exposures = Exposures(NAMES, ExposureOptions(), 10, "cpu")
    with torch.no_grad():
        exposures.matrices.copy_(deviating(3))
    exposures.save(tmp_path)
    content = json.loads((tmp_path / "exposure.json").read_text())
    assert list(content) == list(NAMES) and np.shape(content["a.png"]) == (3, 4)
    assert (tmp_path / "exposure.json").read_text().startswith('{\n  "a.png": [\n    [\n')
    back = load_exposures(tmp_path)
    assert all(torch.equal(back[name], exposures.matrices[row]) for name, row in exposures.rows.items())
    assert load_exposures(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"a": [1, 2]}', '{"a": 5}', '{"a": [[NaN, 0, 0, 0]]}', HUGE, "[" * 99_999]
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "exposure.json").write_text(text)
    with pytest.raises(UserError, match=r"exposure\.json does not hold a 3 x 4 matrix"):
        load_exposures(tmp_path)


@pytest.fixture(scope="module")
def exposed_run(small_scene, tmp_path_factory):
    return run_train(
        small_scene, tmp_path_factory.mktemp("exposed"), "--iterations", 60, *BUSY, "--eval", "--exposure"
    )


def test_resumed_equals_unbroken(small_scene, exposed_run, tmp_path):
    flags = ("--iterations", 60, *BUSY, "--eval", "--exposure")
    break_off(small_scene, tmp_path, *flags, at=30)
    run_train(small_scene, tmp_path, *flags, "--resume")
    assert ply(tmp_path, 60) == ply(exposed_run, 60)
    for name in ("exposure.json", "log.jsonl"):
        assert (tmp_path / name).read_text() == (exposed_run / name).read_text()


def test_a_run_learns_saves_and_shows_the_exposures_of_its_training_views(small_scene, exposed_run):
    saved = load_exposures(exposed_run)
    scene = load_scene(SceneOptions(source_path=str(small_scene), eval=True), 0)
    assert list(saved) == [camera.name for camera in scene.train_cameras]
    matrices = torch.stack(list(saved.values()))
    torch.testing.assert_close(matrices.mean(dim=0), IDENTITY, rtol=0, atol=1e-5)
    assert (matrices - IDENTITY).abs().max() > 0.01
    kept = torch.load(checkpoint_path(exposed_run, 60), weights_only=True)["training"]["exposures"]
    assert torch.equal(kept["matrices"], matrices)

    def shown() -> dict[str, np.ndarray]:
        render.main(render.Options(model_path=str(exposed_run), device="cpu", quiet=True))
        return {
            f"{split}/{path.name}": np.asarray(Image.open(path)) / 255
            for split in ("train", "test")
            for path in (exposed_run / split / "ours_60/renders").iterdir()
        }

    ours = shown()
    (exposed_run / "exposure.json").rename(exposed_run / "away")
    plain = shown()
    (exposed_run / "away").rename(exposed_run / "exposure.json")
    assert all(np.array_equal(ours[name], plain[name]) for name in ours if name.startswith("test"))
    first = torch.from_numpy(plain["train/00000.png"]).permute(2, 0, 1).float()
    expected = expose(first, matrices[0]).clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours["train/00000.png"], expected, atol=2 / 255)  # rounded once more


def test_a_run_without_exposures_has_none(unbroken):
    assert not (unbroken / "exposure.json").exists()


def test_halves_of_the_test_photographs_train_with_exposures_of_their_own(small_scene, tmp_path):
    run_train(
        small_scene, tmp_path, "--iterations", 20, "--eval", "--train_test_exp", "--test_iterations", -1
    )
    assert len(load_exposures(tmp_path)) == 11
    render.main(render.Options(model_path=str(tmp_path), device="cpu", quiet=True, skip_train=True))
    mask = np.asarray(Image.open(tmp_path / "test/ours_20/masks/00000.png"))
    assert (mask[:, :24] == 0).all() and (mask[:, 24:] == 255).all()
