"""nnU-Net's networks against their published sizes."""

from dataclasses import replace

import pytest
import torch

from flare_core.models.unet import PlainUNet, ResidualEncoderUNet

ONE, TWO, IN_PLANE = (1, 1, 1), (2, 2, 2), (2, 2, 1)
CUBES = ((3, 3, 3),) * 6
FLAT_FIRST = ((3, 3, 1), *CUBES[:5])
WIDE = (32, 64, 128, 256, 320, 320)

# Patch 160 x 160 x 96 at 0.8 x 0.8 x 1 mm: z is halved four times, x and y five times.
DKFZ = PlainUNet(WIDE, CUBES, (ONE, TWO, TWO, TWO, TWO, IN_PLANE), (2,) * 6, (2,) * 5)
DKFZ_RESIDUAL = ResidualEncoderUNet(WIDE, CUBES, DKFZ.strides, (1, 3, 4, 6, 6, 6), (1,) * 5)
TEACHER = PlainUNet(WIDE, FLAT_FIRST, (ONE, IN_PLANE, TWO, TWO, TWO, TWO), (2,) * 6, (2,) * 5)
STUDENT = PlainUNet((16, 32, 64, 128, 256), FLAT_FIRST[:5], TEACHER.strides[:5], (2,) * 5, (2,) * 4)
LOCATE = ResidualEncoderUNet((16, 32, 64, 128, 256, 320), CUBES, (ONE, *[TWO] * 5), (2,) * 6, (2,) * 5)
ORGANS = replace(LOCATE, features=(16, 32, 64, 128, 256, 300))

SMALL = PlainUNet((4, 6, 8), ((3, 3, 1), *CUBES[:2]), (ONE, IN_PLANE, TWO), (2, 1, 2), (2, 1))
SMALL_RESIDUAL = ResidualEncoderUNet(SMALL.features, SMALL.kernels, SMALL.strides, (1, 2, 2), (1, 2), False)


def _parameters(network, channels):
    with torch.device("meta"):
        return sum(p.numel() for p in network.build(channels).parameters())


@pytest.mark.parametrize(
    ("network", "channels", "parameters"),
    [
        (DKFZ, 2, 30_785_994),
        (DKFZ_RESIDUAL, 2, 101_940_170),
        (TEACHER, 14, 31_122_758),
        (replace(TEACHER, kernels=CUBES), 14, 31_197_062),
        (STUDENT, 14, 5_630_488),
        (LOCATE, 2, 26_975_450),
        (ORGANS, 14, 25_792_462),
        (ORGANS, 2, 25_786_450),
    ],
    ids=["dkfz", "dkfz residual", "teacher", "teacher of cubes", "student", "stmt locate", "stmt organs", "stmt tumor"],
)
def test_the_paper_networks_have_the_published_number_of_weights(network, channels, parameters):
    assert _parameters(network, channels) == parameters


@pytest.mark.parametrize("network", [SMALL, SMALL_RESIDUAL], ids=lambda network: type(network).__name__)
def test_training_returns_every_level_finest_first_and_evaluation_the_finest(network):
    torch.manual_seed(0)
    module = network.build(3)
    x = torch.randn(2, 1, 16, 12, 8)
    levels = module.train()(x)
    assert [tuple(level.shape) for level in levels] == [(2, 3, 16, 12, 8), (2, 3, 8, 6, 8)]
    assert torch.equal(module.eval()(x), levels[0])  # instance norm: the same either way


@pytest.mark.parametrize("network", [SMALL, SMALL_RESIDUAL], ids=lambda network: type(network).__name__)
def test_every_weight_learns_when_every_level_is_supervised(network):
    torch.manual_seed(0)
    module = network.build(3)
    sum(level.square().sum() for level in module(torch.randn(1, 1, 16, 16, 8))).backward()
    # the bias of a convolution before an instance norm is subtracted again: its gradient is 0 up to rounding
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in still if not name.endswith("conv.bias")] == []


def test_stride_is_the_product_along_each_axis():
    assert (DKFZ.stride, STUDENT.stride, SMALL.stride) == ((32, 32, 16), (16, 16, 8), (4, 4, 2))


def test_a_residual_block_begins_as_its_skip_when_its_branch_is_zeroed():
    torch.manual_seed(0)
    block = replace(SMALL_RESIDUAL, zero_residual=True).build(2).encoder.stages[1].blocks[1]
    x = torch.rand(1, 6, 4, 4, 4)  # positive, so that the last activation passes it on
    assert torch.equal(block(x), x)
    assert not torch.equal(SMALL_RESIDUAL.build(2).encoder.stages[1].blocks[1](x), x)


def test_weights_carry_nnunets_names_once():
    with torch.device("meta"):
        plain, residual = ({*net.build(2).state_dict()} for net in (SMALL, SMALL_RESIDUAL))
    assert {"encoder.stages.0.0.convs.1.conv.weight", "decoder.stages.1.convs.0.norm.bias"} <= plain
    assert {"decoder.transpconvs.0.weight", "decoder.seg_layers.1.bias"} <= plain & residual
    # a strided block pools before its 1x1x1 projection (index 1); the first stage keeps its channels: no skip weights
    assert {"encoder.stem.convs.0.conv.bias", "encoder.stages.1.blocks.0.skip.1.conv.weight"} <= residual
    assert not [name for name in plain | residual if "all_modules" in name or name.startswith("decoder.encoder")]
    assert not [name for name in residual if name.startswith("encoder.stages.0.blocks.0.skip")]


def test_weights_are_he_normal_for_the_leaky_slope_and_biases_zero():
    torch.manual_seed(0)
    conv = PlainUNet((16, 32), CUBES[:2], (ONE, TWO), (1, 1), (1,)).build(2).encoder.stages[1][0].convs[0].conv
    expected = (2 / (1 + 0.01**2) / (16 * 27)) ** 0.5
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02) and not conv.bias.any()


def test_fields_that_disagree_on_the_number_of_stages_are_refused():
    with pytest.raises(ValueError, match="one decoder count fewer"):
        replace(SMALL, decoder_convolutions=(2,)).build(2)
    with pytest.raises(ValueError, match="as many features"):
        replace(SMALL_RESIDUAL, blocks=(1, 1)).build(2)
