"""The rows of the catalogue of bad inputs (docs/bad_inputs.md) that one file alone shows: bytes and words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nifti_samples import (
    GOOD,
    NO_CODES,
    PLAIN,
    bomb,
    ct,
    flipped,
    image_with,
    labels_with,
    moved,
    nifti,
    of_type,
    packed,
    sheared,
    spaced,
    stored_block_flipped,
    with_fields,
)

from flare_core.cases.nifti import Volume, read_image, read_labels


@dataclass(frozen=True)
class Row:
    """One bad file: its content, and the words that must be in the error (refused) or the warning (read)."""

    name: str
    content: Callable[[], bytes]
    words: str
    file: str = "case.nii.gz"
    reader: Callable[..., Volume] = read_image
    options: tuple[tuple[str, object], ...] = ()


def at(mm: float) -> np.ndarray:
    """Return an affine whose first voxel lies so far along z."""
    return np.array([[0.8, 0, 0, 0], [0, 0.8, 0, 0], [0, 0, 2.5, mm], [0, 0, 0, 1]])


NAN_ROW = {"srow_x": {1: np.nan}}
FLAT = {"srow_x": 0, "srow_y": 0, "srow_z": 0}

REFUSED = [
    Row(
        "C2-01 truncated gzip",
        lambda: GOOD[: len(GOOD) // 2],
        r"cut short.*(\d+( of \d+)? uncompressed|bytes on disk)",
    ),
    Row("C2-01 without its trailer", lambda: GOOD[:-8], "cut short"),
    Row("C2-02 flipped bit", flipped, "gzip check failed"),
    Row("C2-02 flipped bit that only the CRC sees", stored_block_flipped, "gzip check failed"),
    Row("C2-03 wrong CRC", lambda: GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:], "gzip check failed"),
    Row("C2-03 wrong length", lambda: GOOD[:-4] + b"\1\0\0\0", "gzip check failed"),
    Row("C2-03 garbage after the end", lambda: GOOD + b"garbage" * 9, "gzip check failed"),
    Row("C2-03 few bytes after the end", lambda: GOOD + b"garbage", "stray bytes follow its end"),
    Row("C2-04 empty file", lambda: b"", "empty file"),
    Row("C2-04 gzip of nothing", lambda: packed(b""), "cut short"),
    Row("C2-05 download page", lambda: b"<!DOCTYPE html><html>", "download page or Git-LFS pointer"),
    Row("C2-05 Git-LFS pointer", lambda: b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
    Row("C2-05 other bytes", lambda: bytes(range(256)) * 3, "no NIfTI header"),
    Row("C2-07 plain file too short", lambda: PLAIN[:-100], r"cut short \(5292 of 5392 bytes\)", "case.nii"),
    Row("C2-07 plain header too short", lambda: PLAIN[:200], "cut short", "case.nii"),
    Row("C2-09 2D image", lambda: packed(nifti(ct()[:, :, 0])), r"need a 3D volume, got 2D \(20, 18\)"),
    Row("C2-10 series", lambda: packed(nifti(np.stack([ct(), ct()], -1))), "series of 2.*choose one"),
    Row(
        "C2-10 volume that is not there",
        lambda: packed(nifti(np.stack([ct(), ct()], -1))),
        "from 0 to 1, asked for 2",
        options=(("volume", 2),),
    ),
    Row("C2-12 more than 1 % NaN", lambda: image_with(26, np.nan), "26 of 2520 voxels are NaN or Inf"),
    Row(
        "C2-14 no spacing",
        lambda: packed(with_fields(PLAIN, pixdim={1: 0, 2: 0, 3: 0}, **NO_CODES)),
        "expected a spacing.*--assume-spacing",
    ),
    Row("C2-17 singular sform alone", lambda: packed(with_fields(PLAIN, **FLAT, qform_code=0)), "sform is singular"),
    Row("C2-18 NaN in the sform", lambda: packed(with_fields(PLAIN, **NAN_ROW)), "holds NaN"),
    Row(
        "C2-18 NaN in the qform that counts",
        lambda: packed(with_fields(PLAIN, quatern_b=np.nan, sform_code=0)),
        "qform holds NaN",
    ),
    Row("C2-23 meters that are mm", lambda: packed(with_fields(PLAIN, xyzt_units=1)), r"0.1 to 20 mm, found 800 x"),
    Row("C2-24 spacing 0.02 mm", lambda: spaced(0.02), "found 0.8 x 0.8 x 0.02 mm"),
    Row("C2-24 spacing 30 mm", lambda: spaced(30), "found 0.8 x 0.8 x 30 mm"),
    Row("C2-25 infinite slope", lambda: packed(with_fields(PLAIN, scl_slope=np.inf)), "finite value scale"),
    Row("C2-27 absurd slope", lambda: packed(with_fields(PLAIN, scl_slope=1e30, scl_inter=0)), "outside CT range"),
    Row("C2-27 absurd float", lambda: image_with(1, 1e30), "outside CT range"),
    Row(
        "C2-30 dimension 0", lambda: packed(with_fields(PLAIN, dim={2: 0})), r"at least 1, the header says \(20, 0, 7\)"
    ),
    Row("C2-30 negative dimension", lambda: packed(with_fields(PLAIN, dim={2: -18})), "at least 1"),
    Row("C2-30 no dimension", lambda: packed(with_fields(PLAIN, dim={0: 0})), "expected 3 dimensions"),
    Row(
        "C2-31 header bomb",
        lambda: packed(with_fields(PLAIN, dim={1: 32767, 2: 32767, 3: 32767})),
        "at most 1073741824 voxels.*refused unread",
    ),
    Row(
        "C2-31 larger than its file can hold",
        lambda: packed(with_fields(PLAIN, dim={1: 1000, 2: 1000, 3: 1000})),
        "cannot unpack to the 2000000352",
    ),
    Row("C2-32 gzip bomb", bomb, "end with its last voxel, found more than 4096 further bytes"),
    Row("C2-33 RGB", lambda: packed(with_fields(PLAIN, datatype=128)), "not a scalar image: data type 128 .RGB"),
    Row("C2-33 complex", lambda: of_type("complex64"), "not a scalar image.*complex"),
    Row("C2-33 unknown type", lambda: packed(with_fields(PLAIN, datatype=77)), "not a scalar image.*unknown"),
    Row("C2-33 header/image pair", lambda: packed(with_fields(PLAIN, magic=b"ni1")), "header/image pair"),
    Row("C2-36 label 3.4", lambda: labels_with(3.4), "whole numbers as labels, found 3.4", reader=read_labels),
    Row("C2-36 label NaN", lambda: labels_with(np.nan), "whole numbers as labels, found nan", reader=read_labels),
    Row(
        "C2-37 labels 15, 63, 255",
        lambda: labels_with(15, 63, 255, 63, dtype="u1"),
        r"labels 0 to 14, found 15 \(1 voxels\), 63 \(2 voxels\), 255 \(1 voxels\); give a label map",
        reader=read_labels,
    ),
    Row(
        "C2-37 value that the label map leaves out",
        lambda: labels_with(dtype="u1"),
        r"mapped values \[0, 1\], found 2 \(1 voxels\)",
        reader=read_labels,
        options=(("label_map", {1: 3}),),
    ),
    Row("C2-29 label 256, no wrap to 0", lambda: labels_with(256, dtype="i2"), r"found 256 \(1", reader=read_labels),
    Row("C2-38 negative label", lambda: labels_with(-1, dtype="i2"), r"found -1 \(1 voxels\)", reader=read_labels),
]

ODD = [
    Row("C2-06 plain file named .nii.gz", lambda: PLAIN, "not compressed although named .gz"),
    Row("C2-06 compressed file named .nii", lambda: GOOD, "compressed although not named .gz", "case.nii"),
    Row("C2-11 4D with one volume", lambda: packed(nifti(ct()[..., None])), "one volume only: read as 3D"),
    Row("C2-11 5D with ones", lambda: packed(nifti(ct()[..., None, None])), "5D .* read as 3D"),
    Row("C2-12 NaN voxels", lambda: image_with(25, np.nan), "25 of 2520 voxels are NaN or Inf: replaced by -1024"),
    Row("C2-12 Inf voxels", lambda: image_with(3, -np.inf), "3 of 2520 voxels are NaN or Inf"),
    Row("C2-13 constant image", lambda: of_type("i2", 7), "constant image, every voxel is 7 HU"),
    Row("C2-13 all air", lambda: packed(nifti((ct() // 8 - 900).astype("i2"))), "all air"),
    Row(
        "C2-14 spacing assumed as told",
        lambda: packed(with_fields(PLAIN, pixdim={1: 0, 2: 0, 3: 0}, **NO_CODES)),
        r"assumed \(0.8, 0.8, 2.5\) mm as told",
        options=(("assume_spacing_mm", (0.8, 0.8, 2.5)),),
    ),
    Row("C2-14 no spacing beside an sform", lambda: packed(with_fields(PLAIN, pixdim={1: 0})), "the sform's was used"),
    Row("C2-15 negative spacing", lambda: packed(with_fields(PLAIN, pixdim={1: -0.8})), "absolute value was used"),
    Row("C2-16 no orientation", lambda: packed(with_fields(PLAIN, **NO_CODES)), "no orientation stored: axes assumed"),
    Row("C2-17 singular sform, good qform", lambda: packed(with_fields(PLAIN, **FLAT)), "the qform was used"),
    Row("C2-19 shear 0.05 %", lambda: sheared(0.0005), "slightly sheared .0.05 %"),
    Row("C2-19 shear 10 %", lambda: sheared(0.1), "axes are sheared .* processed as orthogonal, affine kept"),
    Row("C2-22 qform is not the sform", lambda: moved(5), "differ by up to 5 mm: the sform was used"),
    Row(
        "C2-23 meters",
        lambda: packed(with_fields(nifti(ct(), np.diag([8e-4, 8e-4, 2.5e-3, 1])), xyzt_units=1)),
        "stored in meters and were converted",
    ),
    Row(
        "C2-23 microns",
        lambda: packed(with_fields(nifti(ct(), np.diag([800, 800, 2500, 1])), xyzt_units=3)),
        "stored in microns and were converted",
    ),
    Row("C2-23 undefined unit", lambda: packed(with_fields(PLAIN, xyzt_units=6)), "unknown unit code 6"),
    Row("C2-24 spacing 18 mm", lambda: spaced(18), "unusual spacing 0.8 x 0.8 x 18 mm"),
    Row("C2-24 100 km away", lambda: packed(nifti(ct(), at(1e8))), r"lies 1e\+08 mm from the coordinates' origin"),
    Row("C2-25 slope 0", lambda: packed(with_fields(PLAIN, scl_slope=0)), "scl_slope is 0: values were read as stored"),
    Row("C2-25 slope NaN", lambda: packed(with_fields(PLAIN, scl_slope=np.nan)), "scl_slope is nan"),
    Row("C2-28 HU + 1024", lambda: packed(nifti((ct() + 1024).astype("u2"))), "air near 27: looks like HU . 1024"),
    Row("C2-28 no air at all", lambda: packed(nifti(ct().clip(0))), "cannot have: are these HU"),
    Row("C2-32 a few bytes too many", lambda: packed(PLAIN + b"\0" * 8), "8 bytes after the last voxel were ignored"),
    Row("C2-33 wrong bitpix", lambda: packed(with_fields(PLAIN, bitpix=8)), "the data type was believed"),
    Row("C2-41 no foreground", lambda: of_type("u1", 0), "no voxel is labeled", reader=read_labels),
]


def name_of(row: Row) -> str:
    return row.name
