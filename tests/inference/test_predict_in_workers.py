"""Workers of a scheduler predict the same bytes as one process does, and what is there already is skipped."""

import logging

from distributed import LocalCluster

from flare_core import cli
from flare_core.batch import SERIAL
from flare_core.inference.backends import choose_compute
from flare_core.inference.predict import Reading, find_images
from flare_core.inference.predict_in_workers import Model, PredictCase, predict_in_workers
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


def test_a_case_is_predicted_by_a_submission_that_is_loaded_once(tiny_cohort, tmp_path):
    images = find_images([tiny_cohort / "imagesVal"])
    model = Model(WEIGHTS / "dkfz_bs8", choose_compute("torch", "cpu"), skip_air_hu=-500.0)
    assert model.name.endswith(", without air below -500")
    first = predict_in_workers(images, tmp_path, model, Reading(), engine=SERIAL)
    assert (first.done, len(first.skipped), first.failures) == (2, 0, {})
    again = predict_in_workers(images, tmp_path, model, Reading(), engine=SERIAL)
    assert (again.done, len(again.skipped)) == (0, 2)
    assert PredictCase(model, tmp_path, Reading())(images[0]).result.reused
