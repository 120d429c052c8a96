"""The commands of `flare` that make result tables of a profile: `cross-validate`, `lesions`, `rank` and `tables`.

A part of `flare_core.cli`, which adds them to its parser.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from flare_core.exits import DONE


def add_results(commands: argparse._SubParsersAction) -> None:
    """Add the four commands."""
    _add_cross_validate(commands)
    _add_lesions(commands)
    _add_rank(commands)
    _add_tables(commands)


def _add_cross_validate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("cross-validate", help="score each trained fold on the cases that it held out")
    parser.add_argument("system", metavar="SYSTEM")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--data", default="", metavar="DATASET", help="default: the embedded cohort of the profile")
    parser.add_argument("--stage", default="", help="default: the last one that is split into folds")
    parser.set_defaults(run=_cross_validate)


def _cross_validate(options: argparse.Namespace) -> int:
    from flare_core.cross_validation import cross_validate, fold_means
    from flare_core.workspace import Workspace

    work = Workspace(options.system, options.profile, options.data)
    print(fold_means(cross_validate(work, options.stage)).round(4).to_string(index=False))
    print(f"wrote {work.results / 'cross_validation.csv'}")
    return DONE


def _add_lesions(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("lesions", help="found and invented lesions in the validation cases")
    parser.add_argument("system", nargs="*", metavar="SYSTEM", help="default: all")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--data", default="", metavar="DATASET", help="default: the embedded cohort of the profile")
    parser.add_argument("--record", action="store_true", help="predict and rewrite lesions.csv first (minutes)")
    parser.set_defaults(run=_lesions)


def _lesions(options: argparse.Namespace) -> int:
    from flare_core.lesion_board import lesion_board, record_lesions
    from flare_core.systems import SYSTEMS
    from flare_core.workspace import Workspace

    systems = options.system or list(SYSTEMS)
    for work in [Workspace(system, options.profile, options.data) for system in systems]:
        if options.record:
            print(f"{work.system}: predicting and counting, into {work.results / 'lesions.csv'}", flush=True)
            record_lesions(work)
    board = lesion_board(options.profile, options.data)
    shown = board[board.index.isin(systems)]
    print(shown.to_string() if len(shown) else f"none counted at {options.profile}; --record predicts and counts")
    return DONE


def _add_rank(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("rank", help="rank the submissions as FLARE does: on every case and metric first")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--data", default="", metavar="DATASET", help="default: the embedded cohort of the profile")
    parser.set_defaults(run=_rank)


def _rank(options: argparse.Namespace) -> int:
    from flare_core.evaluation.ranking import COSTS, FLARE23_RANKING, HALF_COSTS, NO_TOLERANCE
    from flare_core.ranking_board import rankings
    from flare_core.workspace import Workspace

    work = Workspace(profile=options.profile, data=options.data)
    ranked = rankings(work, (FLARE23_RANKING, NO_TOLERANCE, HALF_COSTS))
    if not set(COSTS) & set(ranked[0].mean_ranks):
        print(f"time and memory are not measured at the profile {work.profile}: the schemes are one")
        ranked = ranked[:1]
    for ranking in ranked:
        print(f"{ranking.scheme.name} (from, to: 95 % interval of the place over resampled cases)")
        print(ranking.table().round(2).to_string(), end="\n\n")
    return DONE


def _add_tables(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("tables", help="the papers' result tables beside ours: CSV, Markdown, LaTeX")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--data", default="", metavar="DATASET", help="default: the embedded cohort of the profile")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="default: `tables` among the profile's runs")
    parser.set_defaults(run=_tables)


def _tables(options: argparse.Namespace) -> int:
    from flare_core.paper_tables import export_tables, paper_tables
    from flare_core.workspace import Workspace

    work = Workspace(profile=options.profile, data=options.data)
    print(f"the papers' tables beside {work.results}; what is predicted here is scored again", flush=True)
    for file in export_tables(paper_tables(work), options.out or work.folder / "tables"):
        print(file)
    return DONE
