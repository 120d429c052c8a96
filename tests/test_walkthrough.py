"""One case on its way through a stage, for every system: what is shown is what training makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from flare_core.cases.case import Case
from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES
from flare_core.cases.nifti import Volume
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.cases.regions import LabelBox
from flare_core.pictures import volumes_side_by_side
from flare_core.systems import SYSTEMS
from flare_core.training.prepare import NothingToTrain
from flare_core.walkthrough import (
    example_entry,
    main_stage,
    network_shapes,
    panel_marks,
    patch_rows,
    patches_of_stages,
    preprocessing_panels,
    there_and_back,
)

each_system = pytest.mark.parametrize("system", [value.at("smoke") for value in SYSTEMS.values()], ids=SYSTEMS)
NVAUTO = SYSTEMS["nvauto"].at("smoke")


def test_the_main_stage_is_in_the_submission_and_knows_most():
    found = {key: main_stage(system).name for key, system in SYSTEMS.items()}
    assert found == {
        "nvauto": "round2",
        "dkfz_bs8": "batch8",
        "dkfz_bs4_8": "batch8",
        "stmt": "organs",
        "efficient_nnunet": "student",
        "swinx": "finetuning",
    }


@each_system
def test_the_example_is_a_labeled_case_of_its_stage_that_shows_most(system, tiny_dataset):
    for stage in system.stages:
        entry = example_entry(stage, tiny_dataset.training)
        assert entry in stage.cases(tiny_dataset.training) and entry.is_labeled
        most = max(len(e.annotated) for e in stage.cases(tiny_dataset.training))
        assert len(entry.annotated) == most


def test_a_stage_without_labeled_cases_says_so(tiny_dataset):
    unlabeled = [entry for entry in tiny_dataset.training if not entry.is_labeled]
    with pytest.raises(NothingToTrain, match="no labeled case"):
        example_entry(NVAUTO.stage("round2"), unlabeled)


@each_system
def test_panels_end_on_the_grid_of_the_network_and_keep_their_size_in_mm(system, tiny_dataset):
    stage = main_stage(system)
    case = example_entry(stage, tiny_dataset.training).load()
    panels = preprocessing_panels(case, stage)
    steps = ["stored", "RAS+", "region", "network grid"]
    assert list(panels) == [step for step in steps if step != "region" or stage.region is not None]
    sizes = {name: np.array(volume.shape) * spacing for name, (volume, spacing) in panels.items()}
    assert np.allclose(sorted(sizes["stored"]), sorted(sizes["RAS+"]))
    assert np.allclose(sizes["network grid"], sizes["region" if "region" in sizes else "RAS+"])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "AIL", "SRA"])
def test_the_letters_of_a_panel_say_which_of_its_sides_is_which(axes):
    # Values rise toward right, anterior and head, so the brighter edge of a panel is the one with the letter R, A or S,
    # whatever the order and direction in which the file stores its axes.
    rising = np.indices((6, 8, 10)).sum(axis=0).astype(np.float32)
    image = Volume(rising, Geometry.from_spacing(rising.shape, (20, 20, 20), axes=axes))
    case = Case("case", image, None, frozenset(), "unlabeled")
    panels, marks = preprocessing_panels(case, replace(NVAUTO.stage("round2"), region=None)), panel_marks(case)
    figure = volumes_side_by_side(panels, marks=marks)
    for panel, title in zip(figure.axes, panels, strict=True):
        picture = panel.images[0].get_array()
        left, right, _ = marks[title]
        assert (left if picture[:, 0].mean() > picture[:, -1].mean() else right) in "RAS"
        assert {left, right} in ({"R", "L"}, {"A", "P"}, {"S", "I"})
    units = {title: unit for title, (_, _, unit) in marks.items()}
    assert units == {"stored": "HU", "RAS+": "HU", "region": "HU", "network grid": ""}, "a network sees no HU"


def test_a_grid_as_fine_as_the_image_gives_all_labels_back(tiny_dataset):
    case = next(entry for entry in tiny_dataset.training if entry.is_labeled).load()
    same = Preprocessing(case.image.spacing_mm, IntensityWindow(-250, 250))
    stage = replace(NVAUTO.stage("round2"), preprocessing=same)
    assert np.array_equal(there_and_back(case, stage), case.labels.data)
    boxed = replace(stage, region=LabelBox(0))
    assert np.array_equal(there_and_back(case, boxed), case.labels.data)
    assert preprocessing_panels(case, boxed)["region"][0].size < case.image.data.size


@each_system
def test_patches_are_as_many_as_asked_for_and_as_large_as_the_network_wants(system, tiny_dataset):
    rows = patches_of_stages(system, tiny_dataset.training, count=4, seed=0)
    assert list(rows) == [stage.name for stage in system.stages]
    for stage in system.stages:
        assert len(rows[stage.name]) == 4
        for image, labels in rows[stage.name]:
            assert image.shape == labels.shape == tuple(stage.sampling.patch)
            asked = {TARGET_NAMES.index(group[0]) + 1 for group in stage.scheme.groups}
            assert set(np.unique(labels)) <= {0, *asked}


def test_views_for_learning_without_labels_show_none(tiny_dataset):
    stage = SYSTEMS["swinx"].at("smoke").stage("pretraining")
    entry = example_entry(stage, tiny_dataset.training)
    assert not any(labels.any() for row in patch_rows(stage, entry, 4, 0).values() for _, labels in row)


def test_augmentation_changes_what_was_cut_and_the_seed_decides(tiny_dataset):
    stage = NVAUTO.stage("round2")
    entry = example_entry(stage, tiny_dataset.training)
    first, again, other = (patch_rows(stage, entry, 4, seed) for seed in (0, 0, 1))
    for name in ("as cut", "augmented"):
        assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(first[name], again[name], strict=True))
        assert not all(np.array_equal(a, b) for (a, _), (b, _) in zip(first[name], other[name], strict=True))
    assert not all(np.array_equal(a, b) for (a, _), (b, _) in zip(first["as cut"], first["augmented"], strict=True))


@each_system
def test_shapes_say_batch_channels_and_voxels(system):
    table = network_shapes(system)
    assert list(table.index) == list(system.inference.stages)
    for stage in map(system.stage, system.inference.stages):
        patch = tuple(stage.sampling.patch)
        assert table.loc[stage.name, "in"] == str((1, 1, *patch))
        assert table.loc[stage.name, "out"].startswith(str((1, stage.scheme.channels, *patch)))


def test_the_published_networks_have_their_published_inputs():
    assert network_shapes(SYSTEMS["efficient_nnunet"]).loc["student", "in"] == "(1, 1, 192, 128, 32)"
    assert len(ORGAN_NAMES) + 1 == SYSTEMS["efficient_nnunet"].stage("student").scheme.channels
