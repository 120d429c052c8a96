"""Our side of `analysis.py`: `flare analyze LABELS -o OUT`, with a clock around what comes after the imports.

    python benchmarks/analysis_own.py LABELS OUT

Values count under the target that has this number, whatever they mean in a foreign file. Nothing is left of an earlier
run, whose counts would be taken.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from flare_core import cli
from flare_core.cases import label_analysis  # noqa: F401 (imported by the command when it runs: before the clock here)


def main() -> int:
    """Analyze a folder of label maps; write OUT/seconds.txt."""
    labels, out = map(Path, sys.argv[1:])
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    code = cli.main(["analyze", str(labels), "-o", str(out)])
    (out / "seconds.txt").write_text(str(time.perf_counter() - start))
    return code


if __name__ == "__main__":
    sys.exit(main())
