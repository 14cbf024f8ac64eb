"""Checks a dataset before hours are spent on it.

python -m scene.check -s SCENE
python -m scene.check -s SCENE --eval --output report

Exit code 0: it can be trained, whatever is doubtful; 2: it cannot, and the message says why.
"""

from dataclasses import dataclass, field
from pathlib import Path

from scene.check.health import Health, examine
from scene.check.picture import save_picture
from scene.check.report import markdown_report, text_report
from scene.dataset import SceneOptions
from scene.split import write_split
from utils.errors import UserError, run_program
from utils.files import write_text
from utils.options import parse

REPORT, PICTURE, SPLIT = "report.md", "cameras.png", "split.json"


@dataclass
class Options:
    """Checks a dataset before hours are spent on it. Flags of the scene are those of train.py."""

    scene: SceneOptions = field(default_factory=SceneOptions)
    output: str = ""
    """Folder for report.md, cameras.png and, where photographs are doubtful, split.json without them; empty:
    the text alone."""


def main(options: Options) -> None:
    """Prints the report, and writes it where an output is given.

    Raises:
        UserError: the scene cannot be trained.
    """
    folder = Path(options.output).expanduser() if options.output else None
    try:
        health = examine(options.scene)
    except UserError as mistake:
        if folder:
            title = f"# {Path(options.scene.source_path).name}: it cannot be trained\n"
            write_text(folder / REPORT, f"{title}\n{mistake}\n")
        raise
    split = write_good(folder / SPLIT, health) if folder else None
    print(text_report(health, split))
    if folder:
        save_picture(folder / PICTURE, health)
        write_text(folder / REPORT, markdown_report(health, PICTURE, split))
        print(f"report: {folder / REPORT}, {folder / PICTURE}")


def write_good(path: Path, health: Health) -> Path | None:
    """Writes a split without the doubtful training photographs; None where there is no use for one."""
    trained = [view for view in health.views if view.use == "train"]
    good = [view.name for view in trained if not view.doubts]
    if len(good) in (0, len(trained)) or health.options.n_views:
        return None
    write_split(path, good, [view.name for view in health.views if view.use == "test"])
    return path


if __name__ == "__main__":
    run_program(lambda: main(parse(Options)))
