"""The synthetic cohort: anatomy in place, volumes of adults, FLARE23's annotation, the same bytes for the same seed."""

import filecmp
import json
from functools import cache

import numpy as np
import pytest

from flare_core.cases.cohort import generate_case, write_cohort
from flare_core.cases.cohort.annotation import (
    annotate,
    annotated_targets,
    draw_marks,
    largest_remainder,
    tumor_share,
)
from flare_core.cases.cohort.enlarge import interpolate, interpolate_labels
from flare_core.cases.cohort.fields import SplineField
from flare_core.cases.cohort.generate import Profile
from flare_core.cases.cohort.patient import PHASES, VOLUMES_ML, draw_patient, draw_tissues
from flare_core.cases.cohort.scanner import SOURCES
from flare_core.cases.cohort.write import plan_cohort
from flare_core.cases.dataset import Dataset
from flare_core.cases.labels import BY_NAME, FIVE_ORGANS, ORGANS, TARGET_NAMES, TARGETS

WHOLE = {"lower_mm": -200.0, "upper_mm": 150.0, "extent_mm": (460.0, 400.0)}
SEEDS = range(20)


@cache
def whole_patient(seed):
    """A patient of the mini profile with the whole abdomen in view."""
    return generate_case(seed, "validation", **WHOLE)


def centroid_mm(case, name):
    voxels = np.argwhere(case.truth == BY_NAME[name].id)
    return voxels.mean(0) * case.spacing_mm


def volume_ml(case, name):
    return np.count_nonzero(case.truth == BY_NAME[name].id) * np.prod(case.spacing_mm) / 1000


@pytest.mark.parametrize("profile", ["tiny", "mini"])
def test_the_same_seed_gives_the_same_voxels_and_another_seed_others(profile):
    first, again, other = (generate_case(seed, "organs5", profile) for seed in (3, 3, 4))
    assert first.image_hu.tobytes() == again.image_hu.tobytes()
    assert first.truth.tobytes() == again.truth.tobytes()
    assert first.annotation.tobytes() == again.annotation.tobytes()
    assert first.traits == again.traits
    assert first.image_hu.shape != other.image_hu.shape or (first.image_hu != other.image_hu).any()


def test_a_case_holds_what_its_type_promises():
    case = generate_case(5, "tumor_only", "tiny")
    assert case.image_hu.dtype == np.float32 and case.truth.dtype == case.annotation.dtype == np.uint8
    assert case.image_hu.shape == case.truth.shape == case.annotation.shape == case.geometry.ras_shape
    assert np.array_equal(case.image_hu, np.rint(case.image_hu)), "a file of whole HU must hold the same image"
    assert case.image_hu.min() >= -1024 and case.image_hu.max() <= 3000
    assert case.geometry.ras_spacing_mm == pytest.approx(case.spacing_mm, abs=1e-5)
    assert case.geometry.axes == case.traits["axes"]
    assert case.truth.max() <= 14


def test_unknown_groups_and_profiles_are_refused():
    with pytest.raises(ValueError, match="group"):
        generate_case(0, "organs12", "tiny")
    with pytest.raises(ValueError, match="profile"):
        generate_case(0, "organs5", "gigantic")


@pytest.mark.parametrize("name", VOLUMES_ML)
def test_organ_volumes_lie_in_the_published_ranges(name):
    _, _, lowest, highest = VOLUMES_ML[name]
    volumes = []
    for seed in SEEDS:
        case = whole_patient(seed)
        if any(tumor["host"] == name for tumor in case.traits["tumors"]) or volume_ml(case, name) == 0:
            continue  # a tumor takes its host's voxels; a gallbladder may have been removed
        volumes.append(volume_ml(case, name))
        assert volumes[-1] == pytest.approx(case.traits["volumes_ml"][name], rel=0.25), "grown to the drawn volume"
    assert len(volumes) >= 5
    # At 4 mm an adrenal gland is about 60 voxels: a tenth of tolerance at both ends.
    assert 0.9 * lowest <= min(volumes) and max(volumes) <= 1.1 * highest
    assert max(volumes) > 1.2 * min(volumes), "patients differ"


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_on_their_sides_and_among_their_neighbors(seed):
    case = whole_patient(seed)
    at = {target.name: centroid_mm(case, target.name) for target in ORGANS if (case.truth == target.id).any()}
    x, y, z = ({name: place[axis] for name, place in at.items()} for axis in range(3))
    assert set(at) >= {target.name for target in ORGANS} - {"gallbladder"}
    assert x["liver"] > x["inferior_vena_cava"] > x["aorta"] > x["spleen"], "x grows to the patient's right"
    assert x["right_kidney"] > x["inferior_vena_cava"] and x["aorta"] > x["left_kidney"]
    assert x["right_adrenal_gland"] > x["left_adrenal_gland"]
    assert x["duodenum"] > x["stomach"]
    assert y["stomach"] > y["spleen"] and y["pancreas"] > y["left_kidney"]
    assert z["right_adrenal_gland"] > z["right_kidney"] and z["left_adrenal_gland"] > z["left_kidney"]
    assert z["liver"] > z["duodenum"] and z["esophagus"] > z["pancreas"]


