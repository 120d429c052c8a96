"""A file appears complete or not at all, and the same volume gives the same bytes."""

from __future__ import annotations

import errno
import gzip
import os
import resource
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from flare_core.cases import nifti_writing
from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti import read_image, read_labels, write_image, write_labels

SHAPE = (6, 5, 4)
GEOMETRY = Geometry.from_spacing(SHAPE, (1, 2, 3), axes="LPS")
LABELS = (np.arange(120) % 15).astype(np.uint8).reshape(SHAPE)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_same_volume_same_bytes_whatever_its_memory_layout_and_name(tmp_path, name):
    write_labels(tmp_path / name, LABELS, GEOMETRY)
    (tmp_path / "other").mkdir()
    write_labels(tmp_path / "other" / f"b{name}", np.asfortranarray(LABELS).astype(np.int64), GEOMETRY)
    assert (tmp_path / name).read_bytes() == (tmp_path / "other" / f"b{name}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "other"]


def test_gzip_is_understood_by_others(tmp_path):
    write_labels(tmp_path / "a.nii.gz", LABELS, GEOMETRY)
    write_labels(tmp_path / "a.nii", LABELS, GEOMETRY)
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == (tmp_path / "a.nii").read_bytes()


def test_volumes_larger_than_one_slab_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti_writing, "_SLAB_BYTES", 31)  # less than a slice: one slice at a time
    hu = np.random.default_rng(0).integers(-1024, 3000, SHAPE).astype(np.float32)
    write_image(tmp_path / "a.nii.gz", hu, GEOMETRY)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").data, hu)


def test_hu_are_rounded_not_cut(tmp_path):
    hu = np.full(SHAPE, -0.6, np.float32)
    hu[0] = 2.5
    write_image(tmp_path / "a.nii.gz", hu, GEOMETRY)
    assert set(np.unique(nib.load(tmp_path / "a.nii.gz").dataobj)) == {-1, 2}


@pytest.mark.parametrize("value", [np.nan, np.inf, 40000, -40000])
def test_values_that_int16_cannot_hold_are_refused(tmp_path, value):
    hu = np.zeros(SHAPE, np.float32)
    hu[0, 0, 0] = value
    with pytest.raises(ValueError, match="expected finite HU"):
        write_image(tmp_path / "a.nii.gz", hu, GEOMETRY)


def test_c2_35_labels_are_always_stored_as_uint8(tmp_path):
    for dtype in (bool, np.int64, np.uint16):
        write_labels(tmp_path / "a.nii.gz", LABELS.astype(dtype), GEOMETRY)
        assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == np.uint8
    for wrong in (LABELS.astype(np.float32), LABELS.astype(np.int16) - 1, LABELS.astype(np.int16) + 250):
        with pytest.raises(ValueError, match="expected"):
            write_labels(tmp_path / "a.nii.gz", wrong, GEOMETRY)


@pytest.mark.parametrize("name", ["a", "a.gz", "a.nii.bz2", "a.mha"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="ending in .nii.gz or .nii"):
        write_labels(tmp_path / name, LABELS, GEOMETRY)
    assert not list(tmp_path.iterdir())


def test_a_link_is_never_written_through(tmp_path):
    (tmp_path / "input.nii.gz").write_bytes(b"someone's data")
    (tmp_path / "out.nii.gz").symlink_to(tmp_path / "input.nii.gz")
    with pytest.raises(FileExistsError, match="found a link"):
        write_labels(tmp_path / "out.nii.gz", LABELS, GEOMETRY)
    assert (tmp_path / "input.nii.gz").read_bytes() == b"someone's data"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_labels(tmp_path / "a.nii.gz", LABELS, GEOMETRY)
    before = (tmp_path / "a.nii.gz").read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_labels(tmp_path / "a.nii.gz", np.zeros(SHAPE, np.uint8), GEOMETRY)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    assert (tmp_path / "a.nii.gz").read_bytes() == before


def test_c2_50_a_full_disk_leaves_no_half_file(tmp_path):
    """The kernel cuts the write short in a process of its own whose files may not exceed 4 KiB."""
    program = (
        "import sys, signal, numpy as np; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from flare_core.cases.nifti import Geometry, write_labels\n"
        "noise = np.random.default_rng(0).integers(0, 15, (40, 40, 40)).astype(np.uint8)\n"
        "write_labels(sys.argv[1], noise, Geometry.from_spacing(noise.shape, (1, 1, 1)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.nii.gz")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_file_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(OSError, match="a folder or a device"):
        write_labels(tmp_path / "a.nii.gz", LABELS, GEOMETRY)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]


def test_nifti_1_refuses_an_axis_that_its_header_cannot_hold(tmp_path):
    long = np.zeros((40000, 1, 1), np.uint8)
    with pytest.raises(ValueError, match="32767"):
        write_labels(tmp_path / "a.nii.gz", long, Geometry.from_spacing(long.shape, (1, 1, 1)))


def test_a_whole_series_of_writes_can_be_read_back(tmp_path):
    for number in range(5):
        write_labels(tmp_path / f"case_{number}.nii.gz", LABELS, GEOMETRY)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_labels(path).data, LABELS)


def test_an_empty_label_map_is_warned_of_unless_it_may_be_empty(tmp_path, caplog):
    file = tmp_path / "a.nii.gz"
    write_labels(file, np.zeros(SHAPE, np.uint8), GEOMETRY)
    assert not read_labels(file, may_be_empty=True).data.any() and not caplog.text
    assert not read_labels(file).data.any() and "no voxel is labeled" in caplog.text
