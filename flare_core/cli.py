"""`flare`: a thin command line over the functions that the notebooks call.

Exit codes: 0 all done; 1 some cases failed (each named, the others done); 2 refused before any case started; 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flare_core.attempt import DISK_FULL
from flare_core.batch import SERIAL, BatchStopped, Engine
from flare_core.cli_batch import add_engine, engine_of
from flare_core.cli_judging import add_ablate, add_claims, add_efficiency, add_evaluate, add_verify
from flare_core.cli_predicting import add_predict, add_pseudo_label
from flare_core.cli_results import add_results
from flare_core.cli_showing import add_view
from flare_core.exits import DONE, INTERRUPTED, PIPE_CLOSED, REFUSED, SOME_FAILED
from flare_core.recipe import PROFILES
from flare_core.storage import probe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # at its first start it tells of a list of fonts
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads our output has seen enough, as in `flare systems | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be flushed at the end
        return PIPE_CLOSED
    except (ValueError, OSError) as error:  # every refusal of ours is one of these
        if isinstance(error, BatchStopped) or getattr(error, "errno", None) in DISK_FULL:
            print(f"flare {options.command}: stopped: {error}", file=sys.stderr)
            return SOME_FAILED
        if options.verbose:
            traceback.print_exc()
        print(f"flare {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return REFUSED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each stores its function under `run`."""
    parser = argparse.ArgumentParser(prog="flare", description="Five FLARE challenge papers, reproduced.")
    parser.add_argument("-v", "--verbose", action="store_true", help="more messages, full tracebacks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_cohort(commands)
    add_verify(commands)
    _add_analyze(commands)
    _add_systems(commands)
    _add_train(commands)
    add_pseudo_label(commands)
    add_predict(commands)
    add_evaluate(commands)
    add_efficiency(commands)
    add_view(commands)
    add_results(commands)
    _add_import_nnunet(commands)
    _add_reproduce(commands)
    _add_retrain(commands)
    add_ablate(commands)
    add_claims(commands)
    return parser


def _add_cohort(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("cohort", help="write a synthetic cohort as a dataset folder")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--cases", type=int, required=True, help="training cases, in FLARE23's proportions")
    parser.add_argument("--validation", type=int, default=0, help="validation cases (default 0)")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--profile", default="mini", help="size: tiny, mini (default) or full")
    parser.add_argument("--slices", type=int, help="of every case (default: the profile's; full has 300)")
    parser.set_defaults(run=_cohort)


def _cohort(options: argparse.Namespace) -> int:
    from flare_core.cases.cohort import write_cohort

    root = write_cohort(
        options.out, options.cases, options.validation, options.seed, options.profile, slices=options.slices
    )
    print(f"wrote {options.cases} training and {options.validation} validation cases to {root}")
    return DONE


def _add_analyze(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("analyze", help="who is annotated where: presence, subsets, volumes")
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--map", type=Path, help="JSON file: foreign label value to target name")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    add_engine(parser, jobs="label files read at the same time")
    parser.set_defaults(run=_analyze)


def _analyze(options: argparse.Namespace) -> int:
    from flare_core.cases.dataset import Dataset, read_label_map
    from flare_core.cases.label_analysis import analyze

    label_map = read_label_map(options.map) if options.map else None
    dataset = Dataset.load(options.dataset, label_map)
    probe(options.out / "presence.csv", [options.dataset])
    analysis = analyze(dataset, options.out, engine=engine_of(options))
    for row in analysis.tables["subsets"].rows:
        print(f"{row['split']:<10} {row['cases']:>5} cases: {row['targets']}")
    return SOME_FAILED if analysis.failures else DONE


def _add_systems(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("systems", help="the papers: stages, networks, hyper-parameters, departures")
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_systems)


def _systems(options: argparse.Namespace) -> int:
    from flare_core.systems import SYSTEMS
    from flare_core.systems.describe import describe, describe_as_text

    chosen = [_system(options.name)] if options.name else list(SYSTEMS.values())
    if options.json:
        print(json.dumps([describe(system, options.profile) for system in chosen], indent=2))
    else:
        print("\n\n".join(describe_as_text(system, options.profile) for system in chosen))
    return DONE


def _system(name: str):
    """Return a system by name or refuse with the names there are."""
    from flare_core.systems import SYSTEMS

    if name not in SYSTEMS:
        raise ValueError(f"no system {name!r}; choose from {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="train a system; all stages end in a submission folder")
    parser.add_argument("system", metavar="SYSTEM")
    parser.add_argument("--data", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--profile", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--stage", action="append", default=[], help="only this stage (may be repeated)")
    parser.add_argument("--fold", action="append", type=int, default=[], help="only this fold (may be repeated)")
    parser.add_argument("--ablation", help="a named variation of the system (see `flare systems NAME`)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="folds trained at the same time (default 1)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, metavar="N", help="dask workers that prepare the cases (default none)")
    parser.add_argument("--resume", action="store_true", help="go on in a run folder that exists")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from flare_core.cases.dataset import Dataset
    from flare_core.cases.label_analysis import with_inferred_annotation
    from flare_core.training.loop import Workers
    from flare_core.training.processes import joined_processes
    from flare_core.training.run import Run, left_out
    from flare_core.training.schedule import train_system

    is_first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes only one prepares cases
    engine = Engine("dask", options.workers) if options.workers and is_first else SERIAL
    system = _system(options.system).at(options.profile)
    if options.ablation:
        system = system.ablated(options.ablation)
    dataset = with_inferred_annotation(Dataset.load(options.data), engine=engine)
    with joined_processes(options.device) as device:
        is_used = options.out.exists() and any(options.out.iterdir())
        if is_used and not options.resume and Workers.join().rank == 0:  # only the first process finds it as it was
            raise ValueError(f"{options.out} is not empty; add --resume to go on there, or choose another folder")
        run = Run(system, options.profile, dataset, options.out, options.seed, device, options.ablation or "")
        run = replace(run, engine=engine)
        print(train_system(run, options.stage, options.fold, jobs=options.jobs))
    missed = left_out(run, options.stage)
    if missed:
        print(f"could not be used, see above: {', '.join(missed)}", file=sys.stderr)
    return SOME_FAILED if missed else DONE


def _add_import_nnunet(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("import-nnunet", help="turn an nnU-Net version 2 model folder into a submission")
    parser.add_argument("folder", type=Path, metavar="MODEL_FOLDER", help="holds plans.json, dataset.json and fold_*")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--folds", nargs="+", metavar="K", help="folds to average (default: all there are)")
    parser.add_argument("--map", type=Path, help="JSON file: label name of the model to target name")
    parser.add_argument("--checkpoint", default="checkpoint_final.pth")
    parser.add_argument("--axes", default="LPS", help="where the stored axes of its training files point (default LPS)")
    parser.add_argument("--mirror", action="store_true", help="average over mirrored views, as nnU-Net does by default")
    parser.add_argument(
        "--tile-step", type=float, default=0.5, metavar="SHARE", help="step between windows, share of one (default 0.5)"
    )
    parser.set_defaults(run=_import_nnunet)


def _import_nnunet(options: argparse.Namespace) -> int:
    from flare_core.inference.nnunet_import import import_nnunet

    labels = json.loads(options.map.read_text()) if options.map else None
    folds = [int(fold) if fold.isdigit() else fold for fold in options.folds] if options.folds else None
    out = import_nnunet(
        options.folder,
        options.out,
        folds=folds,
        labels=labels,
        checkpoint=options.checkpoint,
        axes=options.axes,
        mirror=options.mirror,
        tile_step=options.tile_step,
    )
    print(f"wrote {out}; use it with: flare predict CT.nii.gz -o labels --model {out}")
    return DONE


def _add_reproduce(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("reproduce", help="run every notebook through papermill, to tables, figures, report")
    parser.add_argument("--profile", default="mini", choices=PROFILES)
    parser.add_argument("--only", nargs="+", default=[], metavar="NOTEBOOK", help="notebooks by number or name")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="e.g. seed=1")
    parser.add_argument("--force", action="store_true", help="also those that nothing has changed for")
    parser.set_defaults(run=_reproduce)


def _reproduce(options: argparse.Namespace) -> int:
    from flare_core.reproduce import Batch, parse_parameters, reproduce

    given = parse_parameters(options.parameter)
    outcomes = reproduce(Batch(options.profile, tuple(options.only), given, options.force))
    return SOME_FAILED if any(outcome.status == "failed" for outcome in outcomes) else DONE


def _add_retrain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("retrain", help="train the submissions from scratch on the embedded cohort")
    parser.add_argument("system", nargs="*", metavar="SYSTEM", help="the most urgent first (default all)")
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--ablations", nargs="*", metavar="NAME", help="train these ablations, too (no name: all)")
    parser.add_argument("--alone", action="store_true", help="the ablations without the method; its networks stay")
    parser.add_argument("--seed", action="append", type=int, help="may be repeated (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (default 1)")
    parser.set_defaults(run=_retrain)


def _retrain(options: argparse.Namespace) -> int:
    from flare_core.retrain import retrain

    systems, seeds = [_system(name).key for name in options.system], options.seed or [0]
    ablations = () if options.ablations is None else options.ablations or None
    retrain(options.profile, jobs=options.jobs, seeds=seeds, systems=systems, ablations=ablations, alone=options.alone)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
