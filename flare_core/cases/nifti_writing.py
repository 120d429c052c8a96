"""Write label maps and images: complete or not at all, the same bytes every time.

Last step of the data flow. The input's geometry comes back exactly, nothing else of its header is let through. The file
grows under a hidden temporary name in its own folder and takes its place in one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from isal import isal_zlib

from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti_header import pack_header
from flare_core.storage import finished_file

GZIP_LEVEL = 1
"""isal's level 1: label maps 6 to 14 times faster than zlib, at a size that no one notices."""
_GZIP_FRAME = 31  # zlib's window bits 15 + 16 for a gzip frame; its header carries no name and no time
_SLAB_BYTES = 2**22


def write_labels(path: str | Path, labels_ras: np.ndarray, geometry: Geometry) -> None:
    """Write a label map as uint8 with exactly this geometry; an existing file is replaced in one step.

    Args:
        path: ending in .nii.gz or .nii.
        labels_ras: (X, Y, Z) integers or bools 0..255 in RAS+ order. An empty map is written as such.
        geometry: of the image that was segmented.
    Raises:
        ValueError: wrong suffix, shape, type or range.
        OSError: the disk's complaint; nothing is left behind. FileExistsError if `path` is a link.
    """
    if labels_ras.dtype.kind not in "biu":
        raise ValueError(f"expected integer labels, got {labels_ras.dtype}; round them first")
    if labels_ras.dtype not in (np.uint8, np.bool_) and (labels_ras.min() < 0 or labels_ras.max() > 255):
        raise ValueError(f"expected labels of 0 to 255, got {labels_ras.min()} to {labels_ras.max()}")
    _write(Path(path), labels_ras, geometry, np.dtype("u1"))


def write_image(path: str | Path, image_hu_ras: np.ndarray, geometry: Geometry) -> None:
    """Write a CT as int16 HU (rounded, as scanners store them) with exactly this geometry.

    Args:
        path: ending in .nii.gz or .nii.
        image_hu_ras: (X, Y, Z) finite HU in RAS+ order, within int16.
        geometry: as for `write_labels`.
    Raises:
        ValueError: wrong suffix, shape, or values that int16 cannot hold.
        OSError: as for `write_labels`.
    """
    lowest, highest = float(image_hu_ras.min()), float(image_hu_ras.max())
    if not (-32768 <= lowest and highest <= 32767):  # also false for NaN
        raise ValueError(f"expected finite HU of -32768 to 32767, got {lowest} to {highest}")
    _write(Path(path), image_hu_ras, geometry, np.dtype("<i2"))


def nifti_bytes(data_ras: np.ndarray, geometry: Geometry, dtype: type[np.generic]) -> bytes:
    """Return a volume as an uncompressed NIfTI file in memory, as `write_labels` and `write_image` would write it.

    Args:
        data_ras: (X, Y, Z) in RAS+ order, values that `dtype` holds (fractions are rounded).
        geometry: as for `write_labels`.
        dtype: uint8 or int16.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    return b"".join([pack_header(geometry, kind), *_slabs(geometry.from_ras(data_ras), kind)])


def _write(path: Path, array_ras: np.ndarray, geometry: Geometry, dtype: np.dtype) -> None:
    """Write one volume, compressed or not as the name says."""
    is_compressed = path.name.endswith(".nii.gz")
    if not is_compressed and not path.name.endswith(".nii"):
        raise ValueError(f"{path}: expected a name ending in .nii.gz or .nii")
    stored = geometry.from_ras(array_ras)
    header = pack_header(geometry, dtype)
    with finished_file(path) as temporary, temporary.open("wb") as file:
        if not is_compressed:
            file.write(header)
            for slab in _slabs(stored, dtype):
                file.write(slab)
            return
        packer = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_FRAME)
        file.write(packer.compress(header))
        for slab in _slabs(stored, dtype):
            file.write(packer.compress(slab))
        file.write(packer.flush())


def _slabs(stored: np.ndarray, dtype: np.dtype) -> Iterator[memoryview]:
    """Yield the voxels in the file's order (first axis fastest), converted, a few MiB at a time."""
    thickness = max(1, _SLAB_BYTES // (dtype.itemsize * stored.shape[0] * stored.shape[1]))
    for start in range(0, stored.shape[2], thickness):
        slab = stored[:, :, start : start + thickness]
        if slab.dtype.kind == "f":
            slab = np.rint(slab)
        slab = np.asfortranarray(slab, dtype=dtype)
        yield memoryview(slab.reshape(-1, order="F")).cast("B")
