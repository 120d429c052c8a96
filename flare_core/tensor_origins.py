"""Watch a module compute: which layers have weights, in which order they work, and which of them each tensor is from.

Serves `network_trace`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

CONCATENATED, ADDED = "concatenated", "added"
JOINS = {
    **dict.fromkeys(("cat", "concat", "concatenate"), CONCATENATED),
    **dict.fromkeys(("add", "add_", "__add__", "__iadd__", "__radd__"), ADDED),
}


@dataclass
class Layer:
    """A module with weights of its own, at work.

    Attributes:
        shape: voxels of its features along X, Y, Z; where they are in another form (windows, tokens), its input's.
        channels: of its features.
        parameters: number of its weights.
        inputs: number of each earlier layer that its features come from, to how they were joined with others ("" if
            they were not).
        convolves: whether it sees more than one voxel.
        attends: whether it is the end of an attention.
        near: numbers of the layers that it comes from without leaving its resolution, and of those just before them.
    """

    shape: tuple[int, int, int]
    channels: int
    parameters: int
    inputs: dict[int, str] = field(default_factory=dict)
    convolves: bool = False
    attends: bool = False
    near: frozenset[int] = frozenset()


class Origins(TorchFunctionMode):
    """While this context is open, every call of a module adds to `layers`, and `of` knows where tensors come from."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self._origins: dict[int, dict[int, str]] = {}
        self._alive: list[torch.Tensor] = []  # else another tensor could get the number of one that is gone
        for part in module.modules():
            if next(part.parameters(recurse=False), None) is not None:
                part.register_forward_hook(self._called)

    def of(self, tensor: torch.Tensor) -> dict[int, str]:
        """Return the layers that a tensor comes from, and how they were joined."""
        return self._origins.get(id(tensor), {})

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        """Compute, and note for every tensor that comes out whatever the tensors that went in come from."""
        result = func(*args, **(kwargs or {}))
        given = [self.of(tensor) for tensor in tensors((args, kwargs))]
        sources = {layer: join for origins in given for layer, join in origins.items()}
        if func.__name__ in JOINS and sum(map(bool, given)) > 1:
            passed = {near for layer in sources for near in self.layers[layer].near}  # a residual's way around
            sources = {layer: JOINS[func.__name__] for layer in sources if layer not in passed}
        for tensor in tensors(result):
            self._note(tensor, sources)
        return result

    def _called(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Add a layer; a module around others only adds its own weights to the last of them."""
        weights = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if any(True for child in module.children() for _ in child.parameters()):
            self.layers[-1].parameters += weights
            self.layers[-1].attends |= "Attention" in type(module).__name__
            return
        inputs = {layer: join for tensor in tensors(args) for layer, join in self.of(tensor).items()}
        is_last = isinstance(module, nn.LayerNorm | nn.Linear)  # channels stand last
        if output.ndim == 5:
            shape = tuple(output.shape[1:4] if is_last else output.shape[2:])
        else:
            shape = self.layers[max(inputs)].shape
        kernel = getattr(module, "kernel_size", 1)
        kernel = math.prod(kernel) if isinstance(kernel, tuple) else kernel
        same = [self.layers[layer].near for layer in inputs if self.layers[layer].shape == shape]
        near = frozenset(inputs).union(*same)
        channels = output.shape[-1 if is_last else 1]
        self.layers.append(Layer(shape, channels, weights, inputs, convolves=kernel > 1, near=near))
        self._note(output, {len(self.layers) - 1: ""})

    def _note(self, tensor: torch.Tensor, sources: dict[int, str]) -> None:
        self._alive.append(tensor)
        self._origins[id(tensor)] = sources


def tensors(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested lists, tuples and dicts."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)
    elif isinstance(values, Mapping):
        yield from tensors(list(values.values()))
