"""Why photographs found no place in a model, and what to try: from their features and matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pycolmap

from utils.errors import UserError

FEW_FEATURES = 100  # below this a photograph shows too little, whatever the others have
FEW_OF_USUAL = 0.25  # of the registered photographs' median
FEW_MATCHES = 30  # COLMAP registers a photograph with at least so many


def why_missing(database: Path, models: Sequence[pycolmap.Reconstruction]) -> dict[str, str]:
    """A sentence for each photograph that is not in the first model, in the order of their names.

    Args:
        database: with features and matches.
        models: all that were found, the one that is kept first.
    """
    features, matches = _features_and_matches(database)
    kept = registered(models[0])
    usual = float(np.median([features[name] for name in kept]))
    elsewhere = {name: model for model in reversed(models[1:]) for name in registered(model)}
    reasons = {}
    for name in sorted(features.keys() - set(kept)):
        common = {other: count for other, count in matches[name].items() if other in kept}
        best = max(common, key=lambda other: common[other], default="")
        if name in elsewhere:
            reasons[name] = (
                f"of another model, with {elsewhere[name].num_reg_images()} photographs; a few more taken "
                "between the two places join them, or else convert each group by itself"
            )
        elif features[name] < max(FEW_FEATURES, FEW_OF_USUAL * usual):
            reasons[name] = (
                f"{features[name]} features, where the others have {usual:.0f}: it is blurred, dark, or "
                "shows bare surfaces; take it again, in focus and with more texture in view"
            )
        elif common.get(best, 0) < FEW_MATCHES:
            at_best = f"at best {common[best]} matches ({best})" if common else "no matches"
            reasons[name] = (
                f"{at_best} with those that have a place: too little in common; add photographs in between, "
                "or try --matching exhaustive"
            )
        else:
            reasons[name] = (
                f"{common[best]} matches with {best}, but they agree on no place: a repeated pattern, "
                "something that moved, or a camera that only turned; step aside and take it again"
            )
    return reasons


def nothing_registered(database: Path, folder: Path) -> UserError:
    """The message for photographs of which no model could be made.

    Args:
        database: with features and matches.
        folder: of the photographs, for the message.
    """
    features, matches = _features_and_matches(database)
    usual = float(np.median(list(features.values())))
    pairs = sum(len(partners) for partners in matches.values()) // 2
    advice = (
        "they match, but not as from different places: walk round the scene and do not only turn, and do not "
        "give the same picture several times"
    )
    if not pairs:
        advice = "they share too little: take them from nearby places, most of each seen in the next one too"
    if usual < FEW_FEATURES:
        advice = "they are blurred, dark, or show bare surfaces: take them in focus, with texture in view"
    return UserError(
        f"none of the {len(features)} photographs in {folder} could be registered (in the middle "
        f"{usual:.0f} features each; {pairs} pairs match): {advice}"
    )


def registered(model: pycolmap.Reconstruction) -> list[str]:
    """Names of the photographs that have a place in the model, sorted."""
    return sorted(image.name for image in model.images.values() if image.has_pose)


def grouped(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """The photographs that each sentence is said of."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return groups


def _features_and_matches(database: Path) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Of each photograph: how many features, and how many verified matches with which others."""
    with pycolmap.Database.open(database) as opened:
        names = {image.image_id: image.name for image in opened.read_all_images()}
        features = {name: opened.num_keypoints_for_image(number) for number, name in names.items()}
        pairs, counts = opened.read_two_view_geometry_num_inliers()
    matches: dict[str, dict[str, int]] = {name: {} for name in features}
    for pair, count in zip(pairs, counts, strict=True):
        one, two = (names[number] for number in pycolmap.pair_id_to_image_pair(pair))
        matches[one][two] = matches[two][one] = count
    return features, matches
