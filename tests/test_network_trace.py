"""A plan holds every weight of the network that it is read from; its blocks, skips and outputs are the network's."""

import pytest
import torch
from torch import nn

from flare_core.network_figures import network_diagram
from flare_core.network_trace import DOWN, SIDE, UP, NetworkPlan, plans_of, trace
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import count_weights


class Toy(nn.Module):
    """Two levels: a residual block, a step down, a step up; the skip is concatenated or added; two outputs."""

    def __init__(self, channels, join):
        super().__init__()
        self.join = join
        self.first = nn.Conv3d(1, 4, 3, padding=1)  # 112 weights
        self.residual = nn.Conv3d(4, 4, 3, padding=1)  # 436
        self.down = nn.Conv3d(4, 8, 2, 2)  # 264
        self.up = nn.ConvTranspose3d(8, 4, 2, 2)  # 260
        self.last = nn.Conv3d(8 if join == "cat" else 4, 6, 1)
        self.head = nn.Conv3d(6, channels, 1)
        self.coarse = nn.Conv3d(8, channels, 1)

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(x + self.residual(x))
        y = self.down(x)
        up = self.up(y)
        return [self.head(self.last(torch.cat([up, x], 1) if self.join == "cat" else up + x)), self.coarse(y)]


@pytest.mark.parametrize("join, word, last", [("cat", "concatenated", 54), ("add", "added", 30)])
def test_blocks_skips_and_outputs_of_a_small_network(join, word, last):
    fine, low, high = trace(lambda channels: Toy(channels, join), 3, (8, 6, 4))
    assert [block.role for block in (fine, low, high)] == [DOWN, DOWN, UP]
    assert (fine.shape, low.shape, high.shape) == ((8, 6, 4), (4, 3, 2), (8, 6, 4))
    assert (fine.channels, low.channels, high.channels) == (4, 8, 6)
    assert (fine.parameters, low.parameters, high.parameters) == (112 + 436, 264 + 27, 260 + last + 21)
    assert (fine.convolutions, low.convolutions, high.convolutions) == (2, 1, 1)
    assert (fine.outputs, low.outputs, high.outputs) == ([], [3], [3])
    assert (list(fine.inputs), list(low.inputs), high.inputs[0]) == ([], [0], word)


@pytest.mark.parametrize("key", SYSTEMS)
@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_no_weight_is_left_out_of_a_plan_and_every_skip_meets_its_own_resolution(key, profile):
    system = SYSTEMS[key].at(profile)
    plans = plans_of(system)
    assert sorted(name for plan in plans for name in plan.stages) == sorted(stage.name for stage in system.stages)
    for plan in plans:
        (channels,) = {system.stage(name).scheme.channels for name in plan.stages}
        (network,) = {system.stage(name).network for name in plan.stages}
        assert plan.parameters == count_weights(network, channels)
        rising = [block for block in plan.blocks if block.role == UP]
        for block in rising:
            assert [plan.blocks[source].shape for source in block.inputs].count(block.shape) == 1
        finest = [block for block in plan.blocks if block.outputs and block.shape == plan.patch]
        assert not rising or [block.outputs for block in finest] == [[channels]]


def test_the_two_paths_of_the_papers_networks_are_seen():
    (teacher,) = [plan for plan in plans_of(SYSTEMS["stmt"].at("paper")) if "teacher" in plan.stages]
    assert [block.attentions for block in teacher.blocks] == [0, 0, 2, 2, 2, 2, 2, 2, 2, 0, 0]
    (round2,) = [plan for plan in plans_of(SYSTEMS["nvauto"].at("paper")) if "round2" in plan.stages]
    assert {join for block in round2.blocks if block.role == UP for join in block.inputs.values()} == {"added"}
    (swin,) = [plan for plan in plans_of(SYSTEMS["swinx"].at("paper")) if "finetuning" in plan.stages]
    assert [block.role for block in swin.blocks].count(SIDE) == 5


def test_a_diagram_has_a_box_a_block_and_the_size_in_its_title():
    blocks = trace(lambda channels: Toy(channels, "cat"), 3, (8, 6, 4))
    figure = network_diagram([NetworkPlan(("one", "two"), (8, 6, 4), blocks)] * 3, "toy")
    assert [len(axes.patches) for axes in figure.axes] == [3, 3, 3, 0]
    assert figure.axes[0].get_title("left") == "one, two: 1 k weights, patch 8 × 6 × 4"
    with pytest.raises(ValueError, match="at least one network"):
        network_diagram([])
