"""Measure `flare predict` beside nnU-Net's predictor and MONAI's sliding windows: same network, same image.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --mini --paper 215 --sides default nnunet

Every side goes from file to file in a process of its own: half-overlapping Gaussian windows, no mirroring, one fold.
`mini` is the shipped student of efficient_nnunet, whose labels mean something; `paper` has its paper's size and random
weights: for seconds and memory alone. Ours is measured as it is by default (`flare_core`), in float32 by OpenVINO and
by torch, and in the mode that repeats nnU-Net's own steps, on torch. `equal_*` and `mean_dice` (over targets that
either side shows) are against our labels in float32 by torch; `equal_to_nnunet` is against nnU-Net's: of our mode it
must be all voxels (of `paper` nearly all, since random weights make ties that the order of sums decides). Sides
resample differently: nnU-Net by cubic splines and, where slices are thick, in planes.

It takes an hour and can be done in pieces: every counted run is kept at once under runs/ and not repeated, while our
code, the peer's version and the processor stay the same (`--again` forgets them), and a row of the table takes the
place of the same input's. A peer may take 90 % of the machine's memory; its `outcome` is `out of memory` beyond that,
and its memory at least that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from label_inputs import synthetic_labels, tiny_image
from peers import MONAI, NNUNET
from prediction_models import PEER_LOAD, PEER_SCRIPT, model_folder
from side_by_side import (
    OWN,
    WORK,
    Command,
    Measured,
    kept_runs,
    measure,
    own_command,
    parser_of,
    with_ratios,
    write_table,
)

from flare_core.cases.nifti import case_id, read_labels, read_place
from flare_core.machine import processor_name
from flare_core.paths import RESULTS, ROOT

REAL_CT = ROOT.parent / "shared" / "data" / "real_ct"
"""A real CT, which is not ours to ship: used where it lies beside the project."""
EXACT, LIKE_NNUNET = f"{OWN}, torch float32", f"{OWN}, as nnU-Net"
EQUAL_TO_NNUNET = 0.999
"""Share of voxels, as `nnunet_parity.py` requires it."""
TIMES_FASTER, TIMES_FASTER_WITH_AMX, PEAK_SHARE = 4, 10, 0.5
MOST_OF_MEMORY = 0.9
"""What a peer may take of the machine's memory."""
SIDES = ("default", "exact", "torch", "as_nnunet", "nnunet", "monai")
FEW, MOST_SLICES = ("default", "nnunet"), 100
"""With the paper's network every side takes many minutes where there are more slices: there the target's sides only."""
KEPT, TABLE = WORK / "prediction" / "runs.json", RESULTS / "benchmarks" / "prediction.csv"


@dataclass(frozen=True)
class Case:
    """What is predicted: a name for the table, the image, and the size of the network."""

    name: str
    image: Path
    size: str = "mini"


def cases(mini: list[int], paper: list[int]) -> list[Case]:
    """Return the inputs: synthetic ones of 512 x 512 voxels for both networks, the real CT with `mini` where it is."""
    images = {count: next((synthetic_labels(count).parent / "imagesTr").iterdir()) for count in {*mini, *paper}}
    found = [Case(f"synthetic 512x512x{count}", images[count]) for count in mini]
    for image in sorted(REAL_CT.glob("images*.nii.gz")) if mini else ():
        found.append(Case(f"real CT {'x'.join(map(str, read_place(image).data.shape))}", image))
    return found + [Case(f"synthetic 512x512x{count}", images[count], "paper") for count in paper]


def commands_of(case: Case) -> dict[str, Command]:
    """Return every side's command by its name."""
    model, folder = model_folder(case.size), folder_of(case)
    options = ("--backend", "torch", "--precision", "exact")
    own = {
        "default": (OWN, "own", ()),
        "exact": (f"{OWN}, OpenVINO float32", "own", ("--precision", "exact")),
        "torch": (EXACT, "own", options),
        "as_nnunet": (LIKE_NNUNET, "imported", options),
    }
    commands = {}
    for side, (tool, kind, options) in own.items():
        what = [
            own_command("predict", image, "-o", folder / name, "--model", model / kind, *options)
            for image, name in ((case.image, side), (tiny_image(), f"{side}_warm_up"))
        ]
        is_slow = kind == "imported" or (case.size == "paper" and side == "torch")
        removed = (folder / side, folder / f"{side}_warm_up")
        commands[side] = replace(what[0], tool=tool, runs=1 if is_slow else None, removed=removed, warm_up=what[1].argv)
    for side, peer in {"nnunet": NNUNET, "monai": MONAI}.items():
        labels = folder / side / f"{case_id(case.image)}.nii.gz"
        argv = (peer.python(), PEER_SCRIPT, side, model / side, case.image, labels)
        commands[side] = Command(
            *(peer.name, peer.version, argv),
            runs=2,
            removed=(folder / side,),
            warm_up=(peer.python(), "-c", PEER_LOAD, PEER_SCRIPT.parent, f"load_{side}", model / side),
            most_mib=int(MOST_OF_MEMORY * psutil.virtual_memory().total / 2**20),
        )
    return commands


