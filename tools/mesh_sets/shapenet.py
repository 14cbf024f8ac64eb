"""ShapeNet's layout: which file is a model, of which category, and what the category is called."""

import json
import re
from pathlib import Path

from utils.errors import UserError

MODEL = re.compile(r"(?P<synset>\d{8})/(?P<model>[^/]+)/(?:models/)?model(?:_normalized)?\.obj$")
TAXONOMY = "taxonomy.json"
FRONT = "-z"  # of its models; up is +y

# The categories of ShapeNetCore by WordNet offset, in words that a caption would use.
NAMES = {
    line[:8]: line[9:]
    for line in """\
02691156 airplane
02747177 trash bin
02773838 bag
02801938 basket
02808440 bathtub
02818832 bed
02828884 bench
02834778 bicycle
02843684 birdhouse
02858304 boat
02871439 bookshelf
02876657 bottle
02880940 bowl
02924116 bus
02933112 cabinet
02942699 camera
02946921 can
02954340 cap
02958343 car
02992529 mobile phone
03001627 chair
03046257 clock
03085013 keyboard
03207941 dishwasher
03211117 monitor
03261776 headphone
03325088 faucet
03337140 filing cabinet
03467517 guitar
03513137 helmet
03593526 jar
03624134 knife
03636649 lamp
03642806 laptop
03691459 loudspeaker
03710193 mailbox
03759954 microphone
03761084 microwave oven
03790512 motorcycle
03797390 mug
03928116 piano
03938244 pillow
03948459 pistol
03991062 flowerpot
04004475 printer
04074963 remote control
04090263 rifle
04099429 rocket
04225987 skateboard
04256520 sofa
04330267 stove
04379243 table
04401088 telephone
04460130 tower
04468005 train
04530566 ship
04554684 washing machine""".splitlines()
}


def category(path: Path) -> tuple[str, str] | None:
    """Synset and model of a file in ShapeNet's layout (`synset/model/models/model_normalized.obj`, or without
    `models` as in the first version), None for any other file."""
    match = MODEL.search(path.absolute().as_posix())
    return (match["synset"], match["model"]) if match else None


def names(folder: Path) -> dict[str, str]:
    """What the categories are called, by synset: those built in, and over them those of `taxonomy.json`.

    Args:
        folder: searched for the taxonomy, as is the folder above it. Of several names the first one counts.

    Raises:
        UserError: the taxonomy cannot be read.
    """
    places = folder / TAXONOMY, folder.absolute().parent / TAXONOMY
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        return NAMES
    try:
        entries = json.loads(found.read_text(encoding="utf-8"))
        listed = {str(entry["synsetId"]): str(entry["name"]).split(",")[0].strip() for entry in entries}
    except (ValueError, KeyError, TypeError) as failure:
        raise UserError(
            f"{found} cannot be read ({failure!r}); it needs a list of objects with synsetId and name; "
            "without it built-in names are taken"
        ) from failure
    return NAMES | {synset: name.replace("_", " ") for synset, name in listed.items() if name}
