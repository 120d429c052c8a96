"""What swinx's profiles change and where its paper leaves a choice: values only (see `swinx.py` for the method)."""

from dataclasses import replace

from flare_core.cases.sampling import TwoViews
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.models.smit import SmitPretraining
from flare_core.models.swinx import SwinX
from flare_core.recipe import Departure, Override
from flare_core.systems import mini
from flare_core.training.selection import PseudoLabels
from flare_core.training.smit import MaskedSelfDistillation

DEPARTURES = (
    Departure("weights", "30.30 M, from the authors' file", "the paper says 31 M"),
    Departure(
        "teacher",
        "the FLARE22 winner's large network, trained here on the fully labeled cases",
        "the authors took that network as it was, trained on FLARE22's data",
    ),
    Departure(
        "fine-tuning cases",
        "all tumor-labeled cases",
        "the paper has 735 of the 2200; which count as tumor-labeled is not said",
    ),
    Departure(
        "unlabeled cases",
        "pretraining only (735 examples in fine-tuning)",
        "finetuning.cases=EVERY_CASE: another sentence speaks of pseudo-labels for unlabeled cases",
    ),
    Departure(
        "grid of the pretraining",
        "1 mm and [-250, 250] HU, as in fine-tuning",
        "SMIT's code has 2 mm and [-175, 250]; the paper says nothing",
    ),
    Departure(
        "masked views",
        "the student sees both views masked, the teacher sees both whole (the code)",
        "the paper masks the second view by a mask of its own and does not say what the teacher sees; no switch",
    ),
    Departure("decay of the teacher", "0.996", "SMIT means a rise to 1, but its code stays near 0.996"),
    Departure(
        "backbone of the pretraining", "2-2-2-2 blocks, the one that is fine-tuned", "SMIT's own code has 2-2-4-2"
    ),
    Departure(
        "augmentation in fine-tuning",
        "1 mm, mirroring with probability 0.5 an axis (the paper: random 3D flips)",
        "finetuning.augmentation=(RightAngleRotation(...), ShiftIntensity(...), Mirror(0.2, ...)): the released loader "
        "turns by right angles, scales and shifts intensities, cuts two crops and draws from four spacings",
    ),
    Departure(
        "batch of the fine-tuning", "4 cases of 4 patches", "optimization.batch=4: four patches, or 4 a GPU; not stated"
    ),
    Departure("warm-up of the fine-tuning", "10 of 100 epochs", "schedule=WarmupCosine(...): not published"),
    Departure(
        "weight decay and loss of the fine-tuning",
        "1e-5; Dice of squared scores, smoothed by 0 and 1e-6, as SMIT fine-tunes",
        "optimizer.weight_decay and loss: not published beyond Dice and cross-entropy",
    ),
    Departure(
        "labels on the image's grid",
        "scores are resampled trilinearly",
        "inference.resampled='labels': the code resamples labels by nearest neighbor",
    ),
    Departure("resampling of images", "trilinear", "teacher.preprocessing.order=3: nnU-Net's default for the teacher"),
    Departure("positive and negative crops", "two of four on average (MONAI)", "the paper: two of four"),
    Departure("real labels", "win over pseudo-labels", "the rule for overlaps is not stated"),
    Departure("time limit", "FLARE23's 15 s", "the paper speaks of 60 s"),
)
TEACHING = SlidingEnsemble(("teacher",), mini.WINDOW)
SWIN = SwinX(embed=12, depths=(2, 2, 2), heads=(2, 4, 6), window=(4, 4, 4), drop_path=0.1, decoder=16, norm="instance")

MINI = (
    Override("*.preprocessing", mini.GRID, "the mini cohort is made at about 4 mm"),
    Override("teacher.sampling", mini.CROP, "short training needs every class in sight"),
    Override("teacher.augmentation", mini.AUGMENTATION, "short training cannot afford mirrored and bent bodies"),
    Override("teacher.network", mini.unet(8, 16, 32, 64, 80), "0.9 M weights, five levels"),
    Override("teacher.loss", mini.ORGAN_LOSS, "Dice and cross-entropy learn small organs too late"),
    Override("teacher.optimization", mini.adam(1200), "minutes instead of days"),
    Override("teacher.validation", replace(mini.VALIDATION, keep="last"), "cost; the last epoch, as published"),
    Override("pretraining.sampling", TwoViews((64, 64, 48), mini.PATCH), "19 cm views"),
    Override("pretraining.network", SmitPretraining(SWIN, 8, 256, 64, 512), "216 cubes, as published; few prototypes"),
    Override("pretraining.objective", MaskedSelfDistillation(warm_epochs=3), "the same share of the training"),
    Override("pretraining.optimization", mini.adam(320, learning_rate=1e-3), "minutes instead of days"),
    Override("finetuning.sampling", replace(mini.CROP, odds=((14, 4.0),)), "short training needs every class in sight"),
    Override("finetuning.augmentation", mini.AUGMENTATION, "short training cannot afford mirrored bodies"),
    Override("finetuning.network", SWIN, "0.5 M weights, three stages"),
    Override("finetuning.labels", PseudoLabels("teacher", TEACHING, ("tumor",)), "the training size"),
    Override("finetuning.loss", mini.ORGAN_LOSS, "Dice and cross-entropy learn small organs too late"),
    Override("finetuning.optimization", mini.adam(1200, learning_rate=3e-3), "minutes instead of a day"),
    Override("inference.window", replace(mini.WINDOW, overlap=0.5), "the training size"),
)
SMOKE_SWIN = replace(SWIN, depths=(1, 1), heads=(2, 2), window=(2, 2, 2), decoder=4)
SMOKE_TEACHING = SlidingEnsemble(("teacher",), mini.SMOKE_WINDOW)
SMOKE = (
    *MINI,
    Override("*.preprocessing", mini.SMOKE_GRID, "proves that it runs"),
    Override("*.sampling", mini.SMOKE_CROP, "proves that it runs"),
    Override("pretraining.sampling", TwoViews((24, 24, 24), mini.SMOKE_PATCH), "proves that it runs"),
    Override("teacher.network", mini.unet(4, 8), "proves that it runs"),
    Override("pretraining.network", SmitPretraining(SMOKE_SWIN, 8, 16, 8, 16), "proves that it runs"),
    Override("finetuning.network", SMOKE_SWIN, "proves that it runs"),
    Override("*.optimization", mini.SMOKE_OPTIMIZATION, "proves that it runs"),
    Override("teacher.validation", replace(mini.SMOKE_VALIDATION, keep="last"), "proves that it runs"),
    Override("teacher.folds", 2, "a handful of cases"),
    Override("finetuning.labels", PseudoLabels("teacher", SMOKE_TEACHING, ("tumor",)), "the training size"),
    Override("inference.window", mini.SMOKE_WINDOW, "the training size"),
)
PROFILES = {"smoke": SMOKE, "mini": MINI, "study": (*MINI, *mini.study("teacher", "finetuning"))}

ABLATIONS = {
    "from_scratch": (Override("finetuning.start", "", "section 2.3: the same fine-tuning without pretraining"),),
    "no_overlap": (Override("inference.window.overlap", 0.0, "section 4.1: faster, and worse"),),
}
