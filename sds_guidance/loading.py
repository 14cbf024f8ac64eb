"""From the flags to the guidance of a run: the model found, its prompts encoded, the mode chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.architecture import GUIDING, read_architecture
from sds_guidance.conditioning_sources import gather_conditioning
from sds_guidance.guidance import Guidance
from sds_guidance.image_condition import ImageCondition, condition_on_images
from sds_guidance.inpainting import find_inpainting
from sds_guidance.ism import ism_gradient
from sds_guidance.mode import Mode, Prior, View
from sds_guidance.models import DIFFUSION, ModelFolder, find_model
from sds_guidance.options import GuidanceOptions
from sds_guidance.rectified import Rectified
from sds_guidance.run import Run
from sds_guidance.sds import Distillation, Score, ViewScore, annealed_range, fit_to_prior, sds_gradient
from sds_guidance.targets import Targets, load_lpips
from sds_guidance.unclip import UNCLIP, ImageConditions
from utils.errors import UserError, Warnings

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.conditioning import Conditioning
    from sds_guidance.embedding import Placeholder
    from sds_guidance.lora import Lora
    from sds_guidance.memory import MemoryPlan
    from sds_guidance.prior import LatentDiffusionPrior


def evenly(camera: Camera) -> float:
    """The whole weight for every camera."""
    return 1.0


def load_guidance(
    options: GuidanceOptions,
    run: Run,
    *,
    cameras: Sequence[Camera],
    sample_camera: Callable[[torch.Generator, float], Camera],
    iterations: int,
    weigh_camera: Callable[[Camera], float] = evenly,
) -> Guidance:
    """The guidance that the flags ask for: model found, prompts encoded, networks loaded.

    The text encoder is gone before the U-Net comes, and the VAE's decoder goes at once unless targets are to
    be made or contact sheets drawn. torch's global random generators are left as they were.

    Args:
        options: the flags.
        run: to be guided; `--image_condition lora` and `inversion` need its folder.
        cameras: the training cameras, with their photographs; their size decides what the model sees.
        sample_camera: where to look, from a generator and the run's progress in [0, 1].
        iterations: steps of the run.
        weigh_camera: the factor, in [0, 1], of guidance at one of these cameras.

    Raises:
        UserError: a flag's value, a model that cannot be found, is incomplete or is of a kind not supported.
    """
    options.check()
    found = _find(options, cameras[0], run)
    options = replace(options, guidance_resolution=found.resolution)
    folder, words = found.model.folder, options.words
    with torch.random.fork_rng():
        conditioning = gather_conditioning(options, cameras, folder, run)
        conditioning, seen = condition_on_images(
            words, conditioning, cameras, folder, run, resolution=min(found.size)
        )
        seen = replace(seen, lora=seen.lora or found.lora, placeholder=seen.placeholder or found.placeholder)
        states, prior, plan = _load_networks(options, found, seen, conditioning.texts(), run)
    mode = choose_mode(options, prior, sample_camera, weigh_camera, cameras)
    conditions = seen.conditions(conditioning.conditions(states, cameras), cameras, run.device)
    guidance = Guidance(options, mode, conditions, iterations=iterations, seed=run.seed, device=run.device)
    guidance.semantic = seen.semantic(words, guidance, sample_camera)
    guidance.conditioning = conditioning
    guidance.description = _description(options, found, conditioning, prior, plan)
    return guidance


@dataclass(frozen=True)
class _Found:
    """What the flags name.

    Attributes:
        model: the guidance model.
        inpainting: the model beside it, for `rectified`; None: none.
        resolution: short side in pixels of what the model sees, before padding.
        size: its height and width in pixels.
        lora, placeholder: the adapter and the learnt word.
    """

    model: ModelFolder
    inpainting: ModelFolder | None
    resolution: int
    size: tuple[int, int]
    lora: Lora | None
    placeholder: Placeholder | None


def _find(options: GuidanceOptions, camera: Camera, run: Run) -> _Found:
    """What can be refused before anybody is asked for prompts; `camera` is one of the photographs'."""
    model, inpainting = _find_models(options, run.argv, run.warnings)
    architecture = read_architecture(model.folder)
    resolution = options.guidance_resolution or architecture.resolution
    picture = torch.zeros(3, camera.height, camera.width)
    height, width = fit_to_prior(picture, resolution, architecture.size_multiple).shape[2:]

    # Only now: these bring diffusers and transformers.
    from sds_guidance.embedding import read_embedding  # noqa: PLC0415
    from sds_guidance.lora import read_lora  # noqa: PLC0415

    lora = read_lora(Path(options.guidance_lora)) if options.guidance_lora else None
    word = read_embedding(Path(options.guidance_embedding)) if options.guidance_embedding else None
    if options.guidance == "targets":
        load_lpips(options.targets.targets_lpips_net, options.targets.targets_lpips_weights)
    return _Found(model, inpainting, resolution, (height, width), lora, word)


