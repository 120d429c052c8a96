"""Read an nnU-Net checkpoint without running anything that is stored in it.

Serves the import of nnU-Net models. Their checkpoints are pickles, which can call any function while they are read.
Here only torch's restricted reader sees them: it builds tensors and plain containers and refuses everything else. The
training log in them holds NumPy numbers, which that reader does not know; stand-ins take their place that keep nothing
and call nothing, since no number of the log is needed.

References:
    torch.load(weights_only=True), torch.serialization.safe_globals; MIC-DKFZ/nnUNet 2.8,
    training/nnUNetTrainer/nnUNetTrainer.py (save_checkpoint); MIC-DKFZ/dynamic-network-architectures 0.4 (names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flare_core.inference.stored_network import BadModel


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What the import needs of one fold.

    Attributes:
        weights: their names to tensors, as stored.
        configuration: of the plans, such as `3d_fullres`.
        trainer: class name of nnU-Net's trainer.
        mirror_axes: axes (z, y, x) that nnU-Net's predictor mirrors by default; () if none.
    """

    weights: Mapping[str, torch.Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


class _Forgotten:
    """Takes the place of a NumPy number or number format; whatever it is built from is dropped."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what is needed of a checkpoint; nothing in it is executed.

    Args:
        path: such as `fold_0/checkpoint_final.pth`.
    Raises:
        BadModel: if the file is damaged, wants to call anything (naming it), or is no checkpoint of nnU-Net version 2.
    """
    stand_ins = [
        (_Forgotten, f"numpy.{name}")
        for name in ("dtype", "ndarray", "core.multiarray.scalar", "_core.multiarray.scalar")
        + ("core.multiarray._reconstruct", "_core.multiarray._reconstruct")
    ]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file may fail in any way
        raise BadModel(f"{path}: {_reason(str(error))}") from None
    try:
        weights, trainer = content["network_weights"], content["trainer_name"]
        configuration = content["init_args"]["configuration"]
        mirror_axes = tuple(content.get("inference_allowed_mirroring_axes") or ())  # absent before 2.1
        checkpoint = Checkpoint(dict(weights), str(configuration), str(trainer), mirror_axes)
    except (KeyError, TypeError, ValueError) as error:
        raise BadModel(f"{path}: this is no checkpoint of nnU-Net version 2 (found no usable {error})") from None
    wrong = [name for name, value in checkpoint.weights.items() if not isinstance(value, torch.Tensor)]
    if wrong or not checkpoint.weights:
        raise BadModel(f"{path}: expected named tensors under network_weights, found {wrong[:1] or 'none'}")
    return checkpoint


def weights_along_xyz(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under our names: each once, kernels along X, Y, Z, in float32.

    nnU-Net registers modules several times: each convolution also under `all_modules`, the encoder also inside the
    decoder. These repetitions are dropped, and what compiling or parallel training put before the names.

    Args:
        weights: of a checkpoint; kernels of shape (outputs, inputs, z, y, x).
    """
    kept = {}
    for stored, tensor in weights.items():
        name = re.sub(r"^(module\.|_orig_mod\.)+", "", stored)
        if ".all_modules." in name or name.startswith("decoder.encoder."):
            continue
        along_xyz = tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor
        kept[name] = along_xyz.float().contiguous()
    return kept


def _reason(message: str) -> str:
    """Say in one line why torch's restricted reader gave up."""
    wanted = re.search(r"GLOBAL ([\w.]+)", message)
    if wanted:
        return (
            f"reading it would call {wanted[1]}, which no weights need; nothing was executed and the file is refused "
            "(store the checkpoint again with plain values only if you trust it)"
        )
    return f"cannot be read as a torch checkpoint ({' '.join(message.split())[:120]}); copy the file again"
