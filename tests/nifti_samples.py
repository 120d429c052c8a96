"""A small volume as NIfTI bytes, and ways to spoil it: what the catalogue of bad inputs is built from.

Written with nibabel, so that our own reader and writer never test themselves.
"""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np

SHAPE = (20, 18, 7)
AFFINE = np.array([[-0.8, 0, 0, 70.0], [0, 0.8, 0, -60.0], [0, 0, 2.5, 30.0], [0, 0, 0, 1]])


def ct() -> np.ndarray:
    """A block of soft tissue in air: int16 HU with a little texture."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[4:16, 3:15] = 40
    hu += (np.arange(hu.size).reshape(SHAPE) % 7).astype(np.int16)
    return hu


def targets() -> np.ndarray:
    """Each of the 14 targets once, in a row of two voxels."""
    labels = np.zeros(SHAPE, np.uint8)
    for target in range(1, 15):
        labels[target : target + 2, 5, 3] = target
    return labels


def nifti(
    data: np.ndarray, affine: np.ndarray | None = AFFINE, *, codes: tuple[int, int] = (1, 1), version: int = 1
) -> bytes:
    """Return an uncompressed single-file NIfTI; `codes` are those of the qform and the sform."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(data, affine)
    image.header.set_xyzt_units("mm")
    if affine is not None:
        image.set_qform(affine, codes[0])
        image.set_sform(affine, codes[1])
    return image.to_bytes()


def with_fields(raw: bytes, **fields: object) -> bytes:
    """Return the file with header fields overwritten; `pixdim={1: 0}` sets single elements."""
    header = np.frombuffer(raw[:348], nib.nifti1.header_dtype, count=1).copy()
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, element in value.items():
                header[name][0, index] = element
        else:
            header[name][0] = value
    return header.tobytes() + raw[348:]


def packed(raw: bytes) -> bytes:
    """Gzip with a fixed time stamp."""
    return gzip.compress(raw, compresslevel=6, mtime=0)


PLAIN = nifti(ct())
"""The good CT, uncompressed."""
GOOD = packed(PLAIN)
NO_CODES = {"qform_code": 0, "sform_code": 0}


def flipped() -> bytes:
    """One bit in the middle of the compressed data."""
    raw = bytearray(GOOD)
    raw[len(raw) // 2] ^= 16
    return bytes(raw)


def stored_block_flipped() -> bytes:
    """One bit of a voxel that only the CRC can notice: level 0 stores the bytes as they are."""
    raw = bytearray(gzip.compress(PLAIN, compresslevel=0, mtime=0))
    raw[1000] ^= 1
    return bytes(raw)


def of_type(dtype: str, value: float = 3) -> bytes:
    return packed(nifti(np.full(SHAPE, value, dtype)))


def labels_with(*values: float, dtype: str = "f4") -> bytes:
    labels = targets().astype(dtype)
    labels[0, 0, : len(values)] = values
    return packed(nifti(labels))


def image_with(voxels: int, value: float) -> bytes:
    hu = ct().astype(np.float32)
    hu.ravel()[:voxels] = value
    return packed(nifti(hu))


def bomb() -> bytes:
    """A small header, then 64 MiB of zeros in 64 KiB."""
    return packed(PLAIN + bytes(2**26))


def sheared(share: float) -> bytes:
    affine = AFFINE.copy()
    affine[0, 2] = share * 2.5
    return packed(nifti(ct(), affine, codes=(0, 2)))


def moved(mm: float) -> bytes:
    """A qform beside the sform."""
    return packed(with_fields(PLAIN, qoffset_x=AFFINE[0, 3] + mm))


def spaced(edge: float) -> bytes:
    affine = AFFINE.copy()
    affine[:3, 2] *= edge / 2.5
    return packed(nifti(ct(), affine))
