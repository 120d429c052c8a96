"""One run at a time writes into an output folder; who holds it is told, and what a dead one left is cleared away."""

import os
import platform
import signal
import subprocess
import sys

import pytest

from flare_core.output_lock import OutputInUse, only_run

HOLD = """
import sys, time
from flare_core.output_lock import only_run
with only_run(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_run_is_told_who_holds_the_folder_until_that_one_is_gone(holder, tmp_path):
    with pytest.raises(OutputInUse, match=f"in use by process {holder.pid} on {platform.node()} since 20"):
        with only_run(tmp_path):
            pytest.fail("both hold it")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_run(tmp_path), pytest.raises(OutputInUse, match=f"process {os.getpid()} "):
        with only_run(tmp_path):
            pytest.fail("held twice by one process")


def test_what_a_killed_run_left_half_written_is_cleared_away_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "labelsTr").mkdir()
    left = [tmp_path / f".a.nii.gz.tmp-{dead.pid}", tmp_path / "labelsTr" / f".b.nii.gz.tmp-{dead.pid}"]
    kept = [tmp_path / f".c.nii.gz.tmp-{os.getpid()}", tmp_path / ".notes.tmp-x", tmp_path / "d.nii.gz"]
    for path in left + kept:
        path.touch()
    with only_run(tmp_path):
        assert [path.exists() for path in left] == [False, False]
        assert all(path.exists() for path in kept)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "out" / ".flare").mkdir(parents=True)
    (tmp_path / "precious").write_text("data")
    (tmp_path / "out" / ".flare" / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), only_run(tmp_path / "out"):
        pytest.fail("written through a link")
    assert (tmp_path / "precious").read_text() == "data"
