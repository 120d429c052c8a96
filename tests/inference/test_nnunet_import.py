"""nnU-Net model folders: what they become, what is refused, and labels that nnU-Net itself gave."""

import copy
import shutil

import numpy as np
import pytest
import torch
from nnunet_samples import DATASET, FULLRES, PLAIN, PLANS, RESIDUAL, changed, checkpoint, their_weights, write_model

from flare_core import cli
from flare_core.inference.network import BadModel, load_network
from flare_core.inference.nnunet_import import import_nnunet
from flare_core.inference.nnunet_labels import target_called
from flare_core.inference.nnunet_preprocessing import NoNormalization, ZScoreNormalization
from flare_core.inference.submission import load_submission
from flare_core.paths import ROOT

EXAMPLES = ROOT / "tests" / "inference" / "nnunet_example"


@pytest.mark.parametrize("example", ["small", "turned"])
def test_labels_equal_those_that_nnunets_predictor_gave(example, tmp_path):
    # recorded by benchmarks/nnunet_parity.py --record: `small` is a plain network, `turned` an ensemble of two with
    # residual encoders, mirroring, planes resampled by themselves and transposed plans
    shutil.unpack_archive(EXAMPLES / f"{example}.zip", tmp_path / "model")
    image, theirs = np.load(EXAMPLES / "image.npz"), np.load(tmp_path / "model" / "labels.npz")
    mirror, step = bool(theirs["mirror"]), float(theirs["tile_step"])
    predict = load_submission(import_nnunet(tmp_path / "model", tmp_path / "out", mirror=mirror, tile_step=step))
    spacing = tuple(image["spacing_mm"].tolist())
    labels = predict(image["image_hu"].astype(np.float32), spacing)
    equal, foreground = labels == theirs["labels"], (labels > 0) | (theirs["labels"] > 0)
    assert equal.mean() >= 0.999 and equal[foreground].mean() >= 0.995
    # there is something to agree on: several organs, and several windows along two axes at least
    assert len(np.unique(theirs["labels"])) > 5 and foreground.mean() > 0.02
    preprocessing = predict.networks["nnunet"][0].preprocessing
    turned = preprocessing.to_axes(image["image_hu"]).shape
    shape = preprocessing.grid_shape(turned, preprocessing.spacing_along_axes(spacing))
    starts = zip(*predict.inference.corners(shape), strict=True)
    assert sum(len(set(along)) > 1 for along in starts) >= 2


def test_the_command_line_passes_every_setting_on(tmp_path):
    model = write_model(tmp_path, dataset=DATASET | {"labels": {"background": 0, "growth": 1, "liver": 2}})
    (tmp_path / "map.json").write_text('{"growth": "tumor"}')
    given = ["--folds", "0", "--map", str(tmp_path / "map.json"), "--axes", "RAS", "--mirror", "--tile-step", "0.25"]
    assert cli.main(["import-nnunet", str(model), "-o", str(tmp_path / "out"), *given]) == cli.DONE
    submission = load_submission(tmp_path / "out")
    (network,) = submission.networks["nnunet"]
    assert network.scheme.targets == ("tumor", "liver") and network.preprocessing.axes == "RAS"
    assert submission.inference.mirror_axes == (0, 2) and submission.inference.tile_step == 0.25
    assert cli.main(["import-nnunet", str(model), "-o", str(tmp_path / "bad"), "--tile-step", "0"]) == cli.REFUSED
    model = write_model(tmp_path)
    assert cli.main(["import-nnunet", str(model), "-o", str(tmp_path / "plain")]) == cli.DONE
    inference = load_submission(tmp_path / "plain").inference
    assert inference.tile_step == 0.5 and inference.mirror_axes == ()


