"""One test for every system: it builds, learns, predicts, and survives the disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_core.cases.labels import TARGETS
from flare_core.inference.predict import find_images, predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.recipe import AS_PUBLISHED, PROFILES, decode, encode, fingerprint
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import begins_as_he, describe, describe_as_text
from flare_core.training.batch import Workers, draw_batch
from flare_core.training.objective import Supervised
from flare_core.training.prepare import prepare_cases
from flare_core.training.run import Run
from flare_core.training.schedule import train_system

each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)


@pytest.fixture(scope="module")
def trained(tiny_dataset, tmp_path_factory):
    """A run of every system in the smoke profile."""
    return {
        key: train_system(Run(system.at("smoke"), "smoke", tiny_dataset, tmp_path_factory.mktemp(key)))
        for key, system in SYSTEMS.items()
    }


@pytest.mark.parametrize(
    ("draw", "is_he"),
    [
        (lambda weight: torch.nn.init.kaiming_normal_(weight, a=0.01), True),
        (torch.nn.init.kaiming_uniform_, False),
        (torch.nn.init.xavier_normal_, False),
        (lambda weight: weight, False),  # torch's own
    ],
)
def test_hes_normal_initialization_is_told_from_others(draw, is_he):
    class Network:
        def build(self, channels):
            module = torch.nn.Sequential(torch.nn.Conv3d(1, 64, 5), torch.nn.ConvTranspose3d(64, channels, 2))
            for layer in module:
                draw(layer.weight)
            return module

    state = torch.get_rng_state()
    assert begins_as_he(Network()) == is_he
    assert torch.equal(torch.get_rng_state(), state)


@each_system
def test_every_parameter_gets_a_gradient_and_ten_steps_lower_the_loss(system, tiny_dataset, tmp_path):
    for stage in system.at("smoke").stages:
        entries = stage.cases(tiny_dataset.training)[:1]
        (case,) = prepare_cases(stage, entries, lambda entry: entry.load(), tmp_path / stage.name).values()
        torch.manual_seed(0)
        module = stage.network.build(stage.scheme.channels)
        optimizer = torch.optim.Adam(module.parameters(), 5e-3)
        still = replace(stage, augmentation=())
        lesson = stage.objective.lesson(stage, module)
        batch = draw_batch(still, [case], seed=0, epoch=0, step=0, workers=Workers())
        losses = []
        for _ in range(10):
            loss = lesson.loss(lambda *inputs, module=module: module(*inputs), batch)
            optimizer.zero_grad()
            loss.backward()
            silent = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
            assert not losses or not silent, silent  # a zero-initialized layer may wait for the first step
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]


@each_system
@pytest.mark.parametrize("profile", PROFILES)
def test_networks_take_the_patches_that_they_learn_from_in_every_experiment(system, profile):
    """On torch's meta device, which computes shapes alone; what is pretrained takes views of its own."""
    known = system.at(profile)
    stages = {stage for name in (AS_PUBLISHED, *system.ablations) for stage in known.ablated(name).stages}
    learners = [stage for stage in stages if isinstance(stage.objective, Supervised)]
    for network, channels, patch in {(s.network, s.scheme.channels, s.sampling.patch) for s in learners}:
        with torch.device("meta"):
            outputs = network.build(channels)(torch.zeros(2, 1, *patch))
        finest = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        assert finest.shape == (2, channels, *patch)


@each_system
def test_a_submission_predicts_legal_labels_in_the_images_geometry(system, trained, tiny_dataset, tmp_path):
    import nibabel

    entry = tiny_dataset.validation[0]
    submission = load_submission(trained[system.key])
    report = predict_files([(entry.id, entry.image)], tmp_path, submission, submission_hash(trained[system.key]))
    assert not report.failures
    image, labels = nibabel.load(entry.image), nibabel.load(tmp_path / f"{entry.id}.nii.gz")
    assert labels.shape == image.shape and np.array_equal(labels.affine, image.affine)
    assert labels.get_data_dtype() == np.uint8
    assert set(np.unique(labels.dataobj)) <= {0, *(target.id for target in TARGETS)}
    assert find_images([tmp_path]) == [(entry.id, tmp_path / f"{entry.id}.nii.gz")]


@each_system
def test_training_again_does_nothing_and_a_changed_stage_is_trained_elsewhere(system, trained, tiny_dataset):
    folder = trained[system.key].parent
    run = Run(system.at("smoke"), "smoke", tiny_dataset, folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint.pt")}
    train_system(run)
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint.pt")}
    last = system.stages[-1].name
    changed = replace(system.at("smoke").stage(last), folds=7)
    assert run.stage_folder(changed) != run.stage_folder(system.at("smoke").stage(last))


@each_system
@pytest.mark.parametrize("profile", PROFILES)
def test_a_system_is_a_value_that_json_gives_back(system, profile):
    from flare_core.inference.stored_network import PARTS as NETWORK_PARTS
    from flare_core.inference.submission import PARTS

    value = system.at(profile)
    assert decode(encode(value.inference), PARTS) == value.inference
    for stage in value.stages:
        assert decode(encode(stage.network), NETWORK_PARTS) == stage.network
    assert fingerprint(value) == fingerprint(system.at(profile)) == fingerprint(replace(value))


@each_system
def test_what_a_profile_changes_is_listed_with_its_reason(system):
    for overrides in system.profiles.values():
        assert all(len(override.reason) > 2 for override in overrides)
    text = describe_as_text(system, "mini")
    for override in system.profiles["mini"]:
        assert f"{override.where}: {override.reason}" in text
    assert describe(system, "paper")["overrides"] == []
