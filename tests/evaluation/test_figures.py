"""Every figure: nothing cut off, the same bytes each time, sides and millimeters right, colors told apart by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import same_color, to_hex
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES
from flare_core.evaluation import case_figures, case_sheets, figures, score_figures, volume_figures
from flare_core.evaluation.claim_figures import LOOKS, forest
from flare_core.evaluation.claims import CONTRADICTED, INCONCLUSIVE, NOT_TESTED, REPRODUCED, Finding
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.style import COLORS, PaperFigure, new_figure, save

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


def full_case(number: int) -> CaseView:
    """All targets, and a body as long as the number says; two lines of title."""
    view = case(f"validation_{number:05}, whose mean\nDSC is 80 % in this picture")
    labels = view.labels.copy()
    for target in range(1, 15):
        labels[4 + 2 * target, 6 + target, :] = target
    return replace(view, spacing_mm=(4.0, 3.0 + 0.3 * number, 5.0), labels=labels)


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


def missed_tumors() -> pd.DataFrame:
    """Two tumors are not predicted at all, one as large as it is."""
    rows = [("a", "tumor", 5.0, 0.0), ("b", "tumor", 9.0, 0.0), ("c", "tumor", 7.0, 7.0)]
    return pd.DataFrame(rows, columns=["case", "target", "reference_ml", "prediction_ml"])


def finding(claim: str, verdict: str, effect: float | None, unit: str = "points", **bounds: float) -> Finding:
    """A test of a claim whose interval reaches 0.02 to both sides."""
    low, high = (None, None) if effect is None else (effect - 0.02, effect + 0.02)
    fields = {"above": None, "below": None, "published": None, "cases": 20, "seeds": 1, "profile": "mini"}
    said = {"rows": "", "reason": "", "rerun": ""}
    return Finding(claim, "organ DSC", verdict, effect, low, high, unit, **{**fields, **said, **bounds})


def findings() -> list[Finding]:
    return [
        finding("overlap-helps", REPRODUCED, 0.05, above=0.0, published=0.08),
        finding("crop-costs", CONTRADICTED, 0.04, below=0.0),
        finding("merging-loses-nothing", INCONCLUSIVE, 0.0, above=-0.01, below=0.01),
        finding("teacher-helps", NOT_TESTED, None, above=0.0, published=0.031),
        finding("two-networks-take-longer", REPRODUCED, 1.6, "times", above=1.0),
        finding("merging-loses-nothing", REPRODUCED, 0.7, "times", below=1.0),
        finding("larger-batches-add-less", INCONCLUSIVE, -1.5, "ml", below=0.0),
    ]


WINDOWS = [((x, 0, z), (20, 30, 25)) for x in (0, 10, 20) for z in (0, 25)]
STAGES = scores().assign(stage="before"), scores().assign(stage="after", dsc=lambda t: t["dsc"] + 0.1)
DRAWN: dict[str, Callable[[], PaperFigure]] = {
    "label_subsets": lambda: figures.label_subsets([(ORGAN_NAMES, 250), (("liver", "tumor"), 1062), ((), 1800)]),
    "volumes": lambda: figures.volumes(
        scores().assign(volume_ml=lambda t: 1 + 900 * t["dsc"]), {"liver": (1000.0, 2000.0)}
    ),
    "learning_curves": lambda: figures.learning_curves({"fold 0": history()}),
    "two_learning_curves": lambda: figures.learning_curves({"round 1": history(), "round 2": history()}, "nvauto"),
    "unvalidated_learning_curves": lambda: figures.learning_curves({"a": unvalidated(), "b": unvalidated(90)}),
    "many_learning_curves": lambda: figures.learning_curves({f"{name} fold 0": history() for name in SIX}),
    "many_unvalidated_curves": lambda: figures.learning_curves({f"{name} fold 0": unvalidated() for name in SIX}),
    "curve_of_one_validation": lambda: figures.learning_curves({"fold 0": validated_once()}),
    "pseudo_label_quality": lambda: score_figures.pseudo_label_quality(pd.concat(STAGES), ("before", "after")),
    "target_scores": lambda: score_figures.target_scores(scores(), title="nvauto"),
    "scores_of_cases_with_a_tumor": lambda: score_figures.target_scores(
        scores(), title="nvauto", tumor_cases={"case1", "case2"}
    ),
    "tumor_scores": lambda: score_figures.target_scores(scores().query("target == 'tumor'"), title="dkfz"),
    "scores_of_systems": lambda: score_figures.target_scores(
        pd.concat([scores().assign(system=s) for s in ("a", "b", "c")])
    ),
    "system_scores": lambda: score_figures.system_scores(measures(), SIX, "Six systems"),
    "case_montage": lambda: case_figures.case_montage(case()),
    "comparison": lambda: case_figures.comparison([case("One")]),
    **{
        f"comparison_of_{count}": partial(case_figures.comparison, [full_case(k) for k in range(count)])
        for count in (1, 2, 3, 6)
    },
    "coronal_comparison": lambda: case_figures.comparison([full_case(0)], "coronal"),
    "titled_comparison": lambda: case_figures.comparison([full_case(0), full_case(1)], title="nvauto, profile mini"),
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
    "volume_agreement_of_missed_tumors": lambda: volume_figures.volume_agreement(missed_tumors(), "dkfz_bs8"),
    "forest": lambda: forest(findings()),
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


def words_of(figure: PaperFigure) -> dict[Text, Bbox]:
    """What is written in a figure, and where, in pixels; slanted words and ticks beyond the axes are left out."""
    figure.draw_without_rendering()
    beyond = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        beyond |= {label for t in ticks if not low <= t.get_loc() <= high for label in (t.label1, t.label2)}
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return {text: text.get_window_extent() for text in shown if text.get_rotation() == 0 and text not in beyond}


@pytest.mark.parametrize("name", DRAWN)
def test_no_word_lies_on_another_or_on_a_picture_that_it_does_not_belong_to(name):
    figure = DRAWN[name]()
    words = words_of(figure)
    for (one, box), (other, place) in combinations(words.items(), 2):
        assert not lies_on(box, place), f"{one.get_text()!r} lies on {other.get_text()!r}"
    for axes in (axes for axes in figure.axes if axes.images):
        for word in (word for word in words if word.axes is not axes):
            assert not lies_on(words[word], axes.bbox), f"{word.get_text()!r} lies on {axes.get_title(loc='left')!r}"


def lies_on(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes share more than a pixel in both directions."""
    shared = Bbox.intersection(one, other)
    return shared is not None and min(shared.size) > 1


