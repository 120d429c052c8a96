"""Values: replaced, shrunk, stored."""

from dataclasses import dataclass, make_dataclass

import pytest

from flare_core.recipe import AS_PUBLISHED, Scaled, decode, encode, fingerprint, replaced
from flare_core.systems import SYSTEMS
from flare_core.systems.efficient_nnunet import EFFICIENT_NNUNET
from flare_core.systems.nvauto import NVAUTO


def test_a_path_reaches_one_stage_every_stage_or_the_inference():
    one = replaced(NVAUTO, "round1.optimization.epochs", 7)
    assert [s.optimization.epochs for s in one.stages] == [300, 7, 300]
    assert [s.folds for s in replaced(NVAUTO, "*.folds", 3).stages] == [3, 3, 3]
    assert replaced(NVAUTO, "inference.window.overlap", 0.5).inference.window.overlap == 0.5
    assert NVAUTO.inference.window.overlap == 0.0


def test_a_path_reaches_a_member_of_a_tuple_by_its_number():
    changed = replaced(NVAUTO, "inference.postprocessing.2.minimum_voxels", 7).inference.postprocessing
    assert changed[:2] == NVAUTO.inference.postprocessing[:2] and changed[2].minimum_voxels == 7
    assert replaced(NVAUTO, "inference.postprocessing.0", None).inference.postprocessing[0] is None


def test_what_is_scaled_is_multiplied_whatever_the_profile_has():
    features = replaced(EFFICIENT_NNUNET, "student.network.features", Scaled(2)).stage("student").network.features
    assert features == tuple(2 * number for number in EFFICIENT_NNUNET.stage("student").network.features)
    assert replaced(NVAUTO, "round1.optimization.epochs", Scaled(2)).stage("round1").optimization.epochs == 600
    blocks = replaced(EFFICIENT_NNUNET, "student.network.features.1", Scaled(3)).stage("student").network.features
    assert blocks[1] == 3 * EFFICIENT_NNUNET.stage("student").network.features[1] and blocks[0] == features[0] / 2
    with pytest.raises(TypeError, match="cannot multiply 'round1' by 2; expected a number"):
        replaced(NVAUTO, "round1.name", Scaled(2))


def test_the_method_itself_is_the_experiment_that_changes_nothing():
    assert NVAUTO.ablated(AS_PUBLISHED) is NVAUTO and not NVAUTO.trains(AS_PUBLISHED)


def test_an_ablation_trains_if_it_changes_a_stage():
    assert NVAUTO.trains("partial_as_full") and not NVAUTO.trains("overlap")
    assert NVAUTO.ablated("overlap").stages == NVAUTO.stages


@pytest.mark.parametrize(
    "where",
    ["round1.optimization.epoch", "round9.folds", "inference.window.overlap.x", "speed", "inference.postprocessing.3"],
)
def test_a_misspelt_path_is_refused(where):
    with pytest.raises(AttributeError, match="has no field"):
        replaced(NVAUTO, where, 1)


def test_unknown_profiles_stages_and_ablations_name_the_known_ones():
    with pytest.raises(ValueError, match="smoke, mini, study, paper"):
        NVAUTO.at("large")
    with pytest.raises(ValueError, match="localizer, round1, round2"):
        NVAUTO.stage("round3")
    with pytest.raises(ValueError, match="partial_as_full"):
        NVAUTO.ablated("none")


def test_equal_values_have_equal_fingerprints_and_a_changed_number_another():
    assert fingerprint(NVAUTO) == fingerprint(SYSTEMS["nvauto"].at("paper"))
    assert fingerprint(NVAUTO) != fingerprint(replaced(NVAUTO, "round1.optimization.optimizer.learning_rate", 1e-4))


@dataclass(frozen=True)
class Part:
    size: tuple[int, int]
    inner: object = None


def test_storing_gives_back_nested_parts_with_tuples():
    value = Part((1, 2), Part((3, 4)))
    assert decode(encode(value), [Part]) == value


def test_only_listed_parts_with_fitting_fields_are_rebuilt():
    with pytest.raises(ValueError, match="unknown part 'Popen'"):
        decode({"type": "Popen", "args": ["x"]}, [Part])
    with pytest.raises(ValueError, match="does not take"):
        decode({"type": "Part", "length": 1}, [Part])
    with pytest.raises(TypeError, match="cannot store"):
        encode(Part((1, 2), object()))


def test_a_new_field_that_has_its_default_changes_no_fingerprint():
    @dataclass(frozen=True)
    class Part:
        size: int
        options: tuple = ()

    def older(size):
        return make_dataclass("Part", [("size", int)], frozen=True)(size)

    assert fingerprint(Part(3)) == fingerprint(older(3)) != fingerprint(older(4))
    assert fingerprint(Part(3, (1,))) != fingerprint(Part(3))
    assert encode(Part(3)) == {"type": "Part", "size": 3, "options": []}
