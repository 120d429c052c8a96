"""Damage NIfTI files at random and sort what reading makes of each: refused, read as before, or something else.

What "silently wrong" means:

- A `.nii.gz` carries check sums: a damaged one is refused, or it reads exactly as before (bytes of the gzip header that
  say nothing about the content). Anything else is silently wrong.
- A `.nii` carries none. Whatever changes a voxel or a header field into another legal one, no reader can find. Here
  silently wrong is: a voxel that was not touched comes out differently, a value that is no HU or no target, a geometry
  that is not finite, invertible and of a CT's spacing, or a label file that cannot be written in that geometry.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from nifti_samples import ct, nifti, packed, targets

from flare_core.cases.nifti import BadInput, Volume, read_image, read_labels, write_labels
from flare_core.cases.placement import SPACING_LIMITS_MM
from flare_core.cases.voxel_checks import HU_LIMITS

LONGEST_READ_S = 20
OFFSET = 352
"""Where the voxels of an uncompressed NIfTI-1 begin."""
SOURCES: dict[str, tuple[bytes, Callable[..., Volume]]] = {
    "image.nii.gz": (packed(nifti(ct())), read_image),
    "labels.nii.gz": (packed(nifti(targets())), read_labels),
    "floats.nii.gz": (packed(nifti(ct().astype("f4"))), read_image),
    "nifti2.nii.gz": (packed(nifti(ct(), version=2)), read_image),
    "image.nii": (nifti(ct()), read_image),
    "labels.nii": (nifti(targets()), read_labels),
}


def damaged(raw: bytes, rng: np.random.Generator) -> tuple[bytes, int, int]:
    """Return the file with one kind of damage, and the first and last touched byte (the end where the rest moves)."""
    kind = rng.choice(["bit", "byte", "bytes", "zeros", "cut", "insert"], p=[0.3, 0.3, 0.15, 0.1, 0.1, 0.05])
    is_plain_header = raw[:2] != b"\x1f\x8b" and rng.random() < 0.6  # half of the trials of a .nii hit its header
    start = int(rng.integers(OFFSET if is_plain_header else len(raw)))
    changed = bytearray(raw)
    if kind == "cut":
        return bytes(changed[:start]), start, len(raw)
    if kind == "insert":
        return bytes(changed[:start] + rng.bytes(1) + changed[start:]), start, len(raw)
    length = {"bit": 1, "byte": 1}.get(kind) or int(rng.integers(2, 9))
    stop = min(len(raw), start + length)
    for place in range(start, stop):
        flip = 1 << int(rng.integers(8)) if kind == "bit" else int(rng.integers(1, 256))
        changed[place] = 0 if kind == "zeros" else changed[place] ^ flip
    return bytes(changed), start, stop - 1


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in whatever takes longer."""

    def stop(*_):
        raise TimeoutError(f"reading took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@cache
def undamaged(name: str, folder: Path) -> Volume:
    """Read a source as it is."""
    (folder / name).write_bytes(SOURCES[name][0])
    return SOURCES[name][1](folder / name)


def outcome_of(name: str, content: bytes, touched: tuple[int, int], folder: Path) -> str:
    """Read one damaged file and say what became of it.

    Returns:
        `refused`, `as before`, `with a warning` or `as the changed bytes say` (the last two only without compression).
    Raises:
        AssertionError: for a silently wrong reading. Whatever else is raised is a crash.
    """
    good, path = undamaged(name, folder), folder / name
    path.write_bytes(content)
    try:
        with at_most(LONGEST_READ_S):
            found = SOURCES[name][1](path)
    except BadInput as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return "refused"
    is_same_place = np.array_equal(found.affine, good.affine) and found.data.shape == good.data.shape
    if is_same_place and np.array_equal(found.data, good.data) and found.spacing_mm == good.spacing_mm:
        return "as before"
    assert not name.endswith(".gz"), "a check sum was passed by"
    _expect_legal(name, found, folder)
    if is_same_place and touched[0] >= OFFSET:
        _expect_only_touched(found, good, touched)
    return "with a warning" if found.warnings else "as the changed bytes say"


def _expect_legal(name: str, found: Volume, folder: Path) -> None:
    """Fail for values that are none of a CT or of targets, or for a place that cannot be."""
    low, high = (0, 14) if name.startswith("labels") else HU_LIMITS
    assert np.isfinite(found.data).all() and low <= found.data.min() and found.data.max() <= high
    assert np.isfinite(found.affine).all() and abs(np.linalg.det(found.affine)) > 0
    norms = np.linalg.norm(found.affine[:3, :3], axis=0)
    assert SPACING_LIMITS_MM[0] * 0.99 <= norms.min() and norms.max() <= SPACING_LIMITS_MM[1] * 1.01
    write_labels(folder / "out.nii", np.zeros(found.data.shape, np.uint8), found.geometry)
    np.testing.assert_array_equal(read_labels(folder / "out.nii").geometry.affine, found.geometry.affine)


def _expect_only_touched(found: Volume, good: Volume, touched: tuple[int, int]) -> None:
    """Fail if a voxel differs of which no byte was touched."""
    itemsize = 2 if good.data.dtype != np.uint8 else 1
    changed = np.flatnonzero(found.stored().ravel(order="F") != good.stored().ravel(order="F"))
    first, last = ((place - OFFSET) // itemsize for place in touched)
    assert changed.size == 0 or (first <= changed.min() and changed.max() <= last)


def flip_files(
    count: int,
    folder: Path,
    kinds: Sequence[str] = ("compressed", "uncompressed"),
    seed: int = 0,
    within_s: float = float("inf"),
) -> Counter[tuple[str, str]]:
    """Damage `count` files of these kinds, fewer if the time is up, and count (kind, outcome)."""
    rng, end = np.random.default_rng(seed), time.monotonic() + within_s
    outcomes: Counter[tuple[str, str]] = Counter()
    names = [name for name in SOURCES if kind_of(name) in kinds]
    while outcomes.total() < count and time.monotonic() < end:
        name = names[outcomes.total() % len(names)]
        content, *touched = damaged(SOURCES[name][0], rng)
        if content == SOURCES[name][0]:  # zeros over zeros
            continue
        try:
            outcome = outcome_of(name, content, tuple(touched), folder)
        except BaseException as error:
            error.add_note(f"trial {outcomes.total()} with seed {seed}: {name}, bytes {touched}")
            raise
        outcomes[kind_of(name), outcome] += 1
    return outcomes


def kind_of(name: str) -> str:
    """Say whether a source is compressed."""
    return "compressed" if name.endswith(".gz") else "uncompressed"
