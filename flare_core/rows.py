"""Keep a table as rows, and make a pandas table of them where one is asked for.

Serves the commands that write tables and show none: to import pandas takes longer than to count a large label map.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.storage import write_file

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Rows:
    """A table.

    Attributes:
        columns: their names, in order.
        rows: each by column; what is None or not there is missing.
        whole: columns of whole numbers that may be missing.
    """

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    whole: tuple[str, ...] = ()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The same as a pandas table (always the same one)."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(self.columns)).astype(dict.fromkeys(self.whole, "Int64"))

    def save(self, path: Path) -> None:
        """Write the rows as CSV, complete or not at all: six digits, missing values empty, no rows the header alone."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(row.get(name)) for name in self.columns] for row in self.rows)
        write_file(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
