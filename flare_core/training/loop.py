"""The training loop: every network of every paper learns here.

Eighth step of the data flow. Each patch is drawn by a generator seeded with (seed, step, place in the batch), so a
training that stops and resumes sees the same patches as one that does not, and several processes that share a batch see
the same patches as one process with the whole batch.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from flare_core.cases.augmentation import augmented
from flare_core.cases.sampling import PreparedCase
from flare_core.inference.network import TrainedNetwork, autocast, has_fast_bfloat16, save_network
from flare_core.recipe import Stage
from flare_core.storage import write_file
from flare_core.training.checkpoint import load_checkpoint, save_checkpoint

LAYOUT = torch.channels_last_3d
"""Memory layout of weights and patches: on a CPU a narrow network's step takes 0.6 of the default's time."""


class Diverged(RuntimeError):
    """The loss is no longer finite; the message names the step and the cases of the batch."""


@dataclass(frozen=True)
class Workers:
    """This process among those that train together (`torchrun` starts several; else there is one)."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Workers:
        """Return this process's place in the running process group."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches of one step.

    Attributes:
        image: (B, 1, *patch) float32.
        channels: (B, *patch) uint8.
        taught: (B, C) bool, which channels each patch's labels say anything about.
        cases: ids of the cases they are from.
    """

    image: torch.Tensor
    channels: torch.Tensor
    taught: torch.Tensor
    cases: tuple[str, ...]


def train(
    stage: Stage,
    training: Sequence[PreparedCase],
    validation: Sequence[PreparedCase],
    folder: Path,
    *,
    seed: int,
    facts: dict[str, Any],
    device: str = "cpu",
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
    Returns:
        The model folder.
    Raises:
        Diverged: if the loss becomes NaN or infinite.
        ValueError: if the batch cannot be shared equally by the processes.
    """
    workers, plan = Workers.join(), stage.optimization
    if plan.batch % workers.count:
        raise ValueError(f"a batch of {plan.batch} cannot be shared by {workers.count} processes; use a divisor")
    torch.manual_seed(seed)
    module = stage.network.build(stage.scheme.channels).to(device, memory_format=LAYOUT)
    optimizer = plan.optimizer.build(module.parameters())
    state = load_checkpoint(folder / "checkpoint.pt") or {"epoch": 0, "best": -1.0, "history": []}
    if state["epoch"]:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    learner = DistributedDataParallel(module) if workers.count > 1 else module
    validated = plan_validation(stage)

    epochs = tqdm(range(state["epoch"], plan.epochs), desc=str(folder.name), disable=True if workers.rank else None)
    for epoch in epochs:
        start = time.perf_counter()
        rate = plan.optimizer.learning_rate * plan.schedule.factor(epoch, plan.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _epoch(stage, learner, optimizer, training, seed=seed, epoch=epoch, workers=workers)
        row = {"epoch": epoch + 1, "step": (epoch + 1) * plan.steps(len(training)), "learning_rate": rate, "loss": loss}
        if epoch in validated and validation:
            row |= validate(stage, module, validation, workers)
        row["seconds"] = round(time.perf_counter() - start, 3)
        state["history"].append(row)
        score = row.get("validation_dice", -1.0)
        if workers.rank == 0:
            never_scored = state["best"] < 0 and epoch + 1 == plan.epochs
            if score > state["best"] or never_scored:
                _keep(stage, module, folder, facts | {"epoch": epoch + 1, "validation_dice": score, "seed": seed})
            state |= {"epoch": epoch + 1, "best": max(score, state["best"])}
            state |= {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(folder / "checkpoint.pt", state)
            write_history(folder / "history.csv", state["history"])
        epochs.set_postfix(loss=f"{loss:.3f}", dice=f"{max(score, state['best']):.3f}")
    if workers.count > 1:
        dist.barrier()
    return folder / "model"


def plan_validation(stage: Stage) -> frozenset[int]:
    """Return the epochs after which the stage is validated."""
    return stage.validation.epochs(stage.optimization.epochs)


def draw_batch(
    stage: Stage, cases: Sequence[PreparedCase], *, seed: int, epoch: int, step: int, workers: Workers
) -> Batch:
    """Return this process's share of one batch.

    Cases come in a new random order every epoch; a batch may run over its end into the next order.
    """
    batch = stage.optimization.batch
    places = range(step * batch + workers.rank, (step + 1) * batch, workers.count)
    images, channels, drawn = [], [], []
    for place in places:
        lap, index = divmod(place, len(cases))
        order = np.random.default_rng([seed, epoch, lap]).permutation(len(cases))
        case = cases[order[index]]
        rng = np.random.default_rng([seed, epoch, place, 1])
        image, target = augmented(*stage.sampling.cut(case, rng), stage.augmentation, rng)
        images.append(torch.from_numpy(image))
        channels.append(torch.from_numpy(target))
        drawn.append(case)
    taught = torch.from_numpy(np.stack([case.taught for case in drawn]))
    return Batch(torch.stack(images)[:, None], torch.stack(channels), taught, tuple(case.id for case in drawn))


def _epoch(
    stage: Stage,
    learner: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    cases: Sequence[PreparedCase],
    *,
    seed: int,
    epoch: int,
    workers: Workers,
) -> float:
    """Take one epoch's steps and return its mean loss over all processes."""
    learner.train()
    device = next(learner.parameters()).device
    fast = has_fast_bfloat16(device)
    total, steps = torch.zeros(()), stage.optimization.steps(len(cases))
    for step in range(steps):
        batch = draw_batch(stage, cases, seed=seed, epoch=epoch, step=step, workers=workers)
        with autocast(device, fast):
            outputs = learner(batch.image.to(device, memory_format=LAYOUT))
        loss = stage.loss(outputs, batch.channels.to(device), batch.taught.to(device))
        if not math.isfinite(loss.item()):
            raise Diverged(
                f"the loss is {loss.item()} in epoch {epoch + 1}, step {step + 1} (cases {', '.join(batch.cases)})"
            )
        optimizer.zero_grad()
        loss.backward()
        if stage.optimization.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(learner.parameters(), stage.optimization.gradient_clip)
        optimizer.step()
        total += loss.detach().cpu()
    if workers.count > 1:
        dist.all_reduce(total)
    return float(total) / steps / workers.count


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
        predicted = stage.validation.window(network, torch.from_numpy(np.asarray(case.image, np.float32))).argmax(0)
        predicted, channels = predicted.numpy(), np.asarray(case.channels)
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
