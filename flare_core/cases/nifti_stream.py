"""Read the bytes of a .nii or .nii.gz file in pieces, checking that none is missing, altered or too many.

Serves reading: neither the whole compressed nor the whole uncompressed file is ever held, and never more is unpacked
than the header announced, so that a small file cannot fill the memory.

References:
    RFC 1952 (gzip: CRC-32 and length after each member).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import igzip, isal_zlib

from flare_core.cases.bad_input import BadInput

CHUNK_BYTES = 2**20
"""Bytes unpacked at once: small enough to stay in the processor's cache until they are converted."""
MAX_DEFLATE_RATIO = 1040
"""Deflate cannot shrink more than 1032 : 1 (258 bytes in two bits); rounded up for the frame."""
MAX_SURPLUS_BYTES = 4096
"""Bytes after the last voxel that are forgiven (with a warning)."""


class VoxelStream:
    """The uncompressed bytes of one file, front to back.

    Attributes:
        path: the file, for messages.
        is_compressed: whether the content is gzip, whatever the name says.
        file_bytes: size on disk.
    """

    def __init__(self, path: Path, source: BinaryIO, is_compressed: bool, file_bytes: int) -> None:
        self.path = path
        self.is_compressed = is_compressed
        self.file_bytes = file_bytes
        self._source = source
        self._position = 0
        self._required = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end of the file."""
        data = self._guarded(self._source.read, size)
        self._position += len(data)
        return data

    def require(self, total: int) -> None:
        """Refuse a file too small to hold `total` uncompressed bytes, before memory is taken for them.

        Raises:
            BadInput: if it cannot.
        """
        self._required = total
        most = self.file_bytes * (MAX_DEFLATE_RATIO if self.is_compressed else 1)
        if most < total:
            raise self._cut_short(most if not self.is_compressed else None, total)

    def skip_to(self, position: int, total: int) -> None:
        """Pass over bytes up to `position` of `total`, unpacking but not keeping them."""
        while self._position < position:
            if not self.read(min(CHUNK_BYTES, position - self._position)):
                raise self._cut_short(self._position, total)

    def chunks(self, size: int, total: int) -> Iterator[memoryview]:
        """Yield `size` bytes in pieces of at most `CHUNK_BYTES` (a multiple of 16 bytes but for the last).

        Each piece is overwritten by the next one.

        Raises:
            BadInput: if the file ends before.
        """
        buffer = memoryview(bytearray(min(CHUNK_BYTES, size)))
        end = self._position + size
        while self._position < end:
            want = min(CHUNK_BYTES, end - self._position)
            have = 0
            while have < want:
                count = self._guarded(self._source.readinto, buffer[have:want])
                if not count:
                    raise self._cut_short(self._position + have, total)
                have += count
            self._position += want
            yield buffer[:want]

    def finish(self) -> str | None:
        """Read to the end of the file, which is where gzip keeps its check sums; return a warning or None.

        Raises:
            BadInput: if more than `MAX_SURPLUS_BYTES` follow, or a check sum does not fit.
        """
        surplus = 0
        while extra := len(self.read(MAX_SURPLUS_BYTES)):
            surplus += extra
            if surplus > MAX_SURPLUS_BYTES:
                raise BadInput(
                    self.path,
                    f"expected the file to end with its last voxel, found more than {MAX_SURPLUS_BYTES} further bytes; "
                    "the header does not belong to these voxels, fetch the file again",
                )
        return f"{surplus} bytes after the last voxel were ignored" if surplus else None

    def _guarded(self, function, argument):
        """Call a reading function and turn what gzip complains about into one line."""
        try:
            return function(argument)
        except EOFError:
            raise self._cut_short(None, None) from None
        except (igzip.BadGzipFile, isal_zlib.error) as error:
            raise BadInput(self.path, f"gzip check failed ({error}): the file is damaged; fetch it again") from None
        except OSError as error:
            raise BadInput(self.path, f"expected a readable file, got: {error.strerror or error}") from None

    def _cut_short(self, found: int | None, expected: int | None) -> BadInput:
        if expected is None:
            of = f" of {self._required}" if self._required else ""
            amount = f"it ends soon after {self._position}{of} uncompressed bytes; or stray bytes follow its end"
        elif found is None:
            amount = f"{self.file_bytes} bytes on disk cannot unpack to the {expected} that the header announces"
        else:
            amount = f"{found} of {expected} bytes"
        return BadInput(self.path, f"file is cut short ({amount}); fetch it again")


@contextmanager
def open_voxels(path: Path) -> Iterator[VoxelStream]:
    """Open a file by what it contains: gzip or not, whatever its name says.

    Raises:
        BadInput: missing, a folder, a loop of links, unreadable, or empty.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise BadInput(path, "expected a NIfTI file, found a folder; name the file in it")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BadInput(path, "expected a NIfTI file, found a pipe or device; copy its content into a file")
        file = path.open("rb")
    except FileNotFoundError:
        raise BadInput(path, "expected a NIfTI file, found nothing there; check the path") from None
    except OSError as error:
        raise BadInput(path, f"expected a readable file, got: {error.strerror}; check links and permissions") from None
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(path, f"expected a path, got: {error}; check the name") from None
    with file:
        size = status.st_size
        start = file.peek(2)[:2]
        if not start:
            raise BadInput(path, "expected a NIfTI file, found an empty file; fetch it again")
        if start == b"\x1f\x8b":
            with igzip.IGzipFile(fileobj=file, mode="rb") as unpacked:
                yield VoxelStream(path, unpacked, True, size)
        else:
            yield VoxelStream(path, file, False, size)
