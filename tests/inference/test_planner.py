"""A prediction stays within its memory, or is refused with what it needs."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_networks import SPACING, fake_network

from flare_core.cases.labels import SEPARATE
from flare_core.cases.preprocessing import FixedGrid, IntensityWindow
from flare_core.cases.regions import BodyBox
from flare_core.inference import footprint
from flare_core.inference import planner as planning
from flare_core.inference.backends import Compute
from flare_core.inference.footprint import window_bytes
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.nnunet_preprocessing import NnUNetPreprocessing, NnUNetResampling, NoNormalization
from flare_core.inference.planes import IN_MEMORY, SlabStore
from flare_core.inference.planner import Plan, Planner, TooLarge, parse_size
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.submission import Submission
from flare_core.inference.two_stage import TwoStage
from flare_core.models.segresnet import SegResNet
from flare_core.recipe import encode
from flare_core.systems import SYSTEMS

MB = 10**6
TALL, TALLER = (512, 512, 100), (512, 512, 2000)


@pytest.fixture(autouse=True)
def small_process(monkeypatch):
    monkeypatch.setattr(planning, "resident_bytes", lambda: 100 * MB)


def _submission(batch=4):
    inference = SlidingEnsemble(("all",), SlidingWindow((16, 16, 16), batch=batch))
    return Submission(inference, {"all": [fake_network(SEPARATE)]}, {})


def test_without_a_limit_the_plan_is_the_fastest_and_nothing_is_estimated():
    plan = Planner(_submission()).plan(TALLER, SPACING)
    assert plan == Plan(4, "float32") and str(plan) == "float32, 4 windows at a time, no memory limit"


def test_with_enough_memory_all_windows_of_a_batch_are_computed_at_once():
    plan = Planner(_submission(), 8000 * MB).plan((64, 64, 64), SPACING)
    assert plan.batch == 4 and 100 * MB < plan.estimate < 8000 * MB
    assert str(plan).startswith("float32, 4 windows at a time, about 0.")


def test_the_plan_says_where_scores_wait_for_other_networks():
    window = SlidingWindow((16, 16, 16))
    inference = RegionEnsemble("", "all", window, window, (0, 1), 4.0, True, "logits", ())
    networks = {"all": [fake_network(SEPARATE)] * 2}
    planner = Planner(Submission(inference, networks, {}), 8000 * MB)
    few, many, more = (planner.plan((64, 64, slices), SPACING) for slices in (100, 1000, 2000))
    assert few.waiting == SEPARATE.channels * 4 * 64 * 64 * 100
    assert "up to 24.6 MB of scores wait in memory," in str(few)
    assert "up to 0.25 GB of scores wait in memory (in a temporary file if more than 67.1 MB)," in str(many)
    assert more.estimate - many.estimate == 1000 * 64 * 64 * (2 + 1)
    for one in (replace(inference, first_model_crop=False), replace(inference, most=1)):
        assert Planner(Submission(one, networks, {}), 8000 * MB).plan((64, 64, 1000), SPACING).waiting == 0


def test_where_memory_has_no_room_scores_wait_in_a_file_from_the_first_on(monkeypatch):
    window, held = SlidingWindow((16, 16, 16)), []
    inference = RegionEnsemble("", "all", window, window, (0, 1), 4.0, True, "logits", ())
    submission, image = (
        Submission(inference, {"all": [fake_network(SEPARATE)] * 2}, {}),
        np.zeros((20, 20, 90), np.int16),
    )
    image[0] = 1

    class Store(SlabStore):
        def __init__(self, in_memory):
            held.append(in_memory)
            super().__init__(in_memory)

    monkeypatch.setattr("flare_core.inference.region_ensemble.SlabStore", Store)
    room = Planner(submission, 8000 * MB).plan(image.shape, SPACING)
    tight = Planner(submission, room.estimate - room.waiting).plan(image.shape, SPACING)
    assert (room.in_file, tight.in_file) == (False, True) and tight.estimate < room.estimate - room.waiting
    assert "of scores wait in a temporary file, about" in str(tight)
    labels = [plan.applied(submission)(image, SPACING) for plan in (room, tight)]
    assert held == [IN_MEMORY, 0] and np.array_equal(*labels)
    stored = replace(submission, inference=replace(inference, waits_in_file=True))
    assert all(Planner(stored, limit).plan(image.shape, SPACING).in_file for limit in (None, 8000 * MB))


def test_a_network_that_looks_once_at_a_whole_volume_computes_one_window_whatever_the_batch():
    network = replace(
        fake_network(SEPARATE, preprocessing=FixedGrid((16, 16, 16), IntensityWindow(-100, 100))), batch=4
    )
    inference = TwoStage("all", "all", "all", (0.0, 0.0, 0.0), BodyBox(-500, 0.0))
    submission = Submission(inference, {"all": [network]}, {})
    assert submission.batch == 1 and submission.with_batch(3).networks["all"][0].batch == 1
    by_windows = replace(_submission(2), networks={"all": [replace(fake_network(SEPARATE), batch=None)]})
    assert by_windows.batch == 2 and by_windows.with_batch(8).networks["all"][0].batch == 2


def test_more_slices_cost_their_own_voxels_and_labels_alone():
    planner = Planner(_submission(), 8000 * MB)
    few, many = (planner.plan(shape, SPACING).estimate for shape in (TALL, TALLER))
    assert many - few == 1900 * 512 * 512 * (2 + 1)


def test_a_label_map_on_the_networks_grid_counts_where_it_is_held_whole():
    by_labels = replace(_submission(), inference=replace(_submission().inference, resampled="labels"))
    few, many = (Planner(by_labels, 8000 * MB).plan(shape, SPACING).estimate for shape in (TALL, TALLER))
    assert many - few == pytest.approx(1900 * 512 * 512 * (2 + 1 + planning.SLACK), rel=1e-6)


def test_with_less_memory_fewer_windows_and_then_a_refusal_that_names_the_least():
    wide = replace(_submission(), networks={"all": [_wide()]})
    needs = [Planner(wide.with_batch(batch), 10**12).plan().estimate for batch in (1, 4)]
    assert Planner(wide, (needs[0] + needs[1]) // 2).plan().batch in (1, 2, 3)
    with pytest.raises(TooLarge, match="any image needs at least (.*) GB here in float32, the limit is") as refusal:
        Planner(wide, needs[0] - 20 * MB)
    least = float(re.search("least ([0-9.]+) GB", str(refusal.value))[1]) * 1000 * MB
    assert least == pytest.approx(needs[0], abs=10 * MB)
    with pytest.raises(TooLarge, match="512 x 512 x 2000 voxels"):
        Planner(wide, needs[0] + 20 * MB).plan(TALLER, SPACING)


def test_in_bfloat16_less_lives_in_a_network_and_the_widest_of_several_counts():
    fast, exact = (replace(_wide(), bfloat16=is_fast) for is_fast in (True, False))

    def inside(*members):
        planner = Planner(replace(_submission(1), networks={"all": members}), 10**12)
        return planner._look((64, 64, 64), SPACING, planner.submission.inference.looks()[0], 1)

    assert inside(fast) < inside(exact) < inside(fast, exact) == inside(exact, fast)


def _wide():
    return replace(fake_network(SEPARATE), architecture=SegResNet(64, (1, 1), 1))


@pytest.mark.parametrize("depth", [144, 224])
def test_the_published_windows_of_nvauto_do_not_fit_into_four_gigabytes_on_a_processor(depth):
    stage = SYSTEMS["nvauto"].stage("round2")
    network = replace(fake_network(stage.scheme), architecture=stage.network)
    whole = Submission(SlidingEnsemble(("all",), SlidingWindow((224, 224, depth))), {"all": [network]}, {})
    with pytest.raises(TooLarge, match="any image needs at least"):
        Planner(whole, 4000 * MB)


def test_what_lives_in_a_network_grows_with_its_window_and_is_remembered(monkeypatch):
    small, large = (window_bytes(SegResNet(8, (1, 1), 1), 3, (side,) * 3) for side in (16, 32))
    assert large == pytest.approx(8 * small, rel=0.01)
    one = 8 * 32**3 * 4  # a tensor of the first level
    assert 2 * one <= large <= 6 * one
    monkeypatch.setattr("flare_core.inference.footprint._followed", lambda *_: pytest.fail("followed again"))
    assert window_bytes(SegResNet(8, (1, 1), 1), 3, (32, 32, 32)) == large


def test_sizes_have_units():
    sizes = {"4GB": 4e9, "4GiB": 4 * 2**30, "500M": 5e8, "1.5 kB": 1500, "100": 100, "4e9": 4e9}
    assert {text: parse_size(text) for text in sizes} == sizes
    for text in ("", "GB", "-4GB", "4TB", "0", "four", "1e400"):
        with pytest.raises(ValueError, match="expected a size such as 4GB"):
            parse_size(text)


def test_nnunets_own_mode_holds_whole_volumes_and_is_counted_so():
    asis = NnUNetPreprocessing("RAS", NoNormalization(), NnUNetResampling(3), (4.0, 4.0, 4.0))
    network = fake_network(SEPARATE, preprocessing=asis)
    planner = Planner(Submission(NnUNetPredictor("all", (16, 16, 16)), {"all": [network]}, {}), 100_000 * MB)
    few, many = (planner.plan(shape, SPACING).estimate for shape in (TALL, TALLER))
    assert many - few > 1900 * 512 * 512 * (3 + 2 * SEPARATE.channels)


@pytest.mark.parametrize(
    ("way", "shape"),
    [
        ("an imported nnU-Net", (128, 128, 600)),
        ("cubic splines", (512, 512, 200)),
        ("scores in memory", (96, 96, 100)),
        ("scores in a file", (96, 96, 900)),
    ],
)
def test_what_is_planned_is_what_it_takes(way, shape):
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    command = [sys.executable, str(tests / "inference" / "predict_within_plan.py"), way, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert 0.5 * found["planned"] < found["peak"] <= found["planned"]
    assert (found["waiting"] > planning.IN_MEMORY) == (way == "scores in a file")


def test_on_a_card_only_weights_and_windows_count():
    on_card = replace(_submission(), compute=Compute("torch", "cuda"))
    planner = Planner.__new__(Planner)  # without a card nothing can be computed first
    planner.submission, planner.limit = on_card, 4000 * MB
    few, many = (planner.plan(shape, SPACING) for shape in (TALL, TALLER))
    assert few == many and few.batch == 4
    assert 600 * MB < few.estimate < 700 * MB


def test_the_memory_of_a_network_is_the_same_wherever_it_is_followed():
    network = SegResNet(8, (1, 1), 1)
    what = {"network": encode(network), "channels": 3, "window": (16, 16, 24)}
    assert footprint._followed_elsewhere(what) == footprint._followed(network, 3, (16, 16, 24))
