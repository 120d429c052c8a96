"""See what chance makes of a training: the same submissions trained twice, by the measures that claims compare.

    make retrain                                             # in a second copy of the project
    python benchmarks/repeated_training.py COPY/data/results/mini

Writes data/results/mini/repeated_training.csv (system, measure, first, second: means over the validation cases). What
claims.yaml allows for chance is twice the largest difference of a measure, rounded up to a whole point.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from flare_core.evaluation.claim_list import Side, read_claims
from flare_core.evaluation.claim_measures import Results
from flare_core.evaluation.tables import write_csv
from flare_core.paths import results_of
from flare_core.retrain import AS_PUBLISHED
from flare_core.systems import SYSTEMS


def differences(first: Path, second: Path) -> pd.DataFrame:
    """Return rows system, measure, first and second of every submission and each measure of what it segments."""
    rows = []
    for key, system in SYSTEMS.items():
        for measure in read_claims().chance:
            if system.segments_organs or "tumor" in measure:
                side = Side(key, AS_PUBLISHED, "trainings", measure)
                means = (round(Results(folder).values(side).mean(), 5) for folder in (first, second))
                rows.append((key, measure, *means))
    return pd.DataFrame(rows, columns=["system", "measure", "first", "second"])


def main() -> int:
    """Compare the committed results with those of another copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the copy's data/results/mini")
    table = differences(results_of("mini"), parser.parse_args().other)
    write_csv(table, results_of("mini") / "repeated_training.csv")
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
