"""Volumes of targets: counted by hand, whatever the orientation of the file."""

import csv

import numpy as np
import pytest

from flare_core.cases.nifti import BadInput, Geometry, write_labels
from flare_core.cases.volumes import target_volumes, write_volumes


@pytest.fixture
def labels(tmp_path):
    """Two files of the same body: three voxels of liver and one of tumor, 2 x 3 x 5 mm each."""
    files = {}
    for case, axes in (("a", "RAS"), ("b", "PSR")):
        along = dict(zip("RAS", (2, 3, 5), strict=True)) | dict(zip("LPI", (2, 3, 5), strict=True))
        geometry = Geometry.from_spacing((4, 5, 6), [along[axis] for axis in axes], axes=axes)
        body = np.zeros(geometry.ras_shape, np.uint8)
        body[0, 0, :3], body[1, 1, 1] = 1, 14
        files[case] = tmp_path / f"{case}.nii.gz"
        write_labels(files[case], body, geometry)
    return files


def test_voxels_and_milliliters_are_those_of_the_file(labels):
    for file in labels.values():
        expected = [("liver", 0.09, 3), ("spleen", 0.0, 0), ("tumor", 0.03, 1)]
        assert target_volumes(file, ("liver", "spleen", "tumor")) == expected


def test_the_table_has_a_row_a_case_and_target_and_a_header_alone_without_cases(labels, tmp_path):
    table = write_volumes(tmp_path / "new" / "volumes.csv", labels, ("liver", "tumor"))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["case"], row["target"]) for row in rows] == [(c, t) for c in "ab" for t in ("liver", "tumor")]
    assert {float(row["volume_ml"]) / int(row["voxels"]) for row in rows} == {0.03}
    write_volumes(table, {}, ("liver",))
    assert table.read_text() == "case,target,volume_ml,voxels\n"


def test_a_damaged_label_file_leaves_the_table_as_it_was(labels, tmp_path):
    table = write_volumes(tmp_path / "volumes.csv", labels, ("liver",))
    before = table.read_text()
    labels["b"].write_bytes(labels["b"].read_bytes()[:40])
    with pytest.raises(BadInput):
        write_volumes(table, labels, ("liver",))
    assert table.read_text() == before and list(tmp_path.glob(".*")) == []
