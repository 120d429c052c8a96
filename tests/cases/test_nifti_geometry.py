"""What is read in any orientation comes back on the same grid, to the last bit; nibabel is the judge."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from nifti_samples import nifti, packed

from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti import read_image, read_labels, write_image, write_labels

SHAPE = (5, 4, 3)
ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*order)
]


def turned(degrees: float, axis: tuple[float, float, float]) -> np.ndarray:
    """Rotation matrix about an axis."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(spacing: tuple[float, float, float], degrees: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees, (1, 0.5, 0.2)) @ np.diag(spacing)
    affine[:3, 3] = (-31.5, 12.25, 100.5)
    return affine


KINDS = {
    "regular": affine_of((2, 2, 2), 0),
    "oblique": affine_of((2, 2, 2), 20),
    "anisotropic": affine_of((0.75, 0.8, 5), 0),
    "oblique anisotropic": affine_of((0.75, 0.8, 5), 20),
}


def stored_as(axes: str, array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reorder a RAS+ array and its affine by nibabel's functions."""
    transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    return nib.apply_orientation(array, transform), affine @ inv_ornt_aff(transform, array.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_48_orientations_are_one_volume_inside_and_themselves_outside(tmp_path, axes, kind):
    ras = np.arange(60, dtype=np.int16).reshape(SHAPE) - 30
    stored, affine = stored_as(axes, ras, KINDS[kind])
    (tmp_path / "in.nii.gz").write_bytes(packed(nifti(stored, affine)))

    volume = read_image(tmp_path / "in.nii.gz")
    assert volume.geometry.axes == axes
    np.testing.assert_array_equal(volume.data, ras)
    np.testing.assert_allclose(volume.affine, KINDS[kind], atol=1e-4)
    np.testing.assert_allclose(volume.spacing_mm, np.linalg.norm(KINDS[kind][:3, :3], axis=0), rtol=1e-6)
    np.testing.assert_array_equal(volume.stored(), stored)

    write_labels(tmp_path / "out.nii.gz", np.arange(60, dtype=np.uint8).reshape(SHAPE), volume.geometry)
    given_, written = nib.load(tmp_path / "in.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, given_.affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(given_.dataobj) + 30)
    assert written.get_data_dtype() == np.uint8


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (2, 4), (0, 0), (3, 2)], ids=str)
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "IAL"])
def test_every_placing_header_field_comes_back(tmp_path, axes, codes):
    stored, affine = stored_as(axes, np.zeros(SHAPE, np.int16), KINDS["oblique anisotropic"])
    (tmp_path / "in.nii.gz").write_bytes(packed(nifti(stored, affine, codes=codes)))
    volume = read_image(tmp_path / "in.nii.gz")
    write_labels(tmp_path / "out.nii.gz", np.ones(volume.data.shape, bool), volume.geometry)
    write_image(tmp_path / "image.nii.gz", volume.data, volume.geometry)
    given_ = nib.load(tmp_path / "in.nii.gz")
    for name in ("out.nii.gz", "image.nii.gz"):
        written = nib.load(tmp_path / name)
        np.testing.assert_array_equal(written.affine, given_.affine)
        for field in ("qform_code", "sform_code", "pixdim", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
            expected = given_.header[field][:4] if field == "pixdim" else given_.header[field]
            found = written.header[field][:4] if field == "pixdim" else written.header[field]
            np.testing.assert_array_equal(found, expected, err_msg=field)
        for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
            np.testing.assert_array_equal(written.header[field], given_.header[field], err_msg=field)


def test_free_text_of_the_input_is_not_passed_on(tmp_path):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), KINDS["regular"])
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"DOE^JANE 1970"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE in an extension"))
    (tmp_path / "in.nii").write_bytes(image.to_bytes())
    assert b"DOE^JANE" in (tmp_path / "in.nii").read_bytes()
    volume = read_image(tmp_path / "in.nii")
    write_labels(tmp_path / "out.nii", np.zeros(SHAPE, np.uint8), volume.geometry)
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    spacing=st.lists(st.floats(0.3, 9), min_size=3, max_size=3),
    mirrored=st.booleans(),
    code=st.sampled_from([(1, 0), (0, 1), (1, 1)]),
)
def test_any_rotation_is_read_as_nibabel_reads_it(tmp_path_factory, quaternion, spacing, mirrored, code):
    rotation = nib.quaternions.quat2mat(np.array(quaternion))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-spacing[0] if mirrored else spacing[0], *spacing[1:]])
    path = tmp_path_factory.mktemp("any") / "in.nii"
    path.write_bytes(nifti(np.arange(60, dtype=np.int16).reshape(SHAPE) - 9, affine, codes=code))
    volume, judge = read_image(path), nib.load(path)
    np.testing.assert_allclose(volume.geometry.affine, judge.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.stored(), np.asanyarray(judge.dataobj))
    np.testing.assert_allclose(volume.geometry.from_ras(volume.data), volume.stored())
    corner = volume.affine @ [*(np.array(volume.data.shape) - 1), 1]
    found = np.argwhere(volume.stored() == volume.data[-1, -1, -1])[0]
    np.testing.assert_allclose(judge.affine @ [*found, 1], corner, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    axes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    spacing=st.tuples(*[st.floats(0.3, 9)] * 3),
)
def test_from_spacing_puts_the_ras_array_where_it_was_told(axes, shape, spacing):
    geometry = Geometry.from_spacing(shape, spacing, origin_mm=(-10.0, 20.0, 5.5), axes=axes)
    assert geometry.axes == axes
    assert geometry.ras_shape == shape
    np.testing.assert_allclose(geometry.ras_spacing_mm, spacing, rtol=1e-6)
    np.testing.assert_allclose(geometry.ras_affine[:3, 3], (-10.0, 20.0, 5.5), atol=1e-4)
    np.testing.assert_allclose(geometry.ras_affine[:3, :3], np.diag(spacing), atol=1e-5)
    np.testing.assert_allclose(geometry.qform, geometry.sform, atol=1e-4)
    array = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(geometry.to_ras(geometry.from_ras(array)), array)
    assert geometry.voxel_ml == pytest.approx(np.prod(spacing) / 1000, rel=1e-5)


