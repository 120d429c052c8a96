"""Started twice by torchrun (test_loop.py): train together, then let the first process train alone.

With a third argument the second process kills itself in that epoch, as the system does for want of memory.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from flare_core.cases.sampling import PreparedCase, class_voxels
from flare_core.recipe import Stage
from flare_core.systems import SYSTEMS, mini, nnunet
from flare_core.training import loop
from flare_core.training.objective import Supervised
from flare_core.training.processes import joined_processes


def stage_of(kind: str) -> Stage:
    """Return a small stage: nvauto's, one with nnU-Net's loss, or one whose cases come in three groups."""
    if kind == "nvauto":
        stage, batch = SYSTEMS["nvauto"].at("smoke").stage("round1"), 2
    else:
        stage, batch = SYSTEMS["dkfz_bs8"].at("smoke").stage("batch8"), 4
        stage = replace(
            stage, network=mini.unet(4, 8, 8), loss=nnunet.LOSS
        )  # Dice over the batch; a head without weight
    if kind == "groups":
        stage, batch = replace(stage, objective=Supervised(group_weights=(1.0, 1.0, 0.5))), 6
    plan = replace(stage.optimization, epochs=2, steps_per_epoch=2, batch=batch)
    if kind != "nvauto":  # Adam would blow up the rounding in biases whose gradient the norm behind them cancels
        plan = replace(plan, optimizer=nnunet.OPTIMIZATION.optimizer)
    return replace(stage, optimization=plan)


def die_in(epoch: int) -> None:
    """Let the second process be killed when it begins an epoch."""
    begin = loop._epoch

    def killed(*given, epoch: int, **named):
        if epoch == last and dist.is_initialized() and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return begin(*given, epoch=epoch, **named)

    last, loop._epoch = epoch, killed


def main(folder: Path, kind: str, dies_in: str = "") -> None:
    """Train one small stage on two processes and on one, in float32 so that the sums agree."""
    if dies_in:
        die_in(int(dies_in))
    import numpy as np

    loop.has_fast_bfloat16 = lambda device: False
    torch.set_num_threads(1)
    stage = stage_of(kind)
    rng = np.random.default_rng(0)
    channels = np.zeros((20, 18, 16), np.uint8)
    channels[2:9, 3:12, 2:12] = 1
    known, voxels = np.ones(stage.scheme.channels, bool), class_voxels(channels)
    cases = [
        PreparedCase(f"c{i}", rng.random(channels.shape, np.float32), channels, known, known, voxels, group)
        for i, group in enumerate((0, 1, 2, 0, 1, 2) if kind == "groups" else (0, 0))
    ]
    with joined_processes("cpu"):
        loop.train(stage, cases, cases[:1], folder / "two", seed=0, facts={"fold": 0})
        rank = dist.get_rank()
    if rank == 0:
        loop.train(stage, cases, cases[:1], folder / "one", seed=0, facts={"fold": 0})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
