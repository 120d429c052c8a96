"""Compare our predictions with those of nnU-Net's own predictor, with the same weights and the same settings.

    python benchmarks/nnunet_parity.py WORK -o data/results/mini/nnunet_parity.csv

Writes a cohort as an nnU-Net dataset, lets nnU-Net plan and train on it (`nnunet_peer.py`, in an environment of its own
that `peers.py` makes), imports the models and predicts the same images with both. nnU-Net's training begins with
weights that ours has learned on the same cases, because a network that knows nothing takes hours on a processor until
it finds organs. All of it takes about 20 minutes on an idle core; what is trained already is not trained again.

The table has a row a setting and image: the share of all voxels and of foreground voxels (foreground to either) with
equal labels, and nnU-Net's Dice on the liver and mean over organs, to show that there is something to agree on.
Required: 99.9 % of voxels and 99.5 % of foreground voxels. `--record` renews tests/inference/nnunet_example.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peers import NNUNET

from flare_core.cases.augmentation import AdjustContrast, HistogramShift, Mirror
from flare_core.cases.boxes import bounding_box
from flare_core.cases.cohort import write_cohort
from flare_core.cases.geometry import Geometry
from flare_core.cases.interpolation import nearest_indices
from flare_core.cases.labels import ORGANS, TUMOR
from flare_core.cases.nifti import case_id, read_image, read_labels
from flare_core.cases.nifti_writing import write_image, write_labels
from flare_core.cases.sampling import ClassBalancedCrop, PreparedCase, class_voxels
from flare_core.evaluation.tables import write_csv
from flare_core.inference.network import load_network
from flare_core.inference.nnunet_import import import_nnunet
from flare_core.inference.nnunet_plans import Plans
from flare_core.inference.nnunet_preprocessing import NnUNetPreprocessing, nonzero_box
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.paths import ROOT
from flare_core.systems import SYSTEMS, mini
from flare_core.training.loop import train

DATASET = "Dataset501_Mini"
CASES, IMAGES, SEED = 16, 2, 7
COARSE, COARSE_STEP, COARSE_SIDES = "coarse", 2, (36, 28, 26)
"""One image more, which is recorded: every other voxel of the last one, and of them a part with organs."""
AXES = "LPS"
"""Where the stored axes of the dataset's files point."""
EQUAL_VOXELS, EQUAL_FOREGROUND = 0.999, 0.995


@dataclass(frozen=True)
class Setting:
    """One comparison: which model, which folds, how predicted.

    Attributes:
        name: in the table.
        configuration, folds: of the trained models (`nnunet_peer.CONFIGURATIONS`).
        mirror, tile_step: of both predictors.
    """

    name: str
    configuration: str
    folds: tuple[int, ...] = (0,)
    mirror: bool = False
    tile_step: float = 0.5


SETTINGS = (
    Setting("small", "3d_small"),
    Setting("turned", "3d_turned", (0, 1), mirror=True, tile_step=0.4),
    Setting("plain", "3d_fullres"),
    Setting("plain_mirrored", "3d_fullres", mirror=True),
    Setting("thick_planes", "3d_thick"),
    Setting("residual_ensemble", "3d_residual", (0, 1)),
)
RECORDED = ("small", "turned")


@dataclass(frozen=True)
class WarmUp:
    """How long our trainer teaches a network before nnU-Net's, and along which of the network's axes it mirrors."""

    steps: int
    mirror_axes: tuple[int, ...] = ()


WARM_UPS = {
    "3d_small": WarmUp(2400),
    "3d_turned": WarmUp(3200, (0, 1, 2)),
    "3d_fullres": WarmUp(1600, (1, 2)),
    "3d_thick": WarmUp(1600),
    "3d_residual": WarmUp(720),
}


