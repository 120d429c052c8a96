"""Started by test_planner.py: predict an image in one way and print the planned and the real peak of the memory."""

import json
import sys

import numpy as np
import torch
from fake_networks import GRID, SPACING, Constant, fake_network

from flare_core.attempt import peak_mb
from flare_core.cases.labels import SEPARATE
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.nnunet_preprocessing import NnUNetPreprocessing, NnUNetResampling, NoNormalization
from flare_core.inference.planner import Planner
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.submission import Submission

WINDOW = SlidingWindow((32, 32, 32))
AS_NNUNET = NnUNetPreprocessing("RAS", NoNormalization(), NnUNetResampling(3), SPACING)
SPLINES = type(GRID)(SPACING, GRID.intensity, order=3)
FIRST_WAITS = RegionEnsemble("", "all", WINDOW, WINDOW, (0, 1), 4.0, True, "logits", ())
WAYS = {
    "an imported nnU-Net": (NnUNetPredictor("all", (32, 32, 32)), AS_NNUNET, (1.0, 1.0, 1.0)),
    "cubic splines": (SlidingEnsemble(("all",), WINDOW), SPLINES, (1.0, 1.0, 1.0)),
    "scores in memory": (FIRST_WAITS, GRID, SPACING),
    "scores in a file": (FIRST_WAITS, GRID, SPACING),
}

torch.set_num_threads(1)
inference, preprocessing, spacing_mm = WAYS[sys.argv[1]]
shape = tuple(map(int, sys.argv[2:]))
module = Constant([0.0] * 7 + [1.0] + [0.0] * 7)
submission = Submission(inference, {"all": [fake_network(SEPARATE, module, preprocessing)] * 2}, {})
planner = Planner(submission, 64 * 10**9)
image = np.ones(shape, np.int16, order="F")  # nnU-Net crops zeros
image[0] = 2
plan = planner.plan(shape, spacing_mm, image.itemsize)
labels = plan.applied(planner.submission)(image, spacing_mm)
assert labels.shape == shape and (labels == 7).all()
peak = round(peak_mb() * 2**20)
print(json.dumps({"planned": plan.estimate, "waiting": plan.waiting, "peak": peak}))
