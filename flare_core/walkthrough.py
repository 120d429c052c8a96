"""Follow one case through a stage: region, grid, the way back, training patches, shapes in the network.

Serves notebooks 02 and 03. Everything here calls what training calls, so that what is shown is what a network learns
from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from flare_core.cases.augmentation import Patch, augmented
from flare_core.cases.boxes import Box
from flare_core.cases.case import Case
from flare_core.cases.dataset import Entry
from flare_core.cases.labels import LabelScheme
from flare_core.cases.preprocessing import resample_labels
from flare_core.cases.regions import whole
from flare_core.cases.sampling import Place, PreparedCase
from flare_core.inference.trace import grid_spacing_mm
from flare_core.recipe import Stage, System
from flare_core.training.prepare import NothingToTrain, prepare_cases

MOST_OPENED = 8
Panel = tuple[np.ndarray, Sequence[float]]


def main_stage(system: System) -> Stage:
    """Return the stage of the submission whose network tells most channels apart (of equal ones the last)."""
    stages = [system.stage(name) for name in system.inference.stages]
    return max(reversed(stages), key=lambda stage: stage.scheme.channels)


def example_entry(stage: Stage, entries: Iterable[Entry]) -> Entry:
    """Return a labeled training case of a stage that shows much.

    It has the most annotated targets and, if one of the first such cases does, a file whose axes are not RAS+.

    Args:
        stage: picks its cases.
        entries: of the dataset.
    Raises:
        NothingToTrain: if the stage finds no labeled case.
    """
    known = [entry for entry in stage.cases(entries) if entry.is_labeled]
    if not known:
        raise NothingToTrain(f"stage {stage.name}: no labeled case among those it trains on ({stage.cases})")
    most = max(len(entry.annotated or ()) for entry in known)
    best = [entry for entry in known if len(entry.annotated or ()) == most][:MOST_OPENED]
    return next((entry for entry in best if entry.load().image.geometry.axes != "RAS"), best[0])


def preprocessing_panels(case: Case, stage: Stage) -> dict[str, Panel]:
    """Return a CT on its way to the network, as (volume, spacing in mm) by the name of the step.

    Args:
        case: labeled, if the stage's region goes by labels.
        stage: its region (if it has one) and preprocessing.
    Returns:
        `stored`, `RAS+`, `region` where there is one, and `network grid`.
    """
    geometry, image, spacing_mm = case.image.geometry, case.image.data, case.image.spacing_mm
    panels = {"stored": (geometry.from_ras(image), geometry.zooms_mm), "RAS+": (image, spacing_mm)}
    part = image[region_of(case, stage)]
    if stage.region is not None:
        panels["region"] = (part, spacing_mm)
    grid = stage.preprocessing.image_to_grid(part, spacing_mm)
    return panels | {"network grid": (grid, grid_spacing_mm(part.shape, spacing_mm, grid.shape))}


def panel_marks(case: Case) -> dict[str, tuple[str, str, str]]:
    """Return what the edges of `preprocessing_panels` are called from the front (left, right), and the values' unit."""
    first = case.image.geometry.axes[0]
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    marks = {"stored": (first, opposite[first], "HU"), "RAS+": ("R", "L", "HU"), "region": ("R", "L", "HU")}
    return marks | {"network grid": ("R", "L", "")}


def there_and_back(case: Case, stage: Stage) -> np.ndarray:
    """Return the case's labels after the way to the network's grid and back (uint8, shape of the image)."""
    box, labels = region_of(case, stage), case.labels.data
    grid = stage.preprocessing.labels_to_grid(labels[box], case.image.spacing_mm)
    back = np.zeros_like(labels)
    back[box] = resample_labels(grid, labels[box].shape)
    return back


def region_of(case: Case, stage: Stage) -> Box:
    """Return the part of a case that training sees."""
    if stage.region is None:
        return whole(case.image.data.shape)
    labels = case.labels.data if case.labels else None
    return stage.region(case.image.data, labels, case.image.spacing_mm)


def patch_rows(stage: Stage, entry: Entry, count: int, seed: int) -> dict[str, list[Patch]]:
    """Draw patches of one case as a batch of training does.

    Args:
        stage: its sampling and augmentation.
        entry: a case of it, with the labels that a person drew.
        count: size of the batch.
        seed: of all draws.
    Returns:
        `as cut` and `augmented`: pairs (image, target ids) of shape (X, Y, Z); where a sampling cuts several views, for
        learning without labels, each view is a pair, and its ids are all 0.
    """
    prepared, rng = _prepared(stage, entry), np.random.default_rng(seed)
    cut = [stage.sampling.cut(prepared, rng, Place(place, count)) for place in range(count)]
    changed = [augmented(*patch, stage.augmentation, rng) for patch in cut]
    return {name: _views(row, stage.scheme)[:count] for name, row in (("as cut", cut), ("augmented", changed))}


def patches_of_stages(system: System, entries: Sequence[Entry], count: int, seed: int) -> dict[str, list[Patch]]:
    """Draw augmented patches for every stage, each from a case of its own (see `patch_rows`); a row a stage."""
    return {
        stage.name: patch_rows(stage, example_entry(stage, entries), count, seed)["augmented"]
        for stage in system.stages
    }


def network_shapes(system: System) -> pd.DataFrame:
    """Return what goes into the networks of the submission in training, and what comes out; nothing is computed.

    Returns:
        A row a stage: input and outputs as batch, channels, voxels along x, y, z; the finest output first.
    """
    import torch

    rows = []
    for stage in map(system.stage, system.inference.stages):
        with torch.device("meta"):
            patch = torch.zeros(1, 1, *stage.sampling.patch)
            outputs = stage.network.build(stage.scheme.channels).train()(patch)
        levels = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        shapes = ", ".join(str(tuple(level.shape)) for level in levels)
        rows.append({"stage": stage.name, "in": str(tuple(patch.shape)), "out": shapes})
    return pd.DataFrame(rows).set_index("stage")


def _prepared(stage: Stage, entry: Entry) -> PreparedCase:
    """Prepare a case as training does, in memory."""
    with TemporaryDirectory() as folder:
        (prepared,) = prepare_cases(stage, [entry], Entry.load, Path(folder)).values()
        return replace(prepared, image=np.array(prepared.image), channels=np.array(prepared.channels))


def _views(patches: Iterable[Patch], scheme: LabelScheme) -> list[Patch]:
    """Return every view of patches with target ids instead of channels."""
    shown = []
    for image, channels in patches:
        if image.ndim == 4:
            shown += [(view, np.zeros_like(channels)) for view in image]
        else:
            shown.append((image, scheme.to_targets(channels)))
    return shown
