"""Compare our predictions with those of nnU-Net's own predictor, with the same weights and the same settings.

    python3.11 -m venv NNUNET_ENV
    echo torch==2.13.0 > pinned.txt
    NNUNET_ENV/bin/pip install -c pinned.txt torch nnunetv2
    python benchmarks/nnunet_parity.py WORK --nnunet-python NNUNET_ENV/bin/python -o data/results/mini/nnunet_parity.csv

Writes a tiny cohort as an nnU-Net dataset, lets nnU-Net train on it until it predicts organs (`nnunet_peer.py`, in its
own environment, about 15 minutes on an idle core), imports the models and predicts the same images with both. The table
has a row a setting and image: the share of all voxels and of foreground voxels (foreground to either) with equal
labels, and nnU-Net's Dice on the liver and mean over organs, to show that there is something to agree on. Required:
99.9 % of voxels and 99.5 % of foreground voxels. `--record` renews tests/inference/nnunet_example.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core.cases.boxes import bounding_box
from flare_core.cases.cohort import write_cohort
from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import ORGANS, TARGETS
from flare_core.cases.nifti import case_id, read_image, read_labels
from flare_core.cases.nifti_writing import write_image, write_labels
from flare_core.evaluation.tables import write_csv
from flare_core.inference.nnunet_import import import_nnunet
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.paths import ROOT

DATASET = 501
CASES, IMAGES, SEED = 10, 4, 7
SMALL, SMALL_SIDE = "small", 34
"""The image that is recorded: a part of the last one."""
EQUAL_VOXELS, EQUAL_FOREGROUND = 0.999, 0.995


@dataclass(frozen=True)
class Setting:
    """One comparison: which model, which folds, how predicted.

    Attributes:
        name: in the table.
        configuration, folds: of the trained models.
        mirror, tile_step: of both predictors.
        transpose: nnU-Net's `transpose_forward`, put into a copy of the plans.
    """

    name: str
    configuration: str
    folds: tuple[int, ...] = (0,)
    mirror: bool = False
    tile_step: float = 0.5
    transpose: tuple[int, ...] = (0, 1, 2)


SETTINGS = (
    Setting("plain", "3d_fullres"),
    Setting("plain_mirrored", "3d_fullres", mirror=True),
    Setting("residual_ensemble", "3d_residual", (0, 1)),
    Setting("thick_planes", "3d_thick"),
    Setting("turned", "3d_smallest", (0, 1), mirror=True, tile_step=0.7, transpose=(1, 0, 2)),
)
RECORDED = ("plain", "turned")


def write_dataset(work: Path) -> Path:
    """Write the cohort as an nnU-Net raw dataset, completely labeled, and one small image more; return its folder."""
    cohort = write_cohort(work / "cohort", CASES, IMAGES, SEED, "tiny")
    raw = work / "raw" / f"Dataset{DATASET}_Tiny"
    for images, labels, part in (("imagesTr", "labelsTrTrue", "Tr"), ("imagesVal", "labelsVal", "Ts")):
        for path in sorted((cohort / images).iterdir()):
            image, reference = read_image(path), read_labels(cohort / labels / f"{case_id(path)}.nii.gz")
            write_pair(raw, part, case_id(path), image.data, reference.data, image.spacing_mm)
    box = tuple(slice(one.start, min(one.stop, one.start + SMALL_SIDE)) for one in bounding_box(reference.data > 0))
    write_pair(raw, "Ts", SMALL, image.data[box], reference.data[box], image.spacing_mm)
    values = {"background": 0, **{target.name: target.id for target in TARGETS}}
    content = {"channel_names": {"0": "CT"}, "labels": values, "numTraining": CASES, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(content, indent=2))
    return raw


def write_pair(
    raw: Path, part: str, case: str, image_hu: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, ...]
) -> None:
    """Write an image and its labels (RAS+ arrays) into a dataset, stored as LPS."""
    geometry = Geometry.from_spacing(image_hu.shape, spacing_mm, axes="LPS")
    write_image(raw / f"images{part}" / f"{case}_0000.nii.gz", image_hu, geometry)
    write_labels(raw / f"labels{part}" / f"{case}.nii.gz", labels, geometry)


def run_peer(python: Path, work: Path, *arguments: str) -> None:
    """Run `nnunet_peer.py` in nnU-Net's environment; its words go to WORK/peer.log."""
    folders = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    peer = Path(__file__).with_name("nnunet_peer.py")
    with open(work / "peer.log", "a") as log:
        environment = {**os.environ, **folders, "OMP_NUM_THREADS": "1"}
        subprocess.run([python, peer, *arguments], check=True, env=environment, stdout=log, stderr=log)


def train_missing(settings: Sequence[Setting], work: Path, python: Path, epochs: int) -> None:
    """Let nnU-Net train the networks that settings need and that are not there yet."""
    needed = dict.fromkeys((setting.configuration, fold) for setting in settings for fold in setting.folds)
    missing = [
        f"{configuration}:{fold}"
        for configuration, fold in needed
        if not list((work / "results").glob(f"*/*__{configuration}/fold_{fold}/checkpoint_slim.pth"))
    ]
    if missing:
        run_peer(python, work, "train", str(DATASET), *missing, "--epochs", str(epochs), "--iterations", "50")


