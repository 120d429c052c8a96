"""SMIT's pretraining: masks, temperatures, centers, the three losses."""

from dataclasses import replace

import pytest
import torch

from flare_core.models.smit import SmitPretraining
from flare_core.models.swinx import SwinX
from flare_core.training.batch import Batch
from flare_core.training.smit import MaskedSelfDistillation, cross_entropy, hidden_error

SWIN = SwinX(4, depths=(1, 1), heads=(2, 2), window=(2, 2, 2), drop_path=0.0, decoder=4)
NETWORK = SmitPretraining(SWIN, mask_cube=8, head_width=8, head_bottleneck=4, prototypes=6)
PUBLISHED = MaskedSelfDistillation()


def _batch(cases=1, seed=3):
    image = torch.rand(cases, 2, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    empty = torch.zeros(cases, 16, 16, 16, dtype=torch.uint8)
    taught = torch.ones(cases, 1, dtype=torch.bool)
    return Batch(image, empty, taught, torch.zeros(cases, dtype=torch.int64), ("a",) * cases, seed)


def _forward(own):
    return lambda *inputs, module=None: (own if module is None else module)(*inputs)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return NETWORK.build()


def test_seven_of_ten_cubes_are_hidden_rounded_up_and_differently_for_every_view():
    masks = PUBLISHED.masks(4, (6, 6, 6), seed=1)
    assert masks.flatten(1).sum(1).tolist() == [152] * 4  # ceil(0.7 * 216)
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(masks, PUBLISHED.masks(4, (6, 6, 6), seed=1))
    assert not torch.equal(masks, PUBLISHED.masks(4, (6, 6, 6), seed=2))


def test_the_teachers_temperatures_rise_first_for_views_then_for_tokens():
    # as numpy.linspace(0.04, 0.07, 30) has it: 29 steps
    found = {epoch: PUBLISHED.temperatures(epoch) for epoch in (0, 1, 29, 30, 31, 59, 499)}
    assert found[0] == pytest.approx((0.04, 0.04))
    assert found[1] == pytest.approx((0.04 + 0.03 / 29, 0.04))
    assert found[29] == found[30] == pytest.approx((0.07, 0.04))
    assert found[31] == pytest.approx((0.07, 0.04 + 0.03 / 29))
    assert found[59] == found[499] == pytest.approx((0.07, 0.07))


def test_only_hidden_voxels_count_in_the_images_error():
    views, predicted = torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4)
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0, 0] = True
    predicted[..., 2:, 2:, 2:] = 100.0  # wrong where it was seen
    assert hidden_error(predicted, views, masks).item() == 1.0


def test_cross_entropy_by_hand():
    scores, wanted = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.25, 0.75]])
    assert cross_entropy(scores, wanted, 0.1).item() == pytest.approx(0.6931, abs=1e-4)
    sure = cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]), 0.1)
    assert sure.item() == pytest.approx(4.54e-5, rel=1e-2)  # log(1 + exp(-10))


def test_hidden_cubes_do_not_reach_the_network(module):
    module.eval()
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0, 0] = True
    views = torch.rand(1, 1, 16, 16, 16)
    changed = views.clone()
    changed[..., :8, :8, :8] += 1
    assert torch.equal(module(views, masks).tokens, module(changed, masks).tokens)
    assert not torch.equal(module(views).tokens, module(changed).tokens)


def test_the_image_head_puts_every_voxel_in_its_place(module):
    side, cubes = module.stride, torch.arange(2 * 512.0).view(1, 2, 512).permute(0, 2, 1).view(1, 512, 2, 1, 1)
    module.image_head = torch.nn.Identity()
    image = module._image(cubes)
    assert side == 8 and image.shape == (1, 1, 16, 8, 8)
    assert image[0, 0, 0, 0, :3].tolist() == [0, 1, 2] and image[0, 0, 8, 0, 0] == 512 and image[0, 0, 0, 1, 0] == 8


def test_centers_follow_the_teacher_and_the_teacher_the_student(module):
    lesson = PUBLISHED.lesson(None, module)
    batch = _batch()
    whole = module(batch.image.flatten(0, 1)[:, None]).whole.mean(0)
    lesson.loss(_forward(module), batch).backward()
    assert torch.allclose(lesson.centers["whole"], 0.1 * whole, atol=1e-6)
    assert all(p.grad is None for p in lesson.teacher.parameters())
    before = lesson.teacher.mask_token.clone()
    module.mask_token.data += 1
    lesson.after_step(0, 1)
    assert torch.allclose(lesson.teacher.mask_token - before, torch.full_like(before, 0.004), atol=1e-6)


def test_prototypes_do_not_learn_in_the_first_epoch(module):
    lesson = PUBLISHED.lesson(None, module)
    for epoch, is_frozen in ((0, True), (1, False)):
        module.zero_grad()
        lesson.loss(_forward(module), _batch()).backward()
        lesson.after_backward(epoch)
        assert (module.token_head.prototypes.grad is None) == is_frozen == (module.whole_head.prototypes.grad is None)


def test_a_stored_lesson_goes_on_with_the_same_loss(module):
    lesson = PUBLISHED.lesson(None, module)
    module.mask_token.data += 0.1
    lesson.after_step(0, 1)
    lesson.loss(_forward(module), _batch())
    other = PUBLISHED.lesson(None, module)
    other.load_state_dict(lesson.state_dict())
    module.eval(), lesson.teacher.eval(), other.teacher.eval()
    assert lesson.loss(_forward(module), _batch(2)).item() == other.loss(_forward(module), _batch(2)).item()


def test_masks_need_tokens_of_their_size():
    with pytest.raises(ValueError, match=r"tokens of \[4, 8\] voxels, none for masked cubes of 16"):
        replace(NETWORK, mask_cube=16).build()


def test_a_single_view_is_refused(module):
    batch = _batch(2)
    with pytest.raises(ValueError, match="expected two views a case, got 1"):
        PUBLISHED.lesson(None, module).loss(_forward(module), replace(batch, image=batch.image[:, :1]))


def test_prototypes_begin_as_the_rows_of_a_linear_layer(module):
    rows = replace(NETWORK, head_bottleneck=64, prototypes=128).build().token_head.prototypes
    assert rows.norm(dim=1).mean().item() == pytest.approx(3**-0.5, rel=0.05)  # uniform in +-1 / sqrt(64)


def test_every_weight_learns_and_has_a_place_in_swin_x(module):
    PUBLISHED.lesson(None, module).loss(_forward(module), _batch(2)).backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    own, other = module.state_dict(), SWIN.build(2).state_dict()
    shared = {name for name in own if name in other and own[name].shape == other[name].shape}
    assert shared == {name for name in own if name.startswith("backbone.")}
    assert shared == {name for name in other if name.startswith("backbone.")}
