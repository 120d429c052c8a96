"""Refuse what no model folder of ours holds, before memory is taken for it or a path made of it.

Serves the reading of model and submission folders, which may come from anybody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import check_case_id
from flare_core.cases.strict_json import read_strict_json

MOST_CHANNELS_OR_BLOCKS = 4096
"""Largest number in the description of a network; the published ones reach 768."""
MOST_IN_INFERENCE = 2**20
"""Largest number in the description of an inference or a grid: HU and counts of voxels."""
MOST_IN_A_ROW, DEEPEST = 256, 16
FINEST_MM = 0.05
MOST_WINDOW_VOXELS = 2**27
MOST_WEIGHT_BYTES = 2**33


class BadModel(ValueError):
    """A model folder that cannot be used; the message names the folder, what is wrong and what to do."""


def read_description(path: Path) -> dict[str, Any]:
    """Return a `model.json` or `submission.json`.

    Raises:
        FileNotFoundError: if it is not there.
        BadModel: if it is not one JSON object with each key once and no NaN.
    """
    path.stat()
    try:
        return read_strict_json(path)
    except BadInput as error:
        raise BadModel(f"{error}; copy the model folder again") from None


def refuse_absurd(described: Any, most: float, place: str) -> None:
    """Refuse numbers, lists and nesting that no model needs.

    Args:
        described: JSON.
        most: largest absolute value of a number.
        place: what it describes, for the message.
    Raises:
        ValueError: naming the first one.
    """
    for value, depth in _walked(described, 0):
        if isinstance(value, float | int) and not abs(value) <= most:
            raise ValueError(f"{place} holds the number {value}, where at most {most} can be")
        if isinstance(value, list | dict | str) and len(value) > MOST_IN_A_ROW:
            raise ValueError(f"{place} holds {len(value)} things in a row, where at most {MOST_IN_A_ROW} can be")
        if depth > DEEPEST:
            raise ValueError(f"{place} is nested more than {DEEPEST} deep")
        if isinstance(value, dict):
            _refuse_sizes(value, place)


def _walked(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """Yield every JSON value with its depth, outer ones first; stops below what is refused."""
    yield value, depth
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner if depth <= DEEPEST else ():
        yield from _walked(one, depth + 1)


def _refuse_sizes(part: dict[str, Any], place: str) -> None:
    """Refuse a window or grid that would fill any memory, and a spacing that would make one."""
    for name in ("window", "shape"):
        sides = part.get(name)
        if isinstance(sides, list) and all(isinstance(side, int) for side in sides):
            if min(sides, default=1) < 1 or math.prod(sides) > MOST_WINDOW_VOXELS:
                raise ValueError(f"{place} has a {name} of {sides}, where 1 to {MOST_WINDOW_VOXELS} voxels can be")
    spacing = part.get("spacing_mm")
    for edge in spacing if isinstance(spacing, list) else ():
        if isinstance(edge, float | int) and edge < FINEST_MM:
            raise ValueError(f"{place} has a spacing of {spacing} mm, where {FINEST_MM} mm is the finest")


def check_folder_name(name: Any, path: Path) -> str:
    """Return the name of a network's folder if it stays inside its submission.

    Raises:
        ValueError: if it could be anything but a folder directly inside.
    """
    try:
        check_case_id(str(name), path)
    except BadInput:
        raise ValueError(f"expected the plain name of a folder beside it, found {str(name)[:60]!r}") from None
    return str(name)


def weight_shapes(weights: bytes) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors in a safetensors file, from its header alone.

    Raises:
        ValueError: if there is no such header.
    """
    length = int.from_bytes(weights[:8], "little")
    if not 2 <= length <= len(weights) - 8:
        raise ValueError(f"its header should be {length} bytes long, the whole file has {len(weights)}")
    header = json.loads(weights[8 : 8 + length])
    header.pop("__metadata__", None)
    return {name: tuple(tensor["shape"]) for name, tensor in header.items()}


def difference(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """Say in which tensor a weights file and a network first differ; "" if they agree."""
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            has, needs = found.get(name, "nothing"), expected.get(name, "nothing")
            return f"{name}: the file has {has}, the network needs {needs}"
    return ""