def demand_models(options: GuidanceOptions, run: Run) -> None:
    """Finds the models that the flags name, before time is spent on the scene; nothing is loaded.

    Raises:
        UserError: as `load_guidance` does of models.
    """
    _find_models(options, run.argv, Warnings())  # whose notices come when they are loaded


def _find_models(
    options: GuidanceOptions, argv: Sequence[str], warnings: Warnings
) -> tuple[ModelFolder, ModelFolder | None]:
    """The guidance model and, for `rectified`, the inpainting model beside it."""
    kind = UNCLIP if options.words.image_condition == "unclip" else DIFFUSION
    model = find_model(options.guidance_model, argv, warnings, options.guidance_revision, kind)
    inpainting = None
    if options.guidance == "rectified":
        named = options.rectified.inpainting_model
        inpainting = find_inpainting(named, model.folder, argv, warnings)
    return model, inpainting


def _load_networks(
    options: GuidanceOptions, found: _Found, seen: ImageCondition, prompts: Sequence[str], run: Run
) -> tuple[Tensor, LatentDiffusionPrior, MemoryPlan]:
    """The (T, tokens, width) states of the prompts, then the prior, as the memory plan has it.

    `seen` holds the adapter and the learnt word in force, and what stays on the device beside the networks.
    """
    # Only now: these bring diffusers and transformers.
    from sds_guidance.memory import device_memory, plan_memory  # noqa: PLC0415
    from sds_guidance.prior import load_inpainting, load_prior  # noqa: PLC0415
    from sds_guidance.prompt_cache import cached_prompts  # noqa: PLC0415

    device, folder, lora, placeholder = run.device, found.model.folder, seen.lora, seen.placeholder
    if placeholder and not any(placeholder.token in prompt for prompt in prompts):
        raise UserError(
            f"--guidance_embedding {options.guidance_embedding} teaches the word {placeholder.token}, "
            f"but no prompt contains it; the first is {prompts[1]!r}"
        )
    decodes = options.guidance == "targets"
    decoder = decodes or bool(options.guidance_log)
    plan = plan_memory(
        options.guidance_memory,
        options.guidance_precision,
        device,
        folder,
        found.size,
        gradient=not decodes,
        decoder=decoder,
        available=device_memory(device),
        inpainting=found.inpainting.folder if found.inpainting else None,
        beside=seen.nbytes,
    )
    run.say(plan.sentence(options.guidance_memory))
    states = cached_prompts(
        found.model, prompts, device, plan.dtype, run.warnings, lora=lora, placeholder=placeholder
    )
    prior = load_prior(
        folder,
        device,
        plan.dtype,
        checkpoint_encoder=plan.checkpoint_encoder,
        one_batch=plan.one_batch,
        offload=plan.offload,
        lora=lora,
        tasks=("unCLIP",) if options.words.image_condition == "unclip" else GUIDING,
    )
    if found.inpainting:
        prior.inpainting = load_inpainting(found.inpainting.folder, prior, plan.dtype, lora=lora)
    if not decoder:
        prior.free_decoder()
    return states, prior, plan


def _description(
    options: GuidanceOptions,
    found: _Found,
    conditioning: Conditioning,
    prior: LatentDiffusionPrior,
    plan: MemoryPlan,
) -> dict[str, str | int | float]:
    """What is recorded with the results."""
    beside = found.inpainting
    height, width = found.size
    return {
        "mode": options.guidance,
        "model": found.model.name,
        "revision": found.model.revision,
        **({"inpainting_model": beside.name, "inpainting_revision": beside.revision} if beside else {}),
        "image_condition": options.words.image_condition,
        "lora": options.guidance_lora,
        "embedding": options.guidance_embedding,
        "prompt": "; ".join(prompt.text for prompt in conditioning.prompts),
        "negative_prompt": conditioning.negative_prompt.text,
        "prediction_type": prior.prediction_type,
        "precision": plan.format,
        "checkpoint_encoder": plan.checkpoint_encoder,
        "one_batch": plan.one_batch,
        "offload": plan.offload,
        "picture_width": width,
        "picture_height": height,
    }


