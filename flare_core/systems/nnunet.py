"""What nnU-Net's papers share: its augmentation, loss and optimization as values (no system of its own).

Sources: [N] MIC-DKFZ/nnUNet version 2, [B] MIC-DKFZ/batchgeneratorsv2.
"""

from math import pi

from flare_core.cases.augmentation import GaussianNoise, Mirror
from flare_core.cases.intensity import Brightness, Contrast, Gamma, GaussianBlur, LowResolution
from flare_core.cases.labels import ORGAN_NAMES, LabelScheme
from flare_core.cases.sampling import ForegroundOversampling
from flare_core.cases.spatial import Elastic, Rotation, Scaling, SpatialTransform, outer_patch
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.training.losses import DeepSupervision, DiceCrossEntropy
from flare_core.training.optimization import SGD, Optimization, Poly, Validation

THIRTY_DEGREES = pi / 6
ALL, IN_PLANE = (0, 1, 2), (0, 1)
TUMOR_ONLY = LabelScheme((("tumor",),))
EACH_ORGAN = LabelScheme(tuple((name,) for name in ORGAN_NAMES))

ROTATION, SCALING = Rotation(0.2, THIRTY_DEGREES), Scaling(0.2, (0.7, 1.4))  # [N, B]
SLICE_WISE_ROTATION = Rotation(0.2, pi)  # [N] where a patch side is more than three times another
ELASTIC, SLICE_WISE_ELASTIC = Elastic(0.2, (0, 900), (9, 13)), Elastic(0.2, (0, 200), (9, 13))  # [N] version 1, if on
NOISE = GaussianNoise(0.1, deviation=(0, 0.1))
BLUR = GaussianBlur(0.1, deviation=(0.5, 1))  # 0.2 a sample times 0.5 a channel
BRIGHTNESS, CONTRAST = Brightness(0.15, (0.75, 1.25)), Contrast(0.15, (0.75, 1.25))
LOW_RESOLUTION = LowResolution(0.125, (0.5, 1))  # 0.25 a sample times 0.5 a channel
GAMMA = (Gamma(0.1, (0.7, 1.5), inverted=True), Gamma(0.3, (0.7, 1.5)))
MIRROR = Mirror(0.5, ALL)
INTENSITIES = (NOISE, BLUR, BRIGHTNESS, CONTRAST, LOW_RESOLUTION, *GAMMA)

LOSS = DeepSupervision(DiceCrossEntropy(batch_dice=True), drop_coarsest=True, normalized=True)
OPTIMIZATION = Optimization(
    optimizer=SGD(learning_rate=1e-2, momentum=0.99, weight_decay=3e-5),
    schedule=Poly(0.9),
    epochs=1000,
    batch=2,
    steps_per_epoch=250,
    gradient_clip=12.0,
)


def oversampling(patch: tuple[int, int, int]) -> ForegroundOversampling:
    """Return nnU-Net's sampling for a patch that is turned by up to 30 degrees about every axis."""
    return ForegroundOversampling(patch, forced_share=0.33, outer=outer_patch(patch, THIRTY_DEGREES))


def augmentation(patch: tuple[int, int, int]) -> tuple:
    """Return nnU-Net's transforms for a patch whose sides are alike."""
    return (SpatialTransform(ROTATION, SCALING, patch=patch), *INTENSITIES, MIRROR)


def sliding(patch: tuple[int, int, int]) -> SlidingWindow:
    """Return nnU-Net's window scheme: half overlap, Gaussian weights."""
    return SlidingWindow(patch, overlap=0.5, weighting="gaussian")


def last_epoch(patch: tuple[int, int, int]) -> Validation:
    """Return nnU-Net's choice of the model: the last epoch, scored once."""
    return Validation(points=1, window=sliding(patch), keep="last")
