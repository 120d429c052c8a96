"""Objectives: one loss a group of cases, and the mean teacher."""

from dataclasses import replace

import pytest
import torch

from flare_core.cases.sampling import PreparedCase
from flare_core.training.batch import Batch, Workers, draw_batch
from flare_core.training.losses import DeepSupervision, DiceCrossEntropy
from flare_core.training.mean_teacher import MeanTeacher, follow
from flare_core.training.objective import Supervised

LOSS = DeepSupervision(DiceCrossEntropy())


class OneNumber(torch.nn.Module):
    """Scores two channels by a single weight: 0 against w * image."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([torch.zeros_like(image), self.weight * image], 1)]


def _batch(groups=(0, 1, 2)) -> Batch:
    image = torch.ones(len(groups), 1, 2, 2, 2)
    channels = torch.zeros(len(groups), 2, 2, 2, dtype=torch.uint8)
    channels[:, 0] = 1
    return Batch(image, channels, torch.ones(len(groups), 2, dtype=torch.bool), torch.tensor(groups), ("a",), 0)


def _forward_of(module):
    return lambda *inputs, module=None, own=module: (own if module is None else module)(*inputs)


def test_every_group_has_its_own_loss_and_weight(stage):
    stage = replace(stage, loss=LOSS)
    module, batch = OneNumber(1.0), _batch()
    parts = [LOSS(module(batch.image[i : i + 1]), batch.channels[i : i + 1]).item() for i in range(3)]
    lesson = Supervised(group_weights=(1.0, 1.0, 0.5)).lesson(stage, module)
    assert lesson.loss(_forward_of(module), batch).item() == pytest.approx(parts[0] + parts[1] + 0.5 * parts[2])


def test_a_group_that_is_not_in_the_batch_adds_nothing(stage):
    stage = replace(stage, loss=LOSS)
    module = OneNumber(1.0)
    lesson = Supervised(group_weights=(1.0, 7.0)).lesson(stage, module)
    one = lesson.loss(_forward_of(module), _batch((0, 0))).item()
    assert one == pytest.approx(LOSS(module(_batch((0, 0)).image), _batch((0, 0)).channels).item())


def test_the_teacher_labels_what_nobody_marked_and_real_foreground_stays(stage):
    module, batch = OneNumber(-1.0), _batch((0,))
    lesson = MeanTeacher().lesson(replace(stage, loss=LOSS), module)
    (labels,) = lesson.pseudo_labels(_forward_of(module), batch)
    assert labels[0, 0].eq(1).all() and labels[0, 1].eq(0).all()  # the teacher sees background everywhere
    lesson.teacher.weight.data.fill_(1.0)
    (labels,) = lesson.pseudo_labels(_forward_of(module), batch)
    assert labels.eq(1).all()


def test_the_teacher_follows_by_one_part_in_a_hundred_and_gets_no_gradient(stage):
    module, batch = OneNumber(0.0), _batch((0,))
    lesson = MeanTeacher(decay=0.99).lesson(replace(stage, loss=LOSS), module)
    lesson.loss(_forward_of(module), batch).backward()
    assert lesson.teacher.weight.grad is None and module.weight.grad is not None
    module.weight.data.fill_(1.0)
    lesson.after_step(0, 1)
    assert lesson.teacher.weight.item() == pytest.approx(0.01)
    other = MeanTeacher().lesson(replace(stage, loss=LOSS), OneNumber(5.0))
    other.load_state_dict(lesson.state_dict())
    assert other.teacher.weight.item() == pytest.approx(0.01)
    follow(lesson.teacher, module, decay=0.0)
    assert lesson.teacher.weight.item() == 1.0


def test_groups_take_turns_in_the_batch(stage, cases):
    stage = replace(stage, optimization=replace(stage.optimization, batch=3))
    grouped: list[PreparedCase] = [replace(case, group=group) for case, group in zip(cases, (0, 1, 1), strict=True)]
    for step in range(4):
        batch = draw_batch(stage, grouped, seed=0, epoch=0, step=step, workers=Workers())
        assert sorted(batch.groups.tolist()) in ([0, 0, 1], [0, 1, 1])
        assert batch.seed != draw_batch(stage, grouped, seed=0, epoch=0, step=step + 1, workers=Workers()).seed
