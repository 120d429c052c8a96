r"""Train small nnU-Nets and predict with nnU-Net's own predictor; run by `nnunet_parity.py` in nnU-Net's environment.

    export nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=...
    python benchmarks/nnunet_peer.py plan 501
    python benchmarks/nnunet_peer.py train 501 3d_fullres:0=WARM.npz --epochs 4 --iterations 25
    python benchmarks/nnunet_peer.py predict JOB.json

Imports nothing of this project. Everything is nnU-Net's: fingerprint, planning, preprocessing, training, prediction.
Only the plans are changed by hand, so that a training takes a minute on a processor: narrow networks, small patches.
WARM.npz holds the weights that a training starts from, under nnU-Net's names and along its axes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("nnUNet_def_n_proc", "1")
os.environ.setdefault("nnUNet_compile", "f")

import numpy as np  # noqa: E402
import torch  # noqa: E402

LEARNING_RATE = 1e-3
"""A tenth of nnU-Net's own: the networks have learned before."""
TURNED = "nnUNetTurnedPlans"
"""Plans that transpose the images, as nnU-Net's do where the largest spacing is not that of the first axis."""
CUBE, FLAT, EVERY, IN_PLANE = [3, 3, 3], [1, 3, 3], [2, 2, 2], [1, 2, 2]


@dataclass(frozen=True)
class Changes:
    """What a configuration has in place of nnU-Net's plan; axes are z, y, x before the plans' transposition.

    Attributes:
        spacing, patch: in mm and voxels.
        features: channels of each stage.
        is_thick: no kernel and no stride along z at first, for planes more than three times as thick as wide, which
            nnU-Net also resamples one by one.
        is_residual: residual encoder.
        trainer: nnU-Net's trainer; they differ in the axes that they mirror.
        transpose: nnU-Net's `transpose_forward`.
    """

    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    features: tuple[int, ...]
    is_thick: bool = False
    is_residual: bool = False
    trainer: str = "nnUNetTrainerNoMirroring"
    transpose: tuple[int, int, int] = (0, 1, 2)

    @property
    def plans(self) -> str:
        """Name of the plans that the configuration is in."""
        return "nnUNetPlans" if self.transpose == (0, 1, 2) else TURNED

    def applied(self, full: dict, name: str) -> dict:
        """Return a configuration like nnU-Net's `3d_fullres` with these changes."""
        turned, stages = copy.deepcopy(full), len(self.features)
        turned.update(data_identifier=f"{self.plans}_{name}", batch_size=2, batch_dice=True)
        turned.update(spacing=self._turn(self.spacing), patch_size=self._turn(self.patch))
        architecture = turned["architecture"]
        arguments = architecture["arch_kwargs"]
        strides = [[1, 1, 1], IN_PLANE if self.is_thick else EVERY, *[EVERY] * (stages - 2)]
        arguments["n_stages"], arguments["features_per_stage"] = stages, list(self.features)
        arguments["kernel_sizes"] = [self._turn(FLAT if self.is_thick else CUBE), *[CUBE] * (stages - 1)]
        arguments["strides"] = [self._turn(stride) for stride in strides]
        arguments["n_conv_per_stage_decoder"] = [1] * (stages - 1)
        counts = "n_blocks_per_stage" if self.is_residual else "n_conv_per_stage"
        del arguments["n_conv_per_stage"]
        arguments[counts] = [1, *[2] * (stages - 1)] if self.is_residual else [2] * stages
        if self.is_residual:
            architecture["network_class_name"] = architecture["network_class_name"].replace(
                "PlainConvUNet", "ResidualEncoderUNet"
            )
        return turned

    def _turn(self, values: tuple | list) -> list:
        return [values[axis] for axis in self.transpose]


