"""stmt: two-stage hybrid supervision, self-training and mean teacher (Liu et al.: MICCAI FLARE 2023 challenge).

Published result, testing set: organ DSC 90.48, tumor 50.00; 11.1 s and 8979 MB s a case.
Run it: `flare train stmt --data DATASET --profile paper -o RUN`.

Sources: [P §] the paper; [C] lseventeen/Two-Stage-Hybrid-Supervision, the authors' code; [H] lseventeen/PHTrans, its
settings for FLARE22; [N] nnU-Net (`nnunet.py`); [B] Ziyan-Huang/FLARE23, plans.json (the same data); [ours].
"""

from dataclasses import replace

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES, LabelScheme
from flare_core.cases.preprocessing import ClipAndStandardize, FixedGrid, Preprocessing
from flare_core.cases.regions import BodyBox, LabelBox
from flare_core.cases.sampling import WholeVolume
from flare_core.inference.postprocessing import KeepLargest
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.two_stage import TwoStage
from flare_core.models.phtrans import PHTrans
from flare_core.models.unet import ResidualEncoderUNet
from flare_core.recipe import Limits, Stage, System
from flare_core.systems import nnunet
from flare_core.systems.stmt_profiles import ABLATIONS, DEPARTURES, PROFILES
from flare_core.training.mean_teacher import MeanTeacher
from flare_core.training.objective import Supervised
from flare_core.training.selection import (
    EVERY_CASE,
    AnnotatedCases,
    AsGiven,
    CasesWithout,
    InEqualNumbers,
    PartlyLabeledCases,
    PseudoLabels,
)

TEACHER_PATCH = (192, 224, 40)  # [H] (x, y, z)
HU = ClipAndStandardize(-969, 277, mean_hu=70.35, deviation_hu=141.40)  # [P 2.1] the rule, [B] the numbers
FULL, PARTIAL, WITHOUT = AnnotatedCases(ORGAN_NAMES), PartlyLabeledCases(ORGAN_NAMES), CasesWithout(ORGAN_NAMES)

TEACHER = Stage(
    name="teacher",
    purpose="segment the organs by windows, taught by the fully labeled cases",
    cases=FULL,  # [P 2.2] 219 cases
    labels=AsGiven(),
    scheme=nnunet.EACH_ORGAN,
    preprocessing=Preprocessing(spacing_mm=(0.8, 0.8, 2.5), intensity=HU, order=3),  # [ours] spacing; [P 3.2, N]
    sampling=nnunet.oversampling(TEACHER_PATCH),  # [P 3.2: nnU-Net's default, N]
    augmentation=nnunet.augmentation(TEACHER_PATCH),
    network=PHTrans(),  # [P 2.2, H] 36.52 M
    loss=nnunet.LOSS,
    optimization=nnunet.OPTIMIZATION,
    validation=nnunet.last_epoch(TEACHER_PATCH),
    folds=1,  # [ours]
    trained_folds=(0,),
    objective=Supervised(),
)
FILLED = PseudoLabels(  # [P 2.2] real labels erase and overwrite
    "teacher",
    SlidingEnsemble(("teacher",), replace(nnunet.sliding(TEACHER_PATCH), mirror_axes=nnunet.ALL)),  # [P 3.2, N]
    never=("tumor",),
)


def res_unet(cap: int) -> ResidualEncoderUNet:
    """Return the small residual U-Net with at most `cap` features: 26.98 M with 320, 25.79 M with 300."""
    return ResidualEncoderUNet(  # [P 3.2] 16 features, five downsamplings; blocks and caps [C]
        features=(16, 32, 64, 128, min(256, cap), cap),
        kernels=((3, 3, 3),) * 6,
        strides=((1, 1, 1), *((2, 2, 2),) * 5),
        blocks=(2,) * 6,
        decoder_convolutions=(2,) * 5,
    )


LOCATOR = replace(
    TEACHER,
    name="locator",
    purpose="find the abdomen in the whole volume, taught by all cases",
    cases=EVERY_CASE,  # [P 2.2] self-training in both stages
    labels=FILLED,
    scheme=LabelScheme((TARGET_NAMES,)),  # [P 2.1] organs and tumors as one
    preprocessing=FixedGrid((128, 128, 128), intensity=HU),  # [P 2.1]
    sampling=WholeVolume((128, 128, 128)),
    augmentation=nnunet.augmentation((128, 128, 128), elastic=True, mirror=False),  # [P 3.2] the paper's list
    network=res_unet(320),
    optimization=replace(nnunet.OPTIMIZATION, epochs=500, gradient_clip=None),  # [P table 2], clip [C]
    validation=None,
)
ORGANS = replace(
    LOCATOR,
    name="organs",
    purpose="segment the organs in the located box, taught by full, corrected and pseudo-labels in equal numbers",
    cases=InEqualNumbers((FULL, PARTIAL, WITHOUT)),  # [P 2.2]
    objective=Supervised(group_weights=(1.0, 1.0, 0.5)),  # [P eq. 1, 3.2]
    scheme=nnunet.EACH_ORGAN,
    region=LabelBox(margin_mm=20),  # [C]
    preprocessing=FixedGrid((192, 192, 192), intensity=HU),  # [P 2.1]
    sampling=WholeVolume((192, 192, 192)),
    augmentation=nnunet.augmentation((192, 192, 192), elastic=True, mirror=False),  # [P 3.2]
    network=res_unet(300),
    optimization=replace(nnunet.OPTIMIZATION, epochs=500, batch=3),  # [P table 2]
)
TUMOR_SUPERVISED = replace(
    ORGANS,
    name="tumor_supervised",
    purpose="segment tumors in the located box, taught by the tumor-labeled cases; start of the mean teacher",
    cases=AnnotatedCases(("tumor",)),  # [P 4.1] 1497 cases
    objective=Supervised(),
    scheme=nnunet.TUMOR_ONLY,
    optimization=LOCATOR.optimization,  # [P table 2]
)
TUMOR = replace(
    TUMOR_SUPERVISED,
    name="tumor",
    purpose="segment tumors, taught by the real labels and by its own running average",
    objective=MeanTeacher(decay=0.99, real_weight=1.0, pseudo_weight=1.0),  # [P eq. 2, 3.2], decay [C]
    start="tumor_supervised",  # [P 4.1, C]
)

STMT = System(
    key="stmt",
    title="Two-stage hybrid supervision",
    reference="Liu et al., Two-stage hybrid supervision framework for organ and pan-cancer segmentation, FLARE 2023",
    stages=(TEACHER, LOCATOR, ORGANS, TUMOR_SUPERVISED, TUMOR),
    inference=TwoStage(  # [P figure 2c]
        locator="locator",
        organs="organs",
        tumor="tumor",
        margin_mm=(10, 10, 40),  # [C]
        body=BodyBox(threshold_hu=-250),  # [ours] where the locator finds nothing
        organ_rules=(KeepLargest(ORGAN_NAMES),),  # [P 2.3]
    ),
    limits=Limits(time_s=15, memory_mib=4096),  # [P 3.1]
    departures=DEPARTURES,
    profiles=PROFILES,
    ablations=ABLATIONS,
)