def write_dataset(work: Path) -> Path:
    """Write the cohort as an nnU-Net raw dataset with all organs labeled, and a coarse image more; return its folder.

    Tumors count as background.
    """
    raw = work / "raw" / DATASET
    if (raw / "dataset.json").is_file():
        return raw
    cohort = write_cohort(work / "cohort", CASES, IMAGES, SEED)
    for images, labels, part in (("imagesTr", "labelsTrTrue", "Tr"), ("imagesVal", "labelsVal", "Ts")):
        for path in sorted((cohort / images).iterdir()):
            image, reference = read_image(path), read_labels(cohort / labels / f"{case_id(path)}.nii.gz").data
            organs = np.where(reference == TUMOR.id, 0, reference)
            write_pair(raw, part, case_id(path), image.data, organs, image.spacing_mm)
    coarse_hu, coarse = (array[(slice(None, None, COARSE_STEP),) * 3] for array in (image.data, organs))
    starts = [side.start for side in bounding_box(coarse > 0)]
    box = tuple(slice(start, start + side) for start, side in zip(starts, COARSE_SIDES, strict=True))
    write_pair(raw, "Ts", COARSE, coarse_hu[box], coarse[box], tuple(edge * COARSE_STEP for edge in image.spacing_mm))
    values = {"background": 0, **{organ.name: organ.id for organ in ORGANS}}
    content = {"channel_names": {"0": "CT"}, "labels": values, "numTraining": CASES, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(content))
    return raw


def write_pair(
    raw: Path, part: str, case: str, image_hu: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, ...]
) -> None:
    """Write an image and its labels (RAS+ arrays) into a dataset, stored along `AXES`."""
    geometry = Geometry.from_spacing(image_hu.shape, spacing_mm, axes=AXES)
    write_image(raw / f"images{part}" / f"{case}_0000.nii.gz", image_hu, geometry)
    write_labels(raw / f"labels{part}" / f"{case}.nii.gz", labels, geometry)


def warm_weights(configuration: str, work: Path, raw: Path) -> Path:
    """Train the network that nnU-Net's plans describe with our trainer; return its weights under nnU-Net's names.

    The network sees what nnU-Net will show it: everything about it is read from the plans.
    """
    out = work / "warm" / f"{configuration}.npz"
    if not out.is_file():
        plans, warm_up = plans_of(configuration, work), WARM_UPS[configuration]
        stage = replace(
            SYSTEMS["efficient_nnunet"].at("mini").stage("teacher"),
            preprocessing=plans.preprocessing(AXES),
            sampling=ClassBalancedCrop(plans.window),
            augmentation=(
                HistogramShift(0.5, control_points=16),
                AdjustContrast(0.2, gamma=(0.5, 3.0)),
                Mirror(0.5, warm_up.mirror_axes),
            ),
            network=plans.network(),
            optimization=mini.adam(warm_up.steps),
            validation=None,
            folds=1,
        )
        cases = [prepared(path, raw, stage.preprocessing) for path in sorted((raw / "imagesTr").iterdir())]
        model = train(stage, cases, [], work / "warm" / configuration, seed=SEED, facts={})
        weights = load_network(model, exact=True).module.state_dict()
        np.savez(out, **{name: along_zyx(tensor) for name, tensor in weights.items()})
    return out


def plans_of(configuration: str, work: Path) -> Plans:
    """Return the plans that have a configuration."""
    for path in (work / "preprocessed" / DATASET).glob("*Plans.json"):
        content = json.loads(path.read_text())
        if configuration in content["configurations"]:
            return Plans.of(path, content, configuration)
    raise SystemExit(f"{work}: no plans have {configuration}; remove the folder and start anew")


def prepared(path: Path, raw: Path, preprocessing: NnUNetPreprocessing) -> PreparedCase:
    """Return a training case on the network's grid."""
    image, labels = read_image(path), read_labels(raw / "labelsTr" / f"{case_id(path)}.nii.gz").data
    turned, spacing = preprocessing.to_axes(image.data), preprocessing.spacing_along_axes(image.spacing_mm)
    box = nonzero_box(turned)
    grid = preprocessing.to_grid(turned[box], spacing)
    nearest = (nearest_indices(n, m) for n, m in zip(turned[box].shape, grid.shape, strict=True))
    channels = np.ascontiguousarray(preprocessing.to_axes(labels)[box][np.ix_(*nearest)])
    known = np.ones(len(ORGANS) + 1, bool)
    return PreparedCase(case_id(path), grid, channels, known, known, class_voxels(channels))


def along_zyx(tensor: torch.Tensor) -> np.ndarray:
    """Return a weight as nnU-Net stores it: kernels along z, y, x."""
    return (tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor).contiguous().numpy()


