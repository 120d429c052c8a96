"""Started by test_planes.py: predict a body of so many slices and print the peak of the memory in MiB."""

import sys

import numpy as np
import torch
from fake_networks import SPACING, Constant, fake_network

from flare_core.attempt import peak_mb
from flare_core.cases.labels import SEPARATE
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_window import SlidingWindow

torch.set_num_threads(1)
slices = int(sys.argv[1])
window = SlidingWindow((32, 32, 32))
inference = RegionEnsemble("", "all", window, window, (0, 1), 4.0, True, "probabilities", (), waits_in_file=True)
members = [fake_network(SEPARATE, Constant([0.0] * 7 + [1.0] + [0.0] * 7)) for _ in range(2)]
image = np.zeros((96, 96, slices), np.float32)
image[0] = 1
labels = inference(image, SPACING, {"all": members})
assert labels.shape == image.shape and (labels == 7).all()
print(peak_mb())
