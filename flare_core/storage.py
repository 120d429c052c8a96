"""Write files so that a name is either absent or complete, whatever happens in between.

Serves everything that writes results. The data go to a hidden temporary file in the same folder, are flushed to the
disk and then take the final name in one step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATE = ".flare"
"""Folder in an output folder for everything that is not a result: lock, ledger, records of what was made from what."""
TEMPORARY = r"\..+\.tmp-(\d+)"
"""What a file is called until it is complete; the number is that of the process that writes it."""


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well and vanishes when it does not.

    Args:
        path: final name; its folder is made if missing.
    Raises:
        FileExistsError: if `path` is a link: what it points to may be someone's input.
        OSError: if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    if path.is_symlink():
        raise FileExistsError(f"{path}: found a link, which is never written through; remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None:  # a full disk does not say what it had no room for
            error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write bytes or UTF-8 text to `path`, complete or not at all."""
    with finished_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def probe(path: Path) -> None:
    """Make sure that a file can be written at `path`, before anything is computed for it.

    Raises:
        OSError: if it cannot, in words for people.
    """
    path = Path(path)
    try:
        if path.is_dir() or path.is_symlink():
            raise FileExistsError(None, "a folder or a link has this name")
        with finished_file(path.with_name(f".{path.name}.probe")) as temporary:
            temporary.touch()
        path.with_name(f".{path.name}.probe").unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); choose another place") from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
