"""A trained network as a folder: `weights.safetensors` and `model.json`.

Serves training (which writes it), pseudo-labels and prediction (which read it). A folder says by itself what it is; its
weights are checked by SHA-256 and architecture before they are used, and nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from flare_core.cases.labels import LabelScheme
from flare_core.cases.preprocessing import ClipAndStandardize, FixedGrid, IntensityWindow, Preprocessing, SigmoidWindow
from flare_core.inference.nnunet_labels import NnUNetLabels
from flare_core.inference.nnunet_preprocessing import (
    NnUNetPreprocessing,
    NnUNetResampling,
    NoNormalization,
    ZScoreNormalization,
)
from flare_core.models.phtrans import PHTrans
from flare_core.models.segresnet import SegResNet
from flare_core.models.smit import SmitPretraining
from flare_core.models.swinx import SwinX
from flare_core.models.unet import PlainUNet, ResidualEncoderUNet
from flare_core.recipe import decode, encode
from flare_core.storage import write_file

PARTS = (
    *(LabelScheme, Preprocessing, FixedGrid, IntensityWindow, SigmoidWindow, ClipAndStandardize),
    *(NnUNetLabels, NnUNetPreprocessing, NnUNetResampling, NoNormalization, ZScoreNormalization),
    *(SegResNet, PlainUNet, ResidualEncoderUNet, PHTrans, SwinX, SmitPretraining),
)
"""Every part that a stored network may be made of; a new network file adds its class here."""


class BadModel(ValueError):
    """A model folder that cannot be used; the message names the folder, what is wrong and what to do."""


def pick_device(wanted: str = "auto") -> str:
    """Return the torch device to use.

    Args:
        wanted: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:K`.
    Raises:
        ValueError: for another word, or if CUDA is asked for by name and is not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise ValueError(f"device {wanted!r} is not one of auto, cpu, cuda, cuda:K")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {wanted} was asked for, but torch finds no CUDA device here; use --device cpu or auto"
        )
    return wanted


def has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether bfloat16 is faster than float32 on a device (CPU: AVX512-BF16 or AMX; CUDA: Ampere or newer)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: torch.device, enabled: bool) -> Any:
    """Return the context in which convolutions run in bfloat16, or one that does nothing."""
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network ready to predict, with everything needed to feed it.

    Calling it takes windows (B, 1, X, Y, Z) and returns scores (B, C, X, Y, Z), both float32 arrays; sides must be
    multiples of `stride`.

    Attributes:
        module: in evaluation mode.
        architecture: what built it.
        scheme: its channels.
        preprocessing: its grid and intensities.
        facts: what made it (system, stage, fold, steps, seed, ...).
        bfloat16: compute convolutions in bfloat16.
    """

    module: torch.nn.Module
    architecture: SegResNet | PlainUNet | ResidualEncoderUNet
    scheme: LabelScheme | NnUNetLabels
    preprocessing: Preprocessing | NnUNetPreprocessing
    facts: dict[str, Any] = field(default_factory=dict)
    bfloat16: bool = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def stride(self) -> int | tuple[int, int, int]:
        """What the sides of a window must be multiples of (one number, or one an axis)."""
        return self.architecture.stride

    def __call__(self, windows: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the logits of a batch of windows, or their softmax over the channels."""
        with torch.inference_mode(), autocast(self.device, self.bfloat16):
            scores = self.module(torch.from_numpy(np.ascontiguousarray(windows)).to(self.device)).float()
            return (scores.softmax(1) if probabilities else scores).cpu().numpy()


def save_network(folder: Path, network: TrainedNetwork, precision: str = "float16") -> Path:
    """Write a model folder; `model.json` comes last, so that a folder with it is complete.

    Args:
        folder: made if missing.
        network: what to store.
        precision: `float16`, or `float32` for a network that is only ever computed in float32, too.
    Returns:
        The folder.
    Raises:
        ValueError: for another precision.
    """
    if precision not in ("float16", "float32"):
        raise ValueError(f"precision is 'float16' or 'float32', got {precision!r}")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.to(getattr(torch, precision)) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.module.state_dict().items()
    }
    weights = save(tensors)
    write_file(folder / "weights.safetensors", weights)
    model = {
        "format": 1,
        "network": encode(network.architecture),
        "scheme": encode(network.scheme),
        "preprocessing": encode(network.preprocessing),
        "precision": precision,
        "sha256": hashlib.sha256(weights).hexdigest(),
        **network.facts,
    }
    write_file(folder / "model.json", json.dumps(model, indent=2) + "\n")
    return folder


def load_network(folder: Path, device: str = "cpu", exact: bool = False) -> TrainedNetwork:
    """Read a model folder.

    Args:
        folder: holds `weights.safetensors` and `model.json`.
        device: torch device.
        exact: float32 everywhere, even where bfloat16 is faster; a network stored in float32 is always computed so.
    Raises:
        BadModel: if a file is missing or damaged, the architecture is unknown, the weights do not belong to it
            (SHA-256, names, shapes) or are not finite.
    """
    try:
        weights = (folder / "weights.safetensors").read_bytes()
        model = json.loads((folder / "model.json").read_text())
    except FileNotFoundError as error:
        raise BadModel(f"{folder}: expected weights.safetensors and model.json, {error.filename} is missing") from None
    except ValueError as error:
        raise BadModel(f"{folder}/model.json is not JSON ({error}); copy the model folder again") from None
    if hashlib.sha256(weights).hexdigest() != model.get("sha256"):
        raise BadModel(f"{folder}: weights.safetensors is not the file that model.json describes (SHA-256 differs)")
    try:
        architecture, scheme, preprocessing = (
            decode(model[key], PARTS) for key in ("network", "scheme", "preprocessing")
        )
    except (KeyError, ValueError) as error:
        raise BadModel(f"{folder}/model.json does not describe a network of this version: {error}") from None
    module = architecture.build(scheme.channels)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load(weights).items()}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise BadModel(f"{folder}: the weights do not fit the network in model.json: {reason}") from None
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise BadModel(f"{folder}: the weights hold NaN or infinite values; train or copy the model again")
    known = ("format", "network", "scheme", "preprocessing", "precision", "sha256")
    facts = {k: v for k, v in model.items() if k not in known}
    module = module.eval().to(device)
    fast = not exact and model.get("precision") != "float32" and has_fast_bfloat16(torch.device(device))
    return TrainedNetwork(module, architecture, scheme, preprocessing, facts, bfloat16=fast)
