"""Find the device, and join the processes that `torchrun` starts.

Serves training and prediction on whatever machine there is. One process is the rule; with `WORLD_SIZE` above one every
process joins a group and takes its share of each batch.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from flare_core.batch import BatchStopped
from flare_core.inference.network import pick_device
from flare_core.machine import usable_cores

LONGEST_WAIT = timedelta(days=7)
BROKEN = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused")
"""What gloo says of a connection whose other end is gone."""
LOST = "another process of this training ended; its last epoch is saved: start the same again with --resume"


class ProcessLost(BatchStopped):
    """A training whose processes are not all there any more, or that was told to stop for that reason."""


@contextmanager
def joined_processes(wanted: str = "auto") -> Iterator[str]:
    """Join the group that `torchrun` announces (none: alone) and give this process's device.

    Args:
        wanted: as for `pick_device`.
    Raises:
        ProcessLost: if another process of the group ended before this one; SIGTERM is ignored from then on.
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
    before = signal.signal(signal.SIGTERM, _told_to_stop)  # torchrun ends the others where one is lost
    try:
        yield device
    except RuntimeError as error:  # gloo's and NCCL's, when a connection breaks
        if isinstance(error, dist.DistError) or any(words in str(error) for words in BROKEN):
            _ends()
            raise ProcessLost(LOST) from error
        raise
    except ProcessLost:
        _ends()
        raise
    finally:
        if signal.getsignal(signal.SIGTERM) is _told_to_stop:
            signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def _told_to_stop(*_: object) -> None:
    raise ProcessLost(LOST)


def _ends() -> None:
    """Let no SIGTERM end this process before it has said why it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def device_name(device: str) -> str:
    """Return what a device calls itself: the GPU's name, or the processor's with the cores that are there."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {usable_cores()} cores"
