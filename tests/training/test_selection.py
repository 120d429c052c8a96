"""Which cases a stage learns from, and in which group they are."""

from dataclasses import replace

import numpy as np
import pytest

from flare_core.batch import BatchStopped
from flare_core.cases.dataset import Entry
from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES
from flare_core.systems import SYSTEMS
from flare_core.training import prepare
from flare_core.training.prepare import prepare_cases
from flare_core.training.selection import (
    EVERY_CASE,
    LABELED,
    AnnotatedCases,
    CasesWithout,
    InEqualNumbers,
    PartlyLabeledCases,
)

KINDS = InEqualNumbers((AnnotatedCases(ORGAN_NAMES), PartlyLabeledCases(ORGAN_NAMES), CasesWithout(ORGAN_NAMES)))


def test_full_partial_and_no_organ_labels_share_out_the_training_cases(tiny_dataset):
    """32 cases in FLARE's proportions 250 : 1062 : 888 : 1800."""
    full, partial, without = (group(tiny_dataset.training) for group in KINDS.groups)
    assert (len(full), len(partial), len(without)) == (2, 9, 21)
    assert set(FIVE_ORGANS) <= partial[0].annotated < set(ORGAN_NAMES) | {"tumor"}
    assert {e.id for e in KINDS(tiny_dataset.training)} == {e.id for e in EVERY_CASE(tiny_dataset.training)}
    assert len(EVERY_CASE(tiny_dataset.training)) == 32 > len(LABELED(tiny_dataset.training))


def test_validation_cases_never_teach(tiny_dataset):
    everything = [*tiny_dataset.training, *tiny_dataset.validation]
    assert EVERY_CASE(everything) == EVERY_CASE(tiny_dataset.training)
    assert KINDS(tiny_dataset.validation) == ()


def test_a_case_belongs_to_the_first_group_that_picks_it(tiny_dataset):
    numbers = [KINDS.group_of(entry) for entry in tiny_dataset.training]
    assert [numbers.count(group) for group in range(3)] == [2, 9, 21]
    assert InEqualNumbers((EVERY_CASE, LABELED)).group_of(tiny_dataset.training[0]) == 0


def test_prepared_cases_know_their_group_and_unlabeled_ones_have_no_foreground(tiny_dataset, tmp_path):
    stage = replace(SYSTEMS["nvauto"].at("smoke").stage("round1"), cases=KINDS)
    chosen = [group(tiny_dataset.training)[0] for group in KINDS.groups[:2]]
    chosen.append(next(entry for entry in tiny_dataset.training if not entry.is_labeled))
    prepared = prepare_cases(stage, chosen, lambda entry: entry.load(), tmp_path)
    assert [case.group for case in prepared.values()] == [0, 1, 2]
    assert list(prepared[chosen[2].id].voxels_of) == [0]
    first = prepared[chosen[0].id]
    whole = np.array(first.image)
    for name in ("image.npy", "voxels.npy", "json"):
        damaged = tmp_path / f"{first.id}.{name}"
        damaged.write_bytes(damaged.read_bytes()[:-9])
        again = prepare_cases(stage, chosen, lambda entry: entry.load(), tmp_path)
        assert list(again) == list(prepared) and np.array_equal(again[first.id].image, whole)


def test_what_ends_the_training_while_a_case_is_opened_is_not_damage(tiny_dataset, tmp_path, monkeypatch):
    stage = SYSTEMS["nvauto"].at("smoke").stage("round1")
    load = Entry.load
    chosen = [KINDS.groups[0](tiny_dataset.training)[0]]
    prepare_cases(stage, chosen, load, tmp_path)

    def lost(*_):
        raise BatchStopped("another process ended")

    monkeypatch.setattr(prepare, "_mapped", lost)
    monkeypatch.setattr(prepare, "_prepare", dict)  # cannot be called like this
    with pytest.raises(BatchStopped, match="another process"):
        prepare_cases(stage, chosen, load, tmp_path)
    assert prepare.is_prepared(tmp_path, chosen[0])