def pilot_guidance(
    guidance: Guidance,
    cameras: Sequence[Camera],
    sample_camera: Callable[[torch.Generator, float], Camera],
    weigh_camera: Callable[[Camera], float],
    *,
    iterations: int,
    lambda_sds: float,
    device: torch.device,
) -> Guidance:
    """Guidance of a pilot run: networks, prompts, interval and seed of the run's, all else from the start.

    Its schedules run over the pilot's iterations. `targets` has as many views as its guided steps pay for, so
    that a target serves as many steps as in the run, and costs its share of the time.

    Args:
        guidance: the run's, its interval chosen; nothing of it changes.
        cameras: those of the photographs that the pilot trains on.
        sample_camera, weigh_camera: as in `load_guidance`, for these cameras.
        iterations, lambda_sds: the pilot's.
        device: see `Guidance`.
    """
    assert guidance.interval is not None
    targets, serves = guidance.options.targets, round(1 / guidance.mode.fresh_share)
    views = min(targets.targets_views, max(1, guidance.guided_steps(iterations) // serves))
    refresh = min(targets.targets_refresh, serves * views)
    options = replace(
        guidance.options,
        lambda_sds=lambda_sds,
        guidance_interval=guidance.interval,
        targets=replace(targets, targets_views=views, targets_refresh=refresh),
    )
    conditions = guidance.conditions
    if isinstance(conditions, ImageConditions):
        conditions = conditions.among(cameras)
    pilot = Guidance(
        options,
        choose_mode(options, guidance.mode.prior, sample_camera, weigh_camera, cameras),
        conditions,
        iterations=iterations,
        seed=guidance.seed,
        device=device,
    )
    if guidance.semantic:
        window = (pilot.first, pilot.last)
        pilot.semantic = guidance.semantic.pilot(cameras, sample_camera, window, iterations)
    return pilot


def choose_mode(
    options: GuidanceOptions,
    prior: Prior,
    sample_camera: Callable[[torch.Generator, float], Camera],
    weigh_camera: Callable[[Camera], float],
    photographers: Sequence[Camera] = (),
) -> Mode:
    """The mode that `--guidance` names.

    Args:
        options: the flags; the resolution is the one in force, not 0.
        prior, sample_camera, weigh_camera: see `Distillation`.
        photographers: the training cameras, with their photographs, which tell `targets` what is certain and
            are shown to the inpainting model of `rectified`.
    """
    if options.guidance == "targets":
        return Targets(
            options.targets,
            prior,
            photographers,
            sample_camera,
            weigh_camera,
            rescale=options.guidance_rescale,
            resolution=options.guidance_resolution,
        )
    return Distillation(
        prior,
        _view_score(options, photographers),
        sample_camera,
        weigh_camera,
        clip=options.sds_clip,
        resolution=options.guidance_resolution,
    )


def _view_score(options: GuidanceOptions, photographers: Sequence[Camera]) -> ViewScore:
    """What `sds`, `ism` and `rectified` each say of a view; see `Distillation`."""
    scales = {"guidance_scale": options.guidance_scale, "rescale": options.guidance_rescale}

    def sds(prior: Prior, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Score:
        levels = annealed_range(progress, options.sds_t_min, options.sds_t_max, options.sds_t_anneal)
        return lambda latents: sds_gradient(
            prior, latents, states, levels, generator, weighting=options.sds_weight, **scales
        )

    def ism(prior: Prior, view: View, states: Tensor, progress: float, generator: torch.Generator) -> Score:
        start, end = options.ism_delta_t
        interval = start + progress * (end - start)
        return lambda latents: ism_gradient(
            prior,
            latents,
            states,
            options.ism_t,
            generator,
            interval=interval,
            stride=options.ism_delta_s,
            **scales,
        )

    if options.guidance == "rectified":
        return Rectified(options.rectified, photographers, resolution=options.guidance_resolution, **scales)
    return {"sds": sds, "ism": ism}[options.guidance]
