"""The flags of what conditions guidance: prompts, pictures, CLIP, a language model's help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from utils.errors import UserError, demand

OF_KINDS = {
    "lambda_clip": ("loss",),
    "clip_interval": ("loss",),
    "unclip_noise_level": ("unclip",),
    "fit_steps": ("lora", "inversion"),
}
"""Flags that mean something with some kinds of --image_condition only."""


@dataclass
class ConditioningOptions:
    """Where the prompts come from, beside --prompt and --negative_prompt, and how they are used."""

    prompts_file: str = ""
    """A text file of prompts, one a line; each guided view draws one. --prompt, where given, is one more."""
    conditioning: str = ""
    """A conditioning.json of an earlier run, or written by hand: all prompts are taken from there."""
    front_view: str = ""
    """For an object: the training photograph of its front; prompts then say front, side, back or overhead."""
    image_condition: Literal["auto", "rank", "loss", "unclip", "lora", "inversion", "none"] = "auto"
    """What pictures do beside the photometric loss: prompts are ranked by them, or more (docs/prompts.md)."""
    condition_images: tuple[str, ...] = ()
    """Pictures, or folders of them, that condition guidance beside the photographs."""
    clip_model: str = ""
    """A CLIP for --image_condition: a local folder or a hub id; empty: the guidance model's, if there."""
    lambda_clip: float = 0.1
    """Weight of --image_condition loss: of 1 - cosine between a rendering and a picture in CLIP's space."""
    clip_interval: int = 10
    """Steps from one rendering of --image_condition loss to the next."""
    unclip_noise_level: int = 0
    """Noise on the embeddings of --image_condition unclip, 0 to 999; more means a looser likeness."""
    fit_steps: int = 0
    """Steps of --image_condition lora and inversion; 0: 500 and 1500."""

    llm: bool = False
    """Let a language model write prompts, through the chat interface that OpenAI and many servers have."""
    llm_base_url: str = "https://api.openai.com/v1"
    """Address of the server's interface. The key is taken from the environment, OPENAI_API_KEY."""
    llm_model: str = ""
    """The language model's name at that server."""
    llm_send_images: bool = False
    """Send it training photographs too, made small: they leave this machine."""
    llm_images: int = 0
    """Pictures to have made of the language model's prompts; they serve as --condition_images do."""
    llm_image_model: str = ""
    """The name at that server of the model that makes them, through the images interface."""
    llm_timeout: float = 120.0
    """Seconds to wait for an answer, or for a picture."""
    expert_notes: str = ""
    """A text file for the language model: what somebody knows of the scene."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if self.conditioning and (self.llm or self.prompts_file or self.front_view or self.condition_images):
            raise UserError(
                f"--conditioning {self.conditioning} holds all that conditions the run; leave out --llm, "
                "--prompts_file, --front_view and --condition_images, and change the file instead"
            )
        if self.clip_model and self.image_condition == "none":
            raise UserError("--clip_model ranks prompts, which --image_condition none switches off")
        for flag in ("condition_images", "llm_images"):
            if getattr(self, flag) and self.image_condition == "none":
                raise UserError(f"--{flag}: --image_condition none leaves them without effect")
        for flag, kinds in OF_KINDS.items():
            if (
                getattr(self, flag) != getattr(ConditioningOptions, flag)
                and self.image_condition not in kinds
            ):
                raise UserError(f"--{flag} is for --image_condition {' or '.join(kinds)}; give that as well")
        demand(0 <= self.lambda_clip < math.inf, "lambda_clip", self.lambda_clip, "a finite number >= 0")
        demand(self.clip_interval >= 1, "clip_interval", self.clip_interval, "1 or more")
        demand(self.fit_steps >= 0, "fit_steps", self.fit_steps, "0 (the usual number) or more")
        demand(self.unclip_noise_level >= 0, "unclip_noise_level", self.unclip_noise_level, "0 or more")
        if not self.llm:
            for flag in ("expert_notes", "llm_model", "llm_send_images", "llm_images", "llm_image_model"):
                if getattr(self, flag):
                    raise UserError(f"--{flag} is for the language model; give --llm as well")
            return
        if not self.llm_model:
            raise UserError("--llm needs --llm_model NAME: the language model's name at --llm_base_url")
        demand(self.llm_images >= 0, "llm_images", self.llm_images, "0 or more")
        if bool(self.llm_images) != bool(self.llm_image_model):
            raise UserError(
                "--llm_images N and --llm_image_model NAME belong together: how many pictures, and the name "
                "of the model at --llm_base_url that makes them"
            )
        demand(0 < self.llm_timeout < math.inf, "llm_timeout", self.llm_timeout, "seconds above 0")
        _check_address(self.llm_base_url)


def _check_address(address: str) -> None:
    """Raises `UserError` unless this is a plain http address; one with a secret in it is not repeated."""
    allowed = "http:// or https://, a host, and the path of the interface, mostly /v1"
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # half a bracket, or a port that is no number; a secret may be in it
        raise UserError(f"--llm_base_url is no address that can be read; allowed is {allowed}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            "--llm_base_url holds a name, a password or parameters, which would be written to the run's "
            "files; give the plain address, and the key in the environment as OPENAI_API_KEY"
        )
    demand(parts.scheme in ("http", "https") and bool(parts.netloc), "llm_base_url", address, allowed)
