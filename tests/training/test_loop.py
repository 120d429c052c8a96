"""The training loop: learns, resumes to the same weights, shares a batch between processes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from flare_core.inference.network import BadModel, load_network
from flare_core.training.batch import StepBatches, Workers, draw_batch, drawing_processes, in_order
from flare_core.training.checkpoint import load_checkpoint, previous, save_checkpoint
from flare_core.training.loop import Diverged, start_from, train, validate
from flare_core.training.mean_teacher import MeanTeacher

ALONE = Workers()


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "checkpoint.pt")["module"]


def _same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_lowers_the_loss_and_keeps_the_best_epoch(stage, cases, tmp_path):
    stage = replace(stage, optimization=replace(stage.optimization, epochs=8, steps_per_epoch=10))
    model = train(stage, cases[:2], cases[2:], tmp_path, seed=0, facts={"fold": 0})
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.loss.iloc[-1] < 0.8 * history.loss.iloc[0]
    assert list(history.epoch) == list(range(1, 9)) and history.step.iloc[-1] == 80
    best = history.validation_dice.max()
    assert best > 0.5
    assert json.loads((model / "model.json").read_text())["validation_dice"] == pytest.approx(best)
    assert set(load_file(model / "weights.safetensors")) == set(load_network(model).module.state_dict())


def test_processes_that_draw_ahead_change_neither_the_batches_nor_their_order(stage, cases):
    batches = StepBatches(stage, cases, 0, 1, ALONE)
    alone, ahead = (list(in_order(batches, processes)) for processes in (0, 2))
    assert len(alone) == len(ahead) == stage.steps_per_epoch(len(cases)) == 2
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.channels, other.channels)
        assert (one.cases, one.seed) == (other.cases, other.seed)
    assert drawing_processes(torch.device("cpu")) == 0 <= drawing_processes(torch.device("cuda"))


def test_resuming_gives_the_weights_of_an_uninterrupted_training(stage, cases, tmp_path, monkeypatch):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(stage, cases[:2], cases[2:], whole, seed=3, facts={"fold": 0})

    class Stopped(Exception):
        pass

    def stop_after_two(path, state):
        save_checkpoint(path, state)
        if state["epoch"] == 2:
            raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr("flare_core.training.loop.save_checkpoint", stop_after_two)
        train(stage, cases[:2], cases[2:], halves, seed=3, facts={"fold": 0})
    assert load_checkpoint(halves / "checkpoint.pt")["epoch"] == 2
    train(stage, cases[:2], cases[2:], halves, seed=3, facts={"fold": 0})
    assert _same(_weights(whole), _weights(halves))
    losses = [pd.read_csv(folder / "history.csv").loss.tolist() for folder in (whole, halves)]
    assert losses[0] == losses[1]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(stage, cases, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(stage, cases, [], tmp_path / name, seed=seed, facts={"fold": 0})
    assert _same(_weights(tmp_path / "a"), _weights(tmp_path / "b"))
    assert not _same(_weights(tmp_path / "a"), _weights(tmp_path / "c"))


@pytest.mark.parametrize("held_out", ["none", "not annotated"])
def test_where_nothing_can_be_validated_the_last_epoch_is_kept(stage, cases, tmp_path, held_out):
    validation = [] if held_out == "none" else [replace(cases[2], annotated=np.zeros(13, bool))]
    model = train(stage, cases[:2], validation, tmp_path, seed=0, facts={"fold": 0})
    assert json.loads((model / "model.json").read_text())["epoch"] == 4


def test_an_epoch_shows_every_case_equally_often(stage, cases):
    stage = replace(stage, optimization=replace(stage.optimization, steps_per_epoch=3, batch=2))
    batches = [draw_batch(stage, cases, seed=0, epoch=0, step=step, workers=ALONE) for step in range(3)]
    shown = [case for batch in batches for case in batch.cases]
    assert sorted(shown) == ["c0", "c0", "c1", "c1", "c2", "c2"]


def test_processes_draw_the_parts_of_the_batch_that_one_process_draws(stage, cases):
    whole = draw_batch(stage, cases, seed=5, epoch=1, step=1, workers=ALONE)
    parts = [draw_batch(stage, cases, seed=5, epoch=1, step=1, workers=Workers(rank, 2)) for rank in range(2)]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
    assert whole.cases == parts[0].cases + parts[1].cases


def test_validation_scores_only_what_is_annotated_and_present(stage, cases):
    module = stage.network.build(stage.scheme.channels)
    only_liver = replace(cases[0], annotated=np.arange(13) == 1)
    assert set(validate(stage, module, [only_liver], ALONE)) == {"dice_liver", "validation_dice"}
    nothing = replace(cases[0], annotated=np.zeros(13, bool))
    assert validate(stage, module, [nothing], ALONE) == {}


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_cases(stage, cases, tmp_path):
    broken = replace(cases[0], image=np.full_like(cases[0].image, np.nan))
    with pytest.raises(Diverged, match="epoch 1, step 1 .cases c0"):
        train(stage, [broken], [], tmp_path, seed=0, facts={"fold": 0})


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_stops_the_training_before_it_reaches_the_weights(
    clip, stage, cases, tmp_path, monkeypatch
):
    build, modules = type(stage.network).build, []

    def broken(architecture, channels):
        modules.append(build(architecture, channels))
        next(modules[0].parameters()).register_hook(lambda gradient: gradient * float("nan"))
        return modules[0]

    monkeypatch.setattr(type(stage.network), "build", broken)
    stage = replace(stage, optimization=replace(stage.optimization, gradient_clip=clip))
    with pytest.raises(Diverged, match="gradient's norm is nan in epoch 1, step 1 .cases c.*lower learning rate"):
        train(stage, cases, [], tmp_path, seed=0, facts={"fold": 0})
    torch.manual_seed(0)
    untrained = build(stage.network, stage.scheme.channels)
    assert _same(modules[0].state_dict(), untrained.state_dict()), "no step was taken"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"epoch": 1})
    save_checkpoint(path, {"epoch": 2})
    path.write_bytes(path.read_bytes()[:100])
    assert load_checkpoint(path)["epoch"] == 1
    previous(path).write_bytes(b"")
    with pytest.raises(ValueError, match="no readable checkpoint"):
        load_checkpoint(path)


def in_two_processes(*words) -> subprocess.CompletedProcess:
    """Run the script beside this file by torchrun."""
    script = Path(__file__).with_name("train_in_two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    return subprocess.run([*map(str, [*command, script, *words])], capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("kind", ["nvauto", "nnunet", "groups"])
def test_two_processes_train_to_the_weights_of_one_with_the_whole_batch(kind, tmp_path):
    done = in_two_processes(tmp_path, kind)
    assert done.returncode == 0, done.stderr[-2000:]
    two, one = _weights(tmp_path / "two"), _weights(tmp_path / "one")
    assert all(torch.allclose(two[name], one[name], atol=2e-5) for name in one)
    losses = [pd.read_csv(tmp_path / name / "history.csv").loss.to_numpy() for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_lost_process_ends_the_training_clearly_and_it_goes_on_to_the_same_weights(tmp_path):
    lost = in_two_processes(tmp_path, "nvauto", 1)
    assert lost.returncode != 0
    assert "another process of this training ended" in lost.stderr and "--resume" in lost.stderr, lost.stderr[-2000:]
    assert load_checkpoint(tmp_path / "two" / "checkpoint.pt")["epoch"] == 1
    done = in_two_processes(tmp_path, "nvauto")
    assert done.returncode == 0, done.stderr[-2000:]
    resumed, whole = _weights(tmp_path / "two"), _weights(tmp_path / "one")
    assert all(torch.allclose(resumed[name], whole[name], atol=2e-5) for name in whole)


def test_a_training_starts_from_every_weight_that_fits(stage, cases, tmp_path):
    first = train(stage, cases[:2], cases[2:], tmp_path / "first", seed=0, facts={"fold": 0})
    stored = load_network(first, exact=True).module.state_dict()
    same = stage.network.build(13)
    assert start_from(same, first) == len(stored)
    assert _same(same.state_dict(), stored)
    wider = stage.network.build(5)  # another number of channels: the heads stay as they are
    copied = start_from(wider, first)
    assert 0 < copied < len(stored)
    other = replace(stage.network, width=stage.network.width * 2).build(13)
    with pytest.raises(BadModel, match=r"none of its \d+ weights fits"):
        start_from(torch.nn.Linear(2, 3), first)
    assert start_from(other, first) < copied


def test_the_last_epoch_is_kept_where_the_recipe_says_so(stage, cases, tmp_path):
    stage = replace(stage, validation=replace(stage.validation, keep="last"))
    model = train(stage, cases[:2], cases[2:], tmp_path, seed=0, facts={"fold": 0})
    assert json.loads((model / "model.json").read_text())["epoch"] == stage.optimization.epochs


def test_a_stage_without_validation_keeps_its_last_epoch(stage, cases, tmp_path):
    model = train(replace(stage, validation=None), cases[:2], cases[2:], tmp_path, seed=0, facts={"fold": 0})
    assert json.loads((model / "model.json").read_text())["epoch"] == stage.optimization.epochs
    assert "validation_dice" not in pd.read_csv(tmp_path / "history.csv").columns


def test_a_mean_teacher_resumes_to_the_same_weights(stage, cases, tmp_path, monkeypatch):
    stage = replace(stage, objective=MeanTeacher(), validation=None)
    train(stage, cases, [], tmp_path / "whole", seed=3, facts={"fold": 0})

    class Stopped(Exception):
        pass

    def stop_after_two(path, state):
        save_checkpoint(path, state)
        if state["epoch"] == 2:
            raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr("flare_core.training.loop.save_checkpoint", stop_after_two)
        train(stage, cases, [], tmp_path / "halves", seed=3, facts={"fold": 0})
    train(stage, cases, [], tmp_path / "halves", seed=3, facts={"fold": 0})
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "halves"))
    teachers = [load_checkpoint(tmp_path / name / "checkpoint.pt")["lesson"]["teacher"] for name in ("whole", "halves")]
    assert _same(*teachers)