@pytest.mark.parametrize("phase", PHASES)
def test_tissues_take_the_hu_of_the_phase(phase):
    case = generate_case(11, "validation", phase=phase, **WHOLE)

    def hu(name):
        return np.median(case.image_hu[case.truth == BY_NAME[name].id])

    assert case.traits["phase"] == phase
    if phase == "unenhanced":
        assert all(abs(hu(name)) < 90 for name in ("liver", "spleen", "aorta", "left_kidney"))
    else:
        assert hu("aorta") > 80
        assert hu("left_kidney") > 80
    if phase == "arterial":
        assert hu("aorta") > hu("inferior_vena_cava") + 40


def test_low_contrast_and_enhancement_follow_the_textbook_on_average():
    rng = np.random.default_rng(0)
    mean = {
        phase: {
            name: np.mean([draw_tissues(rng, phase, 1.0)[name] for _ in range(200)]) for name in ("liver", "spleen")
        }
        for phase in PHASES
    }
    assert 45 < mean["unenhanced"]["liver"] < 60 and 40 < mean["unenhanced"]["spleen"] < 54
    assert mean["arterial"]["spleen"] > mean["arterial"]["liver"] + 20
    assert mean["portal"]["liver"] > mean["unenhanced"]["liver"] + 30


def test_the_patient_is_the_same_on_a_coarser_grid():
    coarse, fine = (generate_case(8, "validation", Profile((mm, mm), 24_000), **WHOLE) for mm in (6.0, 4.0))
    for name in ("liver", "spleen", "left_kidney", "stomach"):
        assert volume_ml(coarse, name) == pytest.approx(volume_ml(fine, name), rel=0.06)


def test_a_scan_painted_in_slabs_equals_one_painted_at_once_but_for_noise():
    quiet = {"noise_hu": 0.0, "streaks_hu": 0.0, "lower_mm": -60.0, "upper_mm": 100.0}
    whole = generate_case(2, "organs13", Profile((4.0, 4.0), 20_000, 96, 84, None), **quiet)
    slabs = generate_case(2, "organs13", Profile((4.0, 4.0), 20_000, 96, 84, 3.0), **quiet)
    assert slabs.image_hu.dtype == np.int16 and slabs.image_hu.shape == whole.image_hu.shape == (96, 96, 84)
    assert np.abs(slabs.image_hu - whole.image_hu).mean() < 25
    body = (whole.truth > 0) & (whole.truth < 14)
    assert (slabs.truth == whole.truth)[body].mean() > 0.9
    across = slabs.truth[:, :, 39] != slabs.truth[:, :, 40]  # the border between two slabs
    inside = slabs.truth[:, :, 38] != slabs.truth[:, :, 39]
    assert across.mean() < 2 * inside.mean() + 0.005


def test_tumors_override_organs_and_most_are_visible():
    tumors, ratios = 0, []
    for seed in range(12):
        case = generate_case(seed, "tumor_only", "tiny", noise_hu=12.0)
        drawn = case.traits["tumors"]
        assert 1 <= len(drawn) <= 3
        assert (case.truth == 14).any()
        tumors += len(drawn)
        ratios += [abs(tumor["contrast_hu"]) / 12.0 for tumor in drawn]
        assert all(1.5 <= tumor["volume_ml"] <= 90 for tumor in drawn)
    assert tumors > 12
    assert 0.6 < np.mean(np.array(ratios) >= 2) < 1.0, "most are visible, some are hard"


@pytest.mark.parametrize(
    ("group", "with_tumor", "names"),
    [
        ("organs13", False, {target.name for target in ORGANS}),
        ("organs5", True, {*FIVE_ORGANS, "tumor"}),
        ("tumor_only", True, {"tumor"}),
        ("unlabeled", False, set()),
        ("validation", True, set(TARGET_NAMES)),
    ],
)
def test_label_files_show_exactly_what_the_group_annotates(group, with_tumor, names):
    case = generate_case(6, group, "tiny", with_tumor_labels=with_tumor)
    assert case.annotated == annotated_targets(group, with_tumor) == names
    shown = set(np.unique(case.annotation)) - {0}
    assert shown <= {BY_NAME[name].id for name in names}
    if group != "unlabeled":
        assert shown
    assert len(np.unique(case.truth)) > 6, "the truth stays complete"


