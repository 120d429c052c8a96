"""Read CT images and label maps from NIfTI files with every check.

First step of the data flow: one pass unpacks, checks and converts in small pieces. Writing, the last step, is in
`nifti_writing` and offered here too.

References:
    Error catalogue: docs/data.md ("What is checked").
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flare_core.cases.bad_input import BadInput, printable
from flare_core.cases.geometry import Geometry, corner_distance_mm
from flare_core.cases.nifti_header import Header, header_size, parse_header
from flare_core.cases.nifti_stream import VoxelStream, open_voxels
from flare_core.cases.nifti_writing import write_image, write_labels
from flare_core.cases.placement import SAME_PLACE_VOXELS, place
from flare_core.cases.voxel_checks import ImageCheck, LabelCheck

__all__ = [
    "BadInput",
    "Geometry",
    "Volume",
    "case_id",
    "check_same_grid",
    "read_image",
    "read_labels",
    "write_image",
    "write_labels",
]

log = logging.getLogger(__name__)

_SUFFIXES = (".nii.gz", ".nii")
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume in RAS+ order and where it lies.

    Attributes:
        data: (X, Y, Z) array: float32 (or int16) HU of an image, uint8 target ids 0..14 of a label map. Possibly a
            view with negative strides: torch wants `np.ascontiguousarray` first.
        geometry: the stored geometry, for writing results next to it.
        path: the file, None for an array made in memory.
        warnings: one line for each oddity that reading found, without the file's name.
    """

    data: np.ndarray
    geometry: Geometry
    path: Path | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.shape != self.geometry.ras_shape:
            raise ValueError(f"expected an array of shape {self.geometry.ras_shape} (RAS+), got {self.data.shape}")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths along X, Y, Z."""
        return self.geometry.ras_spacing_mm

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64 matrix from index in `data` to mm in RAS+ world coordinates."""
        return self.geometry.ras_affine

    def stored(self) -> np.ndarray:
        """Return the array in the order of the file, a view."""
        return self.geometry.from_ras(self.data)


def read_image(
    path: str | Path,
    *,
    volume: int | None = None,
    assume_spacing_mm: Sequence[float] | None = None,
    dtype: type[np.generic] | None = np.float32,
) -> Volume:
    """Read a CT.

    Args:
        path: a .nii or .nii.gz file (told apart by content).
        volume: which volume of a series to take, from 0; None refuses a series.
        assume_spacing_mm: voxel edges of the stored axes, used only where the header gives none.
        dtype: float32; int16 for half the memory, fractions of a HU are then rounded; None for int16 where the file
            holds nothing that int16 would not hold, else float32.
    Returns:
        HU. A constant or all-air image is returned with a warning.
    Raises:
        BadInput: whatever makes the file unusable, in one line.
    """
    if dtype not in (np.float32, np.int16, None):
        raise ValueError(f"expected dtype float32, int16 or None, got {dtype}")
    return _read(Path(path), ImageCheck, dtype, volume, assume_spacing_mm)


def read_labels(path: str | Path, *, label_map: Mapping[int, int] | None = None, may_be_empty: bool = False) -> Volume:
    """Read a label map.

    Args:
        path: a .nii or .nii.gz file (told apart by content).
        label_map: foreign value to target id (0 to drop it); values that it does not name are refused. None: the file
            holds target ids.
        may_be_empty: where that is no surprise, as in a prediction.
    Returns:
        Target ids 0..14 as uint8. An empty map is returned with a warning, unless it may be empty.
    Raises:
        BadInput: whatever makes the file unusable, in one line; other values come with their counts.
    """

    def check(header: Header, source: Path) -> LabelCheck:
        return LabelCheck(header, source, label_map, may_be_empty)

    return _read(Path(path), check, np.uint8, None, None)


def read_place(path: str | Path, assume_spacing_mm: Sequence[float] | None = None) -> Volume:
    """Read where a volume lies, from its header alone; its `data` is all zeros and takes no memory.

    Args:
        path: a .nii or .nii.gz file.
        assume_spacing_mm: as for `read_image`.
    Returns:
        A volume of the type that `read_image` gives for `dtype=None`.
    Raises:
        BadInput: if the header is unusable.
    """
    with open_voxels(Path(path)) as stream:
        header = _header(stream)
        geometry, _ = place(header, Path(path), assume_spacing_mm)
    zero = np.int16(0) if _holds_int16(header) else np.float32(0)
    return Volume(geometry.to_ras(np.broadcast_to(zero, header.shape)), geometry, Path(path))


def check_same_grid(image: Volume, labels: Volume) -> tuple[str, ...]:
    """Make sure that a label map lies on its image's voxels; nothing is ever resampled.

    They may be stored in different orientations: the RAS+ grids are compared.

    Returns:
        Warnings: none, or one if corners differ by less than a tenth of a voxel.
    Raises:
        BadInput: (naming the label file) if shapes differ or a corner is off by more.
    """
    path = labels.path or Path("labels")
    remedy = f"use the label file that belongs to {image.path or 'the image'}"
    if image.data.shape != labels.data.shape:
        raise BadInput(
            path, f"expected the image's shape {image.data.shape}, the labels have {labels.data.shape} (RAS+); {remedy}"
        )
    distance = corner_distance_mm(image.data.shape, image.affine, labels.affine)
    share = distance / min(image.spacing_mm)
    if share > SAME_PLACE_VOXELS:
        raise BadInput(
            path, f"expected the image's place, the labels are {distance:.3g} mm off ({share:.2g} voxels); {remedy}"
        )
    if share > 1e-3:  # below: float32 rounding of the two headers
        return (f"labels and image differ in place by up to {distance:.2g} mm ({share:.2g} voxels)",)
    return ()


