"""efficient_nnunet: large teachers, small student, sparse sliding window (Chen et al.: MICCAI FLARE 2023 challenge).

Published result, online validation set: organ DSC 88.59, tumor 42.58; 29 s and 25411 MB s a case.
Run it: `flare train efficient_nnunet --data DATASET --profile paper -o RUN`.

Sources: [P §] the paper; [N] nnU-Net (`nnunet.py`); [C] Ziyan-Huang/FLARE22, whose small network this is; [ours].
"""

from dataclasses import replace

from flare_core.cases.labels import FIVE_ORGANS, ORGAN_NAMES
from flare_core.cases.preprocessing import ClipAndStandardize, Preprocessing
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sparse_window import SparseWindow
from flare_core.models.unet import PlainUNet
from flare_core.recipe import Limits, Stage, System
from flare_core.systems import nnunet
from flare_core.systems.efficient_nnunet_profiles import ABLATIONS, DEPARTURES, PROFILES
from flare_core.training.objective import Supervised
from flare_core.training.selection import EVERY_CASE, AnnotatedCases, AsGiven, PseudoLabels

TEACHER_PATCH, PATCH = (192, 192, 64), (192, 128, 32)  # [P tables 2, 3] (x, y, z)
HU = ClipAndStandardize(-972, 294, mean_hu=79.43, deviation_hu=142.0)  # [C] the paper gives the rule, not the numbers
FLAT = (3, 3, 1)

TEACHER = Stage(
    name="teacher",
    purpose="segment the organs in full resolution, taught by the fully labeled cases",
    cases=AnnotatedCases(ORGAN_NAMES),  # [P 2.1] 222 cases
    labels=AsGiven(),
    scheme=nnunet.EACH_ORGAN,
    preprocessing=Preprocessing(spacing_mm=(0.86, 0.86, 2.5), intensity=HU, order=3),  # [P 2.1]
    sampling=nnunet.oversampling(TEACHER_PATCH),  # [N]
    augmentation=nnunet.augmentation(  # [P 3.2] rotation, scaling, elastic, and these; no mirroring
        TEACHER_PATCH,
        (nnunet.NOISE, nnunet.BRIGHTNESS, nnunet.LOW_RESOLUTION, *nnunet.GAMMA),
        elastic=True,
        mirror=False,
    ),
    network=PlainUNet(  # [P 2.2] 31.12 M (table 2: 31.2 M); kernels and strides [N] for this patch
        features=(32, 64, 128, 256, 320, 320),
        kernels=(FLAT, *((3, 3, 3),) * 5),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        convolutions=(2,) * 6,
        decoder_convolutions=(2,) * 5,
    ),
    loss=nnunet.LOSS,  # [P 3.2, N]
    optimization=nnunet.OPTIMIZATION,  # [P table 2]
    validation=nnunet.last_epoch(TEACHER_PATCH),  # [N]
    folds=5,
    trained_folds=(0, 1, 2, 3, 4),  # [P 3.2] five teachers
    objective=Supervised(),
)
TEACHING = SlidingEnsemble(("teacher",), nnunet.sliding(TEACHER_PATCH))  # [P 3.2] their collective prediction

STUDENT = replace(
    TEACHER,
    name="student",
    purpose="segment the organs fast, taught by all cases with the teacher's labels for missing organs",
    cases=EVERY_CASE,  # [P 3.2]
    labels=PseudoLabels("teacher", TEACHING, never=("tumor",)),
    preprocessing=Preprocessing(spacing_mm=(1.2, 1.2, 4.0), intensity=HU, order=3),  # [P 2.1]
    sampling=nnunet.oversampling(PATCH),
    augmentation=nnunet.augmentation(  # [P 3.2] the subset; slice-wise because the patch is flat [N, C]
        PATCH, (nnunet.BRIGHTNESS, *nnunet.GAMMA), elastic=True, mirror=False
    ),
    network=PlainUNet(  # [P 2.2, C] 5.63 M
        features=(16, 32, 64, 128, 256),
        kernels=(FLAT, *((3, 3, 3),) * 4),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        convolutions=(2,) * 5,
        decoder_convolutions=(2,) * 4,
    ),
    optimization=replace(nnunet.OPTIMIZATION, epochs=1500),  # [P table 3]
    validation=nnunet.last_epoch(PATCH),
    trained_folds=(0,),  # [ours]
)
TUMOR = replace(
    STUDENT,
    name="tumor",
    purpose="segment tumors, taught by the cases that have them and organs labeled",
    cases=AnnotatedCases(("tumor", *FIVE_ORGANS)),  # [P 2.1] 597 cases with tumors and six organs
    labels=AsGiven(),
    scheme=nnunet.TUMOR_ONLY,
)

WINDOW = SparseWindow(PATCH)  # [C]
EFFICIENT_NNUNET = System(
    key="efficient_nnunet",
    title="nnU-Net teacher and small student",
    reference="Chen et al., efficient nnU-Net with pseudo-labels, FLARE 2023",
    stages=(TEACHER, STUDENT, TUMOR),
    inference=MergedNetworks(  # [P 2.3] the tumor has priority
        organs=SlidingEnsemble(("student",), WINDOW, resampled="labels"),  # [C]
        tumor=SlidingEnsemble(("tumor",), replace(WINDOW, empty_voxels=0, half_empty_voxels=0), resampled="labels"),
    ),
    limits=Limits(time_s=15, memory_mib=4096),  # [P 3.1]
    departures=DEPARTURES,
    profiles=PROFILES,
    ablations=ABLATIONS,
)
