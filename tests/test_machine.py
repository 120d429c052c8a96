"""What a process is told about its memory and its cores."""

import subprocess
import sys

import pytest

from flare_core import machine

HELD = """
import resource, sys
from pathlib import Path
from flare_core.machine import keep_freed_memory

if {keeps} and not keep_freed_memory():
    sys.exit("no glibc")
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
before = resident()
block = b"x" * 2**27
del block
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("keeps", [False, True])
def test_freed_memory_stays_with_the_process_that_asked_for_it(keeps):
    done = subprocess.run([sys.executable, "-c", HELD.format(keeps=keeps)], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("the C library has no mallopt")
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > 2**26) is keeps


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ({}, 4),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_a_container_s_share_of_processor_time_counts_in_whole_cores(tmp_path, monkeypatch, quota, cores):
    (tmp_path / "cpu").mkdir()
    for name, text in quota.items():
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert machine.usable_cores() == cores
