"""Losses against MONAI and by hand."""

import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceFocalLoss

from flare_core.training.losses import DeepSupervision, DiceCrossEntropy, DiceFocal


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 8, 6, 4, generator=generator, requires_grad=True)
    channels = torch.randint(0, 5, (2, 8, 6, 4), generator=generator)
    channels[0][channels[0] == 3] = 0  # one channel is absent from the first sample
    return logits, channels


def _monai(gamma):
    return DiceFocalLoss(to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5, gamma=gamma)


@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_value_and_gradient_equal_monais_dice_focal(batch, gamma):
    logits, channels = batch
    expected = _monai(gamma)(logits, channels[:, None])
    (gradient,) = torch.autograd.grad(expected, logits)
    ours = DiceFocal(gamma)(logits, channels)
    (our_gradient,) = torch.autograd.grad(ours, logits)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(our_gradient, gradient, atol=1e-8)


def test_deep_supervision_equals_monais_sum_over_levels(batch):
    logits, channels = batch
    levels = [logits, logits[:, :, ::2, ::2, ::2], logits[:, :, ::4, ::4, ::4]]
    expected = DeepSupervisionLoss(_monai(2.0), weight_mode="exp", weights=[1, 0.5, 0.25])(
        levels, channels[:, None].float()
    )
    assert DeepSupervision(DiceFocal())(levels, channels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_costs_more_than_the_dice():
    channels = torch.tensor([[[[0, 1]]]])
    right = torch.tensor([[[[[20.0, -20]]], [[[-20, 20]]]]])
    assert DiceFocal()(right, channels).item() == pytest.approx(0, abs=1e-4)
    assert DiceFocal()(-right, channels).item() > 1


def test_focal_over_voxels_by_hand():
    # two channels, logits 0: the right channel has probability 1/2; Dice: 1 - 2 * 0.5 / (0.25 + 1) or 1 - 0 / 0.25
    logits, channels = torch.zeros(1, 2, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.long)
    dice = ((1 - 1 / (0.25 + 1 + 1e-5)) + 1) / 2
    focal = 0.5**2 * torch.log(torch.tensor(2.0)).item()
    assert DiceFocal(focal_over="voxels")(logits, channels).item() == pytest.approx(dice + focal, rel=1e-6)


def test_channel_weights_raise_the_share_of_their_channel(batch):
    logits, channels = batch
    plain, weighted = (
        torch.autograd.grad(DiceFocal(channel_weights=w)(logits, channels), logits)[0] for w in ((), ((4, 10.0),))
    )
    assert weighted[:, 4].abs().sum() > 1.5 * plain[:, 4].abs().sum()


def test_an_unknown_reading_is_refused(batch):
    with pytest.raises(ValueError, match="'channels' or 'voxels'"):
        DiceFocal(focal_over="classes")(*batch)


@pytest.mark.parametrize("reading", ["channels", "voxels"])
def test_a_channel_that_a_sample_does_not_teach_gets_no_gradient_from_it(batch, reading):
    logits, channels = batch
    taught = torch.ones(2, 5, dtype=torch.bool)
    taught[0, 3] = False  # the absent channel of the first sample
    (gradient,) = torch.autograd.grad(DiceFocal(focal_over=reading)(logits, channels, taught), logits)
    assert not gradient[0, 3].any() and gradient[1, 3].any() and gradient[0, 2].any()


def test_sums_over_millions_of_voxels_stay_exact():
    # a 160^3 patch of background, predicted with probability p everywhere: Dice = 1 - 2p / (p^2 + 1) for background
    p = 0.6
    logits = torch.zeros(1, 2, 160, 160, 160)
    logits[:, 0] = torch.log(torch.tensor(p / (1 - p)))
    loss = DiceFocal(focal_over="voxels", gamma=2.0)(logits, torch.zeros(1, 160, 160, 160, dtype=torch.uint8))
    focal = (1 - p) ** 2 * -torch.log(torch.tensor(p)).item()
    assert loss.item() == pytest.approx((1 - 2 * p / (p * p + 1) + 1) / 2 + focal, rel=1e-4)


def test_dice_cross_entropy_equals_monais():
    from monai.losses import DiceCELoss

    torch.manual_seed(0)
    logits, channels = torch.randn(2, 4, 5, 6, 7), torch.randint(0, 4, (2, 5, 6, 7))
    for batch_dice, background, squared in ((False, False, False), (True, False, False), (False, True, True)):
        ours = DiceCrossEntropy(batch_dice, background, squared)(logits, channels)
        theirs = DiceCELoss(
            include_background=background, to_onehot_y=True, softmax=True, squared_pred=squared, batch=batch_dice,
            smooth_nr=1e-5, smooth_dr=1e-5,
        )(logits, channels[:, None])  # fmt: skip
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_dice_cross_entropy_teaches_nothing_about_a_silent_channel():
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    taught = torch.tensor([[True, True, False]])
    DiceCrossEntropy()(logits, torch.randint(0, 2, (1, 4, 4, 4)), taught).backward()
    assert not logits.grad[:, 2].any() and logits.grad[:, 1].any()


def test_nnunet_weights_of_the_levels():
    loss = DeepSupervision(DiceCrossEntropy(), drop_coarsest=True, normalized=True)
    assert [round(w, 3) for w in loss.weights(5)] == [0.533, 0.267, 0.133, 0.067, 0]
    assert [round(w, 3) for w in loss.weights(4)] == [0.571, 0.286, 0.143, 0]
    assert loss.weights(1) == [1.0]


def test_deep_supervision_takes_a_target_for_every_level():
    fine, coarse = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 2, 2, 2, 2)
    targets = torch.randint(0, 2, (1, 4, 4, 4)), torch.randint(0, 2, (1, 2, 2, 2))
    loss = DiceCrossEntropy()
    both = DeepSupervision(loss)([fine, coarse], list(targets))
    assert both.item() == pytest.approx((loss(fine, targets[0]) + loss(coarse, targets[1]) / 2).item())
