"""Measure how long each tool takes until it is ready, and what that costs in memory.

    python benchmarks/cold_start.py

`imports` ends when everything is imported that a prediction needs; `network loaded` when the network is in memory, too
(ours has also computed its first window then); `first labels` is a whole `flare predict` of a tiny image: a later
start, the first one with an empty cache folder, when the OpenVINO graph is built with torch, and torch's. The network
is the trained student of `prediction.py`. Files are in the page cache, since a run that is not counted goes before.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from label_inputs import tiny_image
from peers import MONAI, NNUNET
from prediction_models import PEER_LOAD, PEER_SCRIPT, model_folder
from side_by_side import OWN, WORK, Command, measure, own_command, parser_of, with_ratios, write_table

from flare_core import __version__

IMPORTS = {
    OWN: "import flare_core.cli, flare_core.inference.predict, flare_core.inference.openvino_network",
    f"{OWN}, torch": "import flare_core.cli, flare_core.inference.predict, flare_core.inference.network",
    NNUNET.name: "from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor",
    MONAI.name: "import monai.inferers, monai.transforms",
}
FIRST_WINDOW = """
import sys, numpy, flare_core.cli
from flare_core.inference.backends import choose_compute
from flare_core.inference.submission import load_submission
submission = load_submission(sys.argv[1], choose_compute("openvino"))
submission.prepare()
((network, window, probabilities),) = submission.known_windows()
network(numpy.zeros((1, 1, *window), numpy.float32), probabilities)
"""
READY_S = 0.6


def starts(model: Path) -> list[Command]:
    """Return whole predictions: a later start, the first one with an empty cache folder, and torch's."""
    folder, commands = WORK / "cold_start", []
    for name, options in {"later": (), "first": (), "torch": ("--backend", "torch")}.items():
        out, cache = folder / f"labels_{name}", folder / f"cache_{name}"
        command = own_command("predict", tiny_image(), "-o", out, "--model", model / "own", *options)
        tool = {"later": OWN, "first": f"{OWN}, empty cache", "torch": f"{OWN}, torch"}[name]
        removed = (out, cache) if name == "first" else (out,)
        argv = ("/usr/bin/env", f"XDG_CACHE_HOME={cache}", *command.argv)
        commands.append(replace(command, tool=tool, argv=argv, removed=removed))
    return commands


def loads(model: Path) -> list[Command]:
    """Return processes that end when the network is loaded; ours computes its first window, too."""
    own = Command(OWN, __version__, (sys.executable, "-c", FIRST_WINDOW, model / "own"))
    peers = [
        Command(
            peer.name, peer.version, (peer.python(), "-c", PEER_LOAD, PEER_SCRIPT.parent, f"load_{name}", model / name)
        )
        for peer, name in ((NNUNET, "nnunet"), (MONAI, "monai"))
    ]
    return [own, *peers]


def imports() -> list[Command]:
    """Return processes that import what a prediction needs."""
    peers = {peer.name: peer for peer in (NNUNET, MONAI)}
    return [
        Command(tool, peers[tool].version, (peers[tool].python(), "-c", code))
        if tool in peers
        else Command(tool, __version__, (sys.executable, "-c", code))
        for tool, code in IMPORTS.items()
    ]


def main() -> int:
    """Measure all sides in turn, print and write the table; 1 if our first window comes too late."""
    parser = parser_of(__doc__)
    options = parser.parse_args()
    model = model_folder("mini")
    sides = {"imports": imports(), "network loaded": loads(model), "first labels": starts(model)}
    rows = []
    for until, commands in sides.items():
        rows += with_ratios([{"until": until, **one.row()} for one in measure(commands, options.runs)])
    write_table("cold_start", rows)
    (ready,) = (row["seconds_median"] for row in rows if row["until"] == "network loaded" and row["tool"] == OWN)
    if ready > READY_S:
        print(f"missed: the first window is done {ready} s after the start of the process, {READY_S} s required")
    return int(ready > READY_S)


if __name__ == "__main__":
    sys.exit(main())
