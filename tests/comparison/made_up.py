"""Made-up models in their folders, and what a browser reads of their page."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

import metrics
import train
from compare import Options, main
from scene.dataset import SceneOptions
from sds_guidance.options import GuidanceOptions
from utils.options import save_settings
from utils.run_folder import save_summary
from utils.video import write_video

WIDTH, HEIGHT = 56, 40
NAMES = ["view_00.jpg", "view_08.jpg", "view_16.jpg"]
PROMPT = "a vase & two <red> apples"


class Reader(HTMLParser):
    """What a browser makes of a page.

    Attributes:
        tags: in order.
        text: all of it.
        tables: rows of cells.
        pictures: by what is said of them, decoded; their size is what the page says.
        videos: their addresses.
        addresses: all that a browser would fetch.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.pictures: dict[str, Image.Image] = {}
        self.videos: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "poster")]
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "td" | "th":
                self.tables[-1][-1].append("")
            case "video":
                self.videos.append(found["src"])
            case "img":
                picture = Image.open(io.BytesIO(decoded(found["src"])))
                assert picture.size == (int(found["width"]), int(found["height"]))
                assert found["alt"] not in self.pictures
                self.pictures[found["alt"]] = picture

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data.strip()

    def row(self, table: int, name: str) -> dict[str, str]:
        """The cells of a named row by the heading of their column."""
        header, *rows = self.tables[table]
        (cells,) = (cells for cells in rows if cells[0] == name)
        return dict(zip(header, cells, strict=True))


RESULTS, SETTINGS, VIEWS, ALL_SETTINGS = range(4)


def decoded(address: str) -> bytes:
    """The bytes of a data address."""
    head, content = address.split(",", 1)
    assert head.startswith("data:") and head.endswith(";base64")
    return base64.b64decode(content, validate=True)


def photograph(index: int) -> np.ndarray:
    """A smooth picture with a little noise, (H, W, 3) uint8."""
    random = np.random.default_rng(index)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = 120 + 60 * np.sin(rows / 9 + index)[..., None] * np.cos(columns[..., None] / (8 + np.arange(3)))
    return np.clip(smooth + random.normal(0, 3, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)


def write_pictures(model: Path, noise: float, iteration: int = 70) -> None:
    """What render.py leaves: noisy photographs as renderings, and a short orbit."""
    random = np.random.default_rng(round(10 * noise))
    method = model / f"test/ours_{iteration}"
    for side in ("renders", "gt"):
        (method / side).mkdir(parents=True)
    for index in range(len(NAMES)):
        pixels = photograph(index)
        noisy = np.clip(pixels + random.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(method / "gt" / f"{index:05d}.png")
        Image.fromarray(noisy).save(method / "renders" / f"{index:05d}.png")
    write_video(model / f"orbit/ours_{iteration}.mp4", [photograph(index) for index in range(4)])


def write_training(model: Path, lambda_sds: float = 0.0, iteration: int = 70, seed: int = 5) -> None:
    """What train.py leaves, the Gaussians aside."""
    guidance = GuidanceOptions(lambda_sds=lambda_sds, guidance_model="small", prompt=PROMPT)
    scene = SceneOptions(source_path="/home/somebody/still_life", eval=True, n_views=2)
    found = {"points": "120 SfM points", "train_photographs": ["a", "b"], "test_photographs": NAMES}
    made = {"model": "small", "revision": "local-0123"} if lambda_sds else None
    options = train.Options(scene=scene, guidance=guidance, iterations=iteration, seed=seed)
    gate = {"gate": {"decision": "halved", "lambda_sds": lambda_sds / 2}} if lambda_sds else {}
    save_settings(model, options, scene=found, guidance=made, **gate)
    save_summary(model, iteration, gaussians=23456, iterations=iteration, seconds=187.4)
    rows = [{"iteration": step} | ({"guidance_loss": 1.0} if lambda_sds else {}) for step in range(1, 8)]
    (model / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_model(model: Path, noise: float, lambda_sds: float = 0.0) -> Path:
    """A model's folder as train.py, render.py and metrics.py leave it."""
    write_pictures(model, noise)
    write_training(model, lambda_sds)
    score(model)
    return model


def score(*models: Path) -> None:
    metrics.main(metrics.Options(model_paths=tuple(map(str, models)), lpips_net="none"))


def compare(models: list[Path], output: Path, *names: str) -> Reader:
    main(Options(tuple(map(str, models)), names, str(output)))
    return Reader(output)


def read(path: Path) -> dict:
    return json.loads(path.read_text())
