"""dkfz: nnU-Net for pan-cancer, one network or two (Kirchhoff et al.: FLARE 2024, Task 1).

Published result, public validation set: tumor DSC 13.5 (batch 8; 45 s and 5.8 to 6.9 GB a case), 15.6 (batch 4 and 8;
72 s and 5.6 to 8.9 GB).
Run it: `flare train dkfz_bs4_8 --data DATASET --profile paper -o RUN`.

Sources: [P §] the paper; [N] nnU-Net version 2 (`nnunet.py`); [ours].
"""

from dataclasses import replace

from flare_core.cases.preprocessing import ClipAndStandardize, Preprocessing
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.models.unet import PlainUNet, ResidualEncoderUNet
from flare_core.recipe import Limits, Stage, System
from flare_core.systems import nnunet
from flare_core.systems.dkfz_profiles import ABLATIONS, DEPARTURES, PROFILES
from flare_core.training.objective import Supervised
from flare_core.training.selection import LABELED, AsGiven

PATCH = (160, 160, 96)  # [P table 2]

BATCH8 = Stage(
    name="batch8",
    purpose="segment tumors, taught by all labeled cases as they are",
    cases=LABELED,  # [P 3.2]
    labels=AsGiven(),  # [P 3.2] partial labels as full labels
    scheme=nnunet.TUMOR_ONLY,
    preprocessing=Preprocessing(
        spacing_mm=(0.8, 0.8, 1.0),  # [P 2]
        intensity=ClipAndStandardize(-900, 619, mean_hu=-52.2, deviation_hu=268.8),  # [P 2]
    ),
    sampling=nnunet.oversampling(PATCH),  # [P 3.2, N]
    augmentation=nnunet.augmentation(PATCH),  # [P 3.2, N]
    network=PlainUNet(  # [P 2, figure 1] the default configuration; 30.79 M
        features=(32, 64, 128, 256, 320, 320),
        kernels=((3, 3, 3),) * 6,
        strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)),  # [N] for this patch
        convolutions=(2,) * 6,
        decoder_convolutions=(2,) * 5,
    ),
    loss=nnunet.LOSS,  # [P table 2, N]
    optimization=replace(nnunet.OPTIMIZATION, batch=8),  # [P table 2, N]
    validation=nnunet.last_epoch(PATCH),  # [N]
    folds=5,  # [N]
    trained_folds=(0,),  # [ours]
    objective=Supervised(),
)
RESIDUAL_ENCODER = ResidualEncoderUNet(  # [N] residual encoder M; 101.94 M, the parameters of table 2
    BATCH8.network.features,
    BATCH8.network.kernels,
    BATCH8.network.strides,
    blocks=(1, 3, 4, 6, 6, 6),
    decoder_convolutions=(1,) * 5,
)
BATCH4 = replace(BATCH8, name="batch4", optimization=replace(BATCH8.optimization, batch=4))  # [P 3.3]

DKFZ_BS8 = System(
    key="dkfz_bs8",
    title="nnU-Net, batch 8",
    reference="Kirchhoff et al., Efficient pan-cancer lesion segmentation with nnU-Net, FLARE 2024 Task 1",
    stages=(BATCH8,),
    inference=SlidingEnsemble(("batch8",), nnunet.sliding(PATCH), average="logits"),  # [P 2] no mirroring, no softmax
    limits=Limits(time_s=45, memory_mib=4096),  # [P 3.1]
    departures=DEPARTURES,
    profiles=PROFILES["dkfz_bs8"],
    ablations=ABLATIONS["dkfz_bs8"],
)
DKFZ_BS4_8 = replace(
    DKFZ_BS8,
    key="dkfz_bs4_8",
    title="nnU-Net, batch 4 and batch 8 averaged",
    stages=(BATCH4, BATCH8),
    inference=replace(DKFZ_BS8.inference, members=("batch4", "batch8")),  # [P 3.3]
    profiles=PROFILES["dkfz_bs4_8"],
    ablations=ABLATIONS["dkfz_bs4_8"],
)
