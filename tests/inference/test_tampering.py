"""Model folders that somebody changed: refused in one line before memory is taken, a path made or anything run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flare_core import cli
from flare_core.cases.labels import ABDOMEN
from flare_core.cases.nifti import Geometry, write_image
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference import network as torch_network
from flare_core.inference.backends import Compute
from flare_core.inference.network import TrainedNetwork, load_network
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.stored_network import BadModel
from flare_core.inference.submission import load_submission, save_submission
from flare_core.models.segresnet import SegResNet

ARCHITECTURE = SegResNet(4, (1, 1), 1)
GRID = Preprocessing((2, 2, 2), IntensityWindow(-100, 100))
HUGE = 10**12


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = TrainedNetwork(ARCHITECTURE.build(2).eval(), ARCHITECTURE, ABDOMEN, GRID, {"fold": 0})
    inference = SlidingEnsemble(("all",), SlidingWindow((8, 8, 8)))
    return save_submission(tmp_path_factory.mktemp("original") / "sub", inference, {"all": [network]}, {})


@pytest.fixture
def submission(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "sub"))


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def sealed(folder: Path) -> None:
    """Write the weights' own SHA-256 into model.json, as one who changes both would."""
    sha256 = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    edit(folder / "model.json", lambda model: model.update(sha256=sha256))


