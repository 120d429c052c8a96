"""Measure our label analysis beside MONAI's DataAnalyzer, on the same label maps.

    python benchmarks/analysis.py

Both sides read the maps one after the other in one process and write their tables; ours is `flare analyze`. `seconds_*`
is that process from start to end, `analysis_seconds` the median without imports, which `mvoxel_per_s` goes by.
DataAnalyzer also computes intensity statistics (of the label map, given as its own image), so a like-for-like ratio
would be smaller.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path

import pandas as pd
from label_inputs import KITS19, synthetic_labels
from peers import MONAI
from side_by_side import OWN, WORK, Command, measure, parser_of, with_ratios, write_table

from flare_core import __version__
from flare_core.cases.labels import TARGET_NAMES
from flare_core.cases.nifti import read_place

SLICES = 300


def own_counts(out: Path) -> dict[str, dict[int, int]]:
    """Return voxels by case and label value from our table, of the values that occur."""
    table = pd.read_csv(out / "presence.csv").set_index("case")
    ids = dict(enumerate(TARGET_NAMES, 1))
    return {
        case: {value: int(row[name]) for value, name in ids.items() if row[name] > 0} for case, row in table.iterrows()
    }


def peer_counts(out: Path) -> dict[str, dict[int, int]]:
    """Return the same from what the peer has written."""
    found = json.loads((out / "counts.json").read_text())
    return {case: {int(value): n for value, n in counts.items() if value != "0"} for case, counts in found.items()}


def compare(name: str, labels: Path, runs: int) -> list[dict[str, object]]:
    """Return the rows of one input: both sides' seconds, speed, peak memory, and whether the counts are equal."""
    own_out, peer_out = WORK / "analysis" / "own", WORK / "analysis" / "monai"
    script = Path(__file__)
    own = (sys.executable, script.with_name("analysis_own.py"), labels, own_out)
    peer = (MONAI.python(), script.with_name("analysis_peer.py"), labels, peer_out)
    commands = [
        Command(OWN, __version__, own, inside=own_out / "seconds.txt"),
        Command(MONAI.name, MONAI.version, peer, inside=peer_out / "seconds.txt"),
    ]
    found = measure(commands, runs)
    voxels = sum(math.prod(read_place(path).data.shape) for path in labels.glob("*.nii.gz"))
    is_equal = own_counts(own_out) == peer_counts(peer_out)
    rows = []
    for measured in found:
        seconds = statistics.median(measured.inside_seconds)
        speed = {"analysis_seconds": round(seconds, 3), "mvoxel_per_s": round(voxels / seconds / 1e6, 1)}
        size = {"input": name, "maps": len(list(labels.glob("*.nii.gz"))), "mvoxel": round(voxels / 1e6, 1)}
        rows.append({**size, **measured.row(), **speed, "equal_counts": is_equal})
    return with_ratios(rows, analysis_times_ours="analysis_seconds")


def main() -> int:
    """Measure every input, print and write the table; 1 if the counts differ."""
    parser = parser_of(__doc__)
    parser.add_argument("--slices", type=int, default=SLICES, help=f"of the synthetic case (default {SLICES})")
    options = parser.parse_args()
    inputs = {f"synthetic 512x512x{options.slices}": synthetic_labels(options.slices)}
    if KITS19.is_dir():
        inputs["kits19"] = KITS19
    rows = [row for name, folder in inputs.items() for row in compare(name, folder, options.runs)]
    write_table("analysis", rows)
    return int(not all(row["equal_counts"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
