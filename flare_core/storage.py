"""Write files so that a name is either absent or complete, whatever happens in between.

Serves everything that writes results. The data go to a hidden temporary file in the same folder, are flushed to the
disk and then take the final name in one step.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
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
        FileExistsError: if `path` is a link, a folder or a device, or lies in a linked state folder.
        OSError: if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    refuse_link(path)
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path}: found a folder or a device, which is never replaced; name a file")
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


def refuse_link(path: Path) -> None:
    """Refuse to write through a link, whose target may be someone's input; folders of the user's own may be links.

    Raises:
        FileExistsError: if `path`, or the state folder that it lies in, is a link.
    """
    for part in (path, *path.parents):
        if (part == path or part.name == STATE) and part.is_symlink():
            raise FileExistsError(f"{part}: found a link, which is never written through; remove it")


def refuse_inside(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output, file or folder, inside a folder of inputs.

    Raises:
        ValueError: naming both.
    """
    out = Path(out).resolve()
    for folder in (Path(item).resolve() for item in inputs if Path(item).is_dir()):
        if folder in (out, *out.parents):
            raise ValueError(f"{out} lies in the input folder {folder}; choose another place for the output")


def probe(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Make sure that a table can be written at `path`, before anything is computed for it.

    Args:
        path: of the table, `NAME.csv`, so that nothing but an older table is replaced.
        inputs: of the command; those that are folders must not hold the table.
    Raises:
        ValueError, OSError: if it cannot, in words for people.
    """
    path = Path(path)
    refuse_inside(path, inputs)
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise FileExistsError(None, "a folder or a link has this name, or a device")
        if path.suffix.lower() != ".csv":
            raise FileExistsError(None, "a table's name ends in .csv")
        with finished_file(path.with_name(f".{path.name}.probe")) as temporary:
            temporary.touch()
        path.with_name(f".{path.name}.probe").unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); choose another place") from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
