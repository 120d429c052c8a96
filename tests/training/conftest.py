"""A stage and cases small enough to train in a second."""

from dataclasses import replace

import numpy as np
import pytest

from flare_core.cases.sampling import PreparedCase, class_voxels
from flare_core.systems import SYSTEMS


@pytest.fixture
def stage():
    """nvauto's first round as the smoke profile has it."""
    stage = SYSTEMS["nvauto"].at("smoke").stage("round1")
    return replace(stage, optimization=replace(stage.optimization, epochs=4, steps_per_epoch=2))


@pytest.fixture
def cases():
    """Three cases with a bright liver (1) and a dark spleen (3) in noise."""
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        channels = np.zeros((20, 18, 16), np.uint8)
        channels[2:9, 3:12, 2 + seed : 12] = 1
        channels[12:18, 3:10, 4:12] = 3
        image = 0.5 + 0.3 * (channels == 1) - 0.3 * (channels == 3) + 0.05 * rng.standard_normal(channels.shape)
        annotated = np.zeros(13, bool)
        annotated[[1, 3]] = True
        made.append(
            PreparedCase(
                f"c{seed}", image.astype(np.float32), channels, annotated, np.ones(13, bool), class_voxels(channels)
            )
        )
    return made
