"""Workers of a scheduler predict the same bytes as one process does, and what is there already is skipped."""

import logging
import shutil

import pytest
from distributed import LocalCluster

from flare_core import cli
from flare_core.batch import SERIAL
from flare_core.inference.backends import choose_compute
from flare_core.inference.predict import Reading, find_images
from flare_core.inference.predict_in_workers import Model, PredictCase, predict_in_workers
from flare_core.inference.stored_network import BadModel
from flare_core.paths import WEIGHTS


def test_workers_of_a_scheduler_predict_what_one_process_predicts(tiny_cohort, tmp_path):
    images = sorted((tiny_cohort / "imagesVal").glob("*.nii.gz"))
    command = ["predict", *map(str, images), "--model", str(WEIGHTS / "dkfz_bs8"), "--backend", "torch"]
    assert cli.main([*command, "-o", str(tmp_path / "one")]) == cli.DONE
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.ERROR
    ) as cluster:
        given = [*command, "-o", str(tmp_path / "many"), "--scheduler", cluster.scheduler_address]
        assert cli.main(given) == cli.DONE
    for path in sorted((tmp_path / "one").glob("*.nii.gz")):
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()


def test_a_case_is_predicted_by_a_submission_that_is_loaded_once(tiny_cohort, tmp_path, caplog):
    images = find_images([tiny_cohort / "imagesVal"])
    model = Model(WEIGHTS / "dkfz_bs8", choose_compute("torch", "cpu"), skip_air_hu=-500.0)
    assert model.name.endswith(", without air below -500")
    caplog.set_level(logging.INFO, predict_in_workers.__module__)
    first = predict_in_workers(images, tmp_path, model, Reading(), engine=SERIAL)
    said = [record.message for record in caplog.records if record.name == predict_in_workers.__module__]
    assert len(said) == 2 and said[0].startswith(f"plan for {images[0][0]}: ") and "windows at a time" in said[0]
    assert (first.done, len(first.skipped), first.failures) == (2, 0, {})
    again = predict_in_workers(images, tmp_path, model, Reading(), engine=SERIAL)
    assert (again.done, len(again.skipped)) == (0, 2)
    assert PredictCase(model, model.name, tmp_path, Reading())(images[0]).result.reused


def test_a_submission_that_changes_under_a_long_lived_worker_is_loaded_anew_or_refused(tiny_cohort, tmp_path):
    images, folder = find_images([tiny_cohort / "imagesVal"]), tmp_path / "model"
    shutil.copytree(WEIGHTS / "dkfz_bs8", folder)
    model = Model(folder, choose_compute("torch", "cpu"))
    before = model.name
    assert predict_in_workers(images, tmp_path / "out", model, Reading(), engine=SERIAL).done == 2
    description = folder / "submission.json"
    description.write_text(description.read_text() + "\n")
    assert model.name != before
    again = predict_in_workers(images, tmp_path / "out", model, Reading(), engine=SERIAL)
    assert (again.done, len(again.skipped)) == (2, 0), "by what is there now"
    with pytest.raises(BadModel, match="has changed since this run began"):
        PredictCase(model, before, tmp_path / "out", Reading())(images[0])
