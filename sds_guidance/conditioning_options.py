"""The flags of what conditions guidance: prompts, their ranking by CLIP, a language model's help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from utils.errors import UserError, demand


@dataclass
class ConditioningOptions:
    """Where the prompts come from, beside --prompt and --negative_prompt, and how they are used."""

    prompts_file: str = ""
    """A text file of prompts, one a line; each guided view draws one. --prompt, where given, is one more."""
    conditioning: str = ""
    """A conditioning.json of an earlier run, or written by hand: all prompts are taken from there."""
    front_view: str = ""
    """For an object: the training photograph of its front; prompts then say front, side, back or overhead."""
    image_condition: Literal["auto", "rank", "none"] = "auto"
    """rank: several prompts are weighed by how well CLIP finds them to fit; auto: where a CLIP is at hand."""
    clip_model: str = ""
    """A CLIP for --image_condition: a local folder or a hub id; empty: the guidance model's, if there."""

    llm: bool = False
    """Let a language model write prompts, through the chat interface that OpenAI and many servers have."""
    llm_base_url: str = "https://api.openai.com/v1"
    """Address of the server's interface. The key is taken from the environment, OPENAI_API_KEY."""
    llm_model: str = ""
    """The language model's name at that server."""
    llm_send_images: bool = False
    """Send it training photographs too, made small: they leave this machine."""
    llm_timeout: float = 120.0
    """Seconds to wait for an answer."""
    expert_notes: str = ""
    """A text file for the language model: what somebody knows of the scene."""

    def check(self) -> None:
        """Raises `UserError` naming the first flag whose value makes no sense."""
        if self.conditioning and (self.llm or self.prompts_file or self.front_view):
            raise UserError(
                f"--conditioning {self.conditioning} holds all that conditions the run; leave out --llm, "
                "--prompts_file and --front_view, and change the file instead"
            )
        if self.clip_model and self.image_condition == "none":
            raise UserError("--clip_model ranks prompts, which --image_condition none switches off")
        if not self.llm:
            for flag in ("expert_notes", "llm_model", "llm_send_images"):
                if getattr(self, flag):
                    raise UserError(f"--{flag} is for the language model; give --llm as well")
            return
        if not self.llm_model:
            raise UserError("--llm needs --llm_model NAME: the language model's name at --llm_base_url")
        demand(0 < self.llm_timeout < math.inf, "llm_timeout", self.llm_timeout, "seconds above 0")
        _check_address(self.llm_base_url)


def _check_address(address: str) -> None:
    """Raises `UserError` unless this is a plain http address; one with a secret in it is not repeated."""
    parts = urlsplit(address)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            "--llm_base_url holds a name, a password or parameters, which would be written to the run's "
            "files; give the plain address, and the key in the environment as OPENAI_API_KEY"
        )
    allowed = "http:// or https://, a host, and the path of the interface, mostly /v1"
    demand(parts.scheme in ("http", "https") and bool(parts.netloc), "llm_base_url", address, allowed)
