"""What a process is told about its memory."""

import subprocess
import sys

import pytest

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
