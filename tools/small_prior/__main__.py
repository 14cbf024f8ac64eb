"""python -m tools.small_prior build --data FOLDER --output FOLDER; evaluate --model FOLDER; inpaint ..."""

import utils.idle_threads  # noqa: F401  (comes before torch)

# isort: split

import json
import sys

from tools.small_prior.build import build
from tools.small_prior.evaluation import evaluate
from tools.small_prior.inpainting import build_sibling
from tools.small_prior.options import BuildOptions, EvaluateOptions, InpaintOptions
from utils.errors import UserError, run_program
from utils.options import parse


def main(arguments: list[str]) -> None:
    """Runs the command that the first word names."""
    match arguments[:1]:
        case ["build"]:
            print(build(parse(BuildOptions, arguments[1:])))
        case ["evaluate"]:
            print(json.dumps(evaluate(parse(EvaluateOptions, arguments[1:])), indent=1))
        case ["inpaint"]:
            print(build_sibling(parse(InpaintOptions, arguments[1:])))
        case _:
            raise UserError(
                "give a command first: build, evaluate or inpaint; each explains itself with --help"
            )


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