@pytest.mark.parametrize("name", ["comparison_of_6", "case_grid", "six_systems_on_a_case"])
def test_pictures_fill_their_panels_and_their_titles_stand_above_them(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    for axes in figure.axes:
        given, taken = axes.get_position(original=True), axes.get_position()
        assert np.allclose(given.bounds, taken.bounds, atol=1e-3), "the picture has another shape than its panel"


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


def test_several_trainings_are_shown_on_a_scale_that_tells_them_apart():
    def dice(*histories):
        named = {
            str(n): pd.DataFrame({"step": [1, 2], "loss": 1, "lr": 1, "validation_dice": h})
            for n, h in enumerate(histories)
        }
        return figures.learning_curves(named).axes[2].get_ylim()

    assert dice([0.75, 0.80], [np.nan, 0.82]) == (0.7, 0.9)
    assert dice([0.0, 0.3], [0.5, 1.0]) == (0, 1)
    assert dice([0.75, 0.80]) == (0, 1), "one training has its organs beside it"


def test_losses_of_different_kinds_share_a_logarithmic_axis():
    assert DRAWN["unvalidated_learning_curves"]().axes[0].get_yscale() == "log"
    assert DRAWN["two_learning_curves"]().axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        (([13, 0.7], [0.6, 0.4]), "log"),  # the lower curve would lie on the axis, although the ends are close
        (([2.5, 0.5], [1.0, 0.6]), "linear"),
        (([13, 0.7], [0.6, 0.0]), "linear"),  # 0 has no logarithm
        (([13, 0.7],), "linear"),
    ],
)
def test_a_training_that_stays_far_below_another_one_can_be_read(losses, scale):
    histories = {str(n): pd.DataFrame({"step": [1, 2], "loss": loss, "lr": 1}) for n, loss in enumerate(losses)}
    axes = figures.learning_curves(histories).axes[0]
    assert axes.get_yscale() == scale
    assert "thin: as logged" in axes.get_title("left")