def model_of(setting: Setting, work: Path) -> Path:
    """Return a copy of a setting's model folder with small checkpoints and its transposition."""
    (trained,) = (work / "results").glob(f"Dataset{DATASET}_*/*__{setting.configuration}")
    model = work / "models" / setting.name
    for fold in setting.folds:
        (model / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        shutil.copy(trained / f"fold_{fold}" / "checkpoint_slim.pth", model / f"fold_{fold}" / "checkpoint_final.pth")
    shutil.copy(trained / "dataset.json", model)
    plans = json.loads((trained / "plans.json").read_text())
    plans["transpose_forward"] = list(setting.transpose)
    plans["transpose_backward"] = [int(axis) for axis in np.argsort(setting.transpose)]
    (model / "plans.json").write_text(json.dumps(plans, indent=1))
    return model


def predict_both(setting: Setting, work: Path, raw: Path, python: Path) -> list[tuple[Path, np.ndarray, np.ndarray]]:
    """Return for each image its path, nnU-Net's labels and ours."""
    model, images = model_of(setting, work), sorted((raw / "imagesTs").iterdir())
    theirs, ours = work / "theirs" / setting.name, work / "ours" / setting.name
    theirs.mkdir(parents=True, exist_ok=True)
    job = {
        "model": str(model),
        "folds": setting.folds,
        "images": [str(path) for path in images],
        "outputs": [str(theirs / case_id(path)) for path in images],
        "mirror": setting.mirror,
        "tile_step": setting.tile_step,
    }
    (work / "job.json").write_text(json.dumps(job))
    run_peer(python, work, "predict", str(work / "job.json"))
    for folder in (ours, work / "imported" / setting.name):
        shutil.rmtree(folder, ignore_errors=True)
    imported = import_nnunet(
        model, work / "imported" / setting.name, folds=setting.folds, mirror=setting.mirror, tile_step=setting.tile_step
    )
    pairs = [(case_id(path), path) for path in images]
    report = predict_files(pairs, ours, load_submission(imported), submission_hash(imported))
    if report.failures:
        raise SystemExit(str(report.failures))
    files = [f"{case}.nii.gz" for case, _ in pairs]
    return [
        (path, read_labels(theirs / file).data, read_labels(ours / file).data)
        for path, file in zip(images, files, strict=True)
    ]


def compare(case: str, theirs: np.ndarray, ours: np.ndarray, reference: np.ndarray) -> dict[str, object]:
    """Return one row of the table: shares of equal voxels and nnU-Net's Dice against the reference."""
    foreground = (theirs > 0) | (ours > 0)
    dice = {}
    for organ in ORGANS:
        one, other = theirs == organ.id, reference == organ.id
        if other.any():
            dice[organ.name] = 2 * (one & other).sum() / (one.sum() + other.sum())
    return {
        "case": case,
        "voxels": theirs.size,
        "foreground_voxels": int(foreground.sum()),
        "equal_voxels": float((theirs == ours).mean()),
        "equal_foreground": float((theirs == ours)[foreground].mean()) if foreground.any() else 1.0,
        "nnunet_labels": len(np.unique(theirs)) - 1,
        "nnunet_liver_dice": round(float(dice["liver"]), 4),
        "nnunet_organ_dice": round(float(np.mean(list(dice.values()))), 4),
    }


def record(setting: Setting, work: Path, image: Path, labels: np.ndarray) -> None:
    """Keep a setting's model, one image and nnU-Net's labels for it as a test example."""
    folder = ROOT / "tests" / "inference" / "nnunet_example" / setting.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "models" / setting.name, folder)
    volume = read_image(image)
    settings = {"mirror": setting.mirror, "tile_step": setting.tile_step}
    np.savez_compressed(
        folder / "case.npz",
        image_hu=volume.data.astype(np.int16),
        spacing_mm=np.array(volume.spacing_mm),
        labels=labels,
        **settings,
    )


def main() -> int:
    """Train where nothing is trained yet, predict with both, print and write the table; 1 if they differ too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for everything that is written on the way")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="python of the environment with nnunetv2")
    parser.add_argument("-o", "--out", type=Path, help="CSV file")
    parser.add_argument("--settings", nargs="+", choices=[setting.name for setting in SETTINGS], help="default: all")
    parser.add_argument("--epochs", type=int, default=50, help="of 50 iterations (default 50)")
    parser.add_argument("--record", action="store_true", help="renew tests/inference/nnunet_example")
    options = parser.parse_args()
    work = options.work.resolve()
    raw = write_dataset(work)
    settings = [setting for setting in SETTINGS if not options.settings or setting.name in options.settings]
    train_missing(settings, work, options.nnunet_python, options.epochs)
    rows = []
    for setting in settings:
        triples = predict_both(setting, work, raw, options.nnunet_python)
        for path, theirs, ours in triples:
            reference = read_labels(raw / "labelsTs" / f"{case_id(path)}.nii.gz").data
            rows.append({"setting": setting.name, **compare(case_id(path), theirs, ours, reference)})
        if options.record and setting.name in RECORDED:
            (recorded,) = (triple for triple in triples if case_id(triple[0]) == SMALL)
            record(setting, work, *recorded[:2])
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if options.out:
        write_csv(table, options.out)
    enough = (table.equal_voxels >= EQUAL_VOXELS) & (table.equal_foreground >= EQUAL_FOREGROUND)
    return 0 if enough.all() else 1


if __name__ == "__main__":
    sys.exit(main())
