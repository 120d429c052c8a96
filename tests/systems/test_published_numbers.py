"""Every published hyper-parameter against the papers' tables and texts."""

from dataclasses import replace

import pytest

from flare_core.cases.augmentation import Mirror
from flare_core.cases.intensity import LowResolution
from flare_core.cases.labels import ORGAN_NAMES
from flare_core.cases.spatial import SpatialTransform
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import count_parameters
from flare_core.systems.dkfz import DKFZ_BS4_8, DKFZ_BS8, RESIDUAL_ENCODER
from flare_core.systems.efficient_nnunet import EFFICIENT_NNUNET
from flare_core.systems.nvauto import NVAUTO
from flare_core.systems.stmt import STMT
from flare_core.systems.swinx import SWINX
from flare_core.training.optimization import WarmupCosine


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
    assert teacher.preprocessing.order == student.preprocessing.order == 3, "third-order splines"
    assert (teacher.optimization.epochs, len(teacher.trained_folds)) == (1000, 5)
    assert teacher.network.features == (32, 64, 128, 256, 320, 320)
    for stage in (teacher, student, tumor):
        optimizer, plan = stage.optimization.optimizer, stage.optimization
        assert (optimizer.learning_rate, optimizer.momentum, plan.schedule.power, plan.batch) == (0.01, 0.99, 0.9, 2)
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
        (STMT, "teacher", 36_522_660 - 14 * 312),  # without a head that the authors define and never use
        (STMT, "locator", 26_975_450),
        (STMT, "organs", 25_792_462),
        (STMT, "tumor", 25_786_450),
        (SWINX, "finetuning", 30_298_677),
    ],
)
def test_the_networks_have_the_published_size(system, stage, weights):
    assert count_parameters(system, stage) == weights


def test_dkfz_in_the_tables_reading_has_the_tables_size():
    stage = replace(DKFZ_BS8.stage("batch8"), network=RESIDUAL_ENCODER)
    system = replace(DKFZ_BS8, stages=(stage,))
    assert count_parameters(system, "batch8") == 101_940_170


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_nnunet_augments_slice_by_slice_where_a_side_is_over_three_times_another(system):
    for stage in system.stages:
        spatial = [part for part in stage.augmentation if isinstance(part, SpatialTransform)]
        patch = stage.sampling.patch if hasattr(stage.sampling, "patch") else stage.sampling.shape
        for part in spatial:
            assert (part.axes == (0, 1)) == (max(patch) / min(patch) > 3), (stage.name, patch)
            assert (part.rotation.angle_rad > 3) == (part.axes == (0, 1))
        for part in stage.augmentation:
            if spatial and isinstance(part, LowResolution):
                assert part.axes == spatial[0].axes


def test_stmt():
    """Table 2 and sections 2.1 to 3.2."""
    teacher, locator, organs, supervised, tumor = STMT.stages
    assert locator.preprocessing.shape == (128, 128, 128) and organs.preprocessing.shape == (192, 192, 192)
    assert [stage.optimization.batch for stage in (locator, organs, tumor)] == [2, 3, 2]
    for stage in (locator, organs, supervised, tumor):
        optimizer = stage.optimization.optimizer
        assert (stage.optimization.epochs, optimizer.learning_rate, optimizer.momentum) == (500, 0.01, 0.99)
        assert stage.optimization.schedule.power == 0.9
        assert stage.optimization.gradient_clip == (12 if stage is organs else None), "the code's configurations"
        assert stage.network.features[0] == 16 and len(stage.network.strides) - 1 == 5
        assert stage.labels.teacher == "teacher" and stage.labels.never == ("tumor",)
    assert organs.objective.group_weights == (1.0, 1.0, 0.5) and len(organs.cases.groups) == 3
    assert (tumor.objective.decay, tumor.objective.pseudo_weight, tumor.start) == (0.99, 1.0, "tumor_supervised")
    for stage in (locator, organs, supervised, tumor):
        kinds = [type(part).__name__ for part in stage.augmentation]
        assert "Mirror" not in kinds and stage.augmentation[0].elastic, "section 3.2's list"
    assert locator.labels.inference.window.mirror_axes == (0, 1, 2), "nnU-Net's default"
    assert tumor.scheme.groups == (("tumor",),) and locator.scheme.channels == 2
    assert teacher.optimization.epochs == 1000 and teacher.sampling.patch == (192, 224, 40)
    assert teacher.preprocessing.order == 3, "nnU-Net's default"
    assert (STMT.limits.time_s, STMT.limits.memory_mib) == (15, 4096)
    assert STMT.inference.margin_mm == (10, 10, 40) and STMT.inference.organ_rules[0].targets == ORGAN_NAMES
    for name in ("complete_only", "without_unlabeled"):
        organs_alone = STMT.ablated(name)
        assert organs_alone.segments_organs and not organs_alone.segments_tumors, "table 3 has no tumor for these"
    assert STMT.segments_tumors, "though the locator's network takes organs and tumors for one"


def test_swinx():
    """Table 2, sections 2.2 to 3.2, and SMIT's constants."""
    _, pretraining, finetuning = SWINX.stages
    assert finetuning.preprocessing.spacing_mm == (1, 1, 1) == pretraining.preprocessing.spacing_mm
    intensity, sampling, plan = finetuning.preprocessing.intensity, finetuning.sampling, finetuning.optimization
    assert (intensity.low_hu, intensity.high_hu) == (-250, 250)
    assert (sampling.patch, sampling.per_case, sampling.positive_share) == ((96, 96, 96), 4, 0.5)
    assert (plan.epochs, plan.batch // sampling.per_case, plan.optimizer.learning_rate) == (100, 4, 2e-4)
    assert isinstance(plan.schedule, WarmupCosine) and finetuning.augmentation == (Mirror(0.5, (0, 1, 2)),)
    assert (SWINX.limits.time_s, SWINX.limits.memory_mib) == (15, 4096)
    assert finetuning.steps_per_epoch(735) == 184, "735 cases of 4 patches in batches of 16"
    assert finetuning.scheme.channels == 15 and finetuning.start == "pretraining"
    assert SWINX.inference.window.overlap == 0.5 and SWINX.inference.window.window == (96, 96, 96)
    assert (SWINX.inference.region.threshold_hu, SWINX.inference.postprocessing) == (-250, ())
    smit, network = pretraining.objective, pretraining.network
    assert (smit.mask_ratio, smit.weights, smit.decay, smit.center_momentum) == (0.7, (1.0, 0.1, 0.1), 0.996, 0.9)
    assert (smit.student_temperature, smit.teacher_temperature, smit.warm_epochs) == (0.1, (0.04, 0.07), 30)
    assert (network.mask_cube, network.head_width, network.head_bottleneck, network.prototypes) == (16, 2048, 256, 8192)
    assert (pretraining.sampling.outer, pretraining.sampling.patch) == ((128, 128, 128), (96, 96, 96))
    assert (pretraining.optimization.epochs, pretraining.optimization.batch) == (500, 6)
