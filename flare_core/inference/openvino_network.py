"""Compute a trained network with OpenVINO on the processor.

A graph of fixed window size is made from the torch module the first time it is needed and kept in the user's cache
folder, together with what OpenVINO compiled of it; from then on neither torch nor MONAI is imported. A graph is used
only if it is the file that was written (SHA-256) from the same weights, architecture and window by the same version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from flare_core.inference.stored_network import StoredNetwork, Stride
from flare_core.machine import usable_cores
from flare_core.paths import user_cache
from flare_core.recipe import encode

if TYPE_CHECKING:
    from flare_core.inference.network import TrainedNetwork

log = logging.getLogger(__name__)

FORMAT = 1
"""Of a kept graph; a new number makes all of them anew."""
MOST_STREAMS = 4
"""Windows computed side by side at most, one a core: their memory adds up."""


class OpenVINONetwork:
    """A network of fixed windows: see `backends.Network`.

    Windows of a batch are computed side by side, each on its own cores.

    Args:
        stored: the model folder.
        exact: compute in float32 even where the processor has bfloat16.
        falls_back: let torch take over where the network cannot be converted; else that is a ValueError.
    """

    def __init__(self, stored: StoredNetwork, exact: bool = False, falls_back: bool = False) -> None:
        self.stored, self.scheme, self.preprocessing, self.facts = (
            stored,
            stored.scheme,
            stored.preprocessing,
            stored.facts,
        )
        stored.weights()  # refuse a damaged folder now, not at the first window
        fast = (
            not exact
            and stored.precision != "float32"
            and "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        )
        self.precision = "bfloat16" if fast else "float32"
        self.batch: int | None = min(MOST_STREAMS, usable_cores())
        self._falls_back = falls_back
        self._compiled: dict[tuple, ov.AsyncInferQueue | TrainedNetwork] = {}

    @property
    def stride(self) -> Stride:
        """What the sides of a window must be multiples of (one number, or one an axis)."""
        return self.stored.architecture.stride

    def __call__(self, windows: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the logits of a batch of windows, or their softmax over the channels."""
        key = (windows.shape[2:], probabilities, self.batch)
        if key not in self._compiled:
            self._compiled[key] = self._compile(windows.shape[2:], probabilities)
        queue = self._compiled[key]
        if not isinstance(queue, ov.AsyncInferQueue):
            return queue(windows, probabilities)
        scores = np.empty((len(windows), self.scheme.channels, *windows.shape[2:]), np.float32)

        def keep(request: ov.InferRequest, index: int) -> None:
            scores[index] = request.get_output_tensor(0).data[0]

        queue.set_callback(keep)
        for index, window in enumerate(windows):
            queue.start_async({0: np.ascontiguousarray(window[None])}, index)
        queue.wait_all()
        return scores

    def _compile(self, window: tuple[int, ...], probabilities: bool) -> ov.AsyncInferQueue | TrainedNetwork:
        """Return what computes windows of one size: OpenVINO, or torch if it must and may."""
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": usable_cores(),
            "NUM_STREAMS": self.batch,
            "CACHE_DIR": str(user_cache() / "openvino" / "compiled"),
        }
        try:
            graph = kept_graph(self.stored, window, probabilities)
            return ov.AsyncInferQueue(_core().compile_model(graph, "CPU", settings), self.batch)
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            if not self._falls_back:
                raise ValueError(
                    f"{self.stored.folder}: OpenVINO cannot compute this network ({reason}); use --backend torch"
                ) from error
        from flare_core.inference.network import load_network

        log.warning("%s: OpenVINO cannot compute this network (%s): torch does", self.stored.folder.name, reason)
        return load_network(self.stored, exact=self.precision == "float32")


def kept_graph(stored: StoredNetwork, window: tuple[int, ...], probabilities: bool) -> Path | ov.Model:
    """Return the graph of a network for one window: the file of an earlier start, or one made now.

    Args:
        stored: the model folder.
        window: voxels along X, Y, Z.
        probabilities: whether it ends in a softmax.
    Returns:
        The file; or the graph itself if it cannot be kept (which is logged).
    """
    what = {
        "format": FORMAT,
        "weights": stored.sha256,
        "network": encode(stored.architecture),
        "window": window,
        "probabilities": probabilities,
        "openvino": ov.__version__,
    }
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    folder = user_cache() / "openvino" / key
    if _is_intact(folder):
        return folder / "graph.xml"
    log.info("%s: building the OpenVINO graph for windows of %s", stored.folder.name, " x ".join(map(str, window)))
    graph = build_graph(stored, window, probabilities)
    try:
        return _keep(graph, folder)
    except OSError as error:
        log.warning("the OpenVINO graph is not kept: %s; the next start builds it again", error)
        return graph


def build_graph(stored: StoredNetwork, window: tuple[int, ...], probabilities: bool) -> ov.Model:
    """Return the graph of a network from (1, 1, *window) to (1, C, *window)."""
    import torch
    from openvino import opset13
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from flare_core.inference.network import load_network

    module, shape = load_network(stored, exact=True).module, (1, 1, *window)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a size, and sizes are fixed here
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(module, example_input=torch.zeros(shape))
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape({graph.inputs[0]: ov.PartialShape(shape)})
    if not probabilities:
        return graph
    scores = graph.output(0).get_node().input_value(0)
    return ov.Model([opset13.softmax(scores, axis=1)], graph.get_parameters(), "probabilities")


def _keep(graph: ov.Model, folder: Path) -> Path:
    """Write a graph so that its folder is complete or not there; return its file."""
    fresh = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    fresh.mkdir(parents=True, exist_ok=True)
    try:
        ov.save_model(graph, fresh / "graph.xml", compress_to_fp16=False)
        sums = {name: _sha256(fresh / name) for name in ("graph.xml", "graph.bin")}
        (fresh / "sha256.json").write_text(json.dumps(sums))
        if folder.exists():  # damaged, or another process was faster
            shutil.rmtree(folder, ignore_errors=True)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "graph.xml"


def _is_intact(folder: Path) -> bool:
    """Say whether a kept graph is there and is what was written."""
    try:
        sums = json.loads((folder / "sha256.json").read_text())
        return all(_sha256(folder / name) == sums[name] for name in ("graph.xml", "graph.bin"))
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _core() -> ov.Core:
    """Return OpenVINO's entry; making one is cheap, its plugin is loaded once a process."""
    return ov.Core()
