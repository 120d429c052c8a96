"""Volumes plane by plane."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flare_core.inference.planes import Cropped, Held, Padded, SlabStore

VOLUME = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)


def test_padding_surrounds_a_small_volume_and_leaves_a_large_one():
    padded = Padded(Held(VOLUME), (6, 4, 8))
    assert padded.shape == (6, 4, 8) and padded.kept == (slice(1, 4), slice(0, 4), slice(1, 6))
    whole = padded.planes(0, 8)
    assert np.array_equal(whole[padded.kept], VOLUME) and whole.sum() == VOLUME.sum()
    assert np.array_equal(padded.planes(5, 8), whole[..., 5:]) and np.array_equal(padded.planes(0, 2), whole[..., :2])
    assert padded.in_image((1, 0, 1)) == (0, 0, 0)
    assert np.shares_memory(Padded(Held(VOLUME), (2, 2, 2)).planes(1, 3), VOLUME)


def test_a_crop_counts_from_its_own_first_plane():
    cropped = Cropped(Held(VOLUME), slice(2, 5))
    assert cropped.shape == (3, 4, 3) and np.array_equal(cropped.planes(1, 3), VOLUME[..., 3:5])


@pytest.mark.parametrize("in_memory", [0, 1, 10**9])
def test_stored_slabs_come_back_in_any_portions(in_memory):
    scores = np.random.default_rng(0).normal(size=(2, 3, 4, 9)).astype(np.float32)
    with SlabStore(in_memory) as store:
        for slab in np.split(scores, [4, 8], axis=3):
            store.append(slab)
        assert np.array_equal(store.planes(3, 9), scores[..., 3:])
        assert np.array_equal(store.planes(0, 1), scores[..., :1])


def test_memory_grows_with_image_and_labels_but_not_with_the_scores():
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}

    def peak_mib(slices: int) -> float:
        command = [sys.executable, str(tests / "inference" / "predict_long_body.py"), str(slices)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
        assert done.returncode == 0, done.stderr[-2000:]
        return float(done.stdout)

    more = 800 * 96 * 96 / 2**20  # voxels, in units of 2**20
    scores_mib, image_and_labels_mib = 15 * 4 * more, 5 * more
    assert peak_mib(1000) - peak_mib(200) < 2 * image_and_labels_mib + 40 < scores_mib / 3