def test_an_unmarked_lesion_shows_its_host_and_an_unannotated_organ_is_background():
    organs = np.array([1, 1, 4, 5, 0], np.uint8)
    lesions = np.array([1, 2, 0, 0, 2], np.uint8)
    shown = annotate(organs, lesions, frozenset({"liver", "pancreas", "tumor"}), [True, False])
    assert shown.tolist() == [14, 1, 4, 0, 0]
    assert annotate(organs, lesions, frozenset({"liver"}), [True, True]).tolist() == [1, 1, 0, 0, 0]
    assert annotate(organs, lesions, frozenset(TARGET_NAMES), [True, True]).tolist() == [14, 14, 4, 5, 14]


def test_about_a_fifth_of_the_lesions_is_left_unmarked():
    rng = np.random.default_rng(0)
    counts = rng.choice([1, 2, 3], size=4000, p=[0.46, 0.30, 0.24])  # as drawn for cases with at least one tumor
    marks = [draw_marks(rng, int(count), "tumor_only") for count in counts]
    assert 0.77 < np.mean(sum(marks, [])) < 0.83
    assert all(of_case[0] for of_case in marks), "an annotated case shows at least one"
    assert draw_marks(rng, 3, "validation") == [True] * 3 and draw_marks(rng, 0, "tumor_only") == []


def test_largest_remainder_by_hand():
    assert largest_remainder(80, [250, 1062, 888, 1800]) == [5, 21, 18, 36]
    assert largest_remainder(4000, [250, 1062, 888, 1800]) == [250, 1062, 888, 1800]
    assert largest_remainder(1, [1, 1]) == [1, 0]
    assert largest_remainder(0, [3, 1]) == [0, 0]
    with pytest.raises(ValueError, match="weight"):
        largest_remainder(3, [0, 0])


def test_a_full_plan_has_flares_numbers():
    plans = plan_cohort(4000, 0, 0)
    assert sum(plan.with_tumor_labels for plan in plans) == 1497
    assert all(plan.with_tumor_labels == (tumor_share(plan.group) == 1) for plan in plans if plan.group == "tumor_only")
    assert not any(plan.with_tumor_labels for plan in plans if plan.group == "unlabeled")
    assert len({plan.id for plan in plans}) == len({plan.seed for plan in plans}) == 4000


def test_a_larger_cohort_begins_with_the_smaller_ones_cases():
    small, large = (set(plan_cohort(cases, 2, 7)) for cases in (20, 80))
    assert small < large
    assert not {plan.seed for plan in small} & {plan.seed for plan in plan_cohort(20, 2, 8)}


def test_sources_differ_and_about_a_quarter_is_unenhanced():
    weights = np.array([250, 1062, 888, 1800]) / 4000
    unenhanced = sum(weight * source.phases[0] for weight, source in zip(weights, SOURCES.values(), strict=True))
    assert 0.2 <= unenhanced <= 0.25
    for source in SOURCES.values():
        assert sum(source.phases) == pytest.approx(1) and sum(source.ranges.values()) == pytest.approx(1)
    assert len({(source.phases, source.slice_factor, source.noise_hu) for source in SOURCES.values()}) == len(SOURCES)


