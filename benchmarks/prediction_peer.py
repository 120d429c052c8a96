"""Predict a label file with a peer; run by `prediction.py` in that peer's environment.

    python benchmarks/prediction_peer.py nnunet-model MODEL WEIGHTS.npz
    python benchmarks/prediction_peer.py nnunet MODEL IMAGE OUT
    python benchmarks/prediction_peer.py monai MODEL IMAGE OUT

Imports nothing of this project. `nnunet-model` completes a model folder, which has plans and dataset.json already, with
a checkpoint as nnU-Net's trainer writes it. `nnunet` is nnU-Net's predictor for one process, with its defaults but for
mirroring. `monai` is what its documentation puts together: dictionary transforms, sliding windows, the transforms
inverted on the logits, argmax; MODEL is a folder with network.pt (TorchScript) and settings.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch


def complete_nnunet_model(model: Path, weights: Path) -> None:
    """Write fold_0/checkpoint_final.pth with the weights of a file, which are under nnU-Net's names and along its axes.

    nnU-Net registers its modules several times; each weight is in the file once.
    """
    import numpy as np
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    plans, dataset = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        len(dataset["labels"]),
        deep_supervision=False,
    )
    with np.load(weights) as stored:
        result = network.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored}, strict=False)
    again = (".all_modules.", "decoder.encoder.")
    missing = [name for name in result.missing_keys if not any(part in name for part in again)]
    if missing or result.unexpected_keys:
        raise SystemExit(f"{weights}: weights missing {missing}, too many {result.unexpected_keys}")
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    (model / "fold_0").mkdir(exist_ok=True)
    torch.save(content, model / "fold_0" / "checkpoint_final.pth")


def load_nnunet(model: Path):
    """Return nnU-Net's predictor with a model's first fold."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    return predictor


def by_nnunet(model: Path, image: Path, out: Path) -> None:
    """Predict one image with nnU-Net's predictor, in this process."""
    out.parent.mkdir(parents=True, exist_ok=True)
    load_nnunet(model).predict_from_files_sequential([[str(image)]], [str(out).removesuffix(".nii.gz")])


def load_monai(model: Path):
    """Return the network, with MONAI's inference imported."""
    import monai.inferers
    import monai.transforms  # noqa: F401

    return torch.jit.load(model / "network.pt").eval()


def by_monai(model: Path, image: Path, out: Path) -> None:
    """Predict one image with MONAI's transforms and sliding windows."""
    from monai import transforms
    from monai.inferers import sliding_window_inference

    network, settings = load_monai(model), json.loads((model / "settings.json").read_text())
    before = transforms.Compose(
        [
            transforms.LoadImaged("image"),
            transforms.EnsureChannelFirstd("image"),
            transforms.Orientationd("image", "RAS"),
            transforms.Spacingd("image", settings["spacing_mm"], mode="bilinear", dtype=torch.float32),
            transforms.ScaleIntensityRanged("image", *settings["from_hu"], *settings["to"], clip=True),
        ]
    )
    after = transforms.Compose(
        [
            transforms.Invertd("pred", before, "image", nearest_interp=False, to_tensor=True),
            transforms.AsDiscreted("pred", argmax=True),
        ]
    )
    case = before({"image": str(image)})
    with torch.inference_mode():
        (case["pred"],) = sliding_window_inference(
            case["image"][None], settings["window"], settings["batch"], network, overlap=0.5, mode="gaussian"
        )
    done = after(case)
    labels = done["pred"]
    labels.meta["filename_or_obj"] = out.name
    save = transforms.SaveImage(out.parent, "", ".nii.gz", resample=False, separate_folder=False, output_dtype="uint8")
    save(labels)


def main() -> None:
    """Run one of the three commands."""
    command, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    {"nnunet-model": complete_nnunet_model, "nnunet": by_nnunet, "monai": by_monai}[command](*paths)


if __name__ == "__main__":
    main()
