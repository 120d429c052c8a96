"""The command of `flare` that shows: `view`, a case as one HTML page.

A part of `flare_core.cli`, which adds it to its parser.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flare_core.exits import DONE


def add_view(commands: argparse._SubParsersAction) -> None:
    """Add `flare view`."""
    parser = commands.add_parser("view", help="one HTML file of a case: slices, 3-D, scores; opens without a network")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="reference label map")
    parser.add_argument("--prediction", type=Path, metavar="FILE", help="predicted label map")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="CASE_HTML")
    parser.add_argument("--rules", default="flare23", help="of the scores: flare23, flare24-task1, partial or strict")
    size_help = "larger images lose the air around the body, then resolution (default 12 million)"
    parser.add_argument("--max-voxels", type=int, metavar="N", help=size_help)
    parser.set_defaults(run=_view)


def _view(options: argparse.Namespace) -> int:
    from flare_core.case_layers import MOST_VOXELS, ShownCase
    from flare_core.case_page import write_case_page
    from flare_core.evaluation.flare_rules import RULES

    if options.out.is_dir() or options.out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{options.out}: name the HTML file to write, such as case.html")
    if options.rules not in RULES:
        raise ValueError(f"no rules {options.rules!r}; choose from {', '.join(RULES)}")
    most = MOST_VOXELS if options.max_voxels is None else options.max_voxels
    if most < 1:
        raise ValueError(f"--max-voxels must be at least 1, got {most}")
    case = ShownCase.read(options.image, options.labels, options.prediction)
    page = write_case_page(case, options.out, rules=RULES[options.rules], most_voxels=most)
    print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return DONE
