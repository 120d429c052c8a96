"""A command given again does only what is missing or has changed, by content; two at once on one folder are refused."""

import json
import resource
import shutil
from contextlib import contextmanager

import pytest

from flare_core import cli
from flare_core.attempt import DISK_FULL
from flare_core.batch import summary_file
from flare_core.ledger import read_ledger
from flare_core.output_lock import only_run


def summary(out):
    found = json.loads(summary_file(out).read_text())
    return found["found"], found["done"], found["failed"], found["skipped"]


@pytest.fixture
def dataset(tiny_cohort, tmp_path):
    return shutil.copytree(tiny_cohort, tmp_path / "dataset")


def test_analyze_counts_again_only_what_has_changed(dataset, tmp_path, caplog):
    out = tmp_path / "analysis"
    assert cli.main(["analyze", str(dataset), "-o", str(out)]) == cli.DONE
    first, said = (out / "presence.csv").read_bytes(), {r.getMessage() for r in caplog.records}
    labeled, every = len(list(dataset.glob("labels*/*.nii.gz"))), len(read_ledger(out))
    labeled -= len(list((dataset / "labelsTrTrue").glob("*.nii.gz")))
    assert summary(out) == (every, every, 0, 0)
    caplog.clear()
    assert cli.main(["analyze", str(dataset), "-o", str(out), "--jobs", "2"]) == cli.DONE
    assert summary(out) == (every, every - labeled, 0, labeled), "cases without labels have nothing to be kept"
    assert (out / "presence.csv").read_bytes() == first and {r.getMessage() for r in caplog.records} == said
    changed, other = sorted((dataset / "labelsTr").glob("*.nii.gz"))[:2]
    shutil.copyfile(other, changed)
    cli.main(["analyze", str(dataset), "-o", str(out)])
    assert summary(out)[3] == labeled - 1
    assert (out / "presence.csv").read_bytes() != first


def test_evaluate_scores_again_only_what_has_changed(dataset, tmp_path):
    predictions, references, out = dataset / "labelsVal", dataset / "labelsValTrue", tmp_path / "out"
    shutil.copytree(predictions, references)
    evaluate = ["evaluate", str(predictions), str(references), "-o", str(out / "scores.csv")]
    assert cli.main(evaluate) == cli.DONE and summary(out) == (2, 2, 0, 0)
    first = (out / "scores.csv").read_bytes()
    assert cli.main(evaluate) == cli.DONE and summary(out) == (2, 0, 0, 2)
    assert (out / "scores.csv").read_bytes() == first
    assert cli.main([*evaluate, "--rules", "strict"]) == cli.DONE and summary(out) == (2, 2, 0, 0)
    one, other = sorted(predictions.glob("*.nii.gz"))
    shutil.copyfile(other, one)
    cli.main([*evaluate, "--rules", "strict"])
    assert summary(out)[3] == 1
    one.unlink()
    assert cli.main(evaluate) == cli.SOME_FAILED and summary(out) == (2, 1, 1, 0), "a missing prediction has failed"
    (record,) = (out / ".flare" / "scores.csv").glob(f"{other.name.removesuffix('.nii.gz')}.json")
    record.write_text("{")
    cli.main(evaluate)
    assert summary(out) == (2, 1, 1, 0), "a damaged record is no record"


def test_a_folder_in_use_is_refused_with_who_holds_it(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    commands = [
        ["analyze", str(dataset), "-o", str(out)],
        ["evaluate", str(dataset / "labelsVal"), str(dataset / "labelsVal"), "-o", str(out / "scores.csv")],
        ["train", "nvauto", "--data", str(dataset), "--profile", "smoke", "-o", str(out), "--resume"],
    ]
    with only_run(out):
        for command in commands:
            assert cli.main(command) == cli.REFUSED
            (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
            assert line.startswith(f"flare {command[0]}: {out} is in use by process ") and " since " in line


def test_engines_that_contradict_each_other_are_refused(dataset, tmp_path, capsys):
    analyze = ["analyze", str(dataset), "-o", str(tmp_path / "out")]
    for wrong in (
        ["--jobs", "2", "--workers", "2"],
        ["--engine", "serial", "--workers", "2"],
        ["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"],
        ["--workers", "0"],
    ):
        assert cli.main([*analyze, *wrong]) == cli.REFUSED
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "presence.csv").exists()


@contextmanager
def no_file_beyond(size):
    """As on a full disk: the system lets no file of this process grow further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_a_command_in_one_line_and_the_same_again_goes_on(dataset, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli.main(["analyze", str(dataset), "-o", str(whole)]) == cli.DONE
    capsys.readouterr()
    with no_file_beyond(2000):  # the ledger is the first to grow so long
        assert cli.main(["analyze", str(dataset), "-o", str(out)]) == cli.SOME_FAILED
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("flare analyze: stopped: the ledger cannot be written") and "run the same again" in line
    assert not (out / "presence.csv").exists() and list(out.rglob(".*.tmp-*")) == []
    assert 0 < len(read_ledger(out)) < 34
    assert cli.main(["analyze", str(dataset), "-o", str(out)]) == cli.DONE
    assert (out / "presence.csv").read_bytes() == (whole / "presence.csv").read_bytes()


def test_a_full_disk_leaves_the_last_checkpoint_and_names_the_file(tmp_path):
    import torch

    from flare_core.training.checkpoint import load_checkpoint, save_checkpoint

    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1})
    with no_file_beyond(20_000), pytest.raises(OSError, match="checkpoint.pt") as full:
        save_checkpoint(path, {"epoch": 2, "weights": torch.zeros(100_000)})
    assert full.value.errno in DISK_FULL
    assert load_checkpoint(path)["epoch"] == 1 and [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
