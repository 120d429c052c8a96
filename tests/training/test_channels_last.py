"""Layers that keep channels innermost compute what PyTorch's own layers compute."""

import copy

import pytest
import torch
from torch import nn

from flare_core.systems import SYSTEMS
from flare_core.training import loop
from flare_core.training.channels_last import LAYOUT, InstanceNorm, PointwiseConvolution, with_channels_last

STAGES = [(key, stage) for key, system in SYSTEMS.items() for stage in system.at("smoke").stages]


def _outputs_and_gradients(module, image):
    image = image.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(0)  # stochastic depth
    outputs = module(image)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    generator = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=generator)).mean() for out in outputs)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [image, *parameters], allow_unused=True)
    return [*outputs, *(gradient for gradient in gradients if gradient is not None)]


def _assert_equal(module, image):
    plain = _outputs_and_gradients(copy.deepcopy(module), image)
    ours = _outputs_and_gradients(with_channels_last(module), image)
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(("key", "stage"), STAGES, ids=lambda value: getattr(value, "name", value))
def test_every_network_learns_what_it_learns_with_its_own_layers(key, stage, samples):
    """In float64, so that only mistakes differ."""
    torch.manual_seed(0)
    module = stage.network.build(stage.scheme.channels).double().train()
    patch = getattr(stage.sampling, "patch", None) or stage.sampling.shape
    _assert_equal(module, torch.randn(samples, 1, *patch, dtype=torch.float64).to(memory_format=LAYOUT))


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAYOUT])
@pytest.mark.parametrize("layer", [nn.InstanceNorm3d(6, affine=True), nn.Conv3d(6, 5, 1)], ids=["norm", "pointwise"])
def test_a_layer_takes_both_layouts(layer, layout):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    _assert_equal(nn.Sequential(layer), torch.randn(3, 6, 4, 5, 3, dtype=torch.float64).to(memory_format=layout))


@pytest.mark.parametrize("shape", [(1, 6, 1, 1, 1), (0, 6, 4, 5, 3), (1, 5, 4, 5, 3), (1, 7, 4, 5, 3), (6, 4)])
def test_a_norm_refuses_what_that_of_torch_refuses(shape):
    errors = []
    for kind in (nn.InstanceNorm3d, InstanceNorm):
        with pytest.raises((ValueError, IndexError)) as refused:
            kind(6, affine=True)(torch.zeros(shape))
        errors.append((type(refused.value), str(refused.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("samples", [1, 2])
def test_a_large_grid_is_normalized_in_float32_far_closer_than_bfloat16_would(samples):
    """Where the gradient has channels last and there is one sample, that of torch 2.13's instance norm is wrong."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(samples, 8, 64, 64, 48, generator=generator).add(3).to(memory_format=LAYOUT).requires_grad_()
    above = torch.randn(image.shape, generator=generator).to(memory_format=LAYOUT)
    exact = image.detach().double().requires_grad_()
    centered = exact - exact.mean((2, 3, 4), keepdim=True)
    expected = centered / (centered.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()
    found = InstanceNorm(8, affine=True)(image)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        *(
            torch.autograd.grad(out, of, above.to(out.dtype))[0].double()
            for out, of in ((found, image), (expected, exact))
        ),
        rtol=0,
        atol=1e-3,
    )


def test_only_what_they_can_compute_is_replaced():
    kept = [
        nn.InstanceNorm3d(4),
        nn.InstanceNorm3d(4, affine=True, track_running_stats=True),
        nn.Conv3d(4, 4, 3, padding=1),
        nn.Conv3d(4, 4, 1, stride=2),
        nn.Conv3d(4, 4, 1, bias=False),
        nn.Conv3d(4, 4, 1, groups=2),
    ]
    module = nn.Sequential(*kept, nn.InstanceNorm3d(4, affine=True), nn.Conv3d(4, 4, 1))
    names = list(module.state_dict())
    types = [type(layer) for layer in kept]
    with_channels_last(module)
    assert [type(layer) for layer in module] == [*types, InstanceNorm, PointwiseConvolution]
    assert list(module.state_dict()) == names


@pytest.mark.parametrize("fast", [False, True])
def test_they_are_used_where_the_processor_learns_in_float32(monkeypatch, fast):
    monkeypatch.setattr(loop, "has_fast_bfloat16", lambda _: fast)
    learner = loop.build_learner(SYSTEMS["stmt"].at("smoke").stage("organs"), torch.device("cpu"))
    assert any(isinstance(layer, InstanceNorm) for layer in learner.modules()) is not fast
