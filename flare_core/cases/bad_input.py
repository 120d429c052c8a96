"""The one exception for a file that cannot be used, so that a batch can name it and go on.

Raised by everything that reads a case; caught by `flare_core.batch.map_cases`.
"""

from __future__ import annotations

from pathlib import Path


class BadInput(ValueError):
    """A file from outside is not what it should be.

    The message is one line: the file, what was expected, what was found, what to do.

    Attributes:
        path: the file.
        problem: the line without the file.
    """

    is_final = True  # a second try reads the same file: `flare_core.batch`

    def __init__(self, path: str | Path, problem: str) -> None:
        self.path = Path(path)
        self.problem = " ".join(problem.split())
        super().__init__(f"{printable(path)}: {self.problem}")

    def __reduce__(self) -> tuple[type[BadInput], tuple[Path, str]]:
        return type(self), (self.path, self.problem)  # keeps both parts when a worker process sends it back


def printable(path: str | Path) -> str:
    """Return a path for a message: as it is, or quoted where it would break the line."""
    return str(path) if str(path).isprintable() else repr(str(path))
