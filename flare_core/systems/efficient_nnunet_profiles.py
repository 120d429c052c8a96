"""What efficient_nnunet's profiles change and where its paper leaves a choice: values only."""

from dataclasses import replace

from flare_core.cases.labels import ORGAN_NAMES
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sparse_window import SparseWindow
from flare_core.recipe import Departure, Override, Scaled
from flare_core.systems import mini
from flare_core.training.selection import AnnotatedCases, AsGiven, PseudoLabels

DEPARTURES = (
    Departure(
        "size of the student",
        "16 to 256 features, two convolutions a level: 5.63 M weights",
        "network.decoder_convolutions=(3, 2, 2, 2) has 6.07 M; the paper says 6.1 M and no standard variant has that",
    ),
    Departure(
        "patch of the teacher",
        "64 x 192 x 192 (Stage0)",
        "table 2 also has 48 x 192 x 192 (Stage1), whose strides end in (2, 2, 1) and which is augmented slice-wise: "
        "nnunet.augmentation and oversampling see to that",
    ),
    Departure(
        "intensities",
        "the percentiles and moments of the FLARE22 network whose size this is",
        "the paper computes its own from labeled voxels and does not print them",
    ),
    Departure(
        "cases of the tumor network",
        "tumor and the five organs of the partial sets annotated",
        "tumor.cases=AnnotatedCases(('tumor',)): the paper has 597 cases with tumors and six organs it does not name",
    ),
    Departure(
        "cases of the student",
        "labeled, partly labeled and unlabeled cases, real labels before pseudo-labels",
        "student.cases=CasesWithout(ORGAN_NAMES): section 3.2 alone, which speaks of unlabeled samples; section 1 has "
        "labeled, semi-labeled and unlabeled ones",
    ),
    Departure("learning rate of the student", "0.01", "table 3 prints 10.01: a misprint"),
    Departure("folds of the student", "fold 0 of five", "not stated"),
    Departure(
        "sparse windows of the tumor network",
        "three by three positions in every slab, none skipped",
        "inference.tumor.window=SparseWindow(...) with the organs' limits drops slabs without much tumor",
    ),
    Departure(
        "empty half of a window",
        "counted in front, as the code's author means it",
        "half_empty_voxels=0: the code's axis makes the rule idle",
    ),
    Departure(
        "resampling of images",
        "cubic splines (the paper), in inference too",
        "preprocessing.order=1: trilinear, several times as fast, for the 15 s",
    ),
    Departure("order of normalization", "after resampling", "section 2.1 names it before resampling"),
    Departure("crop to nonzero", "none: air is not zero in HU", "nnU-Net crops voxels that are exactly 0"),
)
TEACHING = SlidingEnsemble(("teacher",), mini.WINDOW)
SPARSE = SparseWindow(mini.PATCH, empty_voxels=100, half_empty_voxels=50, edge_voxels=3, batch=2)

MINI = (
    Override("*.preprocessing", mini.GRID, "the mini cohort is made at about 4 mm"),
    Override("*.sampling", mini.CROP, "short training needs every class in sight"),
    Override("tumor.sampling", mini.TUMOR_CROP, "two of three patches on a tumor"),
    Override("*.augmentation", mini.AUGMENTATION, "short training cannot afford strongly bent bodies"),
    Override("*.network", mini.unet(8, 16, 32, 64, 80), "0.8 M weights, five levels"),
    Override("tumor.network", mini.unet(8, 16, 32, 64), "0.3 M weights, four levels"),
    Override("*.loss", mini.ORGAN_LOSS, "Dice and cross-entropy learn small organs too late"),
    Override("tumor.loss", mini.TUMOR_LOSS, "a tumor's probability near 0 gets no gradient from its Dice"),
    Override("*.optimization", mini.adam(1200), "minutes instead of days"),
    Override("student.optimization", mini.adam(1600), "minutes instead of days"),
    Override("tumor.optimization", mini.adam(960), "minutes instead of days"),
    Override("*.validation", replace(mini.VALIDATION, keep="last"), "cost; the last epoch, as published"),
    Override("teacher.trained_folds", (0, 1), "two of the five folds"),
    Override("student.labels", PseudoLabels("teacher", TEACHING, ("tumor",)), "the training size"),
    Override(
        "inference",
        MergedNetworks(SlidingEnsemble(("student",), SPARSE), SlidingEnsemble(("tumor",), mini.WINDOW)),
        "the training size; scores instead of labels are resampled, because 4 mm steps cost more than 1.2 mm ones",
    ),
)
SMOKE_TEACHING = SlidingEnsemble(("teacher",), mini.SMOKE_WINDOW)
SMOKE = (
    *MINI,
    Override("*.preprocessing", mini.SMOKE_GRID, "proves that it runs"),
    Override("*.sampling", mini.SMOKE_CROP, "proves that it runs"),
    Override("*.network", mini.unet(4, 8), "proves that it runs"),
    Override("*.optimization", mini.SMOKE_OPTIMIZATION, "proves that it runs"),
    Override("*.validation", replace(mini.SMOKE_VALIDATION, keep="last"), "proves that it runs"),
    Override("*.folds", 2, "a handful of cases"),
    Override("student.labels", PseudoLabels("teacher", SMOKE_TEACHING, ("tumor",)), "the training size"),
    Override(
        "inference",
        MergedNetworks(
            SlidingEnsemble(
                ("student",), SparseWindow(mini.SMOKE_PATCH, empty_voxels=4, half_empty_voxels=2, edge_voxels=1)
            ),
            SlidingEnsemble(("tumor",), mini.SMOKE_WINDOW),
        ),
        "the training size",
    ),
)
PROFILES = {"smoke": SMOKE, "mini": MINI, "study": (*MINI, *mini.study("teacher", "student", "tumor"))}

LABELED_ONLY = (
    Override("student.cases", AnnotatedCases(ORGAN_NAMES), "table 6: the completely labeled cases alone"),
    Override("student.labels", AsGiven(), "nothing to fill"),
)
LARGE = Override("student.network.features", Scaled(2), "table 6: a large student; this one has four times the weights")
EVERY_WINDOW = (
    Override("inference.organs.window.empty_voxels", 0, "section 1: no slab is dropped"),
    Override("inference.organs.window.half_empty_voxels", 0, "the same"),
    Override("inference.organs.window.tubes", (), "no window of a slab is left out"),
)


def _mirrored(axes: tuple[int, ...], why: str) -> tuple[Override, ...]:
    """Return the overrides that average mirrored views of every window."""
    return tuple(Override(f"inference.{part}.window.mirror_axes", axes, why) for part in ("organs", "tumor"))


ABLATIONS = {
    "labeled_only": LABELED_ONLY,
    "large": (LARGE,),
    "large_labeled_only": (LARGE, *LABELED_ONLY),
    "coarse_grid": (Override("student.preprocessing.spacing_mm", (6, 6, 6), "section 4.1: `mini` has 4 mm"),),
    "every_window": EVERY_WINDOW,
    "every_window_mirrored": (*EVERY_WINDOW, *_mirrored((0,), "section 2.3, the least of it: two views")),
    "every_window_eight_views": (*EVERY_WINDOW, *_mirrored((0, 1, 2), "section 2.3, nnU-Net's default: all axes")),
}
