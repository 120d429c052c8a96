"""swinx: a light Swin transformer, pretrained without labels (Rangnekar, Jiang, Veeraraghavan: FLARE 2023 challenge).

Published result, public validation set: organ DSC 83.13, tumor 35.19; 28 to 102 s and under 4.1 GB a case (A100).
Run it: `flare train swinx --data DATASET --profile paper -o RUN`.

Sources: [P §] the paper; [C] The-Veeraraghavan-Lab/FLARE23, [S] The-Veeraraghavan-Lab/SMIT, the authors' code; [N]
nnU-Net (`nnunet.py`); [H] Ziyan-Huang/FLARE22, the teacher they used; [ours].
"""

from dataclasses import replace

from flare_core.cases.augmentation import Mirror
from flare_core.cases.labels import ORGAN_NAMES, SEPARATE
from flare_core.cases.preprocessing import ClipAndStandardize, IntensityWindow, Preprocessing
from flare_core.cases.regions import BodyBox
from flare_core.cases.sampling import PositiveNegativeCrop, TwoViews
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.models.smit import SmitPretraining
from flare_core.models.swinx import SwinX
from flare_core.models.unet import PlainUNet
from flare_core.recipe import Limits, Stage, System
from flare_core.systems import nnunet
from flare_core.systems.swinx_profiles import ABLATIONS, DEPARTURES, PROFILES
from flare_core.training.losses import DeepSupervision, DiceCrossEntropy
from flare_core.training.objective import Supervised
from flare_core.training.optimization import AdamW, Optimization, WarmupCosine
from flare_core.training.selection import EVERY_CASE, AnnotatedCases, AsGiven, PseudoLabels
from flare_core.training.smit import MaskedSelfDistillation

TEACHER_PATCH, PATCH = (224, 224, 48), (96, 96, 96)  # [H], [P 2.2]
GRID = Preprocessing(spacing_mm=(1, 1, 1), intensity=IntensityWindow(-250, 250))  # [P 2.2]
BODY = BodyBox(threshold_hu=-250)  # [C]
NETWORK = SwinX()  # [P 2.3, C] 30.30 M (the paper: 31 M)

TEACHER = Stage(
    name="teacher",
    purpose="segment the organs, taught by the fully labeled cases; stands for the FLARE22 winner's network",
    cases=AnnotatedCases(ORGAN_NAMES),
    labels=AsGiven(),
    scheme=nnunet.EACH_ORGAN,
    preprocessing=Preprocessing((0.8, 0.8, 2.5), ClipAndStandardize(-972, 294, 79.43, 142.0)),  # [H]
    sampling=nnunet.oversampling(TEACHER_PATCH),  # [N]
    augmentation=nnunet.augmentation(TEACHER_PATCH, elastic=True),  # [N, H]
    network=PlainUNet(  # [H] 84.86 M
        features=(32, 64, 128, 256, 512, 512),
        kernels=((3, 3, 1), *((3, 3, 3),) * 5),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)),
        convolutions=(3,) * 6,
        decoder_convolutions=(3,) * 5,
    ),
    loss=nnunet.LOSS,
    optimization=nnunet.OPTIMIZATION,
    validation=nnunet.last_epoch(TEACHER_PATCH),
    folds=5,
    trained_folds=(0,),  # [ours]
    objective=Supervised(),
)
PRETRAINING = replace(
    TEACHER,
    name="pretraining",
    purpose="learn what CT looks like, from all cases and no label",
    cases=EVERY_CASE,  # [P 2.3] 4000 cases
    objective=MaskedSelfDistillation(),  # [P 2.3, S]
    region=BODY,  # [S]
    preprocessing=GRID,  # [ours] consistent with fine-tuning
    sampling=TwoViews(outer=(128, 128, 128), patch=PATCH),  # [S]
    augmentation=(),  # [S]
    network=SmitPretraining(NETWORK),  # [S]
    optimization=Optimization(AdamW(6e-4, 0.01), WarmupCosine(20, start=0.0), epochs=500, batch=6),  # [S]
    validation=None,
    folds=1,
)
FINETUNING = replace(
    PRETRAINING,
    name="finetuning",
    purpose="segment all targets, taught by the tumor-labeled cases with pseudo-labels for missing organs",
    cases=AnnotatedCases(("tumor",)),  # [P 2.3] 735 cases
    labels=PseudoLabels(  # [P 2.3]
        "teacher", SlidingEnsemble(("teacher",), nnunet.sliding(TEACHER_PATCH)), never=("tumor",)
    ),
    objective=Supervised(),
    scheme=SEPARATE,  # 15 channels
    sampling=PositiveNegativeCrop(PATCH, per_case=4, positive_share=0.5, negatives_above=0.0),  # [P 2.2, C]
    augmentation=(Mirror(0.5, nnunet.ALL),),  # [P 3.2] flips; probability [ours]
    network=NETWORK,
    loss=DeepSupervision(  # [P 2.3] one level; squares and smoothing [S]
        DiceCrossEntropy(background=True, squared=True, smooth_numerator=0.0, smooth_denominator=1e-6)
    ),
    optimization=Optimization(  # [P table 2]: 4 cases of 4 patches; decay [S]
        AdamW(2e-4, 1e-5),
        WarmupCosine(10, start=0.0),
        epochs=100,
        batch=16,  # warm-up [ours]
    ),
    start="pretraining",  # [P table 2]
)

SWINX = System(
    key="swinx",
    title="Swin-X Seg, pretrained by self-distillation",
    reference="Rangnekar et al., 3D Swin transformer for partial medical auto segmentation, FLARE 2023",
    stages=(TEACHER, PRETRAINING, FINETUNING),
    inference=SlidingEnsemble(("finetuning",), nnunet.sliding(PATCH), region=BODY),  # [P 2.4, C]
    limits=Limits(time_s=15, memory_mib=4096),  # the challenge's; the paper speaks of 60 s
    departures=DEPARTURES,
    profiles=PROFILES,
    ablations=ABLATIONS,
)
