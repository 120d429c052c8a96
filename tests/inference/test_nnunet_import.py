"""nnU-Net model folders: what they become, what is refused, and labels that nnU-Net itself gave."""

import copy
import json

import numpy as np
import pytest
import torch

from flare_core.inference.network import BadModel, load_network
from flare_core.inference.nnunet_import import import_nnunet
from flare_core.inference.nnunet_labels import target_called
from flare_core.inference.nnunet_preprocessing import NoNormalization, ZScoreNormalization
from flare_core.inference.submission import load_submission
from flare_core.models.unet import PlainUNet, ResidualEncoderUNet
from flare_core.paths import ROOT

EXAMPLES = ROOT / "tests" / "inference" / "nnunet_example"
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


@pytest.fixture
def write_model(tmp_path):
    """Write a model folder: changed plans and dataset, one checkpoint a fold; return it."""

    def write(plans=PLANS, dataset=DATASET, folds=None):
        model = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
        folds = {"0": checkpoint(their_weights(PLAIN))} if folds is None else folds
        for fold, content in folds.items():
            (model / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
            torch.save(content, model / f"fold_{fold}" / "checkpoint_final.pth")
        model.mkdir(exist_ok=True)
        (model / "plans.json").write_text(json.dumps(plans))
        (model / "dataset.json").write_text(json.dumps(dataset))
        return model

    return write


def changed(plans=PLANS, configuration=(), arguments=(), **top):
    """Plans with changes in the configuration and in the architecture's arguments."""
    plans = copy.deepcopy(plans) | top
    plans["configurations"]["3d_fullres"] |= dict(configuration)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= dict(arguments)
    return plans


@pytest.mark.parametrize("example", ["plain", "turned"])
def test_labels_equal_those_that_nnunets_predictor_gave(example, tmp_path):
    # recorded by benchmarks/nnunet_parity.py --record: `plain` has learned organs; `turned` is a residual ensemble with
    # mirroring, planes resampled by themselves and transposed plans, its labels are what few steps of training left
    recorded = np.load(EXAMPLES / example / "case.npz")
    mirror, step = bool(recorded["mirror"]), float(recorded["tile_step"])
    predict = load_submission(import_nnunet(EXAMPLES / example, tmp_path / "out", mirror=mirror, tile_step=step))
    labels = predict(recorded["image_hu"].astype(np.float32), tuple(recorded["spacing_mm"].tolist()))
    theirs = recorded["labels"]
    foreground = (labels > 0) | (theirs > 0)
    assert len(np.unique(theirs)) > 4 and foreground.mean() > 0.02
    assert (labels == theirs).mean() >= 0.999 and (labels == theirs)[foreground].mean() >= 0.995


def test_kernels_turn_from_zyx_to_xyz_and_repetitions_are_dropped(write_model, tmp_path):
    theirs = their_weights(PLAIN)
    out = import_nnunet(write_model(), tmp_path / "out")
    network = load_network(out / "nnunet_fold0")
    assert network.architecture == PLAIN and network.facts["fold"] == 0
    state = network.module.state_dict()
    name = "encoder.stages.0.0.convs.1.conv.weight"
    assert theirs[name].shape == (2, 2, 1, 3, 3) and state[name].shape == (2, 2, 3, 3, 1)
    assert state[name][1, 0, 2, 1, 0] == theirs[name][1, 0, 0, 1, 2]
    assert set(state) == {n for n in theirs if "all_modules" not in n and not n.startswith("decoder.encoder")}


def test_weights_keep_single_precision_and_are_computed_in_it(write_model, tmp_path):
    submission = load_submission(import_nnunet(write_model(), tmp_path / "out"))
    stored = submission.networks["nnunet"][0].module.state_dict()["decoder.seg_layers.0.weight"]
    assert torch.equal(stored, their_weights(PLAIN)["decoder.seg_layers.0.weight"].permute(0, 1, 4, 3, 2))
    assert not torch.equal(stored, stored.half().float()) and submission.precision == "float32"


def test_everything_spatial_of_the_plans_is_turned_around(write_model, tmp_path):
    submission = load_submission(import_nnunet(write_model(), tmp_path / "out", mirror=True, tile_step=0.25))
    (network,) = submission.networks["nnunet"]
    assert (network.preprocessing.spacing_mm, network.preprocessing.axes) == ((2.0, 3.0, 5.0), "LPS")
    assert submission.inference.window == (6, 8, 4) and submission.inference.tile_step == 0.25
    assert submission.inference.mirror_axes == (0, 2)  # z and x, as x and z
    normalized = network.preprocessing.normalization(torch.tensor([-2000.0, 50, 150, 400]))
    assert torch.allclose(normalized, torch.tensor([-9.5, 0, 1, 2.5]))


def test_the_plans_transposition_turns_the_axes(write_model, tmp_path):
    # arrays (z, y, x) become (y, z, x): along X, Y, Z of the network lie x, z, y
    model = write_model(changed(transpose_forward=[1, 0, 2]))
    axes = [
        load_network(import_nnunet(model, tmp_path / stored, axes=stored) / "nnunet_fold0").preprocessing.axes
        for stored in ("LPS", "RAI")
    ]
    assert axes == ["LSP", "RIA"]


def test_a_reader_that_reorients_was_shown_ras(write_model, tmp_path):
    out = import_nnunet(write_model(changed(image_reader_writer="NibabelIOWithReorient")), tmp_path / "out")
    assert load_network(out / "nnunet_fold0").preprocessing.axes == "RAS"


def test_residual_encoders_and_inherited_configurations_are_read(write_model, tmp_path):
    residual = copy.deepcopy(FULLRES["architecture"])
    residual["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    residual["arch_kwargs"]["n_blocks_per_stage"] = [1, 2]
    heir = {"inherits_from": "3d_fullres", "architecture": residual, "normalization_schemes": ["NoNormalization"]}
    plans = {**PLANS, "configurations": {"3d_fullres": FULLRES, "heir": heir}}
    model = write_model(plans, folds={"0": checkpoint(their_weights(RESIDUAL), "heir")})
    network = load_network(import_nnunet(model, tmp_path / "out") / "nnunet_fold0")
    assert network.architecture == RESIDUAL
    assert network.preprocessing.normalization == NoNormalization() and network.preprocessing.spacing_mm == (2, 3, 5)


def test_plans_before_2_5_and_checkpoints_without_mirroring_are_read(write_model, tmp_path):
    old = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 2,
        "unet_max_num_features": 3,
        "n_conv_per_stage_encoder": [2, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]],
    }
    full = {key: value for key, value in FULLRES.items() if key != "architecture"}
    full |= {**old, "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [True]}
    content = checkpoint(their_weights(PLAIN))
    del content["inference_allowed_mirroring_axes"]
    model = write_model({**PLANS, "configurations": {"3d_fullres": full}}, folds={"all": content})
    submission = load_submission(import_nnunet(model, tmp_path / "out", mirror=True))
    (network,) = submission.networks["nnunet"]
    assert (network.architecture, network.facts["fold"]) == (PLAIN, "all")
    assert network.preprocessing.normalization == ZScoreNormalization(masked=True)
    assert submission.inference.mirror_axes == ()


def test_folds_are_averaged_as_logits(write_model, tmp_path):
    def always(*logits):
        weights = their_weights(PLAIN)
        weights["decoder.seg_layers.0.weight"] = torch.zeros_like(weights["decoder.seg_layers.0.weight"])
        return checkpoint(weights | {"decoder.seg_layers.0.bias": torch.tensor(logits)})

    # 0, 1, 0.5 on average, although background has the highest single logit
    model = write_model(folds={"0": always(2.0, 0, 0), "1": always(-2.0, 2, 1)})
    image = np.random.default_rng(0).normal(0, 100, (7, 9, 5)).astype(np.float32)
    image[0] = 0  # never cropped away by accident: the network does not see it
    found = {}
    for name, folds in (("both", None), ("first", (0,)), ("second", ("1",))):
        predict = load_submission(import_nnunet(model, tmp_path / name, folds=folds))
        found[name] = predict(image, (2.0, 2.0, 4.0))
    assert not found["first"].any() and (found["second"][1:] == 1).all() and not found["second"][0].any()
    assert np.array_equal(found["both"], found["second"])


class Malice:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("key", ["network_weights", "logging", "unheard_of"])
def test_a_pickle_that_wants_to_call_something_is_refused_and_calls_nothing(write_model, tmp_path, key):
    victim = tmp_path / "victim"
    model = write_model(folds={"0": checkpoint(their_weights(PLAIN)) | {key: Malice(victim)}})
    with pytest.raises(BadModel, match="would call (io.|builtins.)?open.*nothing was executed"):
        import_nnunet(model, tmp_path / "out")
    assert not victim.exists() and not (tmp_path / "out").exists()


def test_numbers_of_the_log_are_forgotten_whatever_they_claim_to_be(write_model, tmp_path):
    content = checkpoint(their_weights(PLAIN), logging={"losses": np.arange(3.0), "kind": np.dtype("O")})
    import_nnunet(write_model(folds={"0": content}), tmp_path / "out")


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        (changed(configuration={"previous_stage": "3d_lowres"}), "cascade"),
        (changed(configuration={"patch_size": [8, 6]}), "2D configuration"),
        (changed(configuration={"preprocessor_name": "MyPreprocessor"}), "'MyPreprocessor' is not supported"),
        (changed(configuration={"resampling_fn_data": "resample_torch"}), "'resample_torch' is not supported"),
        (changed(configuration={"normalization_schemes": ["RGBTo01Normalization"]}), "'RGBTo01Normalization'"),
        (changed(configuration={"normalization_schemes": ["NoNormalization"] * 2}), "one input channel"),
        (changed(configuration={"architecture": {"network_class_name": "my.MedNeXt", "arch_kwargs": {}}}), "MedNeXt"),
        (changed(arguments={"norm_op": "torch.nn.BatchNorm3d"}), "norm_op 'BatchNorm3d'"),
        (changed(arguments={"nonlin_kwargs": {"negative_slope": 0.2}}), "slope of the leaky ReLU 0.2"),
        (changed(arguments={"features_per_stage": [2, 4]}), "do not fit.*trainer nnUNetTrainer"),
        (changed(image_reader_writer="NaturalImage2DIO"), "'NaturalImage2DIO' is not supported"),
        (changed(label_manager="MyLabels"), "'MyLabels' is not supported"),
        ({**PLANS, "configurations": {"3d_lowres": FULLRES}}, "no usable configuration '3d_fullres'; it has 3d_lowres"),
        ({**PLANS, "configurations": {"3d_fullres": {"inherits_from": "3d_fullres"}}}, "no usable configuration"),
        ({**PLANS, "configurations": {"3d_fullres": {}}}, "not what nnU-Net version 2 writes: KeyError"),
        (changed(foreground_intensity_properties_per_channel={"0": {}}), "not what nnU-Net version 2 writes"),
    ],
)
def test_plans_that_cannot_be_imported_are_refused_by_name(write_model, tmp_path, plans, message):
    with pytest.raises(BadModel, match=message):
        import_nnunet(write_model(plans), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, "one input channel.*found 2: T1, T2"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "whole are regions"),
        ({"labels": {"background": 0, "liver": 2}}, "label values 0, 1, 2"),
        ({"labels": {"0": "background", "1": "liver"}}, "label values 0, 1, 2"),  # as in version 1
        (
            {"labels": {"background": 0, "liver": 1, "prostate/uterus": 2}},
            'these labels mean: prostate/uterus;.*{"pros',
        ),
    ],
)
def test_datasets_that_cannot_be_imported_are_refused_by_name(write_model, tmp_path, changes, message):
    with pytest.raises(BadModel, match=message):
        import_nnunet(write_model(dataset=DATASET | changes), tmp_path / "out")


