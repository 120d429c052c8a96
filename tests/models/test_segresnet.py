"""SegResNet against its published size."""

import pytest
import torch

from flare_core.models.segresnet import SegResNet


def _parameters(network, channels):
    with torch.device("meta"):
        return sum(p.numel() for p in network.build(channels).parameters())


def test_the_paper_networks_have_the_published_number_of_weights():
    main = SegResNet(32, (1, 2, 2, 4, 4), 4)
    assert (_parameters(main, 13), _parameters(main, 15)) == (87_169_524, 87_170_492)
    assert _parameters(SegResNet(16, (1, 2, 2, 4), 4), 2) == 4_980_630


def test_training_returns_the_levels_finest_first_and_evaluation_one_map():
    module = SegResNet(4, (1, 1, 1), 2).build(3)
    x = torch.zeros(1, 1, 16, 8, 8)
    assert [tuple(level.shape) for level in module.train()(x)] == [(1, 3, 16, 8, 8), (1, 3, 8, 4, 4)]
    assert module.eval()(x).shape == (1, 3, 16, 8, 8)


def test_stride_is_what_input_sides_must_divide_by():
    network = SegResNet(4, (1, 1, 1), 1)
    assert network.stride == 4
    with pytest.raises(ValueError, match="divisible"):
        network.build(2)(torch.zeros(1, 1, 8, 8, 6))
