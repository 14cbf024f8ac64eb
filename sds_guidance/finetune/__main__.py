"""Teaches a diffusion model a domain, or a scene.

python -m sds_guidance.finetune --data FOLDER --guidance_model FOLDER -m output/tuned
python -m sds_guidance.finetune -s SCENE --eval --caption "a fern in an atrium" -m output/fern_lora
"""

from scene.dataset import training_files
from sds_guidance.finetune.captioned import CaptionedImage
from sds_guidance.finetune.options import FinetuneOptions
from sds_guidance.finetune.program import finetune
from utils.errors import UserError, Warnings, run_program
from utils.options import parse

FLAGS = {"full": "--guidance_model", "lora": "--guidance_lora", "inversion": "--guidance_embedding"}
"""The flag of train.py that takes each method's result."""


def main(options: FinetuneOptions) -> None:
    """Fine-tunes, and prints the flag that uses the result."""
    options.check()
    result = finetune(options, scene_pictures(options) if options.source_path else None)
    word = f' --prompt "... {options.placeholder_token} ..."' if options.method == "inversion" else ""
    print(f"guide with it: python train.py ... {FLAGS[options.method]} {result}{word}")


def scene_pictures(options: FinetuneOptions) -> list[CaptionedImage]:
    """The photographs that train.py would train on with the same flags, all with the one caption."""
    if not options.caption:
        raise UserError('--source_path needs --caption, what the scene shows, "a fern in an atrium" say')
    warnings = Warnings()
    files = training_files(options.source_path, options.images, options.eval, options.n_views, warnings)
    warnings.show()
    return [CaptionedImage(path, options.caption) for path in files]


if __name__ == "__main__":
    run_program(lambda: main(parse(FinetuneOptions)))
