"""Volumes plane by plane."""

import pytest
import torch

from flare_core.inference import planes
from flare_core.inference.planes import Cropped, Held, Padded, SlabStore

VOLUME = torch.arange(3 * 4 * 5.0).reshape(3, 4, 5)


def test_padding_surrounds_a_small_volume_and_leaves_a_large_one():
    padded = Padded(Held(VOLUME), (6, 4, 8))
    assert padded.shape == (6, 4, 8) and padded.kept == (slice(1, 4), slice(0, 4), slice(1, 6))
    whole = padded.planes(0, 8)
    assert torch.equal(whole[padded.kept], VOLUME) and whole.sum() == VOLUME.sum()
    assert torch.equal(padded.planes(5, 8), whole[..., 5:]) and torch.equal(padded.planes(0, 2), whole[..., :2])
    assert padded.in_image((1, 0, 1)) == (0, 0, 0)
    assert Padded(Held(VOLUME), (2, 2, 2)).planes(1, 3).data_ptr() == VOLUME[..., 1:].data_ptr()


def test_a_crop_counts_from_its_own_first_plane():
    cropped = Cropped(Held(VOLUME), slice(2, 5))
    assert cropped.shape == (3, 4, 3) and torch.equal(cropped.planes(1, 3), VOLUME[..., 3:5])


@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_stored_slabs_come_back_in_any_portions(in_memory, monkeypatch):
    monkeypatch.setattr(planes, "IN_MEMORY", in_memory)
    scores = torch.randn(2, 3, 4, 9)
    with SlabStore() as store:
        for slab in scores.split([4, 4, 1], dim=3):
            store.append(slab)
        assert torch.equal(store.planes(3, 9), scores[..., 3:])
        assert torch.equal(store.planes(0, 1), scores[..., :1])
