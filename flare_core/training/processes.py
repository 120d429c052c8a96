"""Find the device, and join the processes that `torchrun` starts.

Serves training and prediction on whatever machine there is. One process is the rule; with `WORLD_SIZE` above one every
process joins a group and takes its share of each batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from flare_core.inference.network import pick_device

LONGEST_WAIT = timedelta(days=7)


@contextmanager
def joined_processes(wanted: str = "auto") -> Iterator[str]:
    """Join the group that `torchrun` announces (none: alone) and give this process's device.

    Args:
        wanted: as for `pick_device`.
    """
    device = pick_device(wanted)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # sums kept on the CPU travel by gloo also beside a GPU; the first process may prepare a dataset for hours
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield device
    finally:
        dist.destroy_process_group()
