"""Sums over a softmax, and their gradients, are those of the plain operations, run by run."""

import pytest
import torch

from flare_core.training import softmax
from flare_core.training.softmax import softmax_sums


def _plain(logits, target, taught, power):
    if taught is not None:
        logits = logits.masked_fill(~taught[:, :, None], softmax.NEVER)
    log_probabilities = logits.log_softmax(1)
    return log_probabilities.gather(1, target[:, None])[:, 0], (log_probabilities.exp() ** power).sum(2)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 77, generator=generator, dtype=torch.float64, requires_grad=True)
    taught = torch.tensor([[True] * 5, [True, False, True, True, False]])
    target = torch.randint(0, 5, (2, 77), generator=generator)
    target[1][~taught[1][target[1]]] = 0
    return logits, target, taught


@pytest.mark.parametrize("cached", [10, 200, 1 << 17])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("silent", [False, True])
def test_values_and_gradients_equal_those_of_the_plain_operations(batch, monkeypatch, cached, power, silent):
    monkeypatch.setattr(softmax, "CACHED", cached)
    logits, target, taught = batch
    taught = taught if silent else None
    found, expected = softmax_sums(logits, target, taught, power=power), _plain(logits, target, taught, power)
    torch.testing.assert_close(found, expected)
    above = [torch.randn(part.shape, dtype=torch.float64) for part in expected]
    gradients = [torch.autograd.grad(outputs, logits, above)[0] for outputs in (found, expected)]
    torch.testing.assert_close(*gradients)
    if silent:
        assert not gradients[0][~taught].any()


def test_bfloat16_logits_are_reckoned_in_float32(batch):
    logits, target, _ = batch
    rounded = logits.detach().bfloat16().requires_grad_()
    found, expected = softmax_sums(rounded, target, power=2), _plain(rounded.float(), target, None, 2)
    assert [part.dtype for part in found] == [torch.float32, torch.float32]
    torch.testing.assert_close(found, expected)
    found[0].sum().backward()
    assert rounded.grad.dtype == torch.bfloat16


def test_where_only_one_of_the_results_is_used_the_other_adds_nothing(batch):
    logits, target, _ = batch
    right, sums = softmax_sums(logits, target, power=2)
    expected = _plain(logits, target, None, 2)
    for found, plain in ((right, expected[0]), (sums, expected[1])):
        gradients = [torch.autograd.grad(part.sum(), logits, retain_graph=True)[0] for part in (found, plain)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("samples", "voxels"), [(1, 0), (0, 5)])
def test_no_voxels_and_no_samples_have_empty_sums(device, samples, voxels):
    logits = torch.zeros(samples, 3, voxels, device=device)
    right, sums = softmax_sums(logits, torch.zeros(samples, voxels, dtype=torch.int64, device=device), power=2)
    assert right.shape == (samples, voxels) and sums.shape == (samples, 3)
    assert device == "meta" or not sums.any()
