"""Everything about diffusion, CLIP and prompts; nothing about Gaussians. Importing it loads no diffusers."""

import utils.idle_threads  # noqa: F401  (before torch, for the programs in here: python -m comes here first)

# isort: split

from sds_guidance.guidance import Guidance, GuidanceResult
from sds_guidance.loading import demand_models, load_guidance
from sds_guidance.mode import View
from sds_guidance.options import GuidanceOptions
from sds_guidance.run import Run

__all__ = ["Guidance", "GuidanceOptions", "GuidanceResult", "Run", "View", "demand_models", "load_guidance"]
