"""Read a network's plan off the module itself: which blocks work at which resolution, and what flows between them.

Serves notebook 03. Every layer with weights is watched while an image without values passes through, and every tensor
remembers the layers that it comes from; nothing here knows a network by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flare_core.recipe import Stage, System

if TYPE_CHECKING:
    from flare_core.tensor_origins import Layer

DOWN, SIDE, UP = "down", "side", "up"


@dataclass
class Block:
    """Layers in a row that work at one resolution.

    Attributes:
        shape: voxels along X, Y, Z.
        role: `down` (made from finer features, or from the image), `up` (from coarser ones), or `side` (beside those).
        channels: of its last features.
        parameters: number of weights, heads included.
        convolutions: number of layers that convolve with more than one voxel.
        attentions: number of layers that attend.
        outputs: channels of each head on it.
        inputs: number of each earlier block that it reads, to how it joins those features with others ("" for alone).
    """

    shape: tuple[int, int, int]
    role: str
    channels: int = 0
    parameters: int = 0
    convolutions: int = 0
    attentions: int = 0
    outputs: list[int] = field(default_factory=list)
    inputs: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkPlan:
    """What passes through a network.

    Attributes:
        stages: names of the stages that train this network.
        patch: voxels of the image along X, Y, Z.
        blocks: in the order of computation.
    """

    stages: tuple[str, ...]
    patch: tuple[int, int, int]
    blocks: tuple[Block, ...]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(block.parameters for block in self.blocks)

    @property
    def levels(self) -> list[tuple[int, int, int]]:
        """The resolutions that blocks work at, finest first, as voxels along X, Y, Z."""
        return sorted(
            {block.shape for block in self.blocks}, key=lambda shape: (-shape[0] * shape[1] * shape[2], shape)
        )


def plans_of(system: System) -> list[NetworkPlan]:
    """Return the plan of every network that a system trains; stages that train the same network share one."""
    kinds: dict[Any, list[Stage]] = {}
    for stage in system.stages:
        kind = (stage.network, stage.scheme.channels, tuple(stage.sampling.patch))
        kinds.setdefault(kind, []).append(stage)
    return [
        NetworkPlan(tuple(s.name for s in stages), patch, trace(network.build, channels, patch))
        for (network, channels, patch), stages in kinds.items()
    ]


def trace(build: Callable[[int], Any], channels: int, patch: Sequence[int]) -> tuple[Block, ...]:
    """Return the blocks of a network while training.

    Args:
        build: takes a number of channels and returns the module.
        channels: its outputs.
        patch: voxels of the image along X, Y, Z; sides that the network accepts.
    """
    import torch

    from flare_core.tensor_origins import Origins, tensors

    with torch.device("meta"):  # shapes alone: nothing is computed, and no memory is needed
        module = build(channels).train()
        with Origins(module) as origins:
            outputs = list(tensors(module(torch.zeros(1, 1, *patch))))
    heads = {max(origins.of(output)): output.shape[1 if output.ndim == 5 else -1] for output in outputs}
    return _blocks(origins.layers, heads)


def _blocks(layers: Sequence[Layer], heads: dict[int, int]) -> tuple[Block, ...]:
    """Unite layers in a row at one resolution; what another block has read already is closed.

    Args:
        layers: in the order of computation.
        heads: number of each layer that makes an output, to that output's channels.
    """
    blocks: list[Block] = []
    owner: list[int] = []
    closed: set[int] = set()
    for number, layer in enumerate(layers):
        sources = {owner[source] for source in layer.inputs}
        latest = owner[max(layer.inputs)] if layer.inputs else None
        if latest in closed and blocks[-1].shape == layer.shape and sources <= blocks[-1].inputs.keys():
            latest = len(blocks) - 1  # a second path through the last block
        is_closed = latest in closed and number not in heads
        if latest is None or is_closed or blocks[latest].shape != layer.shape:
            blocks.append(Block(layer.shape, _role(layer.shape, blocks, latest)))
            latest = len(blocks) - 1
        owner.append(latest)
        block = blocks[latest]
        for source, join in layer.inputs.items():
            if owner[source] != latest:
                closed.add(owner[source])
                block.inputs[owner[source]] = block.inputs.get(owner[source]) or join
        block.parameters += layer.parameters
        if number in heads:
            block.outputs.append(heads[number])
            continue
        block.channels = layer.channels
        block.convolutions += layer.convolves
        block.attentions += layer.attends
    return tuple(blocks)


def _role(shape: tuple[int, int, int], blocks: Sequence[Block], source: int | None) -> str:
    """Return the role of a new block with features of this shape, made from a block's (None: from the image)."""
    if source is None:
        return SIDE if blocks else DOWN
    finer = [new - old for new, old in zip(shape, blocks[source].shape, strict=True)]
    return UP if max(finer) > 0 else DOWN if min(finer) < 0 else SIDE
