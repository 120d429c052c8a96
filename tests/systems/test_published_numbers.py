"""Every published hyper-parameter against the papers' tables and texts."""

import pytest

from flare_core.systems.describe import count_parameters
from flare_core.systems.dkfz import DKFZ_BS4_8, DKFZ_BS8
from flare_core.systems.efficient_nnunet import EFFICIENT_NNUNET
from flare_core.systems.nvauto import NVAUTO


def test_nvauto():
    """Tables 2 and 3 and sections 2.1 to 2.6."""
    stage, inference = NVAUTO.stage("round2"), NVAUTO.inference
    assert stage.preprocessing.spacing_mm == (1, 1, 1)
    assert (stage.preprocessing.intensity.low_hu, stage.preprocessing.intensity.high_hu) == (-250, 250)
    assert stage.sampling.patch == (224, 224, 224) and stage.sampling.odds == ()
    assert (stage.network.width, stage.network.blocks) == (32, (1, 2, 2, 4, 4))
    assert stage.optimization.optimizer.learning_rate == 2e-4 and stage.optimization.optimizer.weight_decay == 1e-5
    assert (stage.optimization.epochs, stage.optimization.batch) == (300, 8)
    assert stage.optimization.schedule.warmup_epochs == 3
    assert stage.folds == 5 and stage.trained_folds == (0, 1, 2, 3, 4) and stage.scheme.channels == 13
    localizer = NVAUTO.stage("localizer")
    assert localizer.preprocessing.spacing_mm == (4, 4, 4) and localizer.sampling.patch == (128, 128, 128)
    assert (localizer.network.width, localizer.network.blocks) == (16, (1, 2, 2, 4))
    assert (inference.window.window, inference.window.overlap) == ((224, 224, 224), 0.0)
    assert inference.postprocessing[-1].minimum_voxels == 100
    assert (NVAUTO.limits.time_s, NVAUTO.limits.memory_mib) == (15, 4096)


def test_dkfz():
    """Table 2 and sections 2 and 3."""
    for batch, stage in ((4, DKFZ_BS4_8.stage("batch4")), (8, DKFZ_BS8.stage("batch8"))):
        intensity, plan = stage.preprocessing.intensity, stage.optimization
        assert stage.preprocessing.spacing_mm == (0.8, 0.8, 1.0)
        assert (intensity.low_hu, intensity.high_hu, intensity.mean_hu, intensity.deviation_hu) == (
            -900,
            619,
            -52.2,
            268.8,
        )
        assert stage.sampling.patch == (160, 160, 96) and stage.sampling.forced_share == 0.33
        assert (plan.batch, plan.epochs, plan.steps_per_epoch, plan.gradient_clip) == (batch, 1000, 250, 12)
        assert (plan.optimizer.learning_rate, plan.optimizer.momentum, plan.optimizer.weight_decay) == (
            1e-2,
            0.99,
            3e-5,
        )
        assert plan.schedule.power == 0.9 and len(stage.network.features) == 6 and stage.scheme.channels == 2
        assert stage.loss.normalized and stage.loss.drop_coarsest and stage.validation.keep == "last"
    assert DKFZ_BS8.inference.average == "logits" and DKFZ_BS4_8.inference.stages == ("batch4", "batch8")
    assert (DKFZ_BS8.limits.time_s, DKFZ_BS8.limits.memory_mib) == (45, 4096)
    assert DKFZ_BS8.stage("batch8") == DKFZ_BS4_8.stage("batch8") and not DKFZ_BS8.segments_organs


def test_efficient_nnunet():
    """Tables 2 and 3 and sections 2.1 to 3.2; patches and spacings are printed z, y, x."""
    teacher, student, tumor = EFFICIENT_NNUNET.stages
    assert (teacher.preprocessing.spacing_mm, teacher.sampling.patch) == ((0.86, 0.86, 2.5), (192, 192, 64))
    for stage in (student, tumor):
        assert (stage.preprocessing.spacing_mm, stage.sampling.patch) == ((1.2, 1.2, 4.0), (192, 128, 32))
        assert stage.network.features == (16, 32, 64, 128, 256) and stage.optimization.epochs == 1500
        assert stage.augmentation[0].axes == (0, 1)
    assert (teacher.optimization.epochs, len(teacher.trained_folds)) == (1000, 5)
    assert all(
        stage.optimization.optimizer.learning_rate == 0.01 and stage.optimization.batch == 2
        for stage in (teacher, student)
    )
    kinds = [{type(part).__name__ for part in stage.augmentation} for stage in (teacher, student)]
    assert kinds[1] == {"SpatialTransform", "Brightness", "Gamma"}
    assert kinds[0] == kinds[1] | {"GaussianNoise", "LowResolution"}
    assert EFFICIENT_NNUNET.inference.organs.window.window == (192, 128, 32)
    assert (EFFICIENT_NNUNET.limits.time_s, EFFICIENT_NNUNET.limits.memory_mib) == (15, 4096)


@pytest.mark.parametrize(
    ("system", "stage", "weights"),
    [
        (NVAUTO, "round2", 87_169_524),
        (NVAUTO, "localizer", 4_980_630),
        (DKFZ_BS8, "batch8", 30_785_994),
        (EFFICIENT_NNUNET, "teacher", 31_122_758),
        (EFFICIENT_NNUNET, "student", 5_630_488),
    ],
)
def test_the_networks_have_the_published_size(system, stage, weights):
    assert count_parameters(system, stage) == weights