def test_a_written_cohort_is_a_dataset_and_has_the_same_bytes_from_two_workers(tmp_path):
    one = write_cohort(tmp_path / "one", 8, 1, 3, profile="tiny")
    two = write_cohort(tmp_path / "two", 8, 1, 3, profile="tiny", workers=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert len(files) == 8 + 4 + 8 + 1 + 1 + 2, "images, labels, truth, validation, dataset.json and what made it"
    match, mismatch, errors = filecmp.cmpfiles(one, two, map(str, files), shallow=False)
    assert len(match) == len(files) and not mismatch and not errors
    dataset = Dataset.load(one)
    assert len(dataset.training) == 8 and len(dataset.validation) == 1
    index = json.loads((one / "dataset.json").read_text())
    for entry in dataset.training:
        assert entry.annotated == frozenset(index["annotated"][entry.id])
        assert entry.is_labeled == (entry.group != "unlabeled")
    case = dataset.validation[0].load()
    plan = plan_cohort(8, 1, 3)[-1]
    fresh = generate_case(plan.seed, plan.group, "tiny", with_tumor_labels=plan.with_tumor_labels)
    assert np.array_equal(case.image.data, fresh.image_hu), "what is written is what was generated"
    assert np.array_equal(case.labels.data, fresh.truth)


def test_two_cohorts_do_not_share_a_folder_and_the_same_one_is_written_again(tmp_path):
    root = write_cohort(tmp_path / "c", 2, 0, 3, profile="tiny", slices=40)
    assert write_cohort(root, 2, 0, 3, profile="tiny", slices=40) == root
    assert Dataset.load(root).training[0].load().image.data.shape[2] == 40
    with pytest.raises(ValueError, match="not empty and holds another cohort"):
        write_cohort(root, 2, 0, 4, profile="tiny", slices=40)
    with pytest.raises(ValueError, match="1 to 2000 slices"):
        write_cohort(tmp_path / "d", 2, 0, 4, profile="tiny", slices=0)
    assert not (tmp_path / "d").exists()


def test_a_cohort_of_no_cases_is_an_empty_dataset(tmp_path):
    root = write_cohort(tmp_path / "none", 0, 0, 0, profile="tiny")
    assert json.loads((root / "dataset.json").read_text())["group"] == {}
    assert not list(root.rglob("*.nii.gz"))


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_negative_numbers_are_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match=">= 0"):
        write_cohort(tmp_path / "x", *arguments)
    assert not (tmp_path / "x").exists()


def test_a_field_is_one_function_of_millimeters_on_every_grid():
    field = SplineField.random(np.random.default_rng(0), 25.0, 2)
    axes = tuple(np.array([-31.0, 4.0, 55.5]) for _ in range(3))
    values = field.on_grid(axes)
    points = np.array([[x, y, z] for x in axes[0] for y in axes[1] for z in axes[2]])
    assert values.shape == (2, 3, 3, 3) and values.dtype == np.float32
    assert field.at_points(points).T.reshape(2, 3, 3, 3) == pytest.approx(values, abs=1e-5)
    wide = tuple(np.arange(-150.0, 150.0, 10.0) for _ in range(3))
    assert field.on_grid(wide).std() == pytest.approx(1.0, abs=0.12)


def test_a_field_whose_coefficients_are_linear_is_linear():
    x = SplineField.knot_positions(60.0)[0]
    shape = [len(axis) for axis in SplineField.knot_positions(60.0)]
    ramp = SplineField(60.0, np.broadcast_to(x[:, None, None], shape)[None].astype(np.float32))
    places = np.array([-200.0, -13.0, 0.0, 77.0])
    assert ramp.on_grid((places, np.zeros(1), np.zeros(1)))[0, :, 0, 0] == pytest.approx(places, abs=1e-3)


def test_interpolation_is_exact_for_a_ramp_and_goes_on_at_the_border():
    old = tuple(np.arange(4) * 2.0 for _ in range(3))
    ramp = np.broadcast_to(old[0][:, None, None], (4, 4, 4)).astype(np.float32)
    new = (np.array([-3.0, 0.5, 5.0, 9.0]), np.array([1.0]), np.array([0.0, 6.0]))
    assert interpolate(ramp, old, new)[:, 0, 0].tolist() == [0.0, 0.5, 5.0, 6.0]


def test_labels_survive_interpolation_with_their_border_in_place():
    old = tuple(np.arange(12) * 2.0 for _ in range(3))
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:6, 2:10, 2:10] = 3
    labels[6:10, 2:10, 2:10] = 7
    fine = tuple(np.arange(0, 23, 1.0) for _ in range(3))
    line = interpolate_labels(labels, old, fine)[:, 11, 11]
    assert line[4:11].tolist() == [3] * 7 and line[12:19].tolist() == [7] * 7
    assert line[:2].tolist() == [0, 0] and line[21:].tolist() == [0, 0]
    assert not interpolate_labels(np.zeros((12, 12, 12), np.uint8), old, fine).any()


def test_difficulty_spreads_shapes_and_noise():
    calm, wild = (generate_case(1, "organs13", "tiny", difficulty=value) for value in (0.3, 2.0))
    assert calm.traits["noise_hu"] < wild.traits["noise_hu"]
    patients = {
        value: [draw_patient(np.random.default_rng(seed), "portal", value) for seed in range(40)]
        for value in (0.3, 2.0)
    }
    livers = {value: np.std([person.volumes_ml["liver"] for person in people]) for value, people in patients.items()}
    densities = {
        value: np.std([person.tissues_hu["spleen"] for person in people]) for value, people in patients.items()
    }
    assert livers[0.3] < livers[2.0] and densities[0.3] < densities[2.0]


def test_targets_and_volumes_name_the_same_organs():
    assert set(VOLUMES_ML) <= {target.name for target in TARGETS}