CONFIGURATIONS = {
    "3d_small": Changes((8.0, 8.0, 8.0), (16, 24, 24), (4, 8, 12)),
    "3d_turned": Changes((25.0, 8.0, 8.0), (8, 24, 24), (4, 6, 8), True, True, "nnUNetTrainer", transpose=(2, 0, 1)),
    "3d_fullres": Changes((6.0, 6.0, 6.0), (32, 32, 32), (8, 16, 32, 64), trainer="nnUNetTrainer_onlyMirror01"),
    "3d_thick": Changes((16.0, 5.0, 5.0), (12, 40, 40), (8, 16, 32, 64), is_thick=True),
    "3d_residual": Changes((6.0, 6.0, 6.0), (32, 32, 32), (8, 16, 32, 64), is_residual=True),
}


def plan(dataset: int) -> None:
    """Let nnU-Net look at a raw dataset and plan, and write the plans with our configurations in place of its own."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([dataset], num_processes=1, check_dataset_integrity=True)
    api.plan_experiments([dataset])
    folder = dataset_folder(dataset)
    planned = json.loads((folder / "nnUNetPlans.json").read_text())
    full = planned["configurations"]["3d_fullres"]
    for plans in ("nnUNetPlans", TURNED):
        own = {name: changes for name, changes in CONFIGURATIONS.items() if changes.plans == plans}
        transpose = next(iter(own.values())).transpose
        content = {
            **planned,
            "plans_name": plans,
            "transpose_forward": transpose,
            "transpose_backward": [transpose.index(axis) for axis in range(3)],
            "configurations": {name: changes.applied(full, name) for name, changes in own.items()},
        }
        (folder / f"{plans}.json").write_text(json.dumps(content))


def dataset_folder(dataset: int) -> Path:
    """Return where nnU-Net keeps a planned dataset."""
    (folder,) = Path(os.environ["nnUNet_preprocessed"]).glob(f"Dataset{dataset:03d}_*")
    return folder


def train(dataset: int, trainings: list[str], epochs: int, iterations: int) -> None:
    """Preprocess for and train each network on one thread.

    Args:
        dataset: planned before.
        trainings: each as configuration:fold=FILE, where FILE holds the weights to start from.
        epochs, iterations: length of each training.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(1)
    os.environ["nnUNet_n_proc_DA"] = "0"  # augment in this process
    for training in trainings:
        (configuration, fold), warm = training.partition("=")[0].split(":"), training.partition("=")[2]
        changes = CONFIGURATIONS[configuration]
        if not (dataset_folder(dataset) / f"{changes.plans}_{configuration}").is_dir():
            api.preprocess([dataset], changes.plans, configurations=[configuration], num_processes=[1])
        torch.manual_seed(int(fold))
        np.random.seed(int(fold))
        trainer = get_trainer_from_args(
            str(dataset), configuration, int(fold), changes.trainer, changes.plans, device=torch.device("cpu")
        )
        trainer.initial_lr = LEARNING_RATE
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = (
            epochs,
            iterations,
            2,
        )
        trainer.initialize()
        start_from(trainer.network, Path(warm))
        trainer.run_training()
        slim(Path(trainer.output_folder) / "checkpoint_final.pth")


def start_from(network: torch.nn.Module, path: Path) -> None:
    """Give a network the weights of a file, which must have all of them (each under one of its names) and no other."""
    with np.load(path) as stored:
        result = network.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored}, strict=False)
    again = (".all_modules.", "decoder.encoder.")  # nnU-Net registers its modules several times
    missing = [name for name in result.missing_keys if not any(part in name for part in again)]
    if missing or result.unexpected_keys:
        raise SystemExit(f"{path}: weights missing {missing}, too many {result.unexpected_keys}")


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
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("plan").add_argument("dataset", type=int)
    training = commands.add_parser("train")
    training.add_argument("dataset", type=int)
    training.add_argument("trainings", nargs="+", help="configuration:fold=FILE, such as 3d_fullres:0=warm.npz")
    training.add_argument("--epochs", type=int, required=True)
    training.add_argument("--iterations", type=int, required=True)
    commands.add_parser("predict").add_argument("job", type=Path)
    options = parser.parse_args()
    if options.command == "plan":
        plan(options.dataset)
    elif options.command == "train":
        train(options.dataset, options.trainings, options.epochs, options.iterations)
    else:
        predict(json.loads(options.job.read_text()))


if __name__ == "__main__":
    main()
