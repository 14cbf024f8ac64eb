"""python -m sds_guidance.finetune --data FOLDER --guidance_model FOLDER -m output/tuned"""

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.program import finetune
from utils.errors import run_program
from utils.options import parse

if __name__ == "__main__":
    run_program(lambda: print(finetune(parse(FinetuneOptions))))