def test_trainings_differ_in_color_and_dashes_and_their_losses_are_not_compared():
    figure = DRAWN["many_learning_curves"]()
    for axes in figure.axes:
        looks = [line for line in axes.lines if line.get_linewidth() > 1]
        assert len({to_hex(line.get_color()) for line in looks}) == 6
        assert [line.is_dashed() for line in looks] == [False, True, True, True, True, False]
    assert "not comparable" in figure.legends[0].get_title().get_text()
    assert DRAWN["learning_curves"]().axes[2].get_title("left") == "Dice on the held-out fold"


def test_one_validation_shows_as_named_points():
    dice = DRAWN["curve_of_one_validation"]().axes[2]
    assert all(line.get_marker() not in ("", "None") for line in dice.lines)
    named = {text.get_text() for text in dice.texts} - {"■"}
    assert named == {"Mean", "Tumor", "Both kidneys"}


def test_systems_are_rows_with_their_means_and_say_what_they_do_not_predict():
    panels = DRAWN["system_scores"]().axes
    assert len(panels) == 4
    assert [text.get_text() for text in panels[0].get_yticklabels()] == SIX
    organs, tumor = ([text.get_text() for text in panels[i].texts] for i in (0, 2))
    assert organs == ["20.8", "not predicted", "37.5", "45.8", "54.2", "62.5", "mean %"]  # (s + 0..5) / 12 on average
    assert "not predicted" not in tumor


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({"liver": "abc", "tumor": "abc"}, "over 3 cases against"),
        ({"liver": "abc", "tumor": "b"}, "over 1 to 3 cases against"),
        ({"liver": "a"}, "over 1 case against"),
    ],
)
def test_means_of_pseudo_labels_say_over_how_many_cases_they_are(cases, words):
    rows = [(c, name, stage, 0.5) for name, ids in cases.items() for c in ids for stage in ("before", "after")]
    rows += [("d", "liver", "before", np.nan), ("d", "liver", "after", np.nan)]  # no value, no case
    table = pd.DataFrame(rows, columns=["case", "target", "stage", "dsc"])
    assert words in score_figures.pseudo_label_quality(table, ("before", "after")).axes[0].get_xlabel()


def test_the_tumor_is_shown_of_the_cases_that_have_one():
    (axes,) = DRAWN["scores_of_cases_with_a_tumor"]().axes
    words = "Tumor: the 2 cases that have one. An organ that is neither there nor predicted counts as 100 %."
    assert axes.get_xlabel() == words
    diamond = axes.collections[-1].get_offsets()
    assert diamond.tolist() == [[13, pytest.approx(0.5 + 0.04 * 1.5 - 0.02 * 13)]]
    assert DRAWN["target_scores"]().axes[0].get_xlabel() == ""


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


def test_limits_that_no_case_can_reach_are_drawn_at_the_bound_and_keep_their_numbers():
    (axes,) = (figure := DRAWN["volume_agreement_of_missed_tumors"]()).axes
    lines = {round(line.get_ydata()[0], 2) for line in axes.lines if line.get_linestyle() == "--"}
    assert lines == {-2, 0.93}  # -4 / 3 and 1.96 times the root of 4 / 3 to both sides
    assert axes.texts[0].get_text() == "bias -133 %, limits -360 to +93 %"
    assert "beyond ±200 %" in figure.get_supxlabel()
    assert "beyond" not in DRAWN["volume_agreement_of_tumors"]().get_supxlabel()


