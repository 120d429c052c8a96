"""Sample the memory of a running process: of its tree on the machine, and on the GPU where there is one.

Serves `efficiency`. MB are 2**20 bytes throughout, as nvidia-smi and the papers' tables count them.

References:
    FLARE organizers' sampler, JunMa11/FLARE, FLARE23/resource_eval.py: (total - free) of the whole GPU every 0.1 s.
    nvidia-ml-py, https://pypi.org/project/nvidia-ml-py (the driver's own library).
"""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flare_core.machine import high_water_mb

MB = 2**20
PERIOD_S = 0.1


@dataclass(frozen=True)
class Sample:
    """Memory at one moment.

    Attributes:
        time_s: since the process was started.
        host_mb: resident memory (RSS) of the process and all its descendants. RSS, because the proportional share (PSS)
            of a library hangs on who else on the machine has it open; pages that several processes of one tree share
            are counted in each.
        gpu_mb: memory in use on the whole GPU, as the organizers count it; NaN without one.
        gpu_process_mb: the tree's own part of it; NaN where the driver does not tell (for example in some containers).
    """

    time_s: float
    host_mb: float
    gpu_mb: float = math.nan
    gpu_process_mb: float = math.nan


@dataclass(frozen=True)
class ProcessRecord:
    """A finished process.

    Attributes:
        seconds: wall time from before its start to after its end.
        exit_code: its own; negative: the signal that ended it.
        output: what it printed, standard output and error together.
        samples: in order of time; none if it ended before the first.
        high_water_mb: the largest resident memory by the kernel's own account, which no sample can miss; over several
            processes the sum of their largest. NaN where the kernel keeps none.
        gpu_before_mb: memory in use on the GPU before the start, which belongs to others; NaN without one.
        is_late: whether it was ended because it took too long.
    """

    seconds: float
    exit_code: int
    output: str
    samples: tuple[Sample, ...]
    high_water_mb: float = math.nan
    gpu_before_mb: float = math.nan
    is_late: bool = False


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA device, read through the driver's library.

    Attributes:
        nvml: the module `pynvml`, or anything with the same functions.
        handle: of the device.
    """

    nvml: Any
    handle: Any

    @classmethod
    def find(cls, nvml: Any = None) -> Gpu | None:
        """Return the device that CUDA would take first, or None where there is no driver or no visible device.

        Args:
            nvml: stands in for the driver's library.
        """
        if nvml is None:
            import pynvml as nvml
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        try:
            nvml.nvmlInit()
            if wanted.isdecimal():
                return cls(nvml, nvml.nvmlDeviceGetHandleByIndex(int(wanted)))
            return cls(nvml, nvml.nvmlDeviceGetHandleByUUID(wanted)) if wanted.startswith(("GPU-", "MIG-")) else None
        except nvml.NVMLError:
            return None

    @property
    def name(self) -> str:
        """What the device calls itself."""
        name = self.nvml.nvmlDeviceGetName(self.handle)
        return name.decode() if isinstance(name, bytes) else name

    def used_mb(self) -> float:
        """Return total minus free memory of the whole device."""
        memory = self.nvml.nvmlDeviceGetMemoryInfo(self.handle)
        return (memory.total - memory.free) / MB

    def used_by_mb(self, pids: Collection[int]) -> float:
        """Return the memory that these processes hold; NaN where the driver does not say or sees other process ids."""
        try:
            running = self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
        except self.nvml.NVMLError:
            return math.nan
        used = [process.usedGpuMemory for process in running if process.pid in pids]
        return math.nan if not used or None in used else sum(used) / MB


@dataclass
class _Tree:
    """A process with its descendants, and the largest memory that each has had."""

    root: psutil.Process
    largest_mb: dict[int, float] = field(default_factory=dict)

    def read(self) -> tuple[float, set[int]]:
        """Return the resident memory in MB and the process ids; those that have just ended count nothing."""
        total, pids = 0.0, set()
        try:
            family = [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return total, pids
        for process in family:
            try:
                total += process.memory_info().rss / MB
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            pids.add(process.pid)
            self.largest_mb[process.pid] = high_water_mb(process.pid, self.largest_mb.get(process.pid, math.nan))
        return total, pids


def watch_process(
    command: Sequence[str], log: Path, *, gpu: Gpu | None = None, period_s: float = PERIOD_S, longest_s: float = 3600.0
) -> ProcessRecord:
    """Run a command to its end and sample its memory meanwhile.

    As the organizers do it: a sample, then a sleep of `period_s`, so that the true period is a little longer. The clock
    starts before the process does and stops when it has ended.

    Args:
        command: program and arguments.
        log: file that takes what it prints.
        gpu: also sampled, if given.
        period_s: sleep between two samples.
        longest_s: then the process and its descendants are ended.
    Raises:
        OSError: if the program cannot be started.
    """
    before_mb = gpu.used_mb() if gpu else math.nan
    ended, samples, end = threading.Event(), [], [0.0]
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

        def wait() -> None:
            process.wait()
            end[0] = time.perf_counter()
            ended.set()

        try:
            tree = _Tree(psutil.Process(process.pid))
            threading.Thread(target=wait, daemon=True).start()
            while not ended.is_set() and time.perf_counter() - start < longest_s:
                host_mb, pids = tree.read()
                if pids:
                    on_gpu = (gpu.used_mb(), gpu.used_by_mb(pids)) if gpu else ()
                    samples.append(Sample(time.perf_counter() - start, host_mb, *on_gpu))
                ended.wait(period_s)
            is_late = not ended.is_set()
        finally:
            _end(process)
    ended.wait()
    marks = tree.largest_mb.values()
    return ProcessRecord(
        seconds=end[0] - start,
        exit_code=process.returncode,
        output=log.read_text(errors="replace"),
        samples=tuple(samples),
        high_water_mb=sum(marks) if marks else math.nan,
        gpu_before_mb=before_mb,
        is_late=is_late,
    )


def _end(process: subprocess.Popen) -> None:
    """End a process that still runs, with its descendants."""
    if process.poll() is not None:
        return
    for member in [*psutil.Process(process.pid).children(recursive=True), process]:
        try:
            member.kill()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
