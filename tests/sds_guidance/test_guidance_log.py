"""The table and the contact sheets: what stands in them, when they are made, and how they resume."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scene.cameras import Camera
from sds_guidance.guidance import GuidanceResult
from sds_guidance.guidance_log import LINE, WIDTH, GuidanceLog, contact_sheet
from sds_guidance.mode import Guided, View

LENS = torch.tensor([[20.0, 0.0, 16.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]])


def view(colour: float = 0.25) -> View:
    """A picture of one colour, 32 by 16 pixels."""
    rgb = torch.full((3, 16, 32), colour, requires_grad=True)
    camera, ones = Camera("novel", torch.eye(4), LENS, 32, 16), torch.ones(1, 16, 32)
    return View(camera, rgb, alpha=ones, depth=ones)


class Said:
    """What a mode says, and how often it was asked for its pictures."""

    def __init__(self) -> None:
        self.asked = 0

    def pictures(self) -> dict[str, torch.Tensor]:
        self.asked += 1
        return {"denoised": torch.full((3, 32, 64), 0.5), "certainty": torch.full((1, 16, 32), 1.0)}

    def result(self, gradient: float = 0.0, **scalars: float) -> GuidanceResult:
        said = torch.full((3, 16, 32), gradient)
        guided = Guided(said, 0.5, 453, 0.25, 10, math.isfinite(gradient), self.pictures)
        scalars = {"guidance_t": 453.0, "guidance_ratio": 0.2, **scalars}
        return GuidanceResult(torch.zeros(()), scalars, (guided,))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "guidance.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_a_step_and_every_number_exactly(tmp_path):
    log, numbers = GuidanceLog(tmp_path, every=0), [1 / 3, 1e-30, 12345678.9]
    for step, number in enumerate(numbers, start=5):
        log.write(step, step, [view()], Said().result(guidance_loss=number))
    assert [int(row["iteration"]) for row in rows(tmp_path)] == [5, 6, 7]
    assert [float(row["guidance_loss"]) for row in rows(tmp_path)] == numbers
    assert not (tmp_path / "guidance").exists()


def test_sheets_come_every_so_many_guided_steps_and_pictures_are_made_for_them_only(tmp_path):
    log, mode = GuidanceLog(tmp_path, every=3), Said()
    for guided_steps in range(1, 9):
        log.write(10 * guided_steps, guided_steps, [view()], mode.result())
    assert sorted(path.name for path in (tmp_path / "guidance").iterdir()) == [
        "000010.png",
        "000040.png",
        "000070.png",
    ]
    assert mode.asked == 3


def test_a_resumed_table_is_cut_to_the_checkpoint_and_goes_on(tmp_path):
    log = GuidanceLog(tmp_path, every=0)
    for step in (10, 20, 30):
        log.write(step, step, [view()], Said().result())
    with (tmp_path / "guidance.csv").open("a") as file:
        file.write("2")  # the process was killed here
    log = GuidanceLog(tmp_path, every=0, resumed_after=20)
    log.write(30, 30, [view()], Said().result())
    assert [row["iteration"] for row in rows(tmp_path)] == ["10", "20", "30"]
    assert GuidanceLog(tmp_path, every=0, resumed_after=5).table.read_text() == ""


def pixels(sheet: Image.Image, row: int, column: int) -> np.ndarray:
    """The middle of a picture on the sheet, (3,)."""
    height = WIDTH // 2
    return np.asarray(sheet)[row * (2 * LINE + height) + 2 * LINE + height // 2, column * WIDTH + WIDTH // 2]


def test_a_sheet_shows_rendering_pictures_and_gradient_in_a_row_a_view():
    mode = Said()
    result = mode.result(0.7)
    result = GuidanceResult(result.loss, result.scalars, (result.guided[0], mode.result(-0.7).guided[0]))
    sheet = contact_sheet(120, [view(0.25), view(0.75)], result)
    assert sheet.size == (4 * WIDTH, 2 * (2 * LINE + WIDTH // 2))
    expected = [[64, 128, 255, 255], [191, 128, 255, 0]]
    for row in range(2):
        for column in range(4):
            assert pixels(sheet, row, column) == pytest.approx([expected[row][column]] * 3, abs=1)
    title = np.asarray(sheet)[: 2 * LINE]
    assert (title < 128).any()


@pytest.mark.parametrize("gradient", [0.0, math.nan, math.inf])
def test_a_gradient_of_nothing_or_of_no_number_is_shown_grey(gradient):
    sheet = contact_sheet(120, [view()], Said().result(gradient))
    assert pixels(sheet, 0, 3) == pytest.approx([128] * 3, abs=1)
