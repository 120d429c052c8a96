"""Write one network as each tool wants it: our submission, nnU-Net's model folder and its import, MONAI's TorchScript.

Serves `prediction.py` and `cold_start.py`. All have the same weights, spacing, intensities and windows; nnU-Net's
resampling is cubic by default, the others' is linear.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peers import NNUNET
from side_by_side import WORK

from flare_core.cases.preprocessing import ClipAndStandardize, IntensityWindow
from flare_core.inference.network import TrainedNetwork, load_network
from flare_core.inference.nnunet_import import import_nnunet
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.submission import save_submission
from flare_core.paths import ROOT
from flare_core.systems import SYSTEMS

SYSTEM, STAGE, SEED = "efficient_nnunet", "student", 0
PEER_SCRIPT = Path(__file__).with_name("prediction_peer.py")
PEER_LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
import prediction_peer
getattr(prediction_peer, sys.argv[2])(prediction_peer.Path(sys.argv[3]))
"""
"""Ends when a peer has loaded a model: folder of the script, its function, the model."""
BATCH = 2


def model_folder(size: str) -> Path:
    """Return the folder with `own`, `nnunet`, `imported` and `monai` of a network, written once.

    Args:
        size: `mini` for the shipped student of efficient_nnunet, which is trained; `paper` for the student as its paper
            has it, with random weights, because there are no trained ones: good for time and memory, not for labels.
    """
    folder = WORK / "prediction" / size
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    network = student(size)
    window = tuple(SYSTEMS[SYSTEM].at(size).inference.organs.window.window)
    inference = SlidingEnsemble((STAGE,), SlidingWindow(window, 0.5, "gaussian", BATCH))
    save_submission(folder / "own", inference, {STAGE: [network]}, {"system": SYSTEM, "profile": size})
    write_monai_model(folder / "monai", network, window)
    write_nnunet_model(folder / "nnunet", network, window)
    import_nnunet(folder / "nnunet", folder / "imported")
    (folder / "complete").write_text("")
    return folder


def student(size: str) -> TrainedNetwork:
    """Return the network, with weights that half precision holds."""
    if size == "mini":
        return load_network(ROOT / "weights" / SYSTEM / f"{STAGE}_fold0", exact=True)
    stage = SYSTEMS[SYSTEM].at(size).stage(STAGE)
    torch.manual_seed(SEED)
    module = stage.network.build(stage.scheme.channels).eval().half().float()
    preprocessing = replace(stage.preprocessing, order=1)
    return TrainedNetwork(module, stage.network, stage.scheme, preprocessing, {"stage": STAGE, "fold": 0})


def standardization(intensity: IntensityWindow | ClipAndStandardize) -> ClipAndStandardize:
    """Return the intensity step as nnU-Net's."""
    if isinstance(intensity, ClipAndStandardize):
        return intensity
    low, high = intensity.low_hu, intensity.high_hu
    return ClipAndStandardize(low, high, mean_hu=low, deviation_hu=high - low)


def write_monai_model(folder: Path, network: TrainedNetwork, window: tuple[int, int, int]) -> None:
    """Write the network as TorchScript, and what its user has to know."""
    folder.mkdir(parents=True)
    with torch.no_grad():
        torch.jit.trace(network.module, torch.zeros(BATCH, 1, *window)).save(folder / "network.pt")
    hu = standardization(network.preprocessing.intensity)
    settings = {
        "spacing_mm": network.preprocessing.spacing_mm,
        "from_hu": (hu.low_hu, hu.high_hu),
        "to": [(edge - hu.mean_hu) / hu.deviation_hu for edge in (hu.low_hu, hu.high_hu)],
        "window": window,
        "batch": BATCH,
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def write_nnunet_model(folder: Path, network: TrainedNetwork, window: tuple[int, int, int]) -> None:
    """Write the network as an nnU-Net model folder; all that is spatial runs along z, y, x there."""
    folder.mkdir(parents=True)
    names = [group for (group,) in network.scheme.groups]
    labels = {"background": 0, **{name: value for value, name in enumerate(names, 1)}}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans_of(network, window), indent=2))
    weights = {
        name: (tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor).contiguous().numpy()
        for name, tensor in network.module.state_dict().items()
    }
    np.savez(folder.with_suffix(".npz"), **weights)
    subprocess.run([NNUNET.python(), PEER_SCRIPT, "nnunet-model", folder, folder.with_suffix(".npz")], check=True)


def plans_of(network: TrainedNetwork, window: tuple[int, int, int]) -> dict[str, object]:
    """Return nnU-Net's plans for a plain U-Net; the reader turns images to RAS, as the network saw them."""
    unet, hu = network.architecture, standardization(network.preprocessing.intensity)
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    arguments = {
        "n_stages": len(unet.features),
        "features_per_stage": unet.features,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [kernel[::-1] for kernel in unet.kernels],
        "strides": [stride[::-1] for stride in unet.strides],
        "n_conv_per_stage": unet.convolutions,
        "n_conv_per_stage_decoder": unet.decoder_convolutions,
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": BATCH,
        "patch_size": window[::-1],
        "spacing": network.preprocessing.spacing_mm[::-1],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{what}_kwargs"] = {**resampling, "order": order, "is_seg": what == "seg"}
    properties = {"percentile_00_5": hu.low_hu, "percentile_99_5": hu.high_hu, "mean": hu.mean_hu}
    return {
        "dataset_name": "Dataset501_Benchmark",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {**properties, "std": hu.deviation_hu}},
    }
