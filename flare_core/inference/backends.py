"""Choose what computes the networks: torch (processor or CUDA device) or OpenVINO (processor).

Serves every inference through one small interface, `Network`. OpenVINO takes about half of torch's time on a processor
(`benchmarks/prediction.py`); its graphs are built once with torch and kept, so that later starts need neither torch nor
MONAI.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flare_core.inference.stored_network import Stride, read_network

BACKENDS = ("auto", "torch", "openvino")


class Network(Protocol):
    """A trained network ready to predict (`network.TrainedNetwork`, `openvino_network.OpenVINONetwork`).

    Attributes:
        scheme: its channels.
        preprocessing: its grid and intensities.
        stride: what the sides of a window must be multiples of (one number, or one an axis).
        facts: what made it.
        architecture: what built it.
        precision: what its convolutions are computed in, `float32` or `bfloat16`.
        batch: windows to give it at a time; None leaves it to the window scheme.
        unloaded_bytes: memory that its weights will take when the first window comes.
        keeps_its_memory: whether what lives inside a forward pass stays in memory after the first one.
    """

    scheme: Any
    preprocessing: Any
    stride: Stride
    facts: dict[str, Any]
    architecture: Any
    precision: str
    batch: int | None
    unloaded_bytes: int
    keeps_its_memory: bool

    def with_batch(self, batch: int) -> Network:
        """Return the network with another number of windows at once."""

    def __call__(self, windows: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the logits (B, C, X, Y, Z) of windows (B, 1, X, Y, Z), or their softmax over the channels; float32."""


@dataclass(frozen=True)
class Compute:
    """What computes the networks.

    Attributes:
        backend: `torch` or `openvino`.
        device: `cpu`, `cuda` or `cuda:K`.
        exact: float32 everywhere, even where bfloat16 is faster.
        falls_back: whether torch may take over (and say so) where OpenVINO cannot convert a network.
    """

    backend: str = "torch"
    device: str = "cpu"
    exact: bool = False
    falls_back: bool = False

    def __str__(self) -> str:
        name = {"torch": "torch", "openvino": "OpenVINO"}[self.backend]
        return f"{name} on {self.device}" + (", float32 everywhere" if self.exact else "")

    def open(self, folder: Path) -> Network:
        """Return the network of a model folder.

        Raises:
            BadModel: if it cannot be used.
        """
        if self.backend == "torch":
            from flare_core.inference.network import load_network

            return load_network(folder, self.device, self.exact)
        from flare_core.inference.openvino_network import OpenVINONetwork

        return OpenVINONetwork(read_network(folder), self.exact, self.falls_back)


TORCH = Compute()
"""Torch on the processor, in bfloat16 where that is faster: what notebooks and trainings use."""


def choose_compute(backend: str = "auto", device: str = "auto", exact: bool = False) -> Compute:
    """Return what to compute with.

    Args:
        backend: `auto` (torch on a CUDA device, else OpenVINO where it is installed), `torch` or `openvino`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:K`.
        exact: float32 everywhere.
    Raises:
        ValueError: for another word, for OpenVINO on CUDA or where it is not installed, or if CUDA is asked for and is
            not there.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if backend == "openvino" and device.startswith("cuda"):
        raise ValueError("OpenVINO computes on the processor; use --backend torch with --device cuda")
    if device not in ("auto", "cpu") or (device == "auto" and backend != "openvino" and _has_cuda_driver()):
        from flare_core.inference.network import pick_device

        device = pick_device(device)
    else:
        device = "cpu"
    has_openvino = find_spec("openvino") is not None
    if backend == "openvino" and not has_openvino:
        raise ValueError("OpenVINO is not installed; pip install openvino, or use --backend torch")
    if backend == "auto":
        is_openvino = device == "cpu" and has_openvino
        return Compute("openvino" if is_openvino else "torch", device, exact, falls_back=is_openvino)
    return Compute(backend, device, exact)


def _has_cuda_driver() -> bool:
    """Say whether NVIDIA's driver is installed, without importing torch."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True