def test_a_label_map_says_what_names_do_not(write_model, tmp_path):
    labels = {"background": 0, "growth": 1, "bladder": 2, "ignore": 3}
    model = write_model(dataset=DATASET | {"labels": labels})
    out = import_nnunet(model, tmp_path / "out", labels={"growth": "tumor", "bladder": "background"})
    assert load_network(out / "nnunet_fold0").scheme.to_targets(np.array([0, 1, 2])).tolist() == [0, 14, 0]
    with pytest.raises(BadModel, match="growth: tumour.*given but not there: liver".replace("tumour", "cancer")):
        import_nnunet(model, tmp_path / "other", labels={"growth": "cancer", "bladder": "background", "liver": "liver"})


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("kidney_right", "right_kidney"),
        ("Left Kidney", "left_kidney"),
        ("postcava", "inferior_vena_cava"),
        ("inferior vena cava (IVC)", "inferior_vena_cava"),
        ("adrenal_gland_left", "left_adrenal_gland"),
        ("RAG", "right_adrenal_gland"),
        ("gall-bladder", "gallbladder"),
        ("oesophagus", "esophagus"),
        ("lesion", "tumor"),
        ("Tumour", "tumor"),
        ("kidney", None),
        ("kidney tumor", None),
        ("bladder", None),
        ("1", None),
    ],
)
def test_common_names_are_understood_and_others_are_not_guessed(name, target):
    assert target_called(name) == target


