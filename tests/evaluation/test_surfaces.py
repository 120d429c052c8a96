"""Surfaces are seen from the right side, in the right order, in their colors and with their size."""

import numpy as np
import pytest

from flare_core.cases.labels import BY_NAME
from flare_core.evaluation.case_sheets import case_sheet, case_surfaces
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.surfaces import Camera, body_outline, surface_picture

SHAPE, SPACING_MM = (40, 30, 20), (2.0, 2.0, 4.0)
LEVEL = {"elevation_degrees": 0.0, "step_mm": 1.0}


def labels_with(**places):
    """A label map with blocks: target name to its slices."""
    labels = np.zeros(SHAPE, np.uint8)
    for name, place in places.items():
        labels[place] = BY_NAME[name].id
    return labels


def nearest_hue(pixels, *names):
    """Which of some targets each pixel's color resembles most, whatever the light (index into `names`)."""
    colors = np.array([[int(BY_NAME[name].color[i : i + 2], 16) for i in (1, 3, 5)] for name in names], float)
    hues = colors / np.linalg.norm(colors, axis=1, keepdims=True)
    return np.argmax(pixels[..., :3] @ hues.T, axis=-1)


@pytest.mark.parametrize("azimuth, is_left", [(0, True), (180, False)])
def test_the_patients_right_is_left_from_the_front_and_right_from_behind(azimuth, is_left):
    picture = surface_picture(labels_with(spleen=np.s_[28:38, 5:25, 5:15]), SPACING_MM, Camera(azimuth, **LEVEL))
    _, columns = np.nonzero(picture[..., 3])
    assert (columns.mean() < picture.shape[1] / 2) == is_left


def test_head_is_up_and_front_is_left_seen_from_the_left():
    picture = surface_picture(labels_with(spleen=np.s_[5:35, 22:28, 12:18]), SPACING_MM, Camera(90, **LEVEL))
    rows, columns = np.nonzero(picture[..., 3])
    assert rows.mean() > picture.shape[0] / 2 and columns.mean() < picture.shape[1] / 2


@pytest.mark.parametrize("azimuth, front", [(0, 0), (180, 1)])
def test_what_is_nearer_hides_what_is_behind(azimuth, front):
    labels = labels_with(aorta=np.s_[10:30, 20:26, 4:16], stomach=np.s_[10:30, 4:10, 4:16])
    picture = surface_picture(labels, SPACING_MM, Camera(azimuth, **LEVEL))
    assert (nearest_hue(picture[30:50, 30:50], "aorta", "stomach") == front).mean() > 0.95


def test_a_block_has_its_size_in_the_picture():
    labels = labels_with(spleen=np.s_[10:30, 5:25, 5:15])  # 40 x 40 x 40 mm
    picture = surface_picture(labels, SPACING_MM, Camera(0, **LEVEL))
    assert (picture[..., 3] > 0).sum() == pytest.approx(40 * 40, rel=0.08)


def test_a_thin_gland_does_not_vanish():
    picture = surface_picture(labels_with(left_adrenal_gland=np.s_[20, 10:14, 5:9]), SPACING_MM, Camera(0, **LEVEL))
    assert (picture[..., 3] > 0).any()


def test_nothing_labeled_is_a_transparent_picture():
    assert not surface_picture(labels_with(), SPACING_MM, Camera(0)).any()


def test_the_outline_is_the_body_without_the_table():
    image = np.full(SHAPE, -1000, np.float32)
    image[10:30, 10:25, :] = 0
    image[:, 2:5, :] = 100  # a table below
    outline = body_outline(image, SPACING_MM, Camera(0, **LEVEL))
    _, columns = np.nonzero(outline)
    assert outline.any() and np.ptp(columns) < 45
    assert not body_outline(np.full(SHAPE, -1000, np.float32), SPACING_MM, Camera(0)).any()


def test_a_sheet_shows_the_planes_through_the_point_and_the_table():
    import pandas as pd

    labels = labels_with(liver=np.s_[5:20, 5:25, 5:15])
    case = CaseView("case", np.zeros(SHAPE, np.float32), SPACING_MM, labels, np.roll(labels, 3, axis=0))
    table = pd.DataFrame({"dsc": [0.8], "nsd": [np.nan], "reference_ml": [48.0], "prediction_ml": [48.0]}, ["liver"])
    figure = case_sheet(case, table, (12, 15, 10), "lung", "liver")
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[::2][:3] == ["Axial, slice 10", "Coronal, slice 15", "Sagittal, slice 12"]
    words = [text.get_text() for text in figure.axes[-1].texts]
    assert {"Liver", "0.800", "48.0", ""} <= set(words) and "nan" not in words
    with pytest.raises(ValueError, match="choose from abdomen"):
        case_sheet(case, table, (12, 15, 10), "brain")


def test_surfaces_come_in_pairs_and_need_a_label_map():
    labels = labels_with(liver=np.s_[5:20, 5:25, 5:15])
    case = CaseView("case", np.zeros(SHAPE, np.float32), SPACING_MM, labels, np.zeros_like(labels))
    figure = case_surfaces(case)
    assert [axes.get_title("left") for axes in figure.axes][:2] == [
        "Reference, from the front",
        "Prediction, from the front",
    ]
    assert [text.get_text() for text in figure.axes[1].texts] == ["nothing labeled"]
    with pytest.raises(ValueError, match="need labels"):
        case_surfaces(CaseView("case", case.image_hu, SPACING_MM))