def test_scores_have_a_shape_where_there_are_enough_cases():
    few = score_figures.target_scores(scores())
    many = score_figures.target_scores(pd.concat([scores(), scores().assign(dsc=lambda t: t["dsc"] / 2)]))
    shapes = [
        sum(len(c.get_paths()) for c in f.axes[0].collections if isinstance(c, PolyCollection)) for f in (few, many)
    ]
    assert shapes == [0, 14]


def test_the_slice_of_all_systems_is_the_busiest_one_unless_a_point_is_given():
    views = {"a": case(), "b": case()}
    assert "axial slice 22" in case_sheets.systems_on_case(views)._suptitle.get_text()
    assert "coronal slice 9" in case_sheets.systems_on_case(views, (1, 9, 3), "coronal")._suptitle.get_text()
    with pytest.raises(ValueError, match="each with labels and a prediction"):
        case_sheets.systems_on_case({"a": replace(case(), prediction=None)})


def test_a_forest_shows_effect_interval_published_effect_and_where_the_claim_holds():
    points, times, ml = DRAWN["forest"]().axes
    effects = {scatter.get_offsets()[0][0]: to_hex(scatter.get_facecolor()[0]) for scatter in points.collections}
    assert effects == {5: LOOKS[REPRODUCED][1], 4: LOOKS[CONTRADICTED][1], 0: LOOKS[INCONCLUSIVE][1]}
    intervals = [line.get_xdata() for line in points.lines if line.get_linewidth() == 2]
    assert np.allclose(intervals, [(3, 7), (2, 6), (-2, 2)])
    diamonds = {(line.get_xdata()[0], round(line.get_ydata()[0])) for line in points.lines if line.get_marker() == "D"}
    assert diamonds == {(8, 0), (3.1, 3)}
    left, right = points.get_xlim()
    shaded = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in points.patches]
    assert np.allclose(shaded, [(0, right), (left, 0), (-1, 1), (0, right)])
    assert [text.get_text() for text in points.texts] == ["+5.0", "+4.0", "+0.0", NOT_TESTED]
    assert [text.get_text() for text in (*times.texts, *ml.texts)] == ["x1.60", "x0.70", "-1.5"]
    whole, alone = (scatter.get_facecolor()[0] for scatter in times.collections)
    assert same_color(whole, LOOKS[REPRODUCED][1]) and same_color(alone, "white"), "its claim is inconclusive"
    with pytest.raises(ValueError, match="at least one finding"):
        forest([])


def test_a_legend_names_what_occurs_in_the_order_of_the_targets_and_the_errors_after_them():
    labels = np.array([0, 14, 5, 1, 5], np.uint8)
    figure = new_figure(8, 2)
    case_figures.target_legend(figure, [labels, None, np.array([6], np.uint8)], [("#ff0000", "missed")])
    (legend,) = figure.legends
    names = {"Liver": "liver", "Aorta": "aorta", "Inferior vena cava": "inferior_vena_cava", "Tumor": "tumor"}
    assert [text.get_text() for text in legend.texts] == [*names, "missed"]
    assert [line.get_color() for line in legend.get_lines()] == [COLORS[name] for name in names.values()]
    empty = new_figure(8, 2)
    case_figures.target_legend(empty, [np.zeros(3, np.uint8), None])
    assert not empty.legends


@pytest.mark.parametrize("is_vertical", [False, True])
def test_points_keep_their_values_and_are_spread_across_without_chance(is_vertical):
    axes = new_figure(2, 2).subplots()
    figures.scatter_points(axes, pd.Series([0.9, 0.1, 0.5]), 3.0, "#123456", 0.2, is_vertical=is_vertical)
    (points,) = axes.collections
    across, along = points.get_offsets().T if is_vertical else points.get_offsets().T[::-1]
    assert along.tolist() == [0.1, 0.5, 0.9]
    assert len(set(across)) == 3 and np.abs(across - 3).max() <= 0.2 + 1e-9
    assert same_color(points.get_facecolor()[0][:3], "#123456")
