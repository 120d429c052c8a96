"""What dkfz's profiles change and where its paper leaves a choice: values only (see `dkfz.py` for the method)."""

from dataclasses import replace

from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.recipe import Departure, Override
from flare_core.systems import mini

DEPARTURES = (
    Departure(
        "network",
        "the plain U-Net of the text and of figure 1, 30.79 M weights",
        "network=RESIDUAL_ENCODER (dkfz.py): the table's 101.94 M are nnU-Net's residual encoder M on this patch, "
        "which the text says was rejected",
    ),
    Departure(
        "normalization",
        "the text's four numbers; after resampling",
        "ClipAndStandardize(-900, 619, -52.232, 268.799): more digits in Ziyan-Huang/FLARE24, plans.json; version 2 "
        "normalizes before resampling",
    ),
    Departure("folds", "fold 0 of five", "folds=1 trains on all cases; the paper does not say which"),
    Departure(
        "batch Dice",
        "summed over the batch, as in the public plans of these data",
        "loss.loss.batch_dice=False, nnU-Net's rule where no low-resolution configuration was planned",
    ),
    Departure(
        "resampling of images",
        "trilinear in torch, as for the export of segmentations",
        "preprocessing.order=3: nnU-Net's cubic splines; whether the paper swaps them for images, too, is not said",
    ),
    Departure(
        "factors of scaling", "half of them below 1 (nnU-Net version 1)", "version 2 draws uniformly from 0.7 to 1.4"
    ),
    Departure(
        "rotation in augmentation", "trilinear", "nnU-Net version 1 resamples images with cubic splines in augmentation"
    ),
    Departure("ensemble", "mean of logits (nnU-Net version 2)", "inference.average='probabilities': not stated"),
    Departure(
        "resampling of scores", "trilinear in torch", "other torch variants of the framework (separate z): not stated"
    ),
)


def _mini(members: tuple[str, ...]) -> tuple[Override, ...]:
    """Return the overrides of `mini` for a submission with these stages."""
    batch = (Override("batch4.optimization", mini.adam(960), "minutes instead of days; batch 2 stands for 4"),)
    return (
        Override("*.preprocessing", mini.GRID, "the mini cohort is made at about 4 mm; [-250, 250] holds its tumors"),
        Override("*.sampling", mini.TUMOR_CROP, "19 cm; two of three patches on a tumor if any"),
        Override("*.augmentation", mini.AUGMENTATION, "short training cannot afford mirrored and bent bodies"),
        Override("*.network", mini.unet(8, 16, 32, 64), "0.3 M weights, four levels"),
        Override("*.loss", mini.TUMOR_LOSS, "a tumor's probability near 0 gets no gradient from its Dice"),
        Override("batch8.optimization", replace(mini.adam(960), batch=4), "minutes instead of days; 4 stands for 8"),
        *(batch if "batch4" in members else ()),
        Override("*.validation", replace(mini.VALIDATION, keep="last"), "cost; the last epoch, as published"),
        Override("inference", SlidingEnsemble(members, mini.WINDOW), "the training size; a quarter overlap"),
    )


def _smoke(members: tuple[str, ...]) -> tuple[Override, ...]:
    """Return the overrides of `smoke`."""
    return (
        *_mini(members),
        Override("*.preprocessing", mini.SMOKE_GRID, "proves that it runs"),
        Override("*.sampling", mini.SMOKE_CROP, "proves that it runs"),
        Override("*.network", mini.unet(4, 8), "proves that it runs"),
        Override("*.optimization", mini.SMOKE_OPTIMIZATION, "proves that it runs"),
        Override("*.validation", replace(mini.SMOKE_VALIDATION, keep="last"), "proves that it runs"),
        Override("*.folds", 2, "a handful of cases"),
        Override("inference", SlidingEnsemble(members, mini.SMOKE_WINDOW), "the training size"),
    )


PROFILES = {
    key: {"smoke": _smoke(members), "mini": _mini(members), "study": (*_mini(members), *mini.study(*members))}
    for key, members in (("dkfz_bs8", ("batch8",)), ("dkfz_bs4_8", ("batch4", "batch8")))
}

ABLATIONS = {
    "dkfz_bs8": {
        "cubic_splines": (
            Override("*.preprocessing.order", 3, "section 2: images as nnU-Net resamples them by default"),
        ),
    },
    "dkfz_bs4_8": {
        "batch4_alone": (
            Override("inference.members", ("batch4",), "section 2.1: what a larger batch is better than"),
        ),
    },
}
