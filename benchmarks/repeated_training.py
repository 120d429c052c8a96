"""See how far trainings vary from run to run: the same submissions trained twice, by the measures that claims compare.

    make retrain                                             # in a second copy of the project
    python benchmarks/repeated_training.py COPY/data/results/mini

Writes data/results/mini/repeated_training.csv (system, measure, first, second: means over the validation cases). What
claims.yaml allows for is twice the largest difference of a measure, rounded up to a whole point.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from flare_core.cases.labels import TUMOR
from flare_core.evaluation.claim_list import Side, read_claims
from flare_core.evaluation.claim_measures import MEASURES, NotThere, Results
from flare_core.evaluation.tables import write_csv
from flare_core.paths import results_of
from flare_core.recipe import AS_PUBLISHED
from flare_core.systems import SYSTEMS


def differences(first: Path, second: Path) -> pd.DataFrame:
    """Return rows system, measure, first and second of every submission and each measure of what it segments.

    Raises:
        ValueError: for a submission that was not trained again: its scores are the same in every case.
        NotThere: for one that has no scores in a folder.
    """
    rows, scores = [], [pd.read_csv(folder / "scores.csv") for folder in (first, second)]
    for key, system in SYSTEMS.items():
        both = scores[0].merge(scores[1], on=["system", "variant", "case", "target"])
        own = both[(both["system"] == key) & (both["variant"] == AS_PUBLISHED)]
        if len(own) and (own["dsc_x"] == own["dsc_y"]).all():
            raise ValueError(f"{key} has the same scores in {first} and {second}: train it again (make retrain)")
        for measure, title in ((MEASURES[name], name) for name in read_claims().run_to_run):
            if system.segments_organs or measure.targets == (TUMOR.name,):
                side = Side(key, AS_PUBLISHED, "trainings", title)
                means = (round(Results(folder).values(side).mean(), 5) for folder in (first, second))
                rows.append((key, title, *means))
    return pd.DataFrame(rows, columns=["system", "measure", "first", "second"])


def main() -> int:
    """Compare the committed results with those of another copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the copy's data/results/mini")
    try:
        table = differences(results_of("mini"), parser.parse_args().other)
    except (OSError, ValueError, NotThere) as error:
        parser.error(str(error))
    write_csv(table, results_of("mini") / "repeated_training.csv")
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
