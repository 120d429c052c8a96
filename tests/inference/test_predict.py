"""Prediction over files: every case ends as a complete file or with its reason."""

import itertools
import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_networks import Sees, Threshold, fake_network

from flare_core.attempt import Outcome
from flare_core.batch import summary_file
from flare_core.cases.labels import SEPARATE
from flare_core.cases.nifti import Geometry, read_labels, write_image
from flare_core.inference.planner import Plan, Planner, TooLarge
from flare_core.inference.postprocessing import RemoveSmall
from flare_core.inference.predict import BadRequest, CaseSteps, Reading, find_images, predict_files
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.submission import Submission
from flare_core.ledger import read_ledger
from flare_core.output_lock import OutputInUse, only_run
from flare_core.storage import refuse_inside


@pytest.fixture
def submission():
    return Submission(Threshold(), {}, {})


@pytest.fixture
def images(tmp_path) -> Path:
    """Three images in different orientations; the second file is cut short."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, axes in (("a_0000", "RAS"), ("b_0000", "LPS"), ("c", "PSR")):
        geometry = Geometry.from_spacing((6, 7, 8), (1, 2, 3), axes=axes)
        write_image(folder / f"{name}.nii.gz", rng.normal(0, 100, geometry.ras_shape).astype(np.float32), geometry)
    cut = folder / "b_0000.nii.gz"
    cut.write_bytes(cut.read_bytes()[:200])
    return folder


def test_ids_lose_the_channel_and_twins_missing_files_or_nothing_at_all_are_refused(images, tmp_path):
    assert [name for name, _ in find_images([images])] == ["a", "b", "c"]
    assert [name for name, _ in find_images([images / "c.nii.gz"])] == ["c"]
    shutil.copy(images / "c.nii.gz", images / "c_0000.nii.gz")
    with pytest.raises(BadRequest, match="share the case id 'c'"):
        find_images([images])
    with pytest.raises(BadRequest, match="no such file"):
        find_images([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="no .nii"):
        find_images([tmp_path / "empty"])


def test_a_bad_case_is_named_and_the_others_are_done_in_their_own_geometry(images, submission, tmp_path):
    out = tmp_path / "out"
    report = predict_files(find_images([images]), out, submission, "m")
    assert set(report.results) == {"a", "c"} and "cut" in report.failures["b"]
    assert sorted(p.name for p in out.iterdir()) == [".flare", "a.nii.gz", "c.nii.gz"]
    summary = json.loads(summary_file(out).read_text())
    assert [summary[name] for name in ("found", "done", "failed", "skipped")] == [3, 2, 1, 0]
    import nibabel

    for name, source in (("a", "a_0000"), ("c", "c")):
        image, labels = nibabel.load(images / f"{source}.nii.gz"), nibabel.load(out / f"{name}.nii.gz")
        assert np.array_equal(labels.affine, image.affine)
        assert np.array_equal(np.asarray(labels.dataobj) == 1, image.get_fdata() > 0)
    assert read_labels(out / "c.nii.gz").data.shape == read_labels(out / "c.nii.gz").geometry.ras_shape


def test_series_and_missing_spacings_are_read_as_told_and_again_when_told_otherwise(submission, tmp_path):
    import nibabel

    series = np.stack([np.full((4, 5, 6), value, np.int16) for value in (-50, 50)], axis=-1)
    series[0, 0, 0] = -1000
    source = nibabel.Nifti1Image(series, np.diag((1.0, 2.0, 3.0, 1.0)))
    nibabel.save(source, tmp_path / "series.nii.gz")
    found, out = find_images([tmp_path / "series.nii.gz"]), tmp_path / "out"
    assert "--volume" in predict_files(found, out, submission, "m").failures["series"]
    for volume, voxels in ((0, 0), (1, 4 * 5 * 6 - 1)):
        report = predict_files(found, out, submission, "m", Reading(volume=volume))
        assert not report.failures and not report.results["series"].reused
        assert (read_labels(out / "series.nii.gz").data > 0).sum() == voxels
    header = nibabel.Nifti1Image(series[..., 0], None).header
    header.set_data_shape((4, 5, 6))
    header["pixdim"][1:4] = 0
    bare = bytearray(nibabel.Nifti1Image(series[..., 0], None, header).to_bytes())
    bare[76:108] = bytes(32)  # pixdim
    bare[252:256] = bytes(4)  # both form codes
    (tmp_path / "bare.nii").write_bytes(bytes(bare))
    found = find_images([tmp_path / "bare.nii"])
    assert "--assume-spacing" in predict_files(found, out, submission, "m").failures["bare"]
    assert not predict_files(found, out, submission, "m", Reading(assume_spacing_mm=(1, 1, 2))).failures


def test_a_rerun_repeats_only_what_is_missing_or_made_otherwise(images, submission, tmp_path):
    out, found = tmp_path / "out", find_images([images])
    predict_files(found, out, submission, "m")
    assert submission.inference.calls == 2
    assert all(p.reused for p in predict_files(found, out, submission, "m").results.values())
    (out / "a.nii.gz").unlink()
    predict_files(found, out, submission, "m")
    assert submission.inference.calls == 3
    predict_files(found, out, submission, "another model")
    assert submission.inference.calls == 5


def test_an_output_folder_inside_an_input_folder_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match="lies in the input folder"):
        refuse_inside(images / "deep" / "labels", [images])
    refuse_inside(images.parent / "labels", [images])
    refuse_inside(images / "labels", [images / "c.nii.gz"])  # a single file: `flare predict CT.nii.gz -o labels`


def test_output_folders_that_cannot_be_are_refused_before_any_case(images, submission, tmp_path):
    with pytest.raises(BadRequest, match="folder of the input images"):
        predict_files(find_images([images]), images, submission, "m")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match="cannot write"):
        predict_files(find_images([images]), tmp_path / "file", submission, "m")
    assert submission.inference.calls == 0


def test_the_record_says_where_the_time_went_and_how_many_windows_were_run(images, tmp_path):
    inference = SlidingEnsemble(("all",), SlidingWindow((4, 4, 4)), postprocessing=(RemoveSmall("tumor", 3),))
    network = replace(fake_network(SEPARATE), facts={"stage": "all"})
    predict_files(find_images([images]), tmp_path / "out", Submission(inference, {"all": [network] * 2}, {}), "m")
    record = json.loads((tmp_path / "out" / ".flare" / "a.json").read_text())
    steps = {"read", "resample", "network", "reduce", "postprocess", "other", "write"}
    assert set(record["timings"]) == steps
    assert sum(record["timings"].values()) == pytest.approx(record["seconds"], abs=0.01)
    assert set(record["stages"]) == {"all"} and 0 < record["stages"]["all"] <= record["timings"]["network"]
    grid = (2, 4, 6)  # 6 x 7 x 8 voxels of 1 x 2 x 3 mm at 4 mm
    assert record["windows"] == 2 * len(SlidingWindow((4, 4, 4)).layers((4, 4, grid[2])))
    assert record["network_voxels"] == 4**3 * record["windows"]
    assert record["made_from"]["computed_by"] == "torch on cpu" and record["plan"]["estimate"] is None


def test_with_a_memory_limit_a_plan_is_made_for_each_image_or_the_case_refused(images, tmp_path):
    inference = SlidingEnsemble(("all",), SlidingWindow((4, 4, 4), batch=2))
    submission = Submission(inference, {"all": [fake_network(SEPARATE)]}, {})
    report = predict_files(find_images([images]), tmp_path / "out", submission, "m", max_memory=64 * 10**9)
    assert list(report.results) == ["a", "c"] and "cut short" in report.failures["b"]
    plan = json.loads((tmp_path / "out" / ".flare" / "c.json").read_text())["plan"]
    assert plan["batch"] == 2 and plan["estimate"] > 50 * 10**6
    planner = Planner(submission, 64 * 10**9)
    planner.limit = 10**6  # as if the networks alone had fitted
    with pytest.raises(TooLarge, match=r"c.nii.gz: an image of .* voxels needs at least .*; raise") as refused:
        CaseSteps(tmp_path / "out", planner, "other", Reading()).read(find_images([images])[-1])
    assert not Outcome.of_error(refused.value).may_pass
    with pytest.raises(TooLarge, match="any image needs at least"):
        predict_files(find_images([images]), tmp_path / "out2", submission, "m", max_memory=10**6)


def test_the_plan_is_said_and_carried_out(images, tmp_path, monkeypatch, caplog):
    seen = set()

    class Watching(Sees):
        def forward(self, x):
            seen.add(len(x))
            return super().forward(x)

    inference = SlidingEnsemble(("all",), SlidingWindow((2, 2, 4), batch=2))
    network = fake_network(SEPARATE, Watching(*range(1, SEPARATE.channels)))
    submission, found = Submission(inference, {"all": [network]}, {}), find_images([images])
    caplog.set_level(logging.INFO)
    report = predict_files(found, tmp_path / "free", submission, "m")
    assert 2 in seen and "plan for c: float32, 2 windows at a time, no memory limit" in caplog.text
    assert report.results["c"].plan == Plan(2, "float32")
    monkeypatch.setattr(Planner, "plan", lambda *_: Plan(1, "float32", estimate=10**9))
    seen.clear()
    predict_files(found, tmp_path / "tight", submission, "m", max_memory=10**9)
    assert seen == {1} and "plan for c: float32, 1 window at a time, about 1.00 GB at most" in caplog.text


def test_damaged_records_and_label_files_are_made_again(images, submission, tmp_path):
    def predict():
        return predict_files(find_images([images / "a_0000.nii.gz"]), tmp_path / "out", submission, "m").results["a"]

    labels, record = tmp_path / "out" / "a.nii.gz", tmp_path / "out" / ".flare" / "a.json"
    predict()
    whole = labels.read_bytes()
    assert predict().reused
    for damage in (
        lambda: record.write_text("{trunc"),
        lambda: record.write_text("[]"),
        lambda: labels.write_bytes(b""),
    ):
        damage()
        assert not predict().reused and labels.read_bytes() == whole
        assert predict().reused


def test_what_is_warned_of_while_a_case_is_computed_is_in_its_record_and_said_with_its_name(tmp_path, caplog):
    geometry = Geometry.from_spacing((6, 6, 6), (4, 4, 4))
    write_image(tmp_path / "air_0000.nii.gz", np.full((6, 6, 6), -1000, np.float32), geometry)
    inference = SlidingEnsemble(("all",), SlidingWindow((4, 4, 4)))
    submission = Submission(inference, {"all": [fake_network(SEPARATE)]}, {})
    predict_files(find_images([tmp_path / "air_0000.nii.gz"]), tmp_path / "out", submission, "m")
    warnings = json.loads((tmp_path / "out" / ".flare" / "air.json").read_text())["warnings"]
    assert sum("nothing to segment" in warning for warning in warnings) >= 2, "reading's and inference's"
    assert not [warning for warning in warnings if "air: " in warning]
    said = [message for message in caplog.messages if "the label map is empty" in message]
    assert said and all(message.startswith("air: the image is constant") for message in said)


def test_c2_20_c2_21_labels_lie_in_the_body_as_their_image_does_whatever_its_axes(submission, tmp_path):
    """48 orders and directions of the axes, each straight and turned by 20 degrees (a gantry tilt)."""
    import nibabel
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

    ras = np.random.default_rng(0).normal(0, 100, (4, 5, 6)).astype(np.int16)
    angle = np.deg2rad(20)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for kind, turn in (("straight", np.eye(3)), ("tilted", tilt)):
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag((0.8, 0.9, 5))
        for order in itertools.permutations(("RL", "AP", "SI")):
            for axes in itertools.product(*order):
                transform = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
                stored = nibabel.apply_orientation(ras, transform)
                image = nibabel.Nifti1Image(stored, affine @ inv_ornt_aff(transform, ras.shape))
                nibabel.save(image, tmp_path / f"{kind}_{''.join(axes)}.nii.gz")
    report = predict_files(find_images([tmp_path]), tmp_path / "out", submission, "m")
    assert len(report.results) == 96 and not report.failures
    for path in sorted(tmp_path.glob("*.nii.gz")):
        image, labels = nibabel.load(path), nibabel.load(tmp_path / "out" / path.name)
        np.testing.assert_array_equal(labels.affine, image.affine)
        np.testing.assert_array_equal(np.asanyarray(labels.dataobj), np.asanyarray(image.dataobj) > 0)


def test_c2_53_what_counts_for_a_rerun_is_the_content_whatever_the_clock_says(images, submission, tmp_path):
    def predict():
        return predict_files(find_images([images / "a_0000.nii.gz"]), tmp_path / "out", submission, "m").results["a"]

    predict()
    image, labels = images / "a_0000.nii.gz", tmp_path / "out" / "a.nii.gz"
    for moment in (0, 2**33):  # 1970 and 2242
        os.utime(image, (moment, moment))
        os.utime(labels, (2**33 - moment, 2**33 - moment))
        assert predict().reused
    before = image.stat()
    other = np.full((6, 7, 8), 50.0)
    write_image(image, other, Geometry.from_spacing((6, 7, 8), (1, 2, 3)))
    os.utime(image, (before.st_atime, before.st_mtime))
    os.utime(labels, (2**33, 2**33))
    assert not predict().reused and read_labels(labels).data.all()


def test_cases_may_be_called_like_what_lies_in_the_state_folder(images, submission, tmp_path):
    out, names = tmp_path / "out", ["ledger", "lock", "summary"]
    for name in names:
        shutil.copyfile(images / "a_0000.nii.gz", tmp_path / f"{name}_0000.nii.gz")
    found = find_images(sorted(tmp_path.glob("*.nii.gz")))
    assert predict_files(found, out, submission, "m").done == len(names) == len(read_ledger(out))
    assert predict_files(found, out, submission, "m").skipped == set(names)
    assert json.loads(summary_file(out).read_text())["skipped"] == len(names)


def test_a_folder_that_another_run_holds_is_not_even_probed(images, submission, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("flare_core.inference.predict.write_file", lambda path, _: written.append(path))
    with only_run(tmp_path / "out"), pytest.raises(OutputInUse):
        predict_files(find_images([images]), tmp_path / "out", submission, "m")
    assert not written