def case_id(path: str | Path) -> str:
    """Return the case's name: the file's, without suffix and without nnU-Net's channel `_0000`.

    Raises:
        BadInput: if the name is not safe as a file name everywhere: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with
            neither dot nor dash, no name that Windows reserves.
    """
    name = Path(path).name
    stem = next((name[: -len(suffix)] for suffix in _SUFFIXES if name.lower().endswith(suffix)), name)
    stem = stem.removesuffix("_0000")
    check_case_id(stem, path)
    return stem


def case_name(path: Path) -> str:
    """Return the case id, or the whole file name where it is no good as an id (the case then fails by itself)."""
    try:
        return case_id(path)
    except BadInput:
        return printable(path.name)


def check_case_id(name: str, path: str | Path) -> None:
    """Refuse a case name that could leave its folder or that some file system cannot hold.

    Raises:
        BadInput: naming `path`, where the name was found.
    """
    valid = _ID.fullmatch(name) and name[0] not in ".-" and name[-1] != "." and not _RESERVED.fullmatch(name)
    if not valid:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise BadInput(
            path,
            f"expected a case name of 1 to 128 letters, digits, '.', '_' or '-' (beginning with neither '.' nor '-'), "
            f"found {shown!r}; rename the file",
        )


def _read(
    path: Path,
    check_for: Callable[[Header, Path], ImageCheck | LabelCheck],
    dtype: type | None,
    volume: int | None,
    assume_spacing_mm: Sequence[float] | None,
) -> Volume:
    """Read one volume: header, place, voxels, check sums, in this order."""
    with open_voxels(path) as stream:
        header = _header(stream)
        geometry, oddities = place(header, path, assume_spacing_mm)
        first = _first_byte(header, volume, path)
        total = header.offset + header.voxels * header.volumes * header.dtype.itemsize
        stream.require(total)
        check = check_for(header, path)
        flat = np.empty(header.voxels, dtype or (np.int16 if _holds_int16(header) else np.float32))
        stream.skip_to(first, total)
        done = 0
        for piece in stream.chunks(header.voxels * header.dtype.itemsize, total):
            stored = np.frombuffer(piece, header.dtype)
            check.convert(stored, flat[done : done + stored.size])
            done += stored.size
        stream.skip_to(total, total)
        surplus = stream.finish()
    warnings = (*_name_warnings(stream), *header.warnings, *oddities, *check.finish(), *([surplus] if surplus else []))
    for warning in warnings:
        log.warning("%s: %s", path, warning)
    data = geometry.to_ras(flat.reshape(header.shape, order="F"))
    return Volume(data, geometry, path, warnings)


def _holds_int16(header: Header) -> bool:
    """Say whether every HU that a file can hold within `voxel_checks.HU_LIMITS` is a whole number of 16 bits."""
    is_shifted = header.slope == 1 and float(header.intercept).is_integer() and header.intercept <= 0
    return np.can_cast(header.dtype, np.int16) and (is_shifted or not header.is_scaled)


def _header(stream: VoxelStream) -> Header:
    """Read and check the fixed header."""
    raw = stream.read(348)
    if header_size(raw) == 540:
        raw += stream.read(540 - 348)
    if header_size(raw) is None:
        start = raw[:64].lstrip().lower()
        if start.startswith((b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")):
            raise BadInput(
                stream.path,
                "expected a NIfTI file, found text (a download page or Git-LFS pointer?); fetch the file itself",
            )
    if len(raw) < (header_size(raw) or 348):
        raise BadInput(stream.path, f"file is cut short ({len(raw)} bytes, less than a header); fetch it again")
    return parse_header(raw, stream.path)


def _first_byte(header: Header, volume: int | None, path: Path) -> int:
    """Return where the wanted volume's voxels start."""
    if header.volumes > 1 and volume is None:
        raise BadInput(
            path, f"expected one 3D volume, found a series of {header.volumes}; choose one (volume=0.., --volume 0..)"
        )
    index = volume or 0
    if not 0 <= index < header.volumes:
        raise BadInput(path, f"expected a volume from 0 to {header.volumes - 1}, asked for {index}; choose another")
    return header.offset + index * header.voxels * header.dtype.itemsize


def _name_warnings(stream: VoxelStream) -> list[str]:
    """Say where the name and the content disagree."""
    named_compressed = stream.path.name.lower().endswith(".gz")
    if named_compressed == stream.is_compressed:
        return []
    found = "not compressed although named .gz" if named_compressed else "compressed although not named .gz"
    return [f"the file is {found}: read by its content"]
