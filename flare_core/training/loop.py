"""The training loop: every network of every paper learns here.

Eighth step of the data flow: draw a batch, ask the stage's objective for the loss, step. Whatever a paper's training
does besides is in its objective (`objective.py`, `mean_teacher.py`, `smit.py`).
"""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from flare_core.cases.interpolation import best_channel
from flare_core.cases.sampling import PreparedCase
from flare_core.inference.network import (
    BadModel,
    TrainedNetwork,
    autocast,
    has_fast_bfloat16,
    load_network,
    save_network,
)
from flare_core.machine import keep_freed_memory
from flare_core.recipe import Stage
from flare_core.storage import write_file
from flare_core.training.batch import StepBatches, Workers, drawing_processes, in_order
from flare_core.training.channels_last import LAYOUT, with_channels_last
from flare_core.training.checkpoint import load_checkpoint, save_checkpoint
from flare_core.training.objective import Lesson
from flare_core.training.precision import with_right_gradients

log = logging.getLogger(__name__)


class Diverged(RuntimeError):
    """The loss or its gradient is no longer finite; the message names the step and the cases of the batch."""


def train(
    stage: Stage,
    training: Sequence[PreparedCase],
    validation: Sequence[PreparedCase],
    folder: Path,
    *,
    seed: int,
    facts: dict[str, Any],
    device: str = "cpu",
    start: Path | None = None,
) -> Path:
    """Train one network; a training that was interrupted goes on from its last epoch.

    Args:
        stage: the recipe.
        training: cases to draw patches from, at least one.
        validation: cases that choose the best epoch; where none can be scored the last epoch is kept.
        folder: gets `model/` (the best epoch), `history.csv` and `checkpoint.pt`.
        seed: of initialization, cases, patches and augmentation.
        facts: stored in `model.json`.
        device: torch device; under `torchrun` every process has its own.
        start: model folder whose weights it starts from (`start_from`).
    Returns:
        The model folder.
    Raises:
        BadModel: if no weight of `start` fits.
        Diverged: if the loss or its gradient becomes NaN or infinite; what was trained until the last epoch stays.
        ValueError: if the batch cannot be shared by the processes so that each has as many patches, of every group.
    """
    workers, plan = Workers.join(), stage.optimization
    groups = len({case.group for case in training})
    if workers.count > 1 and plan.batch % (workers.count * groups):
        kinds = f" with {groups} kinds of cases in equal numbers" if groups > 1 else ""
        raise ValueError(
            f"a batch of {plan.batch}{kinds} cannot be shared by {workers.count} processes; use a divisor of "
            f"{plan.batch // groups}"
        )
    torch.manual_seed(seed)
    if device == "cpu":
        keep_freed_memory()
    module = build_learner(stage, torch.device(device))
    if start is not None:
        start_from(module, start)
    lesson = stage.objective.lesson(stage, module)
    optimizer = plan.optimizer.build(module.parameters())
    state = load_checkpoint(folder / "checkpoint.pt") or {"epoch": 0, "best": -1.0, "history": []}
    if state["epoch"]:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        lesson.load_state_dict(state["lesson"])
    # outputs of weight 0 (nnU-Net's coarsest one) give their head no gradient
    learner = DistributedDataParallel(module, find_unused_parameters=True) if workers.count > 1 else module
    validated = plan_validation(stage)

    epochs = tqdm(range(state["epoch"], plan.epochs), desc=str(folder.name), disable=True if workers.rank else None)
    for epoch in epochs:
        began = time.perf_counter()
        rate = plan.optimizer.learning_rate * plan.schedule.factor(epoch, plan.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _epoch(stage, learner, lesson, optimizer, training, seed=seed, epoch=epoch)
        steps = stage.steps_per_epoch(len(training))
        row = {"epoch": epoch + 1, "step": (epoch + 1) * steps, "learning_rate": rate, "loss": loss}
        if epoch in validated and validation:
            row |= validate(stage, module, validation, workers)
        row["seconds"] = round(time.perf_counter() - began, 3)
        state["history"].append(row)
        score = row.get("validation_dice", -1.0)
        if workers.rank == 0:
            is_last = epoch + 1 == plan.epochs
            is_better = score > state["best"] and not _keeps_last(stage)
            if is_better or (is_last and (state["best"] < 0 or _keeps_last(stage))):
                _keep(stage, module, folder, facts | {"epoch": epoch + 1, "validation_dice": score, "seed": seed})
            state |= {"epoch": epoch + 1, "best": max(score, state["best"])}
            state |= {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"lesson": lesson.state_dict()}
            save_checkpoint(folder / "checkpoint.pt", state)
            write_history(folder / "history.csv", state["history"])
        epochs.set_postfix(loss=f"{loss:.3f}", dice=f"{max(score, state['best']):.3f}")
    if workers.count > 1:
        dist.barrier()
    return folder / "model"


def build_learner(stage: Stage, device: torch.device) -> torch.nn.Module:
    """Return the stage's untrained network on a device, with the layers that learn right and fast there."""
    module = stage.network.build(stage.scheme.channels)
    if device.type == "cpu":
        module = with_right_gradients(module) if has_fast_bfloat16(device) else with_channels_last(module)
    return module.to(device, memory_format=LAYOUT)


def start_from(module: torch.nn.Module, folder: Path) -> int:
    """Copy from a trained model every weight that the module has under the same name and shape; return their number.

    Raises:
        BadModel: if the folder is no model, or no weight fits.
    """
    source, own = load_network(folder, exact=True).module.state_dict(), module.state_dict()
    fitting = {name: value for name, value in source.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise BadModel(f"{folder}: none of its {len(source)} weights fits the network that should start from it")
    module.load_state_dict(fitting, strict=False)
    log.info("start from %s: %d of %d weights", folder, len(fitting), len(own))
    return len(fitting)


def plan_validation(stage: Stage) -> frozenset[int]:
    """Return the epochs after which the stage is validated (none for a stage without labels to learn)."""
    return stage.validation.epochs(stage.optimization.epochs) if stage.validation else frozenset()


def _keeps_last(stage: Stage) -> bool:
    """Say whether the last epoch is the model, whatever the validation says."""
    return stage.validation is None or stage.validation.keep == "last"


def _epoch(
    stage: Stage,
    learner: torch.nn.Module,
    lesson: Lesson,
    optimizer: torch.optim.Optimizer,
    cases: Sequence[PreparedCase],
    *,
    seed: int,
    epoch: int,
) -> float:
    """Take one epoch's steps and return its mean loss over all processes."""
    learner.train()
    workers, plan = Workers.join(), stage.optimization
    device = next(learner.parameters()).device
    fast = has_fast_bfloat16(device)

    def forward(*inputs: Any, module: torch.nn.Module | None = None) -> Any:
        with autocast(device, fast):
            return (learner if module is None else module)(*inputs)

    lesson.begin_epoch(epoch)
    total, batches = torch.zeros(()), StepBatches(stage, cases, seed, epoch, workers)
    for step, batch in enumerate(in_order(batches, drawing_processes(device))):
        torch.manual_seed(batch.seed)  # dropout and stochastic depth: a resumed training draws what it would have drawn
        loss = lesson.loss(forward, batch.to(device, LAYOUT))
        place = f"in epoch {epoch + 1}, step {step + 1} (cases {', '.join(batch.cases)})"
        _must_be_finite("loss", loss, place)
        optimizer.zero_grad()
        loss.backward()
        lesson.after_backward(epoch)
        norm = torch.nn.utils.clip_grad_norm_(learner.parameters(), plan.gradient_clip or math.inf)
        _must_be_finite("gradient's norm", norm, place)  # one step with it would make every weight NaN
        optimizer.step()
        lesson.after_step(epoch, plan.epochs)
        total += loss.detach().cpu()
    if workers.count > 1:
        dist.all_reduce(total)
    return float(total) / len(batches) / workers.count


def _must_be_finite(what: str, value: torch.Tensor, place: str) -> None:
    """Raise Diverged, saying where, if a single number is NaN or infinite."""
    if not math.isfinite(value.item()):
        raise Diverged(
            f"the {what} is {value.item()} {place}: look at these cases, or train with a lower learning rate"
        )


def validate(
    stage: Stage, module: torch.nn.Module, cases: Sequence[PreparedCase], workers: Workers
) -> dict[str, float]:
    """Return the mean Dice of each channel over the cases where it is annotated and present, and their mean.

    Returns:
        `dice_<channel>` for each channel that any case could score, and `validation_dice`; empty if there is none.
    """
    module.eval()
    network = TrainedNetwork(
        module,
        stage.network,
        stage.scheme,
        stage.preprocessing,
        bfloat16=has_fast_bfloat16(next(module.parameters()).device),
    )
    sums = torch.zeros(2, stage.scheme.channels, dtype=torch.float64)
    for case in cases[workers.rank :: workers.count]:
        predicted = best_channel(stage.validation.window(network, np.asarray(case.image, np.float32)))
        channels = np.asarray(case.channels)
        for channel in range(1, stage.scheme.channels):
            reference = channels == channel
            if case.annotated[channel] and reference.any():
                found = predicted == channel
                sums[0, channel] += 2 * (found & reference).sum() / (found.sum() + reference.sum())
                sums[1, channel] += 1
    if workers.count > 1:
        dist.all_reduce(sums)
    scored = [c for c in range(1, stage.scheme.channels) if sums[1, c]]
    dice = {f"dice_{stage.scheme.channel_names[c]}": float(sums[0, c] / sums[1, c]) for c in scored}
    return dice | {"validation_dice": float(np.mean(list(dice.values())))} if dice else {}


def _keep(stage: Stage, module: torch.nn.Module, folder: Path, facts: dict[str, Any]) -> None:
    """Save the module as the training's model so far."""
    network = TrainedNetwork(module, stage.network, stage.scheme, stage.preprocessing, facts)
    save_network(folder / "model", network)


def write_history(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one CSV row an epoch; columns are the union over rows, empty where an epoch was not validated."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue())
