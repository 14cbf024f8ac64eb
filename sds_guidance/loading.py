"""From the flags to the guidance of a run: the model found, its prompts encoded, the mode chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.architecture import GUIDING, read_architecture
from sds_guidance.conditioning_sources import gather_conditioning
from sds_guidance.guidance import Guidance
from sds_guidance.image_condition import condition_on_images
from sds_guidance.inpainting import find_inpainting
from sds_guidance.ism import ism_gradient
from sds_guidance.mode import Mode, Prior
from sds_guidance.models import DIFFUSION, ModelFolder, find_model
from sds_guidance.options import GuidanceOptions
from sds_guidance.rectified import Rectified
from sds_guidance.sds import Distillation, LatentGradient, annealed_range, fit_to_prior, sds_gradient
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

    Tuned = tuple[Lora | None, Placeholder | None]


def evenly(camera: Camera) -> float:
    """The whole weight for every camera."""
    return 1.0


def load_guidance(
    options: GuidanceOptions,
    *,
    cameras: Sequence[Camera],
    sample_camera: Callable[[torch.Generator, float], Camera],
    iterations: int,
    seed: int,
    device: torch.device,
    argv: Sequence[str],
    warnings: Warnings,
    weigh_camera: Callable[[Camera], float] = evenly,
    run: Path | None = None,
    folder: Path | None = None,
    say: Callable[[str], object] = print,
) -> Guidance:
    """The guidance that the flags ask for: model found, prompts encoded, networks loaded.

    The text encoder is gone before the U-Net comes, and the VAE's decoder goes at once unless targets are to
    be made or contact sheets drawn. torch's global random generators are left as they were.

    Args:
        options: the flags.
        cameras: the training cameras, with their photographs; their size decides what the model sees.
        sample_camera: where to look, from a generator and the run's progress in [0, 1].
        iterations, seed, device: see `Guidance`.
        argv: `sys.argv`, for the unguided command in an error.
        warnings: takes notices (a mapped model id, a prompt cut).
        weigh_camera: the factor, in [0, 1], of guidance at one of these cameras.
        run: the folder of a run to go on with, whose `conditioning.json` holds; None for a new run.
        folder: of a new run, where what is made for it is put before it begins; `--image_condition lora` and
            `inversion` need it, or `run`.
        say: told the memory plan, and that a language model is asked.

    Raises:
        UserError: a flag's value, a model that cannot be found, is incomplete or is of a kind not supported.
    """
    options.check()
    words = options.words
    kind = UNCLIP if words.image_condition == "unclip" else DIFFUSION
    found = find_model(options.guidance_model, argv, warnings, options.guidance_revision, kind)
    architecture = read_architecture(found.folder)
    options = replace(options, guidance_resolution=options.guidance_resolution or architecture.resolution)
    picture = torch.zeros(3, cameras[0].height, cameras[0].width)
    height, width = fit_to_prior(picture, options.guidance_resolution, architecture.size_multiple).shape[2:]
    inpainting = None
    if options.guidance == "rectified":
        inpainting = find_inpainting(options.rectified.inpainting_model, found.folder, argv, warnings)
    tuned = _read_tuned(options)  # before anybody is asked for prompts
    if options.guidance == "targets":
        load_lpips(options.targets.targets_lpips_net, options.targets.targets_lpips_weights)  # the same
    with torch.random.fork_rng():
        conditioning = gather_conditioning(
            options, cameras, found.folder, run=run, argv=argv, say=say, warnings=warnings, folder=folder
        )
        conditioning, seen = condition_on_images(
            words,
            conditioning,
            cameras,
            found.folder,
            run=run,
            folder=folder,
            resolution=min(height, width),
            device=device,
            seed=seed,
            argv=argv,
            say=say,
            warnings=warnings,
        )
        tuned = (seen.lora or tuned[0], seen.placeholder or tuned[1])
        states, prior, plan = _load_networks(
            options,
            found,
            inpainting,
            tuned,
            conditioning.texts(),
            (height, width),
            device,
            say,
            warnings,
            beside=seen.nbytes,
        )
    mode = choose_mode(options, prior, sample_camera, weigh_camera, cameras)
    conditions = seen.conditions(conditioning.conditions(states, cameras), cameras, device)
    guidance = Guidance(options, mode, conditions, iterations=iterations, seed=seed, device=device)
    guidance.semantic = seen.semantic(words, guidance, sample_camera)
    guidance.conditioning = conditioning
    guidance.description = _description(options, found, inpainting, conditioning, prior, plan)
    guidance.description |= {"picture_width": width, "picture_height": height}
    return guidance


def _description(
    options: GuidanceOptions,
    found: ModelFolder,
    inpainting: ModelFolder | None,
    conditioning: Conditioning,
    prior: LatentDiffusionPrior,
    plan: MemoryPlan,
) -> dict[str, str | int | float]:
    """What is recorded with the results."""
    beside = (
        {"inpainting_model": inpainting.name, "inpainting_revision": inpainting.revision}
        if inpainting
        else {}
    )
    return {
        "mode": options.guidance,
        "model": found.name,
        "revision": found.revision,
        **beside,
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
    }


def _read_tuned(options: GuidanceOptions) -> Tuned:
    """The adapter and the learnt word that the flags name."""
    from sds_guidance.embedding import read_embedding  # noqa: PLC0415 - brings diffusers and transformers
    from sds_guidance.lora import read_lora  # noqa: PLC0415 - the same

    lora = read_lora(Path(options.guidance_lora)) if options.guidance_lora else None
    return lora, read_embedding(Path(options.guidance_embedding)) if options.guidance_embedding else None


def _load_networks(
    options: GuidanceOptions,
    found: ModelFolder,
    inpainting: ModelFolder | None,
    tuned: Tuned,
    prompts: Sequence[str],
    size: tuple[int, int],
    device: torch.device,
    say: Callable[[str], object],
    warnings: Warnings,
    beside: int,
) -> tuple[Tensor, LatentDiffusionPrior, MemoryPlan]:
    """The (T, tokens, width) states of the prompts, then the prior, as the memory plan has it.

    `size` is the height and width in pixels of what the model sees, `beside` see `plan_memory`.
    """
    # Only now: these bring diffusers and transformers.
    from sds_guidance.memory import device_memory, plan_memory  # noqa: PLC0415
    from sds_guidance.prior import load_inpainting, load_prior  # noqa: PLC0415
    from sds_guidance.prompt_cache import cached_prompts  # noqa: PLC0415

    lora, placeholder = tuned
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
        found.folder,
        size,
        gradient=not decodes,
        decoder=decoder,
        available=device_memory(device),
        inpainting=inpainting.folder if inpainting else None,
        beside=beside,
    )
    say(plan.sentence(options.guidance_memory))
    states = cached_prompts(found, prompts, device, plan.dtype, warnings, lora=lora, placeholder=placeholder)
    prior = load_prior(
        found.folder,
        device,
        plan.dtype,
        checkpoint_encoder=plan.checkpoint_encoder,
        one_batch=plan.one_batch,
        offload=plan.offload,
        lora=lora,
        tasks=("unCLIP",) if options.words.image_condition == "unclip" else GUIDING,
    )
    if inpainting:
        prior.inpainting = load_inpainting(inpainting.folder, prior, plan.dtype, lora=lora)
    if not decoder:
        prior.free_decoder()
    return states, prior, plan


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
    if options.guidance == "rectified":
        return Rectified(
            options.rectified,
            prior,
            photographers,
            sample_camera,
            weigh_camera,
            guidance_scale=options.guidance_scale,
            rescale=options.guidance_rescale,
            clip=options.sds_clip,
            resolution=options.guidance_resolution,
        )
    return _distillation(options, prior, sample_camera, weigh_camera)


def _distillation(
    options: GuidanceOptions,
    prior: Prior,
    sample_camera: Callable[[torch.Generator, float], Camera],
    weigh_camera: Callable[[Camera], float],
) -> Distillation:
    """The modes `sds` and `ism`; see `choose_mode`."""

    def sds(
        prior: Prior, z: Tensor, states: Tensor, progress: float, generator: torch.Generator
    ) -> LatentGradient:
        return sds_gradient(
            prior,
            z,
            states,
            annealed_range(progress, options.sds_t_min, options.sds_t_max, options.sds_t_anneal),
            generator,
            guidance_scale=options.guidance_scale,
            rescale=options.guidance_rescale,
            weighting=options.sds_weight,
        )

    def ism(
        prior: Prior, z: Tensor, states: Tensor, progress: float, generator: torch.Generator
    ) -> LatentGradient:
        start, end = options.ism_delta_t
        return ism_gradient(
            prior,
            z,
            states,
            options.ism_t,
            generator,
            interval=start + progress * (end - start),
            stride=options.ism_delta_s,
            guidance_scale=options.guidance_scale,
            rescale=options.guidance_rescale,
        )

    return Distillation(
        prior,
        {"sds": sds, "ism": ism}[options.guidance],
        sample_camera,
        weigh_camera,
        clip=options.sds_clip,
        resolution=options.guidance_resolution,
    )
