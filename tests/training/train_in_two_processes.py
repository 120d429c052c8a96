"""Started twice by torchrun (test_loop.py): train together, then let the first process train alone."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from flare_core.cases.sampling import PreparedCase, class_voxels
from flare_core.systems import SYSTEMS
from flare_core.training import loop
from flare_core.training.processes import joined_processes


def main(folder: Path) -> None:
    """Train one small stage on two processes and on one, in float32 so that the sums agree."""
    import numpy as np

    loop.has_fast_bfloat16 = lambda device: False
    torch.set_num_threads(1)
    stage = SYSTEMS["nvauto"].at("smoke").stage("round1")
    stage = replace(stage, optimization=replace(stage.optimization, epochs=2, steps_per_epoch=2))
    rng = np.random.default_rng(0)
    channels = np.zeros((20, 18, 16), np.uint8)
    channels[2:9, 3:12, 2:12] = 1
    known = np.ones(13, bool)
    cases = [
        PreparedCase(f"c{i}", rng.random(channels.shape, np.float32), channels, known, known, class_voxels(channels))
        for i in range(2)
    ]
    with joined_processes("cpu"):
        loop.train(stage, cases, cases[:1], folder / "two", seed=0, facts={"fold": 0})
        rank = dist.get_rank()
    if rank == 0:
        loop.train(stage, cases, cases[:1], folder / "one", seed=0, facts={"fold": 0})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
