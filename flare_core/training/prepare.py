"""Put the cases of a stage onto the network's grid once, and keep them on disk for cropping.

Serves training. Each case becomes three arrays (image as float16, channels, voxel indices) that are memory-mapped, so
that a training needs the memory of its patches only; a case that is there already, and whole, is not prepared again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from flare_core.batch import SERIAL, BatchStopped, Engine, map_cases
from flare_core.cases.case import Case
from flare_core.cases.dataset import Entry
from flare_core.cases.sampling import PreparedCase, class_voxels
from flare_core.recipe import Stage
from flare_core.storage import finished_file, write_file
from flare_core.training.selection import InEqualNumbers, taught_channels

log = logging.getLogger(__name__)


class NothingToTrain(ValueError):
    """A stage without usable cases; the message says which cases it needs."""


def prepare_cases(
    stage: Stage, entries: Sequence[Entry], load: Callable[[Entry], Case], cache: Path, *, engine: Engine = SERIAL
) -> dict[str, PreparedCase]:
    """Prepare every entry that can be read.

    Args:
        stage: gives preprocessing and scheme.
        entries: cases of the stage.
        load: returns the case with the labels that teach it (pseudo-labels filled in).
        cache: folder for the arrays; it must belong to this stage value and these labels alone.
        engine: who prepares; with dask `load` must be picklable.
    Returns:
        Case id to prepared case, in the order of `entries`; a case that fails is logged and left out.
    Raises:
        NothingToTrain: if no case is left.
    """
    missing = [(entry.id, entry) for entry in entries if not is_prepared(cache, entry)]
    prepare = partial(_prepare, stage=stage, load=load, cache=cache)
    if missing:
        map_cases(prepare, missing, title=f"prepare {stage.name}", engine=engine, folder=cache).whole()
    there = [(entry.id, entry) for entry in entries if is_prepared(cache, entry)]
    opened = partial(_opened, stage=stage, load=load, cache=cache)
    found = map_cases(opened, there, title="open prepared cases").whole().results
    if not found:
        raise NothingToTrain(f"stage {stage.name}: no usable case among {len(entries)}; it trains on {stage.cases}")
    return found


def is_prepared(cache: Path, entry: Entry) -> bool:
    """Say whether a case was prepared to its end."""
    return _record(cache, entry).is_file()


def _record(cache: Path, entry: Entry) -> Path:
    """Return the file that is written last of a case."""
    return cache / f"{entry.id}.json"


def _prepare(entry: Entry, stage: Stage, load: Callable[[Entry], Case], cache: Path) -> None:
    """Prepare one case: arrays first, then its record."""
    case = load(entry)
    spacing = case.image.spacing_mm
    image_hu = case.image.data
    labels = case.labels.data if case.labels else np.zeros(image_hu.shape, np.uint8)
    if stage.region is not None:
        box = stage.region(image_hu, labels, spacing)
        image_hu, labels = image_hu[box], labels[box]
    image = stage.preprocessing.image_to_grid(image_hu, spacing).astype(np.float16)
    channels = stage.preprocessing.labels_to_grid(stage.scheme.merge(labels), spacing)
    voxels_of = class_voxels(channels)
    _save(cache / f"{entry.id}.image.npy", image)
    _save(cache / f"{entry.id}.channels.npy", channels)
    _save(cache / f"{entry.id}.voxels.npy", np.concatenate(list(voxels_of.values())))
    annotated = stage.scheme.annotated_channels(entry.annotated or ())
    facts = {"voxels": {c: len(v) for c, v in voxels_of.items()}, "annotated": annotated.tolist()}
    write_file(_record(cache, entry), json.dumps(facts))


def _opened(entry: Entry, stage: Stage, load: Callable[[Entry], Case], cache: Path) -> PreparedCase:
    """Open a prepared case; one that is damaged is prepared again."""
    try:
        return _mapped(entry, stage, cache)
    except BatchStopped:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: its prepared arrays are damaged (%s) and made again", entry.id, error)
        _record(cache, entry).unlink()
        _prepare(entry, stage, load, cache)
        return _mapped(entry, stage, cache)


def _mapped(entry: Entry, stage: Stage, cache: Path) -> PreparedCase:
    """Map the arrays of a prepared case into memory."""
    facts = json.loads(_record(cache, entry).read_text())
    voxels = np.load(cache / f"{entry.id}.voxels.npy")
    ends = np.cumsum(list(facts["voxels"].values()))
    return PreparedCase(
        id=entry.id,
        image=np.load(cache / f"{entry.id}.image.npy", mmap_mode="r"),
        channels=np.load(cache / f"{entry.id}.channels.npy", mmap_mode="r"),
        annotated=np.array(facts["annotated"]),
        taught=taught_channels(stage.labels, stage.scheme, entry.annotated or ()),
        voxels_of={int(c): part for c, part in zip(facts["voxels"], np.split(voxels, ends[:-1]), strict=True)},
        group=stage.cases.group_of(entry) if isinstance(stage.cases, InEqualNumbers) else 0,
    )


def _save(path: Path, array: np.ndarray) -> None:
    """Write one array, complete or not at all."""
    with finished_file(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.ascontiguousarray(array))
