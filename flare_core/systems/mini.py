"""What the `mini` and `smoke` profiles of several systems share (no system of its own).

Every value here replaces a published one because minutes on two cores have to do for a day on a GPU.
"""

from dataclasses import replace

from flare_core.cases.augmentation import AdjustContrast, AxialAffine, HistogramShift
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.cases.sampling import ClassBalancedCrop
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.models.phtrans import PHTrans
from flare_core.models.unet import PlainUNet
from flare_core.recipe import Override
from flare_core.training.losses import DeepSupervision, DiceFocal, DiceWeightedFocal
from flare_core.training.optimization import AdamW, Optimization, Validation, WarmupCosine

PATCH, SMOKE_PATCH = (48, 48, 48), (16, 16, 16)
GRID = Preprocessing(spacing_mm=(4, 4, 4), intensity=IntensityWindow(-250, 250))
SMOKE_GRID = Preprocessing(spacing_mm=(10, 10, 10), intensity=IntensityWindow(-250, 250))
WINDOW = SlidingWindow(PATCH, overlap=0.25, weighting="gaussian", batch=2)
AUGMENTATION = (
    HistogramShift(probability=0.5, control_points=16),
    AdjustContrast(probability=0.2, gamma=(0.5, 3.0)),
    AxialAffine(probability=0.5, rotation_rad=0.26, scale=0.15),
)
ORGAN_LOSS = DeepSupervision(DiceFocal(focal_over="voxels"))
TUMOR_LOSS = DeepSupervision(DiceWeightedFocal(focal_over="voxels", focal_weights=((1, 20.0),)))
SMOKE_WINDOW, SMOKE_CROP = SlidingWindow(SMOKE_PATCH), ClassBalancedCrop(SMOKE_PATCH)
CROP, TUMOR_CROP = ClassBalancedCrop(PATCH), ClassBalancedCrop(PATCH, odds=((1, 2.0),))


PHTRANS = PHTrans(
    base=8,
    cap=64,
    strides=((2, 2, 2),) * 3,
    first_kernel=(3, 3, 3),
    depths=(2, 2),
    heads=(2, 4),
    window=(6, 6, 6),
    dropout=0.0,
    drop_path=0.1,
)
SMOKE_PHTRANS = replace(PHTRANS, base=4, strides=((2, 2, 2),) * 2, depths=(2,), heads=(2,), window=(2, 2, 2))


def unet(*features: int) -> PlainUNet:
    """Return a plain U-Net with 3x3x3 kernels, two convolutions a stage, one a decoder level."""
    stages = len(features)
    return PlainUNet(
        features,
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        convolutions=(2,) * stages,
        decoder_convolutions=(1,) * (stages - 1),
    )


def adam(steps: int, *, batch: int = 2, learning_rate: float = 5e-3) -> Optimization:
    """Return AdamW with warm-up and cosine over epochs of 80 steps, whatever the number of cases."""
    return Optimization(
        optimizer=AdamW(learning_rate=learning_rate, weight_decay=1e-5),
        schedule=WarmupCosine(warmup_epochs=1),
        epochs=steps // 80,
        batch=batch,
        steps_per_epoch=80,
        gradient_clip=1.0,
    )


SMOKE_OPTIMIZATION = Optimization(
    AdamW(5e-3, 1e-5), WarmupCosine(1), epochs=3, batch=2, steps_per_epoch=4, gradient_clip=1.0
)
VALIDATION = Validation(4, WINDOW)
SMOKE_VALIDATION = Validation(2, SMOKE_WINDOW)


def study(*stages: str) -> tuple[Override, ...]:
    """Return what `study` changes in `mini`: the length of some trainings."""
    why = "4000 steps, two to four times those of `mini`"
    return tuple(Override(f"{stage}.optimization.epochs", 50, why) for stage in stages)
