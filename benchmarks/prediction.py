"""Measure `flare predict` beside nnU-Net's predictor and MONAI's sliding windows: same network, same image.

    python benchmarks/prediction.py

Every side goes from file to file in a process of its own: half-overlapping Gaussian windows, no mirroring, one fold.
`mini` is the shipped student of efficient_nnunet, whose labels mean something; `paper` has its paper's size and random
weights: for seconds and memory alone. Ours is measured as it is by default (`flare_core`), in float32 by OpenVINO and
by torch, and in the mode that repeats nnU-Net's own steps, on torch. `equal_*` and `mean_dice` (over targets that
either side shows) are against our labels in float32 by torch; `equal_to_nnunet` is against nnU-Net's: of our mode it
must be all voxels (of `paper` nearly all, since random weights make ties that the order of sums decides). Sides
resample differently: nnU-Net by cubic splines and, where slices are thick, in planes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from label_inputs import synthetic_labels
from peers import MONAI, NNUNET, Peer
from prediction_models import PEER_SCRIPT, model_folder
from side_by_side import OWN, WORK, Command, measure, own_command, parser_of, with_ratios, write_table

from flare_core.cases.nifti import case_id, read_labels, read_place
from flare_core.machine import processor_name
from flare_core.paths import ROOT

REAL_CT = ROOT.parent / "shared" / "data" / "real_ct"
"""A real CT, which is not ours to ship: used where it lies beside the project."""
EXACT, LIKE_NNUNET = f"{OWN}, torch float32", f"{OWN}, as nnU-Net"
EQUAL_TO_NNUNET = 0.999
"""Share of voxels, as `nnunet_parity.py` requires it."""
TIMES_FASTER, TIMES_FASTER_WITH_AMX, PEAK_SHARE = 4, 10, 0.5


@dataclass(frozen=True)
class Case:
    """What is predicted: a name for the table, the image, and the size of the network."""

    name: str
    image: Path
    size: str = "mini"


def cases(slices: list[int], with_paper: bool) -> list[Case]:
    """Return the inputs: synthetic ones of 512 x 512 voxels, the real CT where it is, and the paper's network."""
    images = {count: next((synthetic_labels(count).parent / "imagesTr").iterdir()) for count in slices}
    found = [Case(f"synthetic 512x512x{count}", image) for count, image in images.items()]
    for image in sorted(REAL_CT.glob("images*.nii.gz")):
        found.append(Case(f"real CT {'x'.join(map(str, read_place(image).data.shape))}", image))
    if with_paper:
        found += [Case(f"synthetic 512x512x{count}", images[count], "paper") for count in slices[:1]]
    return found


def peer_command(peer: Peer, how: str, model: Path, case: Case, out: Path) -> Command:
    """Return the command that predicts a case with a peer; it takes minutes and is counted once."""
    argv = (peer.python(), PEER_SCRIPT, how, model, case.image, out / f"{case_id(case.image)}.nii.gz")
    return Command(peer.name, peer.version, argv, runs=1, removed=(out,))


def commands_of(case: Case) -> dict[Path, Command]:
    """Return every side's command by the folder that it writes to."""
    model, labels = model_folder(case.size), WORK / "prediction" / "labels"
    sides = {
        "default": (OWN, "own", ()),
        "exact": (f"{OWN}, OpenVINO float32", "own", ("--precision", "exact")),
        "torch": (EXACT, "own", ("--backend", "torch", "--precision", "exact")),
        "as_nnunet": (LIKE_NNUNET, "imported", ("--backend", "torch", "--precision", "exact")),
    }
    commands = {}
    for name, (tool, kind, options) in sides.items():
        out = labels / name
        own = own_command("predict", case.image, "-o", out, "--model", model / kind, *options, removed=[out])
        is_slow = kind == "imported" or (case.size == "paper" and name == "torch")
        commands[out] = replace(own, tool=tool, runs=1 if is_slow else None)
    commands[labels / "nnunet"] = peer_command(NNUNET, "nnunet", model / "nnunet", case, labels / "nnunet")
    commands[labels / "monai"] = peer_command(MONAI, "monai", model / "monai", case, labels / "monai")
    return commands


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


def compare(case: Case, runs: int) -> list[dict[str, object]]:
    """Return the rows of one input."""
    commands = commands_of(case)
    found = measure(list(commands.values()), runs)
    labels = {
        command.tool: read_labels(out / f"{case_id(case.image)}.nii.gz").data for out, command in commands.items()
    }
    rows = []
    for measured in found:
        own = labels[measured.command.tool]
        same = round(float((own == labels[NNUNET.name]).mean()), 7)
        row = {"input": case.name, "network": case.size, **measured.row()}
        rows.append({**row, **agreement(own, labels[EXACT]), "equal_to_nnunet": same})
    return with_ratios(rows)


def missed(rows: list[dict[str, object]]) -> list[str]:
    """Say where we are not as fast, as small, or as equal as required, and where a peer is ahead of us."""
    times = TIMES_FASTER_WITH_AMX if "AMX" in processor_name() else TIMES_FASTER
    said = []
    for row in rows:
        where = f"{row['input']}, {row['network']} network, {row['tool']}"
        if row["tool"] == LIKE_NNUNET and row["equal_to_nnunet"] < EQUAL_TO_NNUNET:
            said.append(
                f"{where}: {row['equal_to_nnunet']:.5%} of voxels as nnU-Net has them, {EQUAL_TO_NNUNET:.1%} required"
            )
        if row["tool"] == NNUNET.name and row["times_ours"] < times:
            said.append(f"{where}: takes {row['times_ours']} times as long as ours, {times} required")
        if row["tool"] == NNUNET.name and row["peak_times_ours"] < 1 / PEAK_SHARE:
            said.append(f"{where}: takes {row['peak_times_ours']} times our memory, {1 / PEAK_SHARE:g} required")
        if row["tool"] == MONAI.name and min(row["times_ours"], row["peak_times_ours"]) < 1:
            said.append(f"{where}: ahead of ours ({row['times_ours']} x time, {row['peak_times_ours']} x memory)")
    return said


def main() -> int:
    """Measure every input, print and write the table; 1 if something is missed."""
    parser = parser_of(__doc__)
    parser.add_argument("--slices", type=int, nargs="*", default=[100, 300], help="of synthetic cases (100 300)")
    parser.add_argument("--no-paper", action="store_true", help="leave out the paper's network, which takes longest")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for case in cases(options.slices, not options.no_paper):
        rows += compare(case, options.runs)
        write_table("prediction", rows)  # so far: a long run that ends early leaves what it has measured
    problems = missed(rows)
    for problem in problems:
        print(f"missed: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
