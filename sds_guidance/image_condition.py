"""What `--image_condition` makes of photographs and condition images, beside ranking prompts by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sds_guidance.conditioning import Conditioning
from sds_guidance.conditioning_options import ConditioningOptions
from sds_guidance.guidance import Guidance
from sds_guidance.run import Run
from sds_guidance.semantic_loss import Meanings, SemanticConsistency, load_meanings
from sds_guidance.unclip import ImageConditions, image_labels

if TYPE_CHECKING:
    from scene.cameras import Camera
    from sds_guidance.embedding import Placeholder
    from sds_guidance.lora import Lora

    Conditions = Callable[[Camera, torch.Generator], Tensor]


@dataclass(frozen=True)
class ImageCondition:
    """What the pictures of a run became: one thing for each kind of `--image_condition`, or nothing.

    Attributes:
        meanings: what a semantic loss compares with.
        labels: (N + M, L) float32 on the CPU, what an unCLIP U-Net takes.
        lora, placeholder: what was fitted to the pictures, or what the flags name in its place.
    """

    meanings: Meanings | None = None
    labels: Tensor | None = None
    lora: Lora | None = None
    placeholder: Placeholder | None = None

    @property
    def nbytes(self) -> int:
        """What stays on the device for it."""
        return self.meanings.nbytes if self.meanings else 0

    def conditions(self, texts: Conditions, cameras: Sequence[Camera], device: torch.device) -> Conditions:
        """What a view is conditioned by: the text states, with labels behind them where there are any.

        Args:
            texts: for a camera, the (2, tokens, width) text states.
            cameras: the training cameras.
            device: of the states.
        """
        return texts if self.labels is None else ImageConditions(texts, cameras, self.labels.to(device))

    def semantic(
        self,
        words: ConditioningOptions,
        guidance: Guidance,
        sample_camera: Callable[[torch.Generator, float], Camera],
    ) -> SemanticConsistency | None:
        """The semantic loss of a run with this guidance, within the same steps; None where there is none."""
        if not self.meanings:
            return None
        return SemanticConsistency(
            self.meanings,
            sample_camera,
            weight=words.lambda_clip,
            interval=words.clip_interval,
            window=(guidance.first, guidance.last),
            iterations=guidance.iterations,
            seed=guidance.seed,
        )


def condition_on_images(
    words: ConditioningOptions,
    conditioning: Conditioning,
    cameras: Sequence[Camera],
    model: Path,
    run: Run,
    *,
    resolution: int,
) -> tuple[Conditioning, ImageCondition]:
    """Looks at the pictures, or fits to them, as `--image_condition` says; networks for that are gone after.

    Args:
        words: the flags.
        conditioning: with the prompts and the condition images.
        cameras: the training cameras, with their photographs.
        model: the guidance model's folder.
        run: to be guided; told that something is fitted, and how prompts change.
        resolution: side in pixels of the squares that are fitted to.

    Returns:
        What conditions the run now, and what the pictures became.

    Raises:
        UserError: a model lacks what is needed, or a picture cannot be read.
    """
    images = conditioning.image_files()
    match words.image_condition:
        case "loss":
            meanings = load_meanings(words.clip_model, model, cameras, images, run)
            return conditioning, ImageCondition(meanings=meanings)
        case "unclip":
            labels = image_labels(model, cameras, images, words.unclip_noise_level, run.seed)
            return conditioning, ImageCondition(labels=labels)
        case "lora" | "inversion" as method:
            # Only now: these bring accelerate, diffusers and transformers.
            from sds_guidance.embedding import read_embedding  # noqa: PLC0415
            from sds_guidance.finetune.fitting import TOKEN, fit_to_scene  # noqa: PLC0415
            from sds_guidance.lora import read_lora  # noqa: PLC0415

            if method == "inversion":
                conditioning = conditioning.naming(TOKEN)
                run.say(f"prompts end with the learnt word: {conditioning.prompts[0].text!r}")
            path = fit_to_scene(
                cameras,
                images,
                conditioning.prompts[0].text,
                method,
                model=model,
                run=run,
                resolution=resolution,
                steps=words.fit_steps,
            )
            if method == "lora":
                return conditioning, ImageCondition(lora=read_lora(path))
            return conditioning, ImageCondition(placeholder=read_embedding(path))
    return conditioning, ImageCondition()
