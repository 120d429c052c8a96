r"""Train small nnU-Nets and predict with nnU-Net's own predictor; run by `nnunet_parity.py` in nnU-Net's environment.

    nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=... \
        python benchmarks/nnunet_peer.py train 501 3d_fullres:0 --epochs 50 --iterations 50
    python benchmarks/nnunet_peer.py predict JOB.json

Imports nothing of this project. Everything is nnU-Net's: fingerprint, planning, preprocessing, training, prediction.
Only the plans are reduced by hand, so that a training takes minutes on a processor: narrow networks with few stages,
small patches. Configurations: `3d_fullres` (plain), `3d_residual` (residual encoder), `3d_thick` (planes 3.4 times as
thick as wide, so that nnU-Net resamples the planes' axis by itself), `3d_smallest` (residual, thick planes, a few
thousand weights, hardly trained).
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
from pathlib import Path

os.environ.setdefault("nnUNet_def_n_proc", "1")
os.environ.setdefault("nnUNet_compile", "f")

import numpy as np  # noqa: E402
import torch  # noqa: E402

LEARNING_RATE = 1e-2
WIDTHS, SMALLEST_WIDTHS = [4, 8, 16], [2, 3, 4]


def plan(dataset: int, configurations: list[str]) -> None:
    """Let nnU-Net plan a raw dataset, reduce the plans, and preprocess what these configurations need."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    os.environ["nnUNet_n_proc_DA"] = "1"
    folder = Path(os.environ["nnUNet_preprocessed"])
    if not list(folder.glob(f"Dataset{dataset:03d}_*/nnUNetPlans.json")):
        api.extract_fingerprints([dataset], num_processes=1, check_dataset_integrity=True)
        api.plan_experiments([dataset])
        (path,) = folder.glob(f"Dataset{dataset:03d}_*/nnUNetPlans.json")
        path.write_text(json.dumps(reduced(json.loads(path.read_text())), indent=2))
    sources = {name: "3d_thick" if name in ("3d_thick", "3d_smallest") else "3d_fullres" for name in configurations}
    for source in sorted(set(sources.values())):
        if not list(folder.glob(f"Dataset{dataset:03d}_*/nnUNetPlans_{source}")):
            api.preprocess([dataset], configurations=[source], num_processes=[1])


def reduced(plans: dict) -> dict:
    """Return plans with the small configurations (axes z, y, x)."""
    full = plans["configurations"]["3d_fullres"]
    full.update(patch_size=[24, 32, 32], batch_size=2, spacing=[8.5, 8.0, 8.0], batch_dice=True)
    cubes, halves, thick_strides = [[3, 3, 3]] * 3, [[1, 1, 1], [2, 2, 2], [2, 2, 2]], [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    plain = full["architecture"]
    plain["arch_kwargs"].update(
        n_stages=3,
        features_per_stage=WIDTHS,
        kernel_sizes=cubes,
        strides=halves,
        n_conv_per_stage=[2, 2, 2],
        n_conv_per_stage_decoder=[2, 2],
    )
    residual = copy.deepcopy(plain)
    residual["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    residual["arch_kwargs"].update(n_blocks_per_stage=[1, 2, 2], n_conv_per_stage_decoder=[1, 1])
    del residual["arch_kwargs"]["n_conv_per_stage"]
    thick, smallest = copy.deepcopy(plain), copy.deepcopy(residual)
    thick["arch_kwargs"].update(kernel_sizes=[[1, 3, 3], *cubes[1:]], strides=thick_strides)
    smallest["arch_kwargs"].update(features_per_stage=SMALLEST_WIDTHS, n_blocks_per_stage=[1, 1, 1])
    smallest["arch_kwargs"].update(kernel_sizes=[[1, 3, 3], *cubes[1:]], strides=thick_strides)
    plans["configurations"]["3d_residual"] = {"inherits_from": "3d_fullres", "architecture": residual}
    plans["configurations"]["3d_thick"] = {
        "inherits_from": "3d_fullres",
        "data_identifier": "nnUNetPlans_3d_thick",
        "spacing": [27.0, 8.0, 8.0],
        "patch_size": [12, 40, 32],
        "architecture": thick,
    }
    plans["configurations"]["3d_smallest"] = {"inherits_from": "3d_thick", "architecture": smallest}
    return plans


def train(dataset: int, trainings: list[str], epochs: int, iterations: int) -> None:
    """Plan, then train each network (configuration:fold) on one thread."""
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(1)
    plan(dataset, [training.split(":")[0] for training in trainings])
    os.environ["nnUNet_n_proc_DA"] = "0"  # augment in this process
    for configuration, fold in (training.split(":") for training in trainings):
        torch.manual_seed(int(fold))
        np.random.seed(int(fold))
        trainer = get_trainer_from_args(str(dataset), configuration, int(fold), device=torch.device("cpu"))
        trainer.configure_optimizers = functools.partial(adam, trainer)
        trainer.oversample_foreground_percent = 1.0  # small organs are seen often enough in a short training
        is_smallest = configuration == "3d_smallest"  # a few steps: later ones would leave nothing but background
        trainer.num_epochs, trainer.num_iterations_per_epoch = (1, 4) if is_smallest else (epochs, iterations)
        trainer.num_val_iterations_per_epoch = 2
        trainer.run_training()
        slim(Path(trainer.output_folder) / "checkpoint_final.pth")


def adam(trainer) -> tuple:
    """Return AdamW and its schedule: with nnU-Net's SGD a training this short predicts background only."""
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    optimizer = torch.optim.AdamW(trainer.network.parameters(), LEARNING_RATE, weight_decay=trainer.weight_decay)
    return optimizer, PolyLRScheduler(optimizer, LEARNING_RATE, trainer.num_epochs)


def slim(path: Path) -> None:
    """Write a small copy of a checkpoint beside it: no optimizer state, no plans, the log of the last epoch only."""
    content = torch.load(path, map_location="cpu", weights_only=False)  # our own, written a moment ago
    log = {name: values[-1:] if isinstance(values, list) else values for name, values in content["logging"].items()}
    arguments = {name: value for name, value in content["init_args"].items() if name not in ("plans", "dataset_json")}
    content.update(optimizer_state={}, logging=log, init_args=arguments)
    torch.save(content, path.with_name("checkpoint_slim.pth"))


def predict(job: dict) -> None:
    """Predict images as a job says: model, folds, images, outputs, mirror, tile_step."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(1)
    predictor = nnUNetPredictor(
        tile_step_size=job["tile_step"],
        use_mirroring=job["mirror"],
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(job["model"], tuple(job["folds"]))
    predictor.predict_from_files_sequential([[image] for image in job["images"]], job["outputs"])


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("dataset", type=int)
    training.add_argument("trainings", nargs="+", help="configuration:fold, such as 3d_fullres:0")
    training.add_argument("--epochs", type=int, required=True)
    training.add_argument("--iterations", type=int, required=True)
    commands.add_parser("predict").add_argument("job", type=Path)
    options = parser.parse_args()
    if options.command == "train":
        train(options.dataset, options.trainings, options.epochs, options.iterations)
    else:
        predict(json.loads(options.job.read_text()))


if __name__ == "__main__":
    main()
