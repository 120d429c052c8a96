"""A tiny model folder in the format of nnU-Net version 2, written by hand, as training leaves it."""

import copy
import json
from pathlib import Path

import numpy as np
import torch

from flare_core.models.unet import PlainUNet, ResidualEncoderUNet

PLAIN = PlainUNet((2, 3), ((3, 3, 1), (3, 3, 3)), ((1, 1, 1), (2, 2, 1)), (2, 1), (1,))
RESIDUAL = ResidualEncoderUNet(PLAIN.features, PLAIN.kernels, PLAIN.strides, (1, 2), (1,))
DATASET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "right kidney": 2}}
ARGUMENTS = {
    "n_stages": 2,
    "features_per_stage": [2, 3],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2]],
    "n_conv_per_stage": [2, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
RESAMPLING = {"is_seg": False, "order_z": 0, "force_separate_z": None}
FULLRES = {
    "preprocessor_name": "DefaultPreprocessor",
    "patch_size": [4, 8, 6],
    "spacing": [5.0, 3.0, 2.0],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {**RESAMPLING, "order": 3},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {**RESAMPLING, "order": 1},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": ARGUMENTS,
    },
}
INTENSITIES = {"percentile_00_5": -900.0, "percentile_99_5": 300.0, "mean": 50.0, "std": 100.0}
PLANS = {
    "dataset_name": "Dataset001_Test",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "configurations": {"3d_fullres": FULLRES},
    "foreground_intensity_properties_per_channel": {"0": INTENSITIES},
}


def their_weights(network, channels=3, seed=0):
    """The state of one of our modules as nnU-Net would store it: kernels along z, y, x, and every alias."""
    torch.manual_seed(seed)
    weights = {}
    for name, tensor in network.build(channels).state_dict().items():
        stored = tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor
        alias = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        weights[name] = weights[alias] = stored
        if name.startswith("encoder."):
            weights[f"decoder.{name}"] = weights[f"decoder.{alias}"] = stored
    return weights


def checkpoint(weights, configuration="3d_fullres", **more):
    """A checkpoint's content with NumPy numbers in its log, as training leaves them."""
    return {
        "network_weights": weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.5), np.float32(0)]]},
        "_best_ema": np.float64(0.25),
        "current_epoch": 3,
        "init_args": {"plans": PLANS, "configuration": configuration, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 2),
        **more,
    }


def write_model(parent: Path, plans=PLANS, dataset=DATASET, folds=None) -> Path:
    """Write a model folder with one checkpoint a fold (default: fold 0 of the plain network); return it."""
    model = parent / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folds = {"0": checkpoint(their_weights(PLAIN))} if folds is None else folds
    for fold, content in folds.items():
        (model / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        torch.save(content, model / f"fold_{fold}" / "checkpoint_final.pth")
    model.mkdir(exist_ok=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    return model


def changed(plans=PLANS, configuration=(), arguments=(), **top):
    """Plans with changes in the configuration and in the architecture's arguments."""
    plans = copy.deepcopy(plans) | top
    plans["configurations"]["3d_fullres"] |= dict(configuration)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= dict(arguments)
    return plans
