"""Say what this machine is: a number of seconds means nothing without the processor that needed them.

Serves measurements, trainings and the report; holds no other knowledge.
"""

import ctypes
import math
import os
import platform
from pathlib import Path

MATTERING = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16"}
"""Instructions that change how fast networks run, as Linux and as people call them."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files of a control group (version 2, 1) with the processor time that it may use, and in which time, both in us."""


def processor_name() -> str:
    """Return the processor's name, with the instructions for half precision that it has."""
    info = Path("/proc/cpuinfo")
    facts = [line.partition(":") for line in info.read_text().splitlines()] if info.is_file() else []
    first = {key.strip(): value.strip() for key, _, value in reversed(facts)}
    name = first.get("model name") or platform.processor() or platform.machine()
    flags = first.get("flags", "").split()
    return ", ".join([name, *(title for flag, title in MATTERING.items() if flag in flags)])


def usable_cores() -> int:
    """Return the cores that this process may use, at least 1.

    In a container these may be fewer than the machine's: those given to it (`docker run --cpuset-cpus`), or as many as
    its processor time keeps busy (`--cpus`), rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in QUOTAS:
        files = [CONTROL_GROUP / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            if quota.isdigit():  # else max, or -1: no limit
                cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def high_water_mb(pid: int | str = "self", otherwise: float = math.nan) -> float:
    """Return the most resident memory that a process had until now, in MB of 2**20 bytes, as Linux keeps it.

    Args:
        pid: of the process; "self" is this one.
        otherwise: what to return where nothing tells.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return otherwise
    marks = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")]
    return marks[0] if marks else otherwise


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees for what it allocates next; say whether its C library can (glibc).

    By default every array of megabytes comes from Linux as new pages, which it fills with zeros, and goes back there
    when freed. A training frees and allocates the same sizes in each step: keeping them saves it a sixth of a step.
    """
    most_mapped, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(most_mapped, 0) and mallopt(trim_threshold, -1))