@pytest.mark.parametrize("axes", ["RA", "RRS", "XYZ", "RLS", ""])
def test_from_spacing_refuses_axes_that_are_none(axes):
    with pytest.raises(ValueError, match="expected three letters"):
        Geometry.from_spacing(SHAPE, (1, 1, 1), axes=axes)


def test_an_affine_with_a_shear_is_kept_in_the_sform_alone():
    affine = np.eye(4)
    affine[0, 2] = 0.3
    geometry = Geometry.from_affine(SHAPE, affine)
    assert (geometry.qform_code, geometry.sform_code) == (0, 1)
    np.testing.assert_allclose(geometry.sform, affine, rtol=1e-6)
    with pytest.raises(ValueError, match="invertible"):
        Geometry.from_affine(SHAPE, np.zeros((4, 4)))


def test_arrays_of_another_shape_are_refused():
    geometry = Geometry.from_spacing((5, 4, 3), (1, 1, 1), axes="PSR")
    assert geometry.shape == (4, 3, 5)
    with pytest.raises(ValueError, match=r"stored order of shape \(4, 3, 5\), got \(5, 4, 3\)"):
        geometry.to_ras(np.zeros((5, 4, 3)))
    with pytest.raises(ValueError, match=r"RAS. order of shape \(5, 4, 3\), got \(4, 3, 5\)"):
        geometry.from_ras(np.zeros((4, 3, 5)))


def test_labels_written_by_us_are_read_by_nibabel_and_by_us(tmp_path):
    labels = (np.arange(60) % 15).astype(np.uint8).reshape(SHAPE)
    geometry = Geometry.from_spacing(SHAPE, (0.8, 0.7, 5), (1, 2, 3), "IPL")
    write_labels(tmp_path / "a.nii.gz", labels, geometry)
    ras = nib.as_closest_canonical(nib.load(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(np.asanyarray(ras.dataobj), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii.gz").data, labels)
