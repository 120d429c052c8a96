"""Gradients in bfloat16 are those of float32, also where oneDNN leaves some unwritten."""

import pytest
import torch
from torch import nn

from flare_core.training.channels_last import LAYOUT
from flare_core.training.precision import with_right_gradients


def _fill_free_memory() -> None:
    """Leave large numbers in memory that the next allocations get: what is not written then shows."""
    filled = [torch.full((2**power,), 3e38) for power in range(6, 21) for _ in range(6)]
    del filled


def _gradients(layer: nn.Module, image: torch.Tensor, precise: bool) -> list[torch.Tensor]:
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        out = layer(image)
    _fill_free_memory()
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out, *torch.autograd.grad((out.float() * weights).sum(), (image, *layer.parameters()))]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, (1, 3, 3), (3, 1, 1)])
@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 4, 1), (2, 2, 2), (2, 5, 5), (3, 3, 3), (4, 1, 3), (5, 2, 2)])
def test_convolutions_learn_in_bfloat16_what_they_learn_in_float32(kernel, stride, grid):
    """In the layout that trainings have; in the other one there was nothing to mend."""
    torch.manual_seed(0)
    padding = [side // 2 for side in nn.Conv3d(1, 1, kernel).kernel_size]
    convolution = nn.Conv3d(12, 20, kernel, stride, padding)
    layer = with_right_gradients(nn.Sequential(convolution)).to(memory_format=LAYOUT)
    image = torch.randn(2, 12, *grid).to(memory_format=LAYOUT)
    for found, exact in zip(_gradients(layer, image, False), _gradients(layer, image, True), strict=True):
        torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.02 * exact.detach().abs().max().item())


@pytest.mark.parametrize("stride", [1, 2, (2, 2, 1)])
@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 2), (3, 3, 3)])
def test_transposed_convolutions_need_no_mending(stride, grid):
    """As the U-Nets have them: the kernel is the stride."""
    torch.manual_seed(0)
    layer = nn.ConvTranspose3d(12, 20, stride, stride).to(memory_format=LAYOUT)
    image = torch.randn(2, 12, *grid).to(memory_format=LAYOUT)
    for found, exact in zip(_gradients(layer, image, False), _gradients(layer, image, True), strict=True):
        torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.02 * exact.detach().abs().max().item())


def test_a_module_keeps_its_weights_and_their_names():
    layer = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ConvTranspose3d(2, 2, 2))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    after = with_right_gradients(layer).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
