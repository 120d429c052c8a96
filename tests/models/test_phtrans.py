"""PHTrans: published size, outputs, gradients, sizes that windows do not divide."""

from dataclasses import replace

import pytest
import torch

from flare_core.models.phtrans import PHTrans

TINY = PHTrans(4, 16, ((2, 2, 1), (2, 2, 2), (2, 2, 2)), (3, 3, 1), 2, (2, 2), (2, 4), (3, 2, 2), 0.0, 0.0)
UNUSED_HEAD = 14 * 312  # the authors' class has a head at the bottleneck whose output it drops


@pytest.mark.parametrize(("window", "weights"), [((6, 7, 5), 36_522_660), ((6, 6, 3), 36_432_636)])
def test_the_published_size_without_the_head_that_is_never_used(window, weights):
    with torch.device("meta"):
        module = replace(PHTrans(), window=window).build(14)
    assert sum(p.numel() for p in module.parameters()) == weights - UNUSED_HEAD


def test_training_gives_a_list_finest_first_and_evaluation_one_map():
    module = TINY.build(3)
    image = torch.randn(1, 1, 24, 16, 8)
    assert [tuple(o.shape[2:]) for o in module(image)] == [(24, 16, 8), (12, 8, 8), (6, 4, 4)]
    assert module.eval()(image).shape == (1, 3, 24, 16, 8)


def test_every_weight_learns_and_windows_need_not_divide_the_volume():
    module = TINY.build(3)
    sum(output.square().mean() for output in module(torch.randn(1, 1, 40, 24, 12))).backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_swin_path_is_added_from_the_third_stage_on():
    with torch.device("meta"):
        module = PHTrans().build(2)
    assert [stage.swin is not None for stage in module.encoder] == [False, False, True, True, True, True]
    assert [round(rate, 4) for rate in PHTrans().swin_rates(5)] == [round(0.2 * 6 / 7, 4), 0.2]


def test_depths_and_heads_belong_to_the_stages_with_a_swin_path():
    with pytest.raises(ValueError, match="4 stages have a Swin path, got 3 depths"):
        replace(PHTrans(), depths=(2, 2, 2)).build(2)
