"""One forward pass over everything."""

import numpy as np
import pytest
from fake_networks import Sees, fake_network

from flare_core.cases.labels import ABDOMEN
from flare_core.inference.submission import PARTS
from flare_core.inference.whole_volume import WholeVolume
from flare_core.recipe import decode, encode


@pytest.mark.parametrize("shape", [(4, 6, 8), (1, 1, 1), (5, 6, 7)])
def test_sides_that_the_stride_does_not_divide_are_padded_and_cropped_back(shape):
    network = fake_network(ABDOMEN, Sees(1))  # its stride is 2
    seen = []
    network.module.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    image = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32) / 20
    scores = WholeVolume()(network, image)
    assert scores.shape == (2, *shape) and np.array_equal(scores.argmax(0), image > 0)
    assert seen == [tuple(side + side % 2 for side in shape)]


def test_a_stride_can_differ_between_axes():
    class Anisotropic:
        stride = (1, 2, 4)

    network = fake_network(ABDOMEN, Sees(1))
    seen = []
    network.module.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    object.__setattr__(network, "architecture", Anisotropic())
    assert WholeVolume()(network, np.zeros((3, 3, 3), np.float32)).shape == (2, 3, 3, 3)
    assert seen == [(3, 4, 4)]


def test_probabilities_add_up_to_one():
    scores = WholeVolume()(fake_network(ABDOMEN), np.zeros((2, 2, 2), np.float32), probabilities=True)
    assert np.allclose(scores.sum(0), 1)


def test_the_value_is_stored_and_rebuilt():
    assert decode(encode(WholeVolume()), PARTS) == WholeVolume()
