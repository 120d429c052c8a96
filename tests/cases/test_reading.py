"""What reading does with odd but usable files: the values, the geometry and the names that come out."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_samples import (
    AFFINE,
    GOOD,
    NO_CODES,
    PLAIN,
    SHAPE,
    ct,
    image_with,
    labels_with,
    moved,
    nifti,
    packed,
    sheared,
    targets,
    with_fields,
)

from flare_core.cases.nifti import BadInput, Volume, case_id, check_same_grid, read_image, read_labels, write_labels


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
    with pytest.raises(ValueError, match="float32, int16 or None"):
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


def test_a_refusal_survives_the_way_back_from_a_worker_process(tmp_path):
    with pytest.raises(BadInput) as caught:
        read_image(tmp_path / "absent.nii.gz")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (str(again), again.path) == (str(caught.value), tmp_path / "absent.nii.gz")


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_ct"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CT lies beside the project on some machines only")
def test_a_real_ct_and_its_labels_are_read_without_a_warning():
    image = read_image(REAL / "imagesTr_RealCT_0001_0000.nii.gz")
    labels = read_labels(REAL / "labelsTr_RealCT_0001.nii.gz")
    assert (*image.warnings, *labels.warnings, *check_same_grid(image, labels)) == ()
    judge = nib.as_closest_canonical(nib.load(image.path))
    np.testing.assert_array_equal(image.data, np.asanyarray(judge.dataobj))
    np.testing.assert_allclose(image.affine, judge.affine)
