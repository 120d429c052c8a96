"""Let one run at a time write into an output folder, and clear away what a killed one left half written.

Serves every command that writes a folder. The lock is the kernel's: it is free as soon as its holder is gone, however
it ended, and its file says who holds it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flare_core.storage import STATE, TEMPORARY, refuse_link

log = logging.getLogger(__name__)


class OutputInUse(ValueError):
    """An output folder that another run is writing to; the message says which."""


@contextmanager
def only_run(out: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold an output folder, made if missing, until the block ends.

    Args:
        out: the folder; the lock is its `.flare/lock`, which stays.
        wait: for another run to end, instead of stopping.
    Raises:
        OutputInUse: if another run holds it; within one process, too.
        OSError: if the folder cannot be written, or its `.flare` is a link.
    """
    out = Path(out)
    state = out / STATE
    refuse_link(state)
    state.mkdir(parents=True, exist_ok=True)
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise OutputInUse(
                    f"{out} is in use by {_holder(handle)}; wait for it, or name another folder"
                ) from None
            log.info("%s is in use by %s; waiting", out, _holder(handle))
            fcntl.flock(handle, fcntl.LOCK_EX)
        who = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode() + b"\n", 0)
        _clear(out)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    """Say who wrote the lock file."""
    try:
        who = json.loads(os.pread(handle, 4096, 0))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "another run"


def _clear(out: Path) -> None:
    """Remove unfinished files of processes that are gone, from the folder, its own folders of labels and its state."""
    for folder in (out, out / "labelsTr", out / STATE, *(out / STATE).glob("*/")):
        for path in folder.glob(".*.tmp-*") if folder.is_dir() else ():
            if (match := re.fullmatch(TEMPORARY, path.name)) and not _is_alive(int(match[1])):
                path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