def test_kernels_turn_from_zyx_to_xyz_and_repetitions_are_dropped(tmp_path):
    theirs = their_weights(PLAIN)
    out = import_nnunet(write_model(tmp_path), tmp_path / "out")
    network = load_network(out / "nnunet_fold0")
    assert network.architecture == PLAIN and network.facts["fold"] == 0
    state = network.module.state_dict()
    name = "encoder.stages.0.0.convs.1.conv.weight"
    assert theirs[name].shape == (2, 2, 1, 3, 3) and state[name].shape == (2, 2, 3, 3, 1)
    assert state[name][1, 0, 2, 1, 0] == theirs[name][1, 0, 0, 1, 2]
    assert set(state) == {n for n in theirs if "all_modules" not in n and not n.startswith("decoder.encoder")}


def test_weights_keep_single_precision_and_are_computed_in_it(tmp_path):
    submission = load_submission(import_nnunet(write_model(tmp_path), tmp_path / "out"))
    stored = submission.networks["nnunet"][0].module.state_dict()["decoder.seg_layers.0.weight"]
    assert torch.equal(stored, their_weights(PLAIN)["decoder.seg_layers.0.weight"].permute(0, 1, 4, 3, 2))
    assert not torch.equal(stored, stored.half().float()) and submission.precision == "float32"


def test_everything_spatial_of_the_plans_is_turned_around(tmp_path):
    submission = load_submission(import_nnunet(write_model(tmp_path), tmp_path / "out", mirror=True, tile_step=0.25))
    (network,) = submission.networks["nnunet"]
    assert (network.preprocessing.spacing_mm, network.preprocessing.axes) == ((2.0, 3.0, 5.0), "LPS")
    assert submission.inference.window == (6, 8, 4) and submission.inference.tile_step == 0.25
    assert submission.inference.mirror_axes == (0, 2)  # z and x, as x and z
    normalized = network.preprocessing.normalization(np.float32([-2000, 50, 150, 400]))
    assert np.allclose(normalized, [-9.5, 0, 1, 2.5])


def test_the_plans_transposition_turns_the_axes(tmp_path):
    # arrays (z, y, x) become (y, z, x): along X, Y, Z of the network lie x, z, y
    model = write_model(tmp_path, changed(transpose_forward=[1, 0, 2]))
    axes = [
        load_network(import_nnunet(model, tmp_path / stored, axes=stored) / "nnunet_fold0").preprocessing.axes
        for stored in ("LPS", "RAI")
    ]
    assert axes == ["LSP", "RIA"]


def test_a_reader_that_reorients_was_shown_ras(tmp_path):
    out = import_nnunet(write_model(tmp_path, changed(image_reader_writer="NibabelIOWithReorient")), tmp_path / "out")
    assert load_network(out / "nnunet_fold0").preprocessing.axes == "RAS"


