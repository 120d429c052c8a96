"""Draw the patches of one step.

Eighth step of the data flow. Each patch is drawn by a generator seeded with (seed, epoch, place in the batch), so a
training that stops and resumes sees the same patches as one that does not, and several processes that share a batch
see the same patches as one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

from flare_core.cases.augmentation import augmented
from flare_core.cases.sampling import Place, PreparedCase
from flare_core.machine import usable_cores
from flare_core.recipe import Stage

MOST_PROCESSES = 8
"""That draw batches for one training."""


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
        image: (B, V, *patch) float32; V is 1, or the number of views that the sampling cuts.
        channels: (B, *patch) uint8.
        taught: (B, C) bool, which channels each patch's labels say anything about.
        groups: (B,) int64, the group of cases that each patch is from.
        cases: ids of the cases they are from.
        seed: differs from step to step and between processes, for objectives that draw.
    """

    image: torch.Tensor
    channels: torch.Tensor
    taught: torch.Tensor
    groups: torch.Tensor
    cases: tuple[str, ...]
    seed: int

    def to(self, device: torch.device, layout: torch.memory_format) -> Batch:
        """Return the batch on a device."""
        moved = {name: getattr(self, name).to(device) for name in ("channels", "taught", "groups")}
        return Batch(self.image.to(device, memory_format=layout), **moved, cases=self.cases, seed=self.seed)


def draw_batch(
    stage: Stage, cases: Sequence[PreparedCase], *, seed: int, epoch: int, step: int, workers: Workers
) -> Batch:
    """Return this process's share of one batch.

    The groups of cases take turns in the batch, of which every process has a run of neighbors. Within a group cases
    come in a new random order every epoch; a batch may run over its end into the next order. Samplings with `per_case`
    above 1 cut so many neighboring places from one case.
    """
    size = stage.optimization.batch
    groups = [[case for case in cases if case.group == group] for group in sorted({case.group for case in cases})]
    images, channels, drawn = [], [], []
    share = size // workers.count
    for index in range(workers.rank * share, (workers.rank + 1) * share):
        turn = (step * size + index) // getattr(stage.sampling, "per_case", 1)
        case = _case(groups[turn % len(groups)], turn // len(groups), seed, epoch)
        rng = np.random.default_rng([seed, epoch, step * size + index, 1])
        image, target = stage.sampling.cut(case, rng, Place(index, size))
        image, target = augmented(image, target, stage.augmentation, rng)
        images.append(torch.from_numpy(image if image.ndim == 4 else image[None]))
        channels.append(torch.from_numpy(target))
        drawn.append(case)
    return Batch(
        torch.stack(images),
        torch.stack(channels),
        torch.from_numpy(np.stack([case.taught for case in drawn])),
        torch.tensor([case.group for case in drawn]),
        tuple(case.id for case in drawn),
        int(np.random.SeedSequence([seed, epoch, step, workers.rank]).generate_state(1)[0]),
    )


class StepBatches(Dataset):
    """The batches of an epoch by their step: what the processes of a `DataLoader` draw from.

    Args:
        stage, cases, seed, epoch, workers: as for `draw_batch`.
    """

    def __init__(self, stage: Stage, cases: Sequence[PreparedCase], seed: int, epoch: int, workers: Workers) -> None:
        self._draw = partial(draw_batch, stage, cases, seed=seed, epoch=epoch, workers=workers)
        self._steps = stage.steps_per_epoch(len(cases))

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self._steps:
            raise IndexError(step)
        return self._draw(step=step)


def in_order(batches: StepBatches, processes: int) -> Iterable[Batch]:
    """Return the batches from the first step to the last; the same ones, whoever draws them.

    Args:
        batches: of an epoch.
        processes: how many draw ahead of the training; 0: it draws each batch itself when it needs it.
    """
    return DataLoader(batches, batch_size=None, num_workers=processes, collate_fn=_as_it_is) if processes else batches


def drawing_processes(device: torch.device) -> int:
    """Return how many processes should draw batches for a training on a device.

    A CUDA device needs them, so that it never waits. On a processor they would take the cores that the training
    computes on, for the few percent of its time that drawing takes (benchmarks/training.py).
    """
    return min(MOST_PROCESSES, usable_cores() - 1) if device.type == "cuda" else 0


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _case(cases: Sequence[PreparedCase], turn: int, seed: int, epoch: int) -> PreparedCase:
    """Return the case of a turn: every lap is a new order."""
    lap, index = divmod(turn, len(cases))
    return cases[_order(len(cases), seed, epoch, lap)[index]]


@lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int, lap: int) -> np.ndarray:
    """Return the order of so many cases in a lap."""
    return np.random.default_rng([seed, epoch, lap]).permutation(count)
