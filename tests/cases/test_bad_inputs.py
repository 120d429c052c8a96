"""Every row of the catalogue of bad inputs that concerns one file: refused, or read with a warning, and the words."""

from __future__ import annotations

import gzip
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import AFFINE, SHAPE, ct, nifti, packed, targets, with_fields

from flare_core.cases.nifti import BadInput, Volume, case_id, check_same_grid, read_image, read_labels, write_labels

PLAIN = nifti(ct())
GOOD = packed(PLAIN)


@dataclass(frozen=True)
class Row:
    """One bad file: its content, and the words that must be in the error (refused) or the warning (read)."""

    name: str
    content: Callable[[], bytes]
    words: str
    file: str = "case.nii.gz"
    reader: Callable[..., Volume] = read_image
    options: tuple[tuple[str, object], ...] = ()


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


NO_CODES = {"qform_code": 0, "sform_code": 0}
NAN_ROW = {"srow_x": {1: np.nan}}
FLAT = {"srow_x": 0, "srow_y": 0, "srow_z": 0}

REFUSED = [
    Row("C2-01 truncated gzip", lambda: GOOD[: len(GOOD) // 2], r"cut short.*(\d+ uncompressed bytes|bytes on disk)"),
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
    Row("C2-24 spacing 15 mm", lambda: spaced(15), "unusual spacing 0.8 x 0.8 x 15 mm"),
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


@pytest.mark.parametrize("row", REFUSED, ids=name_of)
def test_refused_in_one_line_that_names_the_file(row: Row, tmp_path):
    path = tmp_path / row.file
    path.write_bytes(row.content())
    with pytest.raises(BadInput, match=row.words) as caught:
        row.reader(path, **dict(row.options))
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ODD, ids=name_of)
def test_read_with_exactly_one_warning_that_is_logged_once(row: Row, tmp_path, caplog):
    path = tmp_path / row.file
    path.write_bytes(row.content())
    with caplog.at_level(logging.WARNING):
        volume = row.reader(path, **dict(row.options))
    assert volume.data.shape == volume.geometry.ras_shape
    assert np.isfinite(volume.data).all()
    matching = [line for line in volume.warnings if re.search(row.words, line)]
    assert len(matching) == 1, volume.warnings
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {line}" for line in volume.warnings]
    write_labels(tmp_path / "out.nii.gz", np.zeros(volume.data.shape, np.uint8), volume.geometry)
    again = read_labels(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.geometry.affine, volume.geometry.affine)


@pytest.mark.parametrize("row", [row for row in ODD if row.name[:5] not in ("C2-14", "C2-16", "C2-28")], ids=name_of)
def test_one_oddity_gives_one_warning(row: Row, tmp_path):
    path = tmp_path / row.file
    path.write_bytes(row.content())
    assert len(row.reader(path, **dict(row.options)).warnings) == 1


def test_good_files_give_no_warning_and_the_values_of_nibabel(tmp_path):
    for name, raw in {"image.nii.gz": GOOD, "image.nii": PLAIN}.items():
        (tmp_path / name).write_bytes(raw)
        volume = read_image(tmp_path / name)
        assert volume.warnings == ()
        assert volume.data.dtype == np.float32
        np.testing.assert_array_equal(volume.stored(), ct())
    (tmp_path / "labels.nii.gz").write_bytes(packed(nifti(targets())))
    labels = read_labels(tmp_path / "labels.nii.gz")
    assert (labels.warnings, labels.data.dtype) == ((), np.uint8)
    np.testing.assert_array_equal(labels.stored(), targets())


def test_int16_is_offered_for_half_the_memory_and_rounds(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(GOOD)
    volume = read_image(tmp_path / "case.nii.gz", dtype=np.int16)
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.stored(), ct())
    (tmp_path / "half.nii.gz").write_bytes(packed(with_fields(PLAIN, scl_slope=0.5, scl_inter=-0.25)))
    expected = np.rint(ct() * 0.5 - 0.25)
    np.testing.assert_array_equal(read_image(tmp_path / "half.nii.gz", dtype=np.int16).stored(), expected)
    (tmp_path / "large.nii.gz").write_bytes(packed(nifti((ct().astype("i4") + 40000).astype("u2"))))
    with pytest.raises(BadInput, match="HU of -32768 to 32767"):
        read_image(tmp_path / "large.nii.gz", dtype=np.int16)
    with pytest.raises(ValueError, match="float32 or int16"):
        read_image(tmp_path / "case.nii.gz", dtype=np.float64)


def test_c2_08_folder_missing_file_and_bad_name_are_refused(tmp_path):
    with pytest.raises(BadInput, match="found a folder"):
        read_image(tmp_path)
    with pytest.raises(BadInput, match="found nothing there"):
        read_image(tmp_path / "absent.nii.gz")
    with pytest.raises(BadInput, match="null byte"):
        read_image(f"{tmp_path}/a\0b.nii.gz")


def test_c2_08_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "case.nii.gz")
    with pytest.raises(BadInput, match="pipe or device"):
        read_image(tmp_path / "case.nii.gz")


def test_c2_10_a_volume_of_a_series_can_be_chosen(tmp_path):
    (tmp_path / "series.nii.gz").write_bytes(packed(nifti(np.stack([ct(), ct() + 100], -1))))
    np.testing.assert_array_equal(read_image(tmp_path / "series.nii.gz", volume=1).stored(), ct() + 100)
    np.testing.assert_array_equal(read_image(tmp_path / "series.nii.gz", volume=0).stored(), ct())


def test_c2_10_a_damaged_byte_in_another_volume_is_still_found(tmp_path):
    raw = bytearray(gzip.compress(nifti(np.stack([ct(), ct()], -1)), compresslevel=0, mtime=0))
    raw[-100] ^= 1
    (tmp_path / "series.nii.gz").write_bytes(raw)
    with pytest.raises(BadInput, match="gzip check failed"):
        read_image(tmp_path / "series.nii.gz", volume=0)


def test_c2_12_nan_becomes_air_and_the_rest_is_untouched(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(image_with(25, np.nan))
    stored = read_image(tmp_path / "case.nii.gz").stored()
    assert (stored.ravel()[:25] == -1024).all()
    np.testing.assert_array_equal(stored.ravel()[25:], ct().ravel()[25:])


def test_c2_12_nan_in_the_scale_of_integers_does_not_hide(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(with_fields(PLAIN, scl_slope=1, scl_inter=np.nan)))
    with pytest.raises(BadInput, match="finite value scale"):
        read_image(tmp_path / "case.nii.gz")


def test_c2_14_the_assumed_spacing_is_written_so_that_results_fit(tmp_path):
    raw = with_fields(PLAIN, pixdim={1: 0, 2: 0, 3: 0}, **NO_CODES)
    (tmp_path / "case.nii.gz").write_bytes(packed(raw))
    volume = read_image(tmp_path / "case.nii.gz", assume_spacing_mm=(0.8, 0.8, 2.5))
    assert volume.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    write_labels(tmp_path / "out.nii.gz", np.zeros(SHAPE, np.uint8), volume.geometry)
    assert nib.load(tmp_path / "out.nii.gz").header.get_zooms() == pytest.approx((0.8, 0.8, 2.5))


def test_c2_16_without_orientation_we_read_as_nibabel(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(with_fields(PLAIN, **NO_CODES)))
    volume = read_image(tmp_path / "case.nii.gz")
    np.testing.assert_allclose(volume.geometry.affine, nib.load(tmp_path / "case.nii.gz").affine, atol=1e-5)
    assert volume.geometry.axes == "LAS"


def test_c2_19_a_sheared_volume_keeps_its_affine_and_gets_column_norms_as_spacing(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(sheared(0.1))
    volume = read_image(tmp_path / "case.nii.gz")
    assert volume.spacing_mm[2] == pytest.approx(2.5 * np.hypot(1, 0.1), rel=1e-5)
    assert volume.geometry.shear == pytest.approx(0.1 / np.hypot(1, 0.1), rel=1e-5)
    write_labels(tmp_path / "out.nii.gz", np.zeros(SHAPE, np.uint8), volume.geometry)
    written, given = nib.load(tmp_path / "out.nii.gz"), nib.load(tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(written.affine, given.affine)


def test_c2_22_both_forms_and_codes_are_kept(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(moved(5))
    volume = read_image(tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(volume.geometry.affine, volume.geometry.sform)
    write_labels(tmp_path / "out.nii.gz", np.zeros(SHAPE, np.uint8), volume.geometry)
    written, given = nib.load(tmp_path / "out.nii.gz"), nib.load(tmp_path / "case.nii.gz")
    np.testing.assert_array_equal(written.get_qform(), given.get_qform())
    np.testing.assert_array_equal(written.get_sform(), given.get_sform())


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3)], ids=["meters", "microns"])
def test_c2_23_lengths_become_mm_inside_and_stay_as_they_were_on_disk(tmp_path, unit, factor):
    raw = with_fields(nifti(ct(), np.diag([0.8 * factor, 0.8 * factor, 2.5 * factor, 1])), xyzt_units=unit)
    (tmp_path / "case.nii.gz").write_bytes(packed(raw))
    volume = read_image(tmp_path / "case.nii.gz")
    assert volume.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    write_labels(tmp_path / "out.nii.gz", np.zeros(SHAPE, np.uint8), volume.geometry)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.header.get_zooms() == pytest.approx((0.8 * factor, 0.8 * factor, 2.5 * factor))
    assert int(written.header["xyzt_units"]) & 7 == unit


def test_c2_26_slope_and_intercept_are_applied(tmp_path):
    raw = with_fields(nifti((ct() + 1024).astype("u2")), scl_slope=2, scl_inter=-1024)
    (tmp_path / "case.nii.gz").write_bytes(packed(raw))
    volume = read_image(tmp_path / "case.nii.gz")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.stored(), (ct() + 1024) * 2 - 1024)
    assert volume.warnings == ()


def test_c2_26_scaled_labels_are_whole_after_scaling(tmp_path):
    raw = with_fields(nifti(targets()), scl_slope=2, scl_inter=0)
    (tmp_path / "case.nii.gz").write_bytes(packed(raw))
    with pytest.raises(BadInput, match=r"found 16 \("):
        read_labels(tmp_path / "case.nii.gz")


def test_c2_28_nothing_is_shifted_silently(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(nifti((ct() + 1024).astype("u2"))))
    np.testing.assert_array_equal(read_image(tmp_path / "case.nii.gz").stored(), ct() + 1024)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little endian", "big endian"])
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_scalar_type_is_read_in_either_byte_order(tmp_path, kind, order):
    image = nib.Nifti1Image(targets().astype(kind), AFFINE, dtype=kind)
    image = nib.Nifti1Image(image.dataobj, AFFINE, image.header.as_byteswapped(order), dtype=kind)
    (tmp_path / "case.nii.gz").write_bytes(packed(image.to_bytes()))
    np.testing.assert_array_equal(read_labels(tmp_path / "case.nii.gz").stored(), targets())


def test_c2_34_nifti_2_is_read_and_written_as_nifti_2(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(nifti(ct(), version=2)))
    volume = read_image(tmp_path / "case.nii.gz")
    assert volume.warnings == ()
    np.testing.assert_array_equal(volume.stored(), ct())
    write_labels(tmp_path / "out.nii.gz", np.zeros(SHAPE, np.uint8), volume.geometry)
    written = nib.load(tmp_path / "out.nii.gz")
    assert isinstance(written, nib.Nifti2Image)
    np.testing.assert_array_equal(written.affine, AFFINE)


def test_c2_36_labels_within_a_thousandth_are_rounded(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(nifti(targets().astype("f4") - np.float32(1e-7) * 9)))
    np.testing.assert_array_equal(read_labels(tmp_path / "case.nii.gz").stored(), targets())


def test_c2_37_a_label_map_renames(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(labels_with(255, dtype="u1"))
    volume = read_labels(tmp_path / "case.nii.gz", label_map={**{v: 15 - v for v in range(1, 15)}, 255: 0})
    np.testing.assert_array_equal(volume.stored(), np.where(targets() > 0, 15 - targets(), 0))


def a_pair(tmp_path, affine: np.ndarray, data: np.ndarray) -> tuple[Volume, Volume]:
    (tmp_path / "image.nii.gz").write_bytes(GOOD)
    (tmp_path / "labels.nii.gz").write_bytes(packed(nifti(data, affine)))
    return read_image(tmp_path / "image.nii.gz"), read_labels(tmp_path / "labels.nii.gz")


def test_c2_39_another_shape_is_refused_with_both(tmp_path):
    with pytest.raises(BadInput, match=r"\(20, 18, 7\), the labels have \(20, 18, 6\)"):
        check_same_grid(*a_pair(tmp_path, AFFINE, targets()[:, :, :6]))


@pytest.mark.parametrize(("voxels", "outcome"), [(0.0, "same"), (0.05, "warning"), (0.2, "error")])
def test_c2_40_another_place_is_a_warning_up_to_a_tenth_of_a_voxel(tmp_path, voxels, outcome):
    affine = AFFINE.copy()
    affine[1, 3] += voxels * 0.8
    image, labels = a_pair(tmp_path, affine, targets())
    if outcome == "error":
        with pytest.raises(BadInput, match=r"the labels are 0.16 mm off \(0.2 voxels\)"):
            check_same_grid(image, labels)
    else:
        assert len(check_same_grid(image, labels)) == (outcome == "warning")


def test_c2_40_labels_stored_in_another_orientation_lie_on_the_same_grid(tmp_path):
    flipped_axis = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image, labels = a_pair(tmp_path, flipped_axis, targets()[::-1])
    assert check_same_grid(image, labels) == ()
    np.testing.assert_array_equal(labels.data, image.geometry.to_ras(targets()))


@pytest.mark.parametrize("shape", [(20, 18, 1), (1, 1, 1), (5, 4, 3)], ids=["one slice", "one voxel", "tiny"])
def test_c2_43_small_volumes_are_read_and_written(tmp_path, shape):
    (tmp_path / "case.nii.gz").write_bytes(packed(nifti(np.arange(np.prod(shape), dtype="i2").reshape(shape) - 5)))
    volume = read_image(tmp_path / "case.nii.gz")
    assert volume.geometry.shape == shape
    write_labels(tmp_path / "out.nii.gz", np.ones(volume.data.shape, np.uint8), volume.geometry)
    assert nib.load(tmp_path / "out.nii.gz").shape == shape


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("liver_1.nii.gz", "liver_1"),
        ("FLARE23_0001_0000.nii.gz", "FLARE23_0001"),
        ("case_00000.nii", "case_00000"),
        ("a.b-c_0000.NII.GZ", "a.b-c"),
        ("é 空 folder/case.nii.gz", "case"),
    ],
)
def test_c2_46_case_names_come_from_file_names(file, expected):
    assert case_id(file) == expected


@pytest.mark.parametrize(
    "file",
    ["..nii.gz", ".hidden.nii.gz", "-x.nii.gz", "_0000.nii.gz", "a\0.nii.gz", "ca se.nii.gz", "é.nii.gz"]
    + ["x" * 300 + ".nii.gz", "con.nii.gz", "LPT1.old.nii.gz", "a;b.nii.gz", "a\\..\\b.nii.gz", "dot..nii.gz", ""],
)
def test_c2_46_unsafe_case_names_are_refused(file):
    with pytest.raises(BadInput, match="expected a case name"):
        case_id(file)


@pytest.mark.parametrize("folder", ["é 空 dir", "e\u0301 dir", "\u00e9 dir"], ids=["spaces", "NFD", "NFC"])
def test_c2_48_unicode_and_spaces_in_the_path_do_no_harm(tmp_path, folder):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "ca se.nii.gz"
    path.write_bytes(GOOD)
    volume = read_image(path)
    write_labels(tmp_path / folder / "out é.nii.gz", np.ones(volume.data.shape, np.uint8), volume.geometry)
    assert read_labels(tmp_path / folder / "out é.nii.gz").data.all()


def test_c2_47_a_link_is_read_and_a_loop_refused(tmp_path):
    (tmp_path / "real.nii.gz").write_bytes(GOOD)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "real.nii.gz")
    (tmp_path / "loop.nii.gz").symlink_to(tmp_path / "loop.nii.gz")
    assert read_image(tmp_path / "link.nii.gz").warnings == ()
    with pytest.raises(BadInput, match="symbolic links"):
        read_image(tmp_path / "loop.nii.gz")


def test_several_gzip_members_are_one_file(tmp_path):
    (tmp_path / "case.nii.gz").write_bytes(packed(PLAIN[:1000]) + packed(PLAIN[1000:]))
    np.testing.assert_array_equal(read_image(tmp_path / "case.nii.gz").stored(), ct())
