"""A trained network in torch: computed on a processor or a CUDA device, written to a model folder and read back.

Serves training (which writes the folder: `weights.safetensors` and `model.json`), and prediction by the torch backend.
A folder says by itself what it is; its weights are checked by SHA-256 and architecture before they are used, and
nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from flare_core.inference.model_checks import difference, weight_shapes
from flare_core.inference.stored_network import Architecture, BadModel, StoredNetwork, Stride, read_network
from flare_core.recipe import encode
from flare_core.storage import write_file
from flare_core.timing import timed_stage


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
        batch: windows a forward pass; None leaves it to the window scheme.
    """

    module: torch.nn.Module
    architecture: Architecture
    scheme: Any
    preprocessing: Any
    facts: dict[str, Any] = field(default_factory=dict)
    bfloat16: bool = False
    batch: int | None = None

    def with_batch(self, batch: int) -> TrainedNetwork:
        """Return the network with another number of windows at once."""
        return replace(self, batch=batch)

    @property
    def precision(self) -> str:
        """`bfloat16` or `float32`."""
        return "bfloat16" if self.bfloat16 else "float32"

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return sum(weight.nbytes for weight in self.module.parameters())

    unloaded_bytes = 0  # the weights are in memory
    keeps_its_memory = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def stride(self) -> Stride:
        """What the sides of a window must be multiples of (one number, or one an axis)."""
        return self.architecture.stride

    def __call__(self, windows: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the logits of a batch of windows, or their softmax over the channels."""
        stage = timed_stage(self.facts.get("stage", ""))
        with stage, torch.inference_mode(), autocast(self.device, self.bfloat16):
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


def load_network(folder: Path | StoredNetwork, device: str = "cpu", exact: bool = False) -> TrainedNetwork:
    """Read a model folder.

    Args:
        folder: holds `weights.safetensors` and `model.json`; or what `read_network` returned for it.
        device: torch device.
        exact: float32 everywhere, even where bfloat16 is faster; a network stored in float32 is always computed so.
    Raises:
        BadModel: if a file is missing or damaged, the architecture is unknown, the weights do not belong to it
            (SHA-256, names, shapes) or are not finite.
    """
    stored = folder if isinstance(folder, StoredNetwork) else read_network(folder)
    weights = stored.weights()
    _refuse_other_network(stored, weights)
    state = load(weights)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    module = stored.architecture.build(stored.scheme.channels)
    module.load_state_dict(state, strict=True)
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise BadModel(f"{stored.folder}: the weights hold NaN or infinite values; train or copy the model again")
    fast = not exact and stored.precision != "float32" and has_fast_bfloat16(torch.device(device))
    layout = torch.channels_last_3d if fast else torch.preserve_format  # a fifth less time in bfloat16, none in float32
    module = module.eval().to(device, memory_format=layout)
    return TrainedNetwork(module, stored.architecture, stored.scheme, stored.preprocessing, stored.facts, bfloat16=fast)


def _refuse_other_network(stored: StoredNetwork, weights: bytes) -> None:
    """Compare the tensors of a weights file with those of the described network before memory is taken for either."""
    try:
        found = weight_shapes(weights)
        with torch.device("meta"):  # sizes without content
            module = stored.architecture.build(stored.scheme.channels)
        reason = difference(found, {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})
    except Exception as error:  # a foreign description may fail in any way
        reason = " ".join(str(error).split())[:200]
    if reason:
        raise BadModel(
            f"{stored.folder}: the weights do not fit the network in model.json ({reason}); copy the model folder again"
        )
