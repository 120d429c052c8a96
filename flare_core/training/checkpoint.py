"""Save and load what a training needs to go on.

Serves the training loop. A checkpoint holds everything that the next epoch depends on, as plain tensors and numbers,
and is only ever read by the training that wrote it. (A trained network for others is `flare_core.inference.network`.)
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flare_core.storage import finished_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training's state; the one before stays beside it as `<name>.previous`.

    Raises:
        TypeError: for a NumPy value, which could not be read again without running what the file says.
        OSError: if the disk is full (torch's own writer would name neither the reason nor the file).
    """
    _expect_no_numpy(state, path.name)
    content = io.BytesIO()
    torch.save(state, content)
    with finished_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())
        if path.exists():
            os.replace(path, previous(path))


def previous(path: Path) -> Path:
    """Return where the checkpoint before the last one lies."""
    return path.with_name(path.name + ".previous")


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the newest readable state, or None if this training never saved one.

    Raises:
        ValueError: if checkpoints exist but none can be read.
    """
    reasons = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            return torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever is wrong with this file, the previous one is tried
            reasons.append(f"{candidate.name}: {type(error).__name__}")
    if reasons:
        raise ValueError(f"no readable checkpoint in {path.parent} ({', '.join(reasons)}); delete them to start anew")
    return None


def _expect_no_numpy(value: Any, place: str) -> None:
    """Refuse NumPy arrays and numbers (which pass for Python's) anywhere in a state."""
    if type(value).__module__.split(".")[0] == "numpy":
        raise TypeError(
            f"{place}: a checkpoint takes tensors and plain numbers, got {type(value).__name__}; convert it"
        )
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _expect_no_numpy(key, place)
            _expect_no_numpy(inner, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for inner in value:
            _expect_no_numpy(inner, place)
