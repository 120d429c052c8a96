"""Measure `flare evaluate` beside the surface-distance package and MONAI's metrics, on the same label files.

    python benchmarks/evaluation.py

The package is the origin of the official FLARE23 script's metric code and is called as the script does
(`evaluation_peer.py`). Every side reads files and writes scores, in a process of its own. Differences are those of the
rounded scores to the package's, the largest over cases and targets; MONAI knows no slice range, so it differs there.
Predictions are the references, spoiled by a voxel here and there, or `far off`, which makes distances long to search.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from label_inputs import KITS19, far_off, predictions_of, spoiled, synthetic_labels
from peers import MONAI, SURFACE_DISTANCE, Peer
from side_by_side import OWN, WORK, Command, measure, own_command, parser_of, with_ratios, write_table

from flare_core.cases.labels import TARGET_NAMES
from flare_core.storage import STATE

SLICES = (100, 500)


def peer_command(peer: Peer, folders: tuple[Path, Path], out: Path, runs: int | None = None) -> Command:
    """Return the command that scores the same folders with a peer."""
    script = Path(__file__).with_name("evaluation_peer.py")
    return Command(peer.name, peer.version, (peer.python(), script, peer.name, *folders, out), runs)


def scores_of(tool: str, out: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Return DSC and NSD by case and target, as a side has written them."""
    if tool == OWN:
        return {(row.case, row.target): (row.dsc, row.nsd) for row in pd.read_csv(out).itertuples()}
    scores = json.loads(out.read_text())
    return {
        (case, name): pair for case, found in scores.items() for name, pair in zip(TARGET_NAMES, found, strict=True)
    }


def compare(name: str, references: Path, spoil: Callable, runs: int) -> list[dict[str, object]]:
    """Return the rows of one input: every side's seconds, peak memory and largest differences."""
    folders = predictions_of(references, name, spoil), references
    files = {OWN: "own.csv", "surface-distance": "surface_distance.json", "monai": "monai.json"}
    outs = {tool: WORK / "scores" / file for tool, file in files.items()}
    outs[OWN].parent.mkdir(parents=True, exist_ok=True)
    commands = [
        own_command("evaluate", *folders, "-o", outs[OWN], removed=[outs[OWN].parent / STATE]),  # no score is reused
        peer_command(SURFACE_DISTANCE, folders, outs["surface-distance"]),
        peer_command(MONAI, folders, outs["monai"], runs=1),
    ]
    found = measure(commands, runs)
    scores = {tool: scores_of(tool, out) for tool, out in outs.items()}
    official = scores["surface-distance"]
    rows = []
    for measured in found:
        own = scores[measured.command.tool]
        largest = [max(abs(own[key][metric] - official[key][metric]) for key in official) for metric in (0, 1)]
        differences = {"largest_dsc_difference": round(largest[0], 4), "largest_nsd_difference": round(largest[1], 4)}
        rows.append({"input": name, "maps": len(official) // len(TARGET_NAMES), **measured.row(), **differences})
    return with_ratios(rows)


def main() -> int:
    """Measure every input, print and write the table; 1 if our scores are not the package's."""
    parser = parser_of(__doc__)
    parser.add_argument("--slices", type=int, nargs="*", default=SLICES, help="of synthetic cases (default 100 500)")
    options = parser.parse_args()
    inputs = {f"synthetic 512x512x{slices}": (synthetic_labels(slices), spoiled) for slices in options.slices}
    most = max(options.slices)
    inputs[f"synthetic 512x512x{most}, far off"] = synthetic_labels(most), far_off
    if KITS19.is_dir():
        inputs["kits19"] = KITS19, spoiled
    rows = [row for name, given in inputs.items() for row in compare(name, *given, options.runs)]
    write_table("evaluation", rows)
    own = [row for row in rows if row["tool"] == OWN]
    return int(any(row["largest_dsc_difference"] or row["largest_nsd_difference"] for row in own))


if __name__ == "__main__":
    sys.exit(main())
