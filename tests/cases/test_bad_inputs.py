"""Every row of the catalogue of bad inputs that concerns one file: refused, or read with a warning, and the words."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from bad_input_rows import ODD, REFUSED, Row, name_of
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_samples import nifti, targets

from flare_core.cases.nifti import BadInput, read_image, read_labels, write_labels


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


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 359), st.integers(0, 255)), min_size=1, max_size=6), data=st.data())
def test_whatever_stands_in_the_header_the_file_is_read_or_refused_in_one_line(tmp_path_factory, changes, data):
    """Random bytes in the header; labels and images alike; nothing but BadInput may come out."""
    raw = bytearray(nifti(targets()))
    for position, value in changes:
        raw[position] = value
    path = tmp_path_factory.mktemp("fuzz") / "case.nii"
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw), 400, 347]))])
    for reader in (read_image, read_labels):
        try:
            volume = reader(path)
        except BadInput as error:
            assert "\n" not in str(error)
            continue
        assert np.isfinite(volume.data).all()
        assert np.isfinite(volume.affine).all()
        assert np.isfinite(volume.spacing_mm).all()
        write_labels(path.parent / "out.nii", np.zeros(volume.data.shape, np.uint8), volume.geometry)
        np.testing.assert_array_equal(read_labels(path.parent / "out.nii").geometry.affine, volume.geometry.affine)
