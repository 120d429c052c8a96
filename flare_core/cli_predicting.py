"""The commands of `flare` that predict: `predict` (label files for images) and `pseudo-label` (for training cases).

A part of `flare_core.cli`, which adds them to its parser.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from flare_core.cli_batch import add_engine, engine_of
from flare_core.exits import report_cases
from flare_core.storage import probe, refuse_inside

CT_HU = (-1100, 3100)
"""What `--skip-air` may ask for: from a little below air to a little above the densest bone."""


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Add `flare predict`."""
    parser = commands.add_parser("predict", help="one label file a case, in the geometry of its image")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image files, or folders of images")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, required=True, metavar="SUBMISSION")
    parser.add_argument("--backend", default="auto", help="auto, torch or openvino")
    parser.add_argument("--precision", choices=("auto", "exact"), default="auto", help="exact: float32 everywhere")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--max-memory", type=_size, metavar="SIZE", help="of the whole process, such as 4GB; refused if too little"
    )
    air_help = "leave out windows without a voxel above HU (default -500)"
    parser.add_argument("--skip-air", type=float, nargs="?", const=-500.0, metavar="HU", help=air_help)
    parser.add_argument("--volume", type=int, metavar="K", help="which volume of a series to take, from 0")
    spacing_help = "voxel edges where a header has none"
    parser.add_argument("--assume-spacing", type=float, nargs=3, metavar="MM", help=spacing_help)
    volumes_help = "also write the volume of every target of every case"
    parser.add_argument("--volumes", type=Path, metavar="CSV", help=volumes_help)
    colors_help = "also write the targets' names and colors for 3D Slicer and ITK-SNAP"
    parser.add_argument("--color-tables", type=Path, metavar="FOLDER", help=colors_help)
    add_engine(parser)
    parser.set_defaults(run=_predict)


def _size(text: str) -> int:
    """Return the bytes of `--max-memory`."""
    from flare_core.inference.planner import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_numbers(options: argparse.Namespace) -> None:
    """Refuse numbers that make no sense for any case; NaN is among them, since it is nowhere between two others."""
    lowest, highest = CT_HU
    if options.skip_air is not None and not lowest <= options.skip_air <= highest:
        raise ValueError(f"--skip-air needs a value of CT, {lowest} to {highest} HU, got {options.skip_air:g}")
    if options.volume is not None and options.volume < 0:
        raise ValueError(f"--volume counts from 0, got {options.volume}; give the number of the volume to take")
    edges = options.assume_spacing or ()
    if not all(0 < edge < math.inf for edge in edges):
        got = " ".join(f"{edge:g}" for edge in edges)
        raise ValueError(f"--assume-spacing needs three voxel edges above 0 mm, got {got}")


def _predict(options: argparse.Namespace) -> int:
    from flare_core.cases.color_tables import write_color_tables
    from flare_core.cases.volumes import write_volumes
    from flare_core.inference.backends import choose_compute
    from flare_core.inference.predict import Reading, find_images, predict_files
    from flare_core.inference.predict_in_workers import Model, predict_in_workers

    _check_numbers(options)
    images = find_images(options.inputs)
    refuse_inside(options.out, options.inputs)
    compute = choose_compute(options.backend, options.device, exact=options.precision == "exact")
    engine = engine_of(options, options.max_memory if compute.device == "cpu" else None)
    model = Model(options.model.resolve(), compute, options.skip_air, options.max_memory)
    submission = model.load()  # a bad one is refused before any case starts
    if options.volumes:
        probe(options.volumes, options.inputs)
    if options.color_tables:
        refuse_inside(options.color_tables, options.inputs)
        write_color_tables(options.color_tables)
    print(f"{submission.compute}, {submission.precision}")
    reading = Reading(options.volume, options.assume_spacing and tuple(options.assume_spacing))
    if engine.name == "dask":
        report = predict_in_workers(images, options.out, model, reading, engine=engine)
    else:
        report = predict_files(images, options.out, submission, model.name, reading, max_memory=options.max_memory)
    if options.volumes:
        labels = {case: prediction.path for case, prediction in report.results.items()}
        write_volumes(options.volumes, labels, submission.targets)
    return report_cases(report)


def add_pseudo_label(commands: argparse._SubParsersAction) -> None:
    """Add `flare pseudo-label`."""
    parser = commands.add_parser("pseudo-label", help="fill unannotated targets from a trained teacher")
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run or submission folder with a teacher")
    parser.add_argument("--data", type=Path, required=True, metavar="DATASET")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    add_engine(parser)
    parser.set_defaults(run=_pseudo_label)


def _pseudo_label(options: argparse.Namespace) -> int:
    from flare_core.cases.dataset import Dataset
    from flare_core.cases.label_analysis import with_inferred_annotation
    from flare_core.training.pseudo_labels import fill_dataset

    engine, dataset = engine_of(options), Dataset.load(options.data)
    probe(options.out / "provenance.csv")
    dataset = with_inferred_annotation(dataset, engine=engine)
    return report_cases(fill_dataset(options.run_folder, dataset, options.out, engine=engine))