@pytest.mark.parametrize("place", ["header", "first weight", "middle", "last"])
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_m07_a_flipped_bit_anywhere_in_the_weights_is_refused_by_both_backends(submission, backend, place):
    path = submission / "all_fold0" / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    header = int.from_bytes(raw[:8], "little")
    raw[{"header": 20, "first weight": 8 + header, "middle": len(raw) // 2, "last": -1}[place]] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadModel, match="SHA-256 differs"):
        load_submission(submission, Compute(backend))


DESCRIPTIONS = {
    "M4 another width": (lambda m: m["network"].update(width=8), r"do not fit .*the file has \(4,.*needs \(8,"),
    "M4 more blocks": (lambda m: m["network"].update(blocks=[1, 2]), "do not fit .*the file has nothing"),
    "M4 another architecture": (lambda m: m.update(network={"type": "SwinX"}), "do not fit"),
    "M4 a part that is no network": (lambda m: m.update(network=m["scheme"]), "LabelScheme where it cannot be"),
    "M4 a class that nobody offers": (lambda m: m.update(network={"type": "Popen", "args": "true"}), "unknown part"),
    "M4 fields that it does not have": (lambda m: m["network"].update(depth=3), "does not take what was stored"),
    "M5 another number of classes": (lambda m: m["scheme"].update(groups=[["liver"], ["tumor"]]), r"needs \(3,"),
    "M5 targets that do not exist": (lambda m: m["scheme"].update(groups=[["brain"]]), "brain"),
    "absurd width": (lambda m: m["network"].update(width=HUGE), "network holds the number 1000000000000"),
    "absurd depth": (lambda m: m["network"].update(blocks=[1] * 1000), "network holds 1000 things in a row"),
    "wide but allowed": (lambda m: m["network"].update(width=4096), "do not fit"),
    "text for a number": (lambda m: m["network"].update(width="4"), "do not fit"),
    "number for a list": (lambda m: m["network"].update(blocks=3), "do not fit"),
    "negative width": (lambda m: m["network"].update(width=-4), "do not fit"),
    "a grid that fills memory": (lambda m: m["preprocessing"].update(spacing_mm=[1e-6, 2, 2]), "0.05 mm is the finest"),
    "no network": (lambda m: m.pop("network"), "does not describe a network"),
    "no hash": (lambda m: m.pop("sha256"), "does not describe a network"),
}


@pytest.mark.parametrize("change", DESCRIPTIONS)
def test_m04_m05_another_description_is_refused_before_any_weight_is_loaded(submission, change, monkeypatch):
    edited, words = DESCRIPTIONS[change]
    edit(submission / "all_fold0" / "model.json", edited)
    monkeypatch.setattr(torch_network, "load", lambda weights: pytest.fail("weights were loaded"))
    with pytest.raises(BadModel, match=words) as caught:
        load_submission(submission)
    assert "\n" not in str(caught.value) and str(submission / "all_fold0") in str(caught.value)


def test_m06_weights_that_are_not_finite_are_refused_although_their_hash_fits(submission):
    path = submission / "all_fold0" / "weights.safetensors"
    state = load_file(path)
    next(iter(state.values())).view(-1)[0] = float("inf")
    save_file(state, path)
    sealed(path.parent)
    with pytest.raises(BadModel, match="NaN or infinite"):
        load_network(path.parent)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04pickle", b"\xff" * 64, (2).to_bytes(8, "little") + b"{}", (9).to_bytes(8, "little") + b'{"a": [1]'],
    ids=["empty", "pickle", "endless header", "no tensors", "no JSON"],
)
def test_m01_other_files_in_place_of_the_weights_are_refused_although_their_hash_fits(submission, content):
    folder = submission / "all_fold0"
    (folder / "weights.safetensors").write_bytes(content)
    sealed(folder)
    with pytest.raises(BadModel, match="do not fit"):
        load_network(folder)


SUBMISSIONS = {
    "path traversal": (lambda s: s["networks"][0].update(folder="../outside"), "plain name of a folder"),
    "the folder above": (lambda s: s["networks"][0].update(folder=".."), "plain name of a folder"),
    "absolute path": (lambda s: s["networks"][0].update(folder="/etc"), "plain name of a folder"),
    "backslashes": (lambda s: s["networks"][0].update(folder="..\\outside"), "plain name of a folder"),
    "a number": (lambda s: s["networks"][0].update(folder=None), "is missing"),
    "no networks": (lambda s: s.update(networks=[]), "names no network for all"),
    "endless networks": (lambda s: s.update(networks=s["networks"] * 1000), "1000 things in a row"),
    "a class that nobody offers": (lambda s: s["inference"].update(type="Popen"), "unknown part 'Popen'"),
    "a part that does not predict": (lambda s: s.update(inference=s["inference"]["window"]), "SlidingWindow as inf"),
    "absurd window": (lambda s: s["inference"]["window"].update(window=[9999, 9999, 9999]), "window of"),
    "empty window": (lambda s: s["inference"]["window"].update(window=[8, 0, 8]), "window of"),
    "text for a window": (lambda s: s["inference"].update(window="all"), "no inference that can run"),
    "NaN": (lambda s: s["inference"]["window"].update(overlap=float("nan")), "found NaN"),
}


@pytest.mark.parametrize("change", SUBMISSIONS)
def test_another_submission_is_refused_with_exit_code_two_and_one_line(submission, change, tmp_path, capsys):
    edited, words = SUBMISSIONS[change]
    shutil.copytree(submission / "all_fold0", tmp_path / "outside")
    edit(submission / "submission.json", edited)
    with pytest.raises(BadModel, match=words):
        load_submission(submission)
    image = tmp_path / "case.nii.gz"
    write_image(image, np.zeros((4, 4, 4)), Geometry.from_spacing((4, 4, 4), (2, 2, 2)))
    arguments = ["predict", str(image), "-o", str(tmp_path / "out"), "--model", str(submission)]
    assert cli.main(arguments) == cli.REFUSED
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_keys_given_twice_and_endless_nesting_are_refused(submission):
    path = submission / "submission.json"
    path.write_text(path.read_text().replace('"networks"', '"networks": [], "networks"', 1))
    with pytest.raises(BadModel, match="found this key twice"):
        load_submission(submission)
    path.write_text('{"inference": ' + "[" * 100_000)
    with pytest.raises(BadModel, match="nested too deep"):
        load_submission(submission)