def test_residual_encoders_and_inherited_configurations_are_read(tmp_path):
    residual = copy.deepcopy(FULLRES["architecture"])
    residual["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    residual["arch_kwargs"]["n_blocks_per_stage"] = [1, 2]
    heir = {"inherits_from": "3d_fullres", "architecture": residual, "normalization_schemes": ["NoNormalization"]}
    plans = {**PLANS, "configurations": {"3d_fullres": FULLRES, "heir": heir}}
    model = write_model(tmp_path, plans, folds={"0": checkpoint(their_weights(RESIDUAL), "heir")})
    network = load_network(import_nnunet(model, tmp_path / "out") / "nnunet_fold0")
    assert network.architecture == RESIDUAL
    assert network.preprocessing.normalization == NoNormalization() and network.preprocessing.spacing_mm == (2, 3, 5)


def test_plans_before_2_5_and_checkpoints_without_mirroring_are_read(tmp_path):
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
    model = write_model(tmp_path, {**PLANS, "configurations": {"3d_fullres": full}}, folds={"all": content})
    submission = load_submission(import_nnunet(model, tmp_path / "out", mirror=True))
    (network,) = submission.networks["nnunet"]
    assert (network.architecture, network.facts["fold"]) == (PLAIN, "all")
    assert network.preprocessing.normalization == ZScoreNormalization(masked=True)
    assert submission.inference.mirror_axes == ()


def test_folds_are_averaged_as_logits(tmp_path):
    def always(*logits):
        weights = their_weights(PLAIN)
        weights["decoder.seg_layers.0.weight"] = torch.zeros_like(weights["decoder.seg_layers.0.weight"])
        return checkpoint(weights | {"decoder.seg_layers.0.bias": torch.tensor(logits)})

    # 0, 1, 0.5 on average, although background has the highest single logit
    model = write_model(tmp_path, folds={"0": always(2.0, 0, 0), "1": always(-2.0, 2, 1)})
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
def test_a_pickle_that_wants_to_call_something_is_refused_and_calls_nothing(tmp_path, key):
    victim = tmp_path / "victim"
    model = write_model(tmp_path, folds={"0": checkpoint(their_weights(PLAIN)) | {key: Malice(victim)}})
    with pytest.raises(BadModel, match="would call (io.|builtins.)?open.*nothing was executed"):
        import_nnunet(model, tmp_path / "out")
    assert not victim.exists() and not (tmp_path / "out").exists()


def test_numbers_of_the_log_are_forgotten_whatever_they_claim_to_be(tmp_path):
    content = checkpoint(their_weights(PLAIN), logging={"losses": np.arange(3.0), "kind": np.dtype("O")})
    import_nnunet(write_model(tmp_path, folds={"0": content}), tmp_path / "out")


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
def test_plans_that_cannot_be_imported_are_refused_by_name(tmp_path, plans, message):
    with pytest.raises(BadModel, match=message):
        import_nnunet(write_model(tmp_path, plans), tmp_path / "out")


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
def test_datasets_that_cannot_be_imported_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(BadModel, match=message):
        import_nnunet(write_model(tmp_path, dataset=DATASET | changes), tmp_path / "out")


def test_a_label_map_says_what_names_do_not(tmp_path):
    labels = {"background": 0, "growth": 1, "bladder": 2, "ignore": 3}
    model = write_model(tmp_path, dataset=DATASET | {"labels": labels})
    out = import_nnunet(model, tmp_path / "out", labels={"growth": "tumor", "bladder": "background"})
    assert load_network(out / "nnunet_fold0").scheme.to_targets(np.array([0, 1, 2])).tolist() == [0, 14, 0]
    with pytest.raises(BadModel, match="growth: cancer.*given but not there: liver"):
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
        ("o" + "esophagus", "esophagus"),
        ("lesion", "tumor"),
        ("Tumor".replace("or", "our"), "tumor"),
        ("kidney", None),
        ("kidney tumor", None),
        ("bladder", None),
        ("1", None),
    ],
)
def test_common_names_are_understood_and_others_are_not_guessed(name, target):
    assert target_called(name) == target


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(BadModel, match="no plans.json here"):
        import_nnunet(tmp_path, tmp_path / "out")
    model = write_model(tmp_path, folds={})
    with pytest.raises(BadModel, match="no fold_.*checkpoint_final.pth here"):
        import_nnunet(model, tmp_path / "out")
    model = write_model(tmp_path)
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


def test_folds_of_different_models_and_broken_weights_are_refused(tmp_path):
    good, bad = checkpoint(their_weights(PLAIN)), checkpoint(their_weights(PLAIN), trainer_name="nnUNetTrainerAdam")
    with pytest.raises(BadModel, match="trained as nnUNetTrainerAdam.*fold_0 as nnUNetTrainer"):
        import_nnunet(write_model(tmp_path, folds={"0": good, "1": bad}), tmp_path / "mixed")
    bad = their_weights(PLAIN) | {"decoder.seg_layers.0.bias": torch.full((3,), float("nan"))}
    with pytest.raises(BadModel, match="NaN"):
        import_nnunet(write_model(tmp_path, folds={"0": checkpoint(bad)}), tmp_path / "broken")


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path):
    model = write_model(tmp_path)
    with pytest.raises(FileExistsError, match="not an empty folder"):
        import_nnunet(model, tmp_path)
    with pytest.raises(ValueError, match="tile step"):
        import_nnunet(model, tmp_path / "out", tile_step=0)
    for axes in ("LPX", "LP", "LRS", ""):
        with pytest.raises(BadModel, match="three letters"):
            import_nnunet(model, tmp_path / "out", axes=axes)
    assert not (tmp_path / "out").exists()
