"""Learning-rate schedule and validation points against the values measured on the template."""

import pytest

from flare_core.inference.sliding_window import SlidingWindow
from flare_core.training.optimization import SGD, AdamW, Optimization, Poly, Validation, WarmupCosine

WINDOW = SlidingWindow((8, 8, 8))


def test_warm_up_rises_from_a_tenth_then_the_cosine_falls_to_zero():
    rates = [2e-4 * WarmupCosine(3).factor(epoch, 300) for epoch in range(300)]
    assert rates[:4] == pytest.approx([0.2e-4, 0.8e-4, 1.4e-4, 2.0e-4])
    assert rates[150] == pytest.approx(1.0e-4, rel=0.03)
    assert rates[299] == pytest.approx(5.6e-9, rel=0.03)


def test_validation_is_sparse_at_the_start_and_dense_at_the_end():
    epochs = sorted(Validation(46, WINDOW).epochs(300))
    assert epochs[-1] == 299 and epochs[0] == pytest.approx(9, abs=1)
    gaps = [b - a for a, b in zip(epochs, epochs[1:], strict=False)]
    assert gaps[:5] == [10, 11, 10, 10, 10] and set(gaps[-4:]) <= {1, 2} and len(epochs) == 45


def test_more_points_than_epochs_validate_every_epoch_at_most_once():
    assert Validation(50, WINDOW).epochs(3) == {0, 1, 2}
    with pytest.raises(ValueError, match="at least once"):
        Validation(0, WINDOW).epochs(3)


def test_an_epoch_goes_once_through_the_cases_unless_told_otherwise():
    plan = Optimization(AdamW(1e-3, 0.0), WarmupCosine(0), epochs=1, batch=8)
    assert [plan.steps(n) for n in (1, 8, 9, 250)] == [1, 1, 2, 32]
    assert Optimization(AdamW(1e-3, 0.0), WarmupCosine(0), 1, 8, steps_per_epoch=5).steps(250) == 5


def test_the_poly_schedule_falls_from_one_as_published():
    poly = Poly(0.9)
    assert poly.factor(0, 1000) == 1.0
    assert poly.factor(500, 1000) == pytest.approx(0.5**0.9)
    assert poly.factor(999, 1000) == pytest.approx(0.001**0.9)


def test_sgd_is_nesterovs():
    import torch

    (group,) = SGD(1e-2, 0.99, 3e-5).build([torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (1e-2, 0.99, 3e-5, True)