def test_missing_parts_are_named(write_model, tmp_path):
    with pytest.raises(BadModel, match="no plans.json here"):
        import_nnunet(tmp_path, tmp_path / "out")
    model = write_model(folds={})
    with pytest.raises(BadModel, match="no fold_.*checkpoint_final.pth here"):
        import_nnunet(model, tmp_path / "out")
    model = write_model()
    with pytest.raises(BadModel, match="fold 3; it is there for 0"):
        import_nnunet(model, tmp_path / "out", folds=(0, 3))
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"nonsense")
    with pytest.raises(BadModel, match="cannot be read as a torch checkpoint"):
        import_nnunet(model, tmp_path / "out")
    torch.save({"state_dict": {}}, model / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(BadModel, match="no checkpoint of nnU-Net version 2.*network_weights"):
        import_nnunet(model, tmp_path / "out")
    (model / "dataset.json").unlink()
    with pytest.raises(BadModel, match="no dataset.json here"):
        import_nnunet(model, tmp_path / "out")


def test_folds_of_different_models_and_broken_weights_are_refused(write_model, tmp_path):
    good, bad = checkpoint(their_weights(PLAIN)), checkpoint(their_weights(PLAIN), trainer_name="nnUNetTrainerAdam")
    with pytest.raises(BadModel, match="trained as nnUNetTrainerAdam.*fold_0 as nnUNetTrainer"):
        import_nnunet(write_model(folds={"0": good, "1": bad}), tmp_path / "mixed")
    bad = their_weights(PLAIN) | {"decoder.seg_layers.0.bias": torch.full((3,), float("nan"))}
    with pytest.raises(BadModel, match="NaN"):
        import_nnunet(write_model(folds={"0": checkpoint(bad)}), tmp_path / "broken")


def test_wrong_arguments_are_refused_before_anything_is_written(write_model, tmp_path):
    model = write_model()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        import_nnunet(model, tmp_path)
    with pytest.raises(ValueError, match="tile step"):
        import_nnunet(model, tmp_path / "out", tile_step=0)
    for axes in ("LPX", "LP", "LRS", ""):
        with pytest.raises(BadModel, match="three letters"):
            import_nnunet(model, tmp_path / "out", axes=axes)
    assert not (tmp_path / "out").exists()
