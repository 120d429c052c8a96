"""What nnU-Net's papers share: its augmentation, loss and optimization as values (no system of its own).

Sources: [N] MIC-DKFZ/nnUNet version 2, [B] MIC-DKFZ/batchgeneratorsv2.
"""

from dataclasses import replace
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


def is_flat(patch: tuple[int, int, int]) -> bool:
    """Say whether nnU-Net augments a patch slice by slice: its shortest side is less than a third of its longest."""
    return max(patch) > 3 * min(patch)


def oversampling(patch: tuple[int, int, int]) -> ForegroundOversampling:
    """Return nnU-Net's sampling: a third of the patches holds foreground, and turning brings in no border."""
    outer = outer_patch(patch, pi, IN_PLANE) if is_flat(patch) else outer_patch(patch, THIRTY_DEGREES)
    return ForegroundOversampling(patch, forced_share=0.33, outer=outer)


def augmentation(
    patch: tuple[int, int, int], intensities: tuple = INTENSITIES, *, elastic: bool = False, mirror: bool = True
) -> tuple:
    """Return nnU-Net's transforms for a patch: bent and turned slice by slice if it is flat, else in space.

    Args:
        patch: voxels along X, Y, Z; a flat one is thin along Z.
        intensities: those of `INTENSITIES` that are used.
        elastic, mirror: bend, mirror.
    """
    if is_flat(patch):
        bend = SLICE_WISE_ELASTIC if elastic else None
        spatial = SpatialTransform(SLICE_WISE_ROTATION, SCALING, bend, IN_PLANE, patch)
        intensities = tuple(replace(t, axes=IN_PLANE) if t == LOW_RESOLUTION else t for t in intensities)
    else:
        spatial = SpatialTransform(ROTATION, SCALING, ELASTIC if elastic else None, patch=patch)
    return (spatial, *intensities, *((MIRROR,) if mirror else ()))


def sliding(patch: tuple[int, int, int]) -> SlidingWindow:
    """Return nnU-Net's window scheme: half overlap, Gaussian weights."""
    return SlidingWindow(patch, overlap=0.5, weighting="gaussian")


def last_epoch(patch: tuple[int, int, int]) -> Validation:
    """Return nnU-Net's choice of the model: the last epoch, scored once."""
    return Validation(points=1, window=sliding(patch), keep="last")