def run_peer(python: Path, work: Path, *arguments: str) -> None:
    """Run `nnunet_peer.py` in nnU-Net's environment; its words go to WORK/peer.log."""
    folders = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    peer = Path(__file__).with_name("nnunet_peer.py")
    with open(work / "peer.log", "a") as log:
        environment = {**os.environ, **folders, "OMP_NUM_THREADS": "1"}
        subprocess.run([python, peer, *arguments], check=True, env=environment, stdout=log, stderr=log)


def train_missing(setting: Setting, work: Path, raw: Path, python: Path, length: Sequence[int]) -> None:
    """Let nnU-Net train the networks that a setting needs and that are not there yet.

    Args:
        setting, work, raw, python: what, where, from which dataset, and nnU-Net's Python.
        length: epochs, and iterations in each.
    """
    configuration = setting.configuration
    missing = [
        f"{configuration}:{fold}={warm_weights(configuration, work, raw)}"
        for fold in setting.folds
        if not list((work / "results" / DATASET).glob(f"*__{configuration}/fold_{fold}/checkpoint_slim.pth"))
    ]
    if missing:
        epochs, iterations = map(str, length)
        run_peer(python, work, "train", DATASET[7:10], *missing, "--epochs", epochs, "--iterations", iterations)


def model_of(setting: Setting, work: Path) -> Path:
    """Return a copy of a setting's model folder with small checkpoints."""
    (trained,) = (work / "results" / DATASET).glob(f"*__{setting.configuration}")
    model = work / "models" / setting.name
    for fold in setting.folds:
        (model / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        shutil.copy(trained / f"fold_{fold}" / "checkpoint_slim.pth", model / f"fold_{fold}" / "checkpoint_final.pth")
    for name in ("dataset.json", "plans.json"):
        (model / name).write_text(json.dumps(json.loads((trained / name).read_text())))
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
    """Keep a model and nnU-Net's labels for an image as a test example (zipped: checkpoints repeat every name)."""
    examples, folder = ROOT / "tests" / "inference" / "nnunet_example", work / "models" / setting.name
    volume, settings = read_image(image), {"mirror": setting.mirror, "tile_step": setting.tile_step}
    image_hu = volume.data.astype(np.int16)
    np.savez_compressed(examples / "image.npz", image_hu=image_hu, spacing_mm=np.array(volume.spacing_mm))
    np.savez_compressed(folder / "labels.npz", labels=labels, **settings)
    shutil.make_archive(str(examples / setting.name), "zip", folder)


def main() -> int:
    """Train where nothing is trained yet, predict with both, print and write the table; 1 if they differ too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for everything that is written on the way")
    parser.add_argument("--nnunet-python", type=Path, help="python with nnunetv2 (default: made here)")
    parser.add_argument("-o", "--out", type=Path, help="CSV file")
    parser.add_argument("--settings", nargs="+", choices=[setting.name for setting in SETTINGS], help="default: all")
    parser.add_argument("--epochs", type=int, default=4, help="of nnU-Net's training (default 4)")
    parser.add_argument("--iterations", type=int, default=25, help="in each of them (default 25)")
    parser.add_argument("--record", action="store_true", help="renew tests/inference/nnunet_example")
    options = parser.parse_args()
    work = options.work.resolve()
    python = options.nnunet_python or NNUNET.python()
    raw = write_dataset(work)
    settings = [setting for setting in SETTINGS if not options.settings or setting.name in options.settings]
    if not (work / "preprocessed" / DATASET / "nnUNetPlans.json").is_file():
        run_peer(python, work, "plan", DATASET[7:10])
    rows = []
    for setting in settings:
        train_missing(setting, work, raw, python, (options.epochs, options.iterations))
        triples = predict_both(setting, work, raw, python)
        for path, theirs, ours in triples:
            reference = read_labels(raw / "labelsTs" / f"{case_id(path)}.nii.gz").data
            rows.append({"setting": setting.name, **compare(case_id(path), theirs, ours, reference)})
        if options.record and setting.name in RECORDED:
            (recorded,) = (triple for triple in triples if case_id(triple[0]) == COARSE)
            record(setting, work, *recorded[:2])
        table = pd.DataFrame(rows)
        if options.out:
            write_csv(table, options.out)
    print(table.to_string(index=False))
    enough = (table.equal_voxels >= EQUAL_VOXELS) & (table.equal_foreground >= EQUAL_FOREGROUND)
    return 0 if enough.all() else 1


if __name__ == "__main__":
    sys.exit(main())
