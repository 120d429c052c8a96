"""One case's table: volumes in ml by hand, scores as the rules give them, no row for what nobody labeled."""

import numpy as np
import pytest

from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import Geometry, Volume
from flare_core.evaluation.case_table import case_table
from flare_core.evaluation.flare_rules import FLARE23, FLARE24_TASK1


def labels(axes="RAS", **boxes):
    data = np.zeros((20, 20, 20), np.uint8)
    for name, start in boxes.items():
        data[start : start + 10, 5:15, 5:15] = BY_NAME[name].id
    return Volume(data, Geometry.from_spacing(data.shape, (1, 1, 2), axes=axes))


def test_volumes_are_voxels_times_their_size():
    table = case_table(labels(liver=0), None, FLARE23)
    assert list(table.columns) == ["reference_ml"]
    assert table["reference_ml"].to_dict() == pytest.approx({"liver": 2.0})


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_scores_stand_beside_volumes_however_the_prediction_is_stored(axes):
    table = case_table(labels(liver=0), labels(axes, liver=5, tumor=17), FLARE23)
    assert list(table.columns) == ["dsc", "nsd", "reference_ml", "prediction_ml"]
    assert list(table.index) == ["liver", "tumor"]
    assert table.loc["liver", "dsc"] == 0.5
    assert table.loc["tumor", ["dsc", "reference_ml"]].tolist() == [0, 0]


def test_what_the_rules_do_not_score_has_volumes_alone():
    table = case_table(labels(liver=0), labels(liver=0), FLARE24_TASK1)
    assert np.isnan(table.loc["liver", "dsc"]) and table.loc["liver", "prediction_ml"] == pytest.approx(2)


def test_nothing_labeled_is_an_empty_table():
    assert case_table(None, None, FLARE23).empty
    assert case_table(labels(), labels(), FLARE23).empty
