"""Every figure: nothing cut off, the same bytes each time, sides and millimeters right, colors told apart by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES
from flare_core.evaluation import case_figures, case_sheets, figures, score_figures, slices, volume_figures
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.style import COLORS, SHORT_TITLES, PaperFigure, new_figure, save

STEPS = np.arange(0, 200, 10)
SIX = [f"efficient_system_{number}" for number in range(6)]


def scores() -> pd.DataFrame:
    rows = [(f"case{k}", name, 0.5 + 0.04 * k - 0.02 * i) for i, name in enumerate(TARGET_NAMES) for k in range(6)]
    return pd.DataFrame(rows, columns=["case", "target", "dsc"])


def history() -> pd.DataFrame:
    table = pd.DataFrame({"step": STEPS, "seconds": STEPS / 10, "loss": 2 - STEPS / 200, "lr": 0.01})
    measured = STEPS % 50 == 0
    table["validation_dice"] = np.where(measured, STEPS / 250, np.nan)
    for place, name in enumerate(TARGET_NAMES):
        table[f"dice_{name}"] = np.where(measured, STEPS / (260 + 20 * place), np.nan)
    return table


def unvalidated(scale: float = 1.0) -> pd.DataFrame:
    table = history()
    return table[["step", "seconds", "lr"]].assign(loss=scale * table["loss"], validation_dice=np.nan)


def validated_once() -> pd.DataFrame:
    table = history()[["step", "loss", "lr"]].assign(validation_dice=np.nan)
    table["dice_right_kidney+left_kidney"] = table["dice_tumor"] = np.nan
    table.loc[table.index[-1], ["validation_dice", "dice_right_kidney+left_kidney", "dice_tumor"]] = 0.5, 0.9, 0.1
    return table


def measures() -> pd.DataFrame:
    rows = [
        (system, f"case{k}", measure, (s + k) / 12)
        for s, system in enumerate(SIX)
        for k in range(6)
        for measure in ("Organs, DSC", "Organs, NSD", "Tumor if any, DSC", "Tumor if any, NSD")
        if s != 1 or measure.startswith("Tumor")
    ]
    return pd.DataFrame(rows, columns=["system", "case", "measure", "score"])


def case(title: str = "Case", spacing_mm=(4.0, 4.0, 5.0)) -> CaseView:
    image = np.full((40, 30, 50), -1000.0, np.float32)
    image[4:36, 4:26] = 40
    labels = np.zeros(image.shape, np.uint8)
    labels[22:32, 12:22, 20:35] = BY_NAME["liver"].id
    labels[8:13, 8:14, 22:32] = BY_NAME["spleen"].id
    labels[19, 13, :] = BY_NAME["aorta"].id
    return CaseView(title, image, spacing_mm, labels, np.roll(labels, 2, axis=0))


def case_rows() -> pd.DataFrame:
    columns = {"dsc": 0.9, "nsd": np.nan, "reference_ml": 1234.5, "prediction_ml": 1199.9}
    return pd.DataFrame([columns] * 14, TARGET_NAMES)


def measured_volumes() -> pd.DataFrame:
    rows = [
        (f"case{k}", name, 1000 / 2**i + 10 * k, 900 / 2**i + 12 * k)
        for i, name in enumerate(TARGET_NAMES)
        for k in range(5)
    ]
    return pd.DataFrame(rows, columns=["case", "target", "reference_ml", "prediction_ml"])


WINDOWS = [((x, 0, z), (20, 30, 25)) for x in (0, 10, 20) for z in (0, 25)]
STAGES = scores().assign(stage="before"), scores().assign(stage="after", dsc=lambda t: t["dsc"] + 0.1)
DRAWN: dict[str, Callable[[], PaperFigure]] = {
    "label_subsets": lambda: figures.label_subsets([(ORGAN_NAMES, 250), (("liver", "tumor"), 1062), ((), 1800)]),
    "volumes": lambda: figures.volumes(
        scores().assign(volume_ml=lambda t: 1 + 900 * t["dsc"]), {"liver": (1000.0, 2000.0)}
    ),
    "learning_curves": lambda: figures.learning_curves({"fold 0": history()}),
    "two_learning_curves": lambda: figures.learning_curves({"round 1": history(), "round 2": history()}),
    "unvalidated_learning_curves": lambda: figures.learning_curves({"a": unvalidated(), "b": unvalidated(90)}),
    "many_learning_curves": lambda: figures.learning_curves({f"{name} fold 0": history() for name in SIX}),
    "many_unvalidated_curves": lambda: figures.learning_curves({f"{name} fold 0": unvalidated() for name in SIX}),
    "curve_of_one_validation": lambda: figures.learning_curves({"fold 0": validated_once()}),
    "pseudo_label_quality": lambda: score_figures.pseudo_label_quality(pd.concat(STAGES), ("before", "after")),
    "target_scores": lambda: score_figures.target_scores(scores(), title="nvauto"),
    "tumor_scores": lambda: score_figures.target_scores(scores().query("target == 'tumor'"), title="dkfz"),
    "scores_of_systems": lambda: score_figures.target_scores(
        pd.concat([scores().assign(system=s) for s in ("a", "b", "c")])
    ),
    "system_scores": lambda: score_figures.system_scores(measures(), SIX, "Six systems"),
    "case_montage": lambda: case_figures.case_montage(case()),
    "comparison": lambda: case_figures.comparison([case("One"), case("Two")]),
    "case_grid": lambda: case_figures.case_grid([case("One"), case("Thin slices", (2.0, 2.0, 1.0))]),
    "window_layout": lambda: case_figures.window_layout([(case(), WINDOWS)]),
    "window_layouts": lambda: case_figures.window_layout([(case("First"), WINDOWS), (case("Second"), WINDOWS[:1])]),
    "case_sheet": lambda: case_sheets.case_sheet(case(), case_rows(), (25, 17, 27), "abdomen", "liver"),
    "case_surfaces": lambda: case_sheets.case_surfaces(case()),
    "surfaces_of_one_map": lambda: case_sheets.case_surfaces(replace(case(), prediction=None)),
    "one_system_on_a_case": lambda: case_sheets.systems_on_case({"nvauto": case()}),
    "six_systems_on_a_case": lambda: case_sheets.systems_on_case({name: case() for name in SIX}, (25, 17, 27)),
    "volume_agreement": lambda: volume_figures.volume_agreement(measured_volumes(), "nvauto"),
    "volume_agreement_of_tumors": lambda: volume_figures.volume_agreement(
        measured_volumes().query("target == 'tumor'"), "dkfz_bs4_8: predicted and reference volumes"
    ),
    "intensity_histograms": lambda: case_figures.intensity_histograms(np.arange(-500, 500), np.linspace(0, 1, 300)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    drawn, page = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= page[0] + 0.01
    assert drawn.y1 <= page[1] + 0.01


@pytest.mark.parametrize("name", ["label_subsets", "case_montage", "target_scores"])
def test_a_figure_is_the_same_bytes_each_time(name, tmp_path):
    first = [path.read_bytes() for path in save(DRAWN[name](), name, tmp_path / "a")]
    second = [path.read_bytes() for path in save(DRAWN[name](), name, tmp_path / "b")]
    assert first == second
    assert first[0].startswith(b"\x89PNG")
    assert b"<svg" in first[1]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"{name}.png", f"{name}.svg"]


def test_drawing_changes_no_global_setting():
    before = dict(mpl.rcParams)
    figure = DRAWN["target_scores"]()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("plane", "voxel"),
    [("axial", (9, 7, 0)), ("coronal", (9, 0, 5)), ("sagittal", (0, 7, 5))],
)
def test_right_anterior_and_head_are_where_a_radiologist_expects_them(plane, voxel):
    # A voxel at the patient's right (high x), anterior (high y), superior (high z) belongs in the upper left corner.
    volume = np.zeros((10, 8, 6), np.float32)
    volume[voxel] = 1
    picture = slices.oriented(volume, plane, 0)
    assert picture[-1, 0] == 1  # rows run upward (origin lower)
    assert picture.sum() == 1


def test_slices_are_drawn_in_millimeters():
    figure = new_figure(3, 3)
    axes = figure.subplots()
    slices.draw_slice(axes, case(), "coronal", 10, "abdomen")
    assert axes.get_xlim() == (0, 40 * 4)
    assert axes.get_ylim() == (0, 50 * 5)
    assert axes.get_aspect() == 1


def test_contours_lie_around_their_voxels():
    figure = new_figure(3, 3)
    axes = figure.subplots()
    labels = np.zeros((10, 8, 6), np.uint8)
    labels[7:9, 2:5, 3] = 1
    slices.draw_contours(axes, labels, (2.0, 3.0, 5.0), "axial", 3)
    (lines,) = axes.collections
    corners = np.concatenate([path.vertices for path in lines.get_paths()])
    # x = 7..8 of ten, seen from the other side: 2 mm to 6 mm; y = 2..4: 6 mm to 15 mm
    assert corners.min(axis=0) == pytest.approx((2, 6))
    assert corners.max(axis=0) == pytest.approx((6, 15))


def test_window_boxes_lie_where_their_voxels_are():
    figure = case_figures.window_layout([(case(), [((0, 0, 0), (10, 30, 20))])])
    (box,) = figure.axes[0].patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (30 * 4, 0, 10 * 4, 20 * 5)


def test_a_window_that_begins_before_the_volume_covers_what_is_inside():
    figure = case_figures.window_layout([(case(), [((-4, 0, -10), (10, 30, 20))])])
    cover = figure.axes[1].images[0].get_array()  # rows from bottom to top, low x at the right
    assert np.argwhere(cover == 1).min(axis=0).tolist() == [0, 34]
    assert cover.sum() == 6 * 10


def test_without_any_validation_there_is_no_panel_for_it():
    assert len(DRAWN["learning_curves"]().axes) == 3
    assert len(DRAWN["unvalidated_learning_curves"]().axes) == 2


def test_losses_of_different_kinds_share_a_logarithmic_axis():
    assert DRAWN["unvalidated_learning_curves"]().axes[0].get_yscale() == "log"
    assert DRAWN["two_learning_curves"]().axes[0].get_yscale() == "linear"


def test_one_validation_shows_as_named_points():
    dice = DRAWN["curve_of_one_validation"]().axes[2]
    assert all(line.get_marker() not in ("", "None") for line in dice.lines)
    named = {text.get_text() for text in dice.texts} - {"■ "}
    assert named == {"Mean", "Tumor", "Both kidneys"}


def test_systems_are_rows_with_their_means_and_say_what_they_do_not_predict():
    panels = DRAWN["system_scores"]().axes
    assert len(panels) == 4
    assert [text.get_text() for text in panels[0].get_yticklabels()] == SIX
    organs, tumor = ([text.get_text() for text in panels[i].texts] for i in (0, 2))
    assert organs == ["20.8", "not predicted", "37.5", "45.8", "54.2", "62.5"]  # (s + 0..5) / 12 on average
    assert "not predicted" not in tumor


def test_the_busiest_slice_shows_most_targets():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[:, :, 1] = 1
    labels[2, 2, 4], labels[3, 3, 4] = 1, 2
    assert slices.busiest_slice(labels, "axial", labels.shape) == 4
    assert slices.busiest_slice(np.zeros((6, 6, 6), np.uint8), "coronal", (6, 6, 6)) == 3
    assert slices.busiest_slice(None, "sagittal", (9, 6, 6)) == 4


def test_errors_are_told_apart():
    reference, prediction = np.zeros((4, 1, 1), np.uint8), np.zeros((4, 1, 1), np.uint8)
    reference[:3, 0, 0], prediction[1:, 0, 0] = (1, 1, 1), (1, 2, 3)
    axes = new_figure(2, 2).subplots()
    view = CaseView("", np.zeros((4, 1, 1), np.float32), (1, 1, 1), reference, prediction)
    slices.draw_errors(axes, view, "axial", 0)
    drawn = axes.images[0].get_array()[0, ::-1]
    assert drawn[1, 3] == 0  # agreement is clear
    assert len({tuple(drawn[place]) for place in (0, 2, 3)}) == 3


def test_figures_refuse_nothing_and_shapes_that_differ():
    with pytest.raises(ValueError, match="at least one subset"):
        figures.label_subsets([])
    with pytest.raises(ValueError, match="at least one history"):
        figures.learning_curves({})
    with pytest.raises(ValueError, match="labels and a prediction"):
        case_figures.comparison([CaseView("", np.zeros((3, 3, 3), np.float32), (1, 1, 1))])
    with pytest.raises(ValueError, match="at least one case"):
        case_figures.case_grid([])
    with pytest.raises(ValueError, match="at least one grid"):
        case_figures.window_layout([])
    with pytest.raises(ValueError, match="at least one score"):
        score_figures.system_scores(measures().iloc[:0], SIX)
    with pytest.raises(ValueError, match="shape"):
        CaseView("", np.zeros((3, 3, 3), np.float32), (1, 1, 1), np.zeros((3, 3, 4), np.uint8))


NEIGHBORS = (
    "liver gallbladder, liver right_kidney, liver stomach, liver inferior_vena_cava, liver duodenum, liver "
    "pancreas, liver right_adrenal_gland, liver esophagus, stomach spleen, stomach pancreas, stomach duodenum, "
    "stomach esophagus, stomach left_kidney, pancreas duodenum, pancreas spleen, pancreas left_kidney, pancreas "
    "inferior_vena_cava, pancreas aorta, pancreas left_adrenal_gland, spleen left_kidney, spleen "
    "left_adrenal_gland, aorta inferior_vena_cava, aorta esophagus, aorta left_adrenal_gland, aorta duodenum, "
    "aorta left_kidney, left_adrenal_gland left_kidney, right_adrenal_gland inferior_vena_cava, "
    "right_adrenal_gland right_kidney, gallbladder duodenum, gallbladder right_kidney, duodenum "
    "inferior_vena_cava, duodenum right_kidney, inferior_vena_cava right_kidney, left_kidney right_kidney, "
    "left_adrenal_gland right_adrenal_gland"
)
# How protanopes and deuteranopes see linear sRGB (Machado, Oliveira and Fernandes 2009, severity 1).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
}


def oklab(linear: np.ndarray) -> np.ndarray:
    """Return perceptually even coordinates (Ottosson 2020), lightness from 0 to 100."""
    cones = linear @ np.transpose([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    mixed = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return 100 * np.cbrt(np.clip(cones, 0, None)) @ np.transpose(mixed)


@pytest.mark.parametrize("vision", VISION)
def test_neighboring_targets_have_colors_that_everyone_can_tell_apart(vision):
    encoded = np.array([to_rgb(COLORS[name]) for name in TARGET_NAMES])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = dict(zip(TARGET_NAMES, oklab(np.clip(linear @ np.transpose(VISION[vision]), 0, 1)), strict=True))
    pairs = [pair.split() for pair in NEIGHBORS.split(", ")] + [["tumor", name] for name in ORGAN_NAMES]
    apart = {(one, other): np.linalg.norm(seen[one] - seen[other]) for one, other in pairs}
    assert min(apart.values()) > 9, min(apart, key=apart.get)  # 2 is about the smallest difference that is seen


def test_every_target_has_a_color_and_a_short_title_of_its_own():
    assert len(set(COLORS.values())) == len(set(SHORT_TITLES.values())) == 14


def test_volumes_agree_as_bland_and_altman_reckon():
    table = pd.DataFrame(
        [("a", "liver", 900.0, 1100.0), ("b", "liver", 1000.0, 1000.0), ("c", "liver", 1100.0, 900.0)]
        + [("a", "tumor", 0.0, 0.0), ("b", "tumor", 0.0, 4.0), ("c", "tumor", 6.0, 0.0), ("d", "tumor", np.nan, 1.0)],
        columns=["case", "target", "reference_ml", "prediction_ml"],
    )
    points = volume_figures.agreement(table).set_index(["target", "case"])
    assert points.loc["liver", "off"].tolist() == [0.2, 0, -0.2]
    assert points.loc["tumor", "off"].to_dict() == {"b": 2, "c": -2}  # absent on both sides, or not annotated: no point
    assert points.loc[("tumor", "b"), "mean_ml"] == 2
    liver, tumor = volume_figures.volume_agreement(table).axes[:2]
    assert liver.texts[0].get_text() == "bias +0 %, limits -39 to +39 %"  # 1.96 standard deviations of 0.2
    assert tumor.texts[0].get_text() == "bias +0 %"  # two cases have no limits
    with pytest.raises(ValueError, match="at least one target"):
        volume_figures.volume_agreement(table.iloc[3:4])


def test_scores_have_a_shape_where_there_are_enough_cases():
    few = score_figures.target_scores(scores())
    many = score_figures.target_scores(pd.concat([scores(), scores().assign(dsc=lambda t: t["dsc"] / 2)]))
    shapes = [sum(len(c.get_paths()) for c in f.axes[0].collections if c.get_alpha() == 0.25) for f in (few, many)]
    assert shapes == [0, 14]


def test_the_slice_of_all_systems_is_the_busiest_one_unless_a_point_is_given():
    views = {"a": case(), "b": case()}
    assert "axial slice 22" in case_sheets.systems_on_case(views)._suptitle.get_text()
    assert "coronal slice 9" in case_sheets.systems_on_case(views, (1, 9, 3), "coronal")._suptitle.get_text()
    with pytest.raises(ValueError, match="each with labels and a prediction"):
        case_sheets.systems_on_case({"a": replace(case(), prediction=None)})
