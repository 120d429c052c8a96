"""FLARE's submission form: the Dockerfile copies what exists and enough of it, and predict.sh does what it promises."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core import cli
from flare_core.cases.nifti import read_image, read_labels
from flare_core.paths import ROOT, WEIGHTS
from flare_core.systems import SYSTEMS

TEXT = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
STEPS = [tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line.strip()]
DEFAULTS = dict(rest.split("=", 1) for word, rest in STEPS if word == "ARG")


def copies(submission: str):
    """(source, destination) of every COPY of the Dockerfile."""
    for word, rest in STEPS:
        if word == "COPY":
            *sources, destination = rest.replace("${SUBMISSION}", submission).split()
            yield from ((source, destination) for source in sources)


@pytest.mark.parametrize("submission", [DEFAULTS["SUBMISSION"], *(f"weights/{key}" for key in SYSTEMS)])
def test_every_copied_file_exists_and_reaches_the_builder(submission):
    ignore_all, *rest = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    let_through = [line[1:] for line in rest if line.startswith("!")]
    assert ignore_all == "*" and all((ROOT / name).exists() for name in let_through)
    for source, _ in copies(submission):
        assert (ROOT / source).exists(), source
        assert any(Path(source).is_relative_to(name) for name in let_through), f"{source} is ignored"


def test_the_image_needs_no_network_but_pip_and_the_python_of_the_package():
    assert {word for word, _ in STEPS} == {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "CMD"}
    assert [rest for word, rest in STEPS if word == "FROM"] == ["python:3.11-slim"]
    commands = [part.split() for word, rest in STEPS if word == "RUN" for part in re.split(r"&&|;|\|", rest)]
    for command in commands:
        assert command[0] in ("flare", "rm") or command[:4] == ["python", "-m", "pip", "install"], command
    (locked,) = [command for command in commands if "install" in command and "-r" in command]
    assert "$PIP_OPTIONS" in locked and locked[-1] == "requirements.lock"


def test_the_commands_of_the_image_are_understood():
    parser = cli.build_parser()
    calls = re.findall(r"flare ((?:cohort|predict) [^&\n]*)", TEXT)
    assert [parser.parse_args(shlex.split(call)).command for call in calls] == ["cohort", "predict"]


def test_what_is_copied_is_enough_and_predict_sh_names_outputs_as_the_challenge_does(tiny_cohort, tmp_path):
    workspace, inputs, outputs = tmp_path / "workspace", tmp_path / "inputs", tmp_path / "outputs"
    for source, destination in copies("weights/nvauto"):
        target = workspace / destination / (Path(source).name if destination.endswith("/") else "")
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, target)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--target", tmp_path / "site", workspace / "package"], check=True, capture_output=True)
    shutil.rmtree(workspace / "package")
    image = next((tiny_cohort / "imagesVal").iterdir())
    inputs.mkdir()
    shutil.copy(image, inputs / "FLARE23Ts_0001_0000.nii.gz")
    (inputs / "FLARE23Ts_0002_0000.nii.gz").write_text("not a CT")
    folders = {"FLARE_INPUTS": inputs, "FLARE_OUTPUTS": outputs, "FLARE_SUBMISSION": workspace / "submission"}
    places = {"PATH": f"{tmp_path / 'site' / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": tmp_path / "site"}
    environment = os.environ | {name: str(value) for name, value in (folders | places).items()}
    command = ["sh", "predict.sh", "--backend", "torch"]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "FLARE23Ts_0002" in done.stderr, done.stderr
    assert [path.name for path in outputs.iterdir() if path.name[0] != "."] == ["FLARE23Ts_0001.nii.gz"]
    assert read_labels(outputs / "FLARE23Ts_0001.nii.gz").data.shape == read_image(image).data.shape
    (inputs / "FLARE23Ts_0002_0000.nii.gz").unlink()
    again = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr


def test_without_variables_the_folders_are_the_challenges_own():
    text = (ROOT / "predict.sh").read_text()
    for name in ("inputs", "outputs", "submission"):
        assert f":-/workspace/{name}}}" in text
    assert ("WORKDIR", "/workspace") in STEPS and WEIGHTS.name in DEFAULTS["SUBMISSION"]
