"""nvauto: Auto3DSeg SegResNet in two rounds (Myronenko, Yang, He, Xu: MICCAI FLARE 2023 challenge).

Published result: 5-fold cross-validation DSC 93 (organs), 44.71 (tumor); about 25 s and 3562 MB a case.
Run it: `flare train nvauto --data DATASET --profile paper -o RUN`.

Sources: [P §] the paper; [C] Project-MONAI/research-contributions, auto3dseg/algorithm_templates/segresnet; [ours].
"""

from dataclasses import replace

from flare_core.cases.augmentation import AdjustContrast, AxialAffine, HistogramShift, Mirror
from flare_core.cases.labels import ABDOMEN, MERGED_PAIRS
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.cases.sampling import ClassBalancedCrop
from flare_core.inference.postprocessing import LongestRun, RemoveSmall, SplitPairs
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.models.segresnet import SegResNet
from flare_core.recipe import Limits, Stage, System
from flare_core.systems.nvauto_profiles import ABLATIONS, DEPARTURES, PROFILES, RUN_ORGANS
from flare_core.training.losses import DeepSupervision, DiceFocal
from flare_core.training.objective import Supervised
from flare_core.training.optimization import AdamW, Optimization, Validation, WarmupCosine
from flare_core.training.selection import FULLY_LABELED, LABELED, AsGiven, PseudoLabels

WINDOW = IntensityWindow(-250, 250)  # [P 2.1]
CLEANING = (
    SplitPairs(),  # [P 2.5]
    LongestRun(RUN_ORGANS),  # [P 2.6]
    RemoveSmall("tumor", minimum_voxels=100),  # [P 2.6]
)

ROUND1 = Stage(
    name="round1",
    purpose="segment all targets, taught by the fully labeled cases; teacher of round 2",
    cases=FULLY_LABELED,  # [P 2.3] 250 cases
    labels=AsGiven(),
    scheme=MERGED_PAIRS,  # [P 2.5] 13 channels
    preprocessing=Preprocessing(spacing_mm=(1, 1, 1), intensity=WINDOW),  # [P 2.1]
    sampling=ClassBalancedCrop(patch=(224, 224, 224)),  # [P 2.2, 3.2]
    augmentation=(  # kinds [P 2.2], values [C ct_ax_1]
        HistogramShift(probability=0.5, control_points=16),
        AdjustContrast(probability=0.2, gamma=(0.5, 3.0)),
        AxialAffine(probability=0.5, rotation_rad=0.26, scale=0.35),
        Mirror(probability=0.5, axes=(0, 1, 2)),
    ),
    network=SegResNet(width=32, blocks=(1, 2, 2, 4, 4), supervised_levels=4),  # [P 2.2] 87 M; levels [ours]
    loss=DeepSupervision(DiceFocal(gamma=2.0)),  # [P 2.2, eq. 1], gamma [C]
    optimization=Optimization(  # [P 2.2, Table 3]
        optimizer=AdamW(learning_rate=2e-4, weight_decay=1e-5),
        schedule=WarmupCosine(warmup_epochs=3),
        epochs=300,
        batch=8,
    ),
    validation=Validation(  # points and window [C]; best by Dice [P 3.2]
        points=46, window=SlidingWindow((224, 224, 224), overlap=0.625, weighting="gaussian")
    ),
    folds=5,  # [P 2]
    trained_folds=(0, 1, 2, 3, 4),
    objective=Supervised(),
)
TEACHING = SlidingEnsemble(("round1",), SlidingWindow((224, 224, 224)), "probabilities", postprocessing=CLEANING)
ROUND2 = replace(
    ROUND1,
    name="round2",
    purpose="segment all targets, taught by all labeled cases with pseudo-labels for missing organs",
    cases=LABELED,  # [P 2.3] 2200 cases
    labels=PseudoLabels(teacher="round1", inference=TEACHING, never=("tumor",)),  # [P 2.3]
)
LOCALIZER = replace(
    ROUND1,
    name="localizer",
    purpose="find the abdominal region at low resolution",
    scheme=ABDOMEN,  # [P 2.5]
    preprocessing=Preprocessing(spacing_mm=(4, 4, 4), intensity=WINDOW),  # [P 2.5]
    sampling=ClassBalancedCrop(patch=(128, 128, 128)),  # [P 2.5]
    network=SegResNet(width=16, blocks=(1, 2, 2, 4), supervised_levels=4),  # [P 2.5]
    validation=Validation(points=46, window=SlidingWindow((128, 128, 128), overlap=0.625, weighting="gaussian")),
    trained_folds=(0,),  # [ours] the paper trains one network
)

NVAUTO = System(
    key="nvauto",
    title="Auto3DSeg SegResNet, two rounds",
    reference="Myronenko et al., Automated segmentation of organs and tumors from partially labeled 3D CT, FLARE 2023",
    stages=(LOCALIZER, ROUND1, ROUND2),
    inference=RegionEnsemble(
        localizer="localizer",
        members="round2",
        localizer_window=SlidingWindow((128, 128, 128)),
        window=SlidingWindow((224, 224, 224)),  # [P 2.5] no overlap
        region_axes=(0, 1),  # [P 2.5] x and y only
        margin_mm=20,  # [ours]
        first_model_crop=True,  # [P 2.5]
        average="probabilities",  # [ours]
        postprocessing=CLEANING,
    ),
    limits=Limits(time_s=15, memory_mib=4096),  # [P 3.1]
    departures=DEPARTURES,
    profiles=PROFILES,
    ablations=ABLATIONS,
)
