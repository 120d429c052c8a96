"""Compute a trained network with OpenVINO on the processor.

Graphs come from `openvino_graph`, compiled, so that later starts are quick and import neither torch nor MONAI.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flare_core.inference.openvino_graph import compiled_network
from flare_core.inference.openvino_start import core
from flare_core.inference.stored_network import Architecture, StoredNetwork, Stride
from flare_core.machine import usable_cores
from flare_core.timing import timed_stage

if TYPE_CHECKING:
    import openvino as ov

    from flare_core.inference.network import TrainedNetwork

log = logging.getLogger(__name__)

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
            and "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        )
        self.precision = "bfloat16" if fast else "float32"
        self.batch: int | None = min(MOST_STREAMS, usable_cores())
        self._falls_back = falls_back
        self._compiled: dict[tuple, list[ov.InferRequest] | TrainedNetwork] = {}  # shared by networks of any batch

    def with_batch(self, batch: int) -> OpenVINONetwork:
        """Return the network with another number of windows at once.

        What is compiled for one number is dropped when windows of the other are computed: both would fill the memory.
        """
        if batch == self.batch:
            return self
        other = copy.copy(self)
        other.batch = batch
        return other

    @property
    def keeps_its_memory(self) -> bool:
        """Whether OpenVINO computes: torch, where it took over, gives back what lived inside a forward pass."""
        return all(isinstance(one, list) for one in self._compiled.values())

    def is_ready_for(self, window: Sequence[int]) -> bool:
        """Say whether windows of this size have been computed."""
        return any(size == tuple(window) for _, size, *_ in self._compiled)

    @property
    def unloaded_bytes(self) -> int:
        """Memory that graph and weights take once they are compiled."""
        size = (self.stored.folder / "weights.safetensors").stat().st_size
        return 0 if self._compiled else 2 * size * (2 if self.stored.precision == "float16" else 1)

    @property
    def architecture(self) -> Architecture:
        """What built the network."""
        return self.stored.architecture

    @property
    def stride(self) -> Stride:
        """What the sides of a window must be multiples of (one number, or one an axis)."""
        return self.stored.architecture.stride

    def __call__(self, windows: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the logits of a batch of windows, or their softmax over the channels."""
        requests = self._requests(windows.shape[2:], probabilities, len(windows))
        if not isinstance(requests, list):
            return requests(windows, probabilities)
        with timed_stage(self.facts.get("stage", "")):
            return self._computed(requests, windows)

    def _computed(self, requests: list[ov.InferRequest], windows: np.ndarray) -> np.ndarray:
        """Return the scores of windows, as many at a time as there are requests."""
        scores = np.empty((len(windows), self.scheme.channels, *windows.shape[2:]), np.float32)
        for first in range(0, len(windows), len(requests)):
            together = list(zip(requests, range(first, len(windows)), strict=False))
            for request, index in together:
                request.wait()  # it may still run, where Ctrl-C ended the call before
                request.start_async({0: np.ascontiguousarray(windows[index][None])})
            for request, index in together:  # no callback: Python's lock may be gone when its thread comes to drop it
                request.wait()
                scores[index] = request.get_output_tensor(0).data[0]
        return scores

    def _requests(
        self, window: tuple[int, ...], probabilities: bool, count: int
    ) -> list[ov.InferRequest] | TrainedNetwork:
        """Return what computes so many windows; one alone gets all cores, unless more were computed before."""
        for streams in (self.batch, 1 if count == 1 else self.batch):
            key = (self.batch, window, probabilities, streams)
            if key in self._compiled:
                return self._compiled[key]
        for other in [known for known in self._compiled if known[0] != self.batch]:
            del self._compiled[other]
        self._compiled[key] = self._compile(window, probabilities, streams)
        return self._compiled[key]

    def _compile(
        self, window: tuple[int, ...], probabilities: bool, streams: int
    ) -> list[ov.InferRequest] | TrainedNetwork:
        """Return what computes windows of one size, `streams` side by side: OpenVINO, or torch if it must and may."""
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": usable_cores(),
            "NUM_STREAMS": streams,
        }
        try:
            compiled = compiled_network(self.stored, window, probabilities, settings)
            return [compiled.create_infer_request() for _ in range(streams)]
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            if not self._falls_back:
                raise ValueError(
                    f"{self.stored.folder}: OpenVINO cannot compute this network ({reason}); use --backend torch"
                ) from error
        from flare_core.inference.network import load_network

        log.warning("%s: OpenVINO cannot compute this network (%s): torch does", self.stored.folder.name, reason)
        return load_network(self.stored, exact=self.precision == "float32")
