"""The command line: exit codes, and that a chain of commands works on real files."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from flare_core import cli
from flare_core.cases.nifti import read_image, read_labels
from flare_core.evaluation.ranking import FLARE23_RANKING, HALF_COSTS, NO_TOLERANCE
from flare_core.inference.stored_network import BadModel
from flare_core.inference.submission import load_submission
from flare_core.paths import WEIGHTS
from flare_core.systems import SYSTEMS


def test_systems_lists_networks_with_their_parameters(capsys):
    assert cli.main(["systems", "--json"]) == cli.DONE
    listed = {item["key"]: item for item in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(SYSTEMS)
    assert {"role", "parameters"} <= set(listed["nvauto"]["networks"][0])
    assert 87_169_524 in [network["parameters"] for network in listed["nvauto"]["networks"]]
    assert cli.main(["systems", "nvauto", "--profile", "mini"]) == cli.DONE
    assert "what mini changes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["systems", "nobody"],
        ["predict", "nowhere", "-o", "out", "--model", "nowhere"],
        ["evaluate", "nowhere", "nowhere", "-o", "scores.csv"],
        ["evaluate", "nowhere", "nowhere", "-o", "scores.csv", "--rules", "mine"],
        ["analyze", "nowhere", "-o", "out"],
        ["train", "nvauto", "--data", "nowhere", "--profile", "mini", "-o", "out"],
        ["train", "nvauto", "--data", "nowhere", "--profile", "huge", "-o", "out"],
        ["cohort", "out", "--cases", "-1", "--seed", "0"],
        ["predict", "nowhere", "-o", "out", "--model", "nowhere", "--device", "gpu"],
        ["-v", "systems", "nobody"],
    ],
    ids=lambda arguments: "_".join(arguments[:2]),
)
def test_what_cannot_start_is_refused_in_one_line_with_exit_code_two(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == cli.REFUSED
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 or arguments[0] == "-v"
    assert lines[-1].startswith("flare ")


@pytest.mark.parametrize(
    "option",
    ["--skip-air nan", "--skip-air 99999", "--volume -1", "--assume-spacing nan 0 -1", "--assume-spacing 1 1 inf"],
)
def test_numbers_that_make_no_sense_are_refused_before_any_case(option, tmp_path, capsys):
    predict = ["predict", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(WEIGHTS / "nvauto")]
    name, *values = option.split()
    assert cli.main([*predict, name, *values]) == cli.REFUSED
    said = capsys.readouterr().err
    assert name in said and values[-1] in said
    assert not (tmp_path / "out").exists()


def test_train_predict_and_evaluate_follow_each_other(tiny_cohort, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    train = ["train", "nvauto", "--data", str(tiny_cohort), "--profile", "smoke", "-o", str(run)]
    assert cli.main(train) == cli.DONE
    assert cli.main(train) == cli.REFUSED  # not without --resume
    assert cli.main([*train, "--resume", "--jobs", "2"]) == cli.DONE
    predict = [
        "predict",
        str(tiny_cohort / "imagesVal"),
        "-o",
        str(out),
        "--model",
        str(run / "submission"),
        "--backend",
        "torch",
    ]
    assert cli.main(predict) == cli.DONE
    for image in (tiny_cohort / "imagesVal").iterdir():
        name = image.name.replace("_0000.nii.gz", ".nii.gz")
        assert np.array_equal(read_image(image).affine, read_labels(out / name).affine)
    evaluate = ["evaluate", str(out), str(tiny_cohort / "labelsVal"), "-o", str(tmp_path / "scores.csv")]
    assert cli.main(evaluate) == cli.DONE
    assert list(pd.read_csv(tmp_path / "scores.csv")) == ["case", "target", "dsc", "nsd"]
    next(out.glob("*.nii.gz")).unlink()
    assert cli.main(evaluate) == cli.SOME_FAILED
    capsys.readouterr()

    for trained in (run, run / "submission"):  # a run and a submission both carry the teacher
        filled = tmp_path / f"filled_by_{trained.name}"
        fill = ["pseudo-label", str(trained), "--data", str(tiny_cohort), "-o", str(filled)]
        assert cli.main(fill) == cli.DONE
        table = pd.read_csv(filled / "provenance.csv")
        assert set(table.source) == {"real", "pseudo", "none"}
        assert "pseudo" not in set(table[table.target == "tumor"].source)  # as the recipe says
        assert set(table.case.str.rpartition("_")[0]) == {"organs13", "organs5", "tumor_only"}
    assert cli.main(["pseudo-label", str(out), "--data", str(tiny_cohort), "-o", str(tmp_path / "f")]) == cli.REFUSED


def test_train_names_a_case_that_it_could_not_use_and_trains_on_the_others(tiny_cohort, tmp_path, capsys):
    data = shutil.copytree(tiny_cohort, tmp_path / "data")
    broken = next(image for image in sorted((data / "imagesTr").iterdir()) if image.name.startswith("organs13"))
    broken.write_bytes(broken.read_bytes()[:1000])
    train = ["train", "nvauto", "--data", str(data), "--profile", "smoke", "--stage", "round1", "--fold", "0"]
    assert cli.main([*train, "-o", str(tmp_path / "run")]) == cli.SOME_FAILED
    assert f"could not be used, see above: {broken.name[:-12]}\n" in capsys.readouterr().err
    assert list((tmp_path / "run").glob("round1-*/fold0/finished"))


def test_stages_folds_and_jobs_that_do_not_exist_are_refused_before_anything_is_trained(tiny_cohort, tmp_path, capsys):
    train = ["train", "nvauto", "--data", str(tiny_cohort), "--profile", "smoke", "-o", str(tmp_path / "run")]
    for wrong in (["--stage", "round9"], ["--stage", "round1", "--fold", "7"], ["--fold", "-1"], ["--jobs", "0"]):
        assert cli.main([*train, *wrong]) == cli.REFUSED
        assert not (tmp_path / "run").exists()
    (tmp_path / "scores").mkdir()
    assert cli.main(["evaluate", str(tiny_cohort), str(tiny_cohort), "-o", str(tmp_path / "scores")]) == cli.REFUSED


def test_what_messages_advise_is_there(capsys):
    for command, options in (
        ("predict", ("--volume", "--assume-spacing")),
        ("evaluate", ("--map", "--prediction-map")),
    ):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        assert all(option in text for option in options)


def test_evaluate_refuses_a_folder_beside_a_file(tiny_cohort, tmp_path, capsys):
    references = tiny_cohort / "labelsVal"
    arguments = ["evaluate", str(references), str(next(references.iterdir())), "-o", str(tmp_path / "s.csv")]
    assert cli.main(arguments) == cli.REFUSED
    assert "is a folder" in capsys.readouterr().err and not (tmp_path / "s.csv").exists()


def test_train_shares_one_training_between_processes(tiny_cohort, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "flare_core.cli", "train", "nvauto", "--data", str(tiny_cohort), "--profile", "smoke"]
    done = subprocess.run([*command, "-o", str(out), "--device", "cpu"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "submission" / "submission.json").is_file()


def test_predict_names_a_bad_case_and_does_the_others(tiny_cohort, tmp_path, capsys):
    from flare_core.cases.dataset import Dataset
    from flare_core.training.run import Run
    from flare_core.training.schedule import train_system

    run = Run(SYSTEMS["nvauto"].at("smoke"), "smoke", Dataset.load(tiny_cohort), tmp_path / "run")
    submission = train_system(run)
    good = next((tiny_cohort / "imagesVal").iterdir())
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("<html>")
    arguments = ["predict", str(bad), str(good), "-o", str(tmp_path / "out"), "--model", str(submission)]
    arguments += ["--backend", "torch"]
    assert cli.main(arguments) == cli.SOME_FAILED
    assert "bad" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


def test_predict_also_writes_volumes_and_color_tables_where_it_is_told(tiny_cohort, tmp_path, capsys):
    images = sorted((tiny_cohort / "imagesVal").iterdir())
    volumes, colors, out = tmp_path / "tables" / "volumes.csv", tmp_path / "colors", tmp_path / "out"
    predict = ["predict", "-o", str(out), "--model", str(WEIGHTS / "dkfz_bs8"), "--volumes", str(volumes)]
    predict += ["--color-tables", str(colors), "--backend", "torch"]
    assert cli.main([*predict, str(images[0])]) == cli.DONE
    assert cli.main([*predict, *map(str, images)]) == cli.DONE  # one is there already, and in the table
    table = pd.read_csv(volumes)
    assert list(table) == ["case", "target", "volume_ml", "voxels"]
    names = [image.name.removesuffix("_0000.nii.gz") for image in images]
    assert list(table.case) == names and set(table.target) == {"tumor"}  # nothing else is looked for
    labels = read_labels(out / f"{names[0]}.nii.gz")
    assert table.voxels[0] == (labels.data == 14).sum()
    assert sorted(path.name for path in out.iterdir()) == [".flare", *(f"{name}.nii.gz" for name in names)]
    assert len(list(colors.iterdir())) == 2
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("<html>")
    assert cli.main([*predict, str(bad)]) == cli.SOME_FAILED
    assert volumes.read_text() == "case,target,volume_ml,voxels\n"
    assert cli.main([*predict, str(images[0]), "--volumes", str(colors)]) == cli.REFUSED
    assert "a folder or a link has this name" in capsys.readouterr().err


@pytest.mark.parametrize(("system", "count"), [("nvauto", 14), ("dkfz_bs4_8", 1), ("efficient_nnunet", 14)])
def test_a_submission_knows_which_targets_it_can_show(system, count):
    assert len(load_submission(WEIGHTS / system).targets) == count


@pytest.mark.parametrize("place", ["file", "under a file"])
def test_c2_49_an_output_that_cannot_be_written_is_refused_before_any_case_is_read(
    place, tiny_cohort, tmp_path, capsys, monkeypatch
):
    """Modes are no help: a superuser writes anywhere. A file in place of the folder stops everybody."""
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / ("" if place == "file" else "deeper")
    monkeypatch.setattr("flare_core.cases.nifti._read", lambda *_: pytest.fail("a case was read"))
    labels = str(tiny_cohort / "labelsVal")
    for arguments in (
        ["analyze", str(tiny_cohort), "-o", str(out)],
        ["verify", str(tiny_cohort), "-o", str(out / "findings.csv")],
        ["evaluate", labels, labels, "-o", str(out / "scores.csv")],
        ["pseudo-label", "weights/nvauto", "--data", str(tiny_cohort), "-o", str(out)],
    ):
        assert cli.main(arguments) == cli.REFUSED
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "cannot be written" in line and "choose another place" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_submissions_are_ranked_under_three_schemes(capsys):
    assert cli.main(["rank"]) == 0
    parts = capsys.readouterr().out.strip().split("\n\n")
    assert "memory area" in parts[0] and len({part.partition("\n")[2] for part in parts}) == 3
    assert [part.split(" (")[0] for part in parts] == [s.name for s in (FLARE23_RANKING, NO_TOLERANCE, HALF_COSTS)]
    for part in parts:
        rows = [line.split() for line in part.splitlines()[3:]]
        assert {row[0] for row in rows} == set(SYSTEMS)
        places = [int(row[1]) for row in rows]
        assert places == sorted(places) and all(int(low) <= int(high) for _, _, low, high, *_ in rows)
    assert cli.main(["rank", "--profile", "study"]) == 0
    assert capsys.readouterr().out.startswith(
        "time and memory are not measured at the profile study: the schemes are one"
    )


def test_a_reader_who_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "flare_core.cli", "systems"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == "" and running.wait() == 141


def test_a_folder_that_is_no_submission_is_told_which_one_may_be_meant(tmp_path):
    with pytest.raises(BadModel, match="no such folder"):
        load_submission(tmp_path / "weights" / "nvauto")
    with pytest.raises(BadModel, match="no submission.json here; a submission folder is"):
        load_submission(tmp_path)
    (tmp_path / "run" / "submission").mkdir(parents=True)
    (tmp_path / "run" / "submission" / "submission.json").write_text("{}")
    with pytest.raises(BadModel, match="take .*run/submission"):
        load_submission(tmp_path / "run")


def test_claims_are_listed_whatever_their_verdicts_and_told_in_detail_by_name(capsys):
    assert cli.main(["claims"]) == cli.DONE
    listed = capsys.readouterr().out
    assert cli.main(["claims", "--json"]) == cli.DONE
    data = json.loads(capsys.readouterr().out)
    assert len(data) >= 22 and all(item["id"] in listed for item in data)
    assert cli.main(["claims", "nvauto-memory"]) == cli.DONE
    assert "make efficiency" in capsys.readouterr().out
    assert cli.main(["claims", "flat-earth"]) == cli.REFUSED
    assert "'flat-earth' is unknown; choose from nvauto-partial-as-full" in capsys.readouterr().err


def test_ablate_refuses_unknown_systems_and_profiles_without_a_cohort(capsys):
    assert cli.main(["ablate", "nobody"]) == cli.REFUSED
    assert "no system 'nobody'" in capsys.readouterr().err
    assert cli.main(["ablate", "nvauto", "--profile", "paper"]) == cli.REFUSED
    assert "has no embedded cohort" in capsys.readouterr().err
