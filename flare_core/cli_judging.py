"""The commands of `flare` that judge: `verify` (data), `evaluate`, `efficiency` (at what cost), `ablate`, `claims`.

A part of `flare_core.cli`, which adds them to its parser.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flare_core.cli_batch import add_engine, engine_of
from flare_core.exits import DONE, SOME_FAILED, report_cases
from flare_core.storage import probe

PASSED_ON = {
    "backend": "what computes the networks",
    "precision": "auto or exact",
    "device": "auto, cpu or cuda",
    "max-memory": "largest memory of a prediction, such as 4GB",
}
"""Options of `flare predict` that `flare efficiency` hands on as they are."""


def add_verify(commands: argparse._SubParsersAction) -> None:
    """Add `flare verify`."""
    parser = commands.add_parser("verify", help="check a dataset before anyone trains on it, a line a finding")
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--map", type=Path, help="JSON file: foreign label value to target name")
    parser.add_argument("-o", "--out", type=Path, metavar="REPORT_CSV", help="write the findings as a table, too")
    add_engine(parser, jobs="cases read at once, each with its memory")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from flare_core.cases.dataset import Dataset, read_label_map
    from flare_core.cases.verification import verify

    engine = engine_of(options)
    if options.out is not None:
        probe(options.out, [options.dataset])
    with _findings_instead_of_messages():
        dataset = Dataset.load(options.dataset, read_label_map(options.map) if options.map else None)
        found = verify(dataset, engine=engine)
    print("\n".join(map(str, [*found.findings, found])))
    if options.out is not None:
        found.save(options.out)
    return SOME_FAILED if found.errors else DONE


@contextmanager
def _findings_instead_of_messages() -> Iterator[None]:
    """Silence what reading says of files: it is said again as findings."""
    reading = [logging.getLogger(f"flare_core.{name}") for name in ("cases", "batch_dask")]
    levels = [logger.level for logger in reading]
    for logger in reading:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(reading, levels, strict=True):
            logger.setLevel(level)


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add `flare evaluate`."""
    parser = commands.add_parser("evaluate", help="DSC and NSD under the official or stricter rules")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="folder or file")
    parser.add_argument("references", type=Path, metavar="REFERENCES", help="folder or file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="SCORES_CSV")
    parser.add_argument("--rules", default="flare23", help="flare23, flare24-task1, partial or strict")
    parser.add_argument("--map", type=Path, help="JSON file: the references' label value to target name")
    parser.add_argument("--prediction-map", type=Path, help="the same for the predictions")
    add_engine(parser, jobs="cases scored at once, each with its memory")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from flare_core.cases.dataset import annotated_beside
    from flare_core.cases.label_map import read_label_map
    from flare_core.evaluation.evaluate import evaluate_files, evaluate_folders
    from flare_core.evaluation.evaluate_case import LabelMaps
    from flare_core.evaluation.flare_rules import RULES
    from flare_core.evaluation.lesions import lesion_summary

    if options.rules not in RULES:
        raise ValueError(f"no rules {options.rules!r}; choose from {', '.join(RULES)}")
    if options.references.is_dir() != options.predictions.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (options.predictions, options.references)]
        raise ValueError(
            f"{options.predictions} is {kinds[0]}, {options.references} is {kinds[1]}; name two folders, whose files "
            "are paired by case id, or two files"
        )
    probe(options.out, [options.predictions, options.references])
    engine = engine_of(options)
    evaluate = partial(evaluate_folders, engine=engine) if options.references.is_dir() else evaluate_files
    maps = [path and read_label_map(path).ids for path in (options.map, options.prediction_map)]
    annotated = annotated_beside(options.references)
    rules, maps = RULES[options.rules], LabelMaps(*maps)
    result = evaluate(options.predictions, options.references, rules, options.out, annotated, maps)
    print(result.summary_table().to_string(index=False))
    print("lesions:", lesion_summary(result.lesions_table()).to_frame().T.to_string(index=False))
    return DONE if result.is_complete else SOME_FAILED


def add_efficiency(commands: argparse._SubParsersAction) -> None:
    """Add `flare efficiency`."""
    parser = commands.add_parser("efficiency", help="time, peak and area of memory: a fresh process a case")
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION")
    cases = parser.add_mutually_exclusive_group(required=True)
    cases.add_argument("--cases", nargs="+", type=Path, metavar="DIR", help="image files, folders, or a dataset folder")
    sizes_help = "synthetic scans of 512 x 512 with so many slices (none given: the papers' eight sizes)"
    cases.add_argument("--sizes", nargs="*", type=int, metavar="SLICES", help=sizes_help)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="EFFICIENCY_CSV")
    parser.add_argument("--force", action="store_true", help="measure again what the file has already")
    for name, meaning in PASSED_ON.items():
        parser.add_argument(f"--{name}", help=f"handed on to `flare predict`: {meaning}")
    parser.set_defaults(run=_efficiency)


def _efficiency(options: argparse.Namespace) -> int:
    from flare_core.efficiency_board import PAPER_SLICES, alike, as_subject, find_scans, readable, scans_of_sizes
    from flare_core.evaluation.efficiency import Conditions, measure_efficiency
    from flare_core.evaluation.efficiency_table import EfficiencyTables
    from flare_core.evaluation.memory import Gpu

    probe(options.out, options.cases or ())
    subjects = [as_subject(folder) for folder in options.submissions]
    given = {name: getattr(options, name.replace("-", "_")) for name in PASSED_ON}
    passed_on = tuple(word for name, value in given.items() if value for word in (f"--{name}", value))
    scans = find_scans(options.cases) if options.cases else scans_of_sizes(options.sizes or PAPER_SLICES)
    conditions = Conditions(passed_on, Gpu.find())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the measured process must not stay behind
    report = measure_efficiency(subjects, scans, options.out, conditions, force=options.force)
    rows = EfficiencyTables.read(options.out).rows
    print(readable(rows).to_string(index=False), alike(rows), sep="\n")
    return report_cases(report)


def add_ablate(commands: argparse._SubParsersAction) -> None:
    """Add `flare ablate`."""
    parser = commands.add_parser("ablate", help="use trained networks in other ways, score that, judge the claims anew")
    parser.add_argument("system", nargs="*", metavar="SYSTEM", help="default: all that have a submission")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--timed", action="store_true", help="measure seconds, too; let nothing else run meanwhile")
    parser.set_defaults(run=_ablate)


def _ablate(options: argparse.Namespace) -> int:
    from flare_core.ablate import ablate
    from flare_core.systems import SYSTEMS

    for name in options.system:
        if name not in SYSTEMS:
            raise ValueError(f"no system {name!r}; choose from {', '.join(SYSTEMS)}")
    ablate(options.profile, options.system, timed=options.timed)
    return DONE


def add_claims(commands: argparse._SubParsersAction) -> None:
    """Add `flare claims`."""
    parser = commands.add_parser("claims", help="the verdict on every claim of the papers, from the result tables")
    parser.add_argument("id", nargs="*", metavar="CLAIM", help="only these, with the reason and how to rerun each")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_claims)


def _claims(options: argparse.Namespace) -> int:
    from flare_core.evaluation.claim_list import read_claims
    from flare_core.evaluation.claim_texts import as_data, as_text, in_detail
    from flare_core.evaluation.claims import judge_claims

    claims = read_claims().only(options.id)
    findings = judge_claims(claims)
    if options.json:
        print(json.dumps(as_data(claims, findings), indent=2))
    else:
        print((in_detail if options.id else as_text)(claims, findings))
    return DONE