def folder_of(case: Case) -> Path:
    """Return where the sides of a case write to."""
    return WORK / "prediction" / "labels" / f"{case.name.replace(' ', '_')}_{case.size}"


def agreement(labels: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return shares of equal voxels and foreground voxels (foreground to either side) and the mean Dice of targets."""
    equal, seen = labels == other, (labels > 0) | (other > 0)
    both, sizes = (np.bincount(array, minlength=256) for array in (labels[equal], np.r_[labels[seen], other[seen]]))
    shown = [target for target in range(1, 256) if sizes[target]]
    dice = [2 * both[target] / sizes[target] for target in shown]
    return {
        "equal_voxels": round(float(equal.mean()), 6),
        "equal_foreground": round(np.count_nonzero(equal & seen) / max(np.count_nonzero(seen), 1), 5),
        "mean_dice": round(float(np.mean(dice)), 4) if dice else 1.0,
    }


def compare(case: Case, sides: Sequence[str], runs: int) -> list[dict[str, object]]:
    """Measure sides of one input and return the rows of all sides that are measured, now or before."""
    commands = commands_of(case)
    measure([commands[side] for side in sides], runs, KEPT)
    there = kept_runs(KEPT)
    found = {
        side: Measured(command, **there[command.key]) for side, command in commands.items() if command.key in there
    }
    labels = {
        side: read_labels(folder_of(case) / side / f"{case_id(case.image)}.nii.gz").data
        for side, measured in found.items()
        if measured.outcome == "done" and measured.seconds
    }
    rows = []
    for side, measured in found.items():
        row = {"input": case.name, "network": case.size, **measured.row(), "outcome": measured.outcome}
        if side in labels and "torch" in labels:
            row |= agreement(labels[side], labels["torch"])
        if side in labels and "nnunet" in labels:
            row["equal_to_nnunet"] = round(float((labels[side] == labels["nnunet"]).mean()), 7)
        rows.append(row)
    return with_ratios(rows) if "default" in found else rows


def with_others(rows: list[dict[str, object]], table: Path) -> list[dict[str, object]]:
    """Return new rows together with those of other inputs that a table has."""
    new = pd.DataFrame(rows)
    if not table.is_file():
        return rows
    old = pd.read_csv(table)
    replaced = pd.MultiIndex.from_frame(old[["input", "network"]]).isin(
        pd.MultiIndex.from_frame(new[["input", "network"]])
    )
    return pd.concat([old[~replaced], new]).to_dict("records")


def missed(rows: list[dict[str, object]]) -> list[str]:
    """Say where we are not as fast, as small, or as equal as required, and where a peer is ahead of us."""
    fewest = TIMES_FASTER_WITH_AMX if "AMX" in processor_name() else TIMES_FASTER
    said = []
    for row in rows:
        where = f"{row['input']}, {row['network']} network, {row['tool']}"
        # not there: not measured
        equal, times, peak = (row.get(name, np.nan) for name in ("equal_to_nnunet", "times_ours", "peak_times_ours"))
        if row["tool"] == LIKE_NNUNET and equal < EQUAL_TO_NNUNET:
            said.append(f"{where}: {equal:.5%} of voxels as nnU-Net has them, {EQUAL_TO_NNUNET:.1%} required")
        if row["tool"] == NNUNET.name and times < fewest:
            said.append(f"{where}: takes {times} times as long as ours, {fewest} required")
        if row["tool"] == NNUNET.name and peak < 1 / PEAK_SHARE:
            said.append(f"{where}: takes {peak} times our memory, {1 / PEAK_SHARE:g} required")
        if row["tool"] == MONAI.name and (times < 1 or peak < 1):
            said.append(f"{where}: ahead of ours ({times} x time, {peak} x memory)")
    return said


def main() -> int:
    """Measure every input, print and write the table; 1 if something is missed."""
    parser = parser_of(__doc__)
    parser.add_argument("--mini", type=int, nargs="*", default=[100, 300], help="slices, shipped network (100 300)")
    parser.add_argument("--paper", type=int, nargs="*", default=[100, 215, 499], help="the paper's size (100 215 499)")
    parser.add_argument(
        "--sides", nargs="+", choices=SIDES, help=f"default: all; paper above {MOST_SLICES} slices {' '.join(FEW)}"
    )
    parser.add_argument("--again", action="store_true", help="forget the runs that are kept")
    options = parser.parse_args()
    if options.again:
        KEPT.unlink(missing_ok=True)
    rows: list[dict[str, object]] = []
    for case in cases(options.mini, options.paper):
        few = case.size == "paper" and read_place(case.image).data.shape[2] > MOST_SLICES
        rows += compare(case, options.sides or (FEW if few else SIDES), options.runs)
        write_table("prediction", with_others(rows, TABLE))  # so far: what ends early leaves what it has measured
    problems = missed(rows)
    for problem in problems:
        print(f"missed: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
