"""What computes networks: the same scores from torch and OpenVINO, and a start without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from flare_core.cases.labels import ABDOMEN
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference import openvino_network
from flare_core.inference.backends import Compute, choose_compute
from flare_core.inference.network import TrainedNetwork, save_network
from flare_core.inference.openvino_graph import build_missing, kept_graph
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.stored_network import BadModel, read_network
from flare_core.inference.submission import load_submission, save_submission
from flare_core.models.segresnet import SegResNet

ARCHITECTURE = SegResNet(4, (1, 1), 1)
GRID = Preprocessing((2, 2, 2), IntensityWindow(-100, 100))
WINDOW = (8, 8, 8)
EXACT = Compute("openvino", exact=True)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    module = ARCHITECTURE.build(2).eval()
    return TrainedNetwork(module, ARCHITECTURE, ABDOMEN, GRID, {"fold": 0})


@pytest.fixture
def folder(tmp_path, network):
    return save_network(tmp_path / "net", network)


@pytest.fixture(scope="module")
def submission(tmp_path_factory, network):
    inference = SlidingEnsemble(("all",), SlidingWindow(WINDOW, batch=2), "probabilities")
    return save_submission(tmp_path_factory.mktemp("model") / "sub", inference, {"all": [network]}, {"system": "none"})


def _windows(count=3):
    return np.random.default_rng(0).normal(size=(count, 1, *WINDOW)).astype(np.float32)


@pytest.mark.parametrize("probabilities", [False, True])
def test_both_give_the_same_scores(folder, probabilities):
    scores = [Compute(name, exact=True).open(folder)(_windows(), probabilities) for name in ("torch", "openvino")]
    assert scores[0].shape == scores[1].shape == (3, 2, *WINDOW) and scores[1].dtype == np.float32
    assert np.allclose(*scores, atol=1e-4)
    if probabilities:
        assert np.allclose(scores[1].sum(1), 1, atol=1e-5)


def test_half_precision_is_for_processors_that_have_it_and_never_exact(folder, monkeypatch):
    class Core:
        def get_property(self, *_):
            return ["FP32", "BF16"]

    monkeypatch.setattr(openvino_network, "_core", Core)
    assert Compute("openvino").open(folder).precision == "bfloat16"
    assert EXACT.open(folder).precision == "float32"


def test_a_graph_is_kept_and_a_damaged_one_made_anew(folder, caplog):
    stored = read_network(folder)
    path = kept_graph(stored, (16, 8, 8))
    made = path.stat().st_mtime_ns
    assert kept_graph(stored, (16, 8, 8)) == path and path.stat().st_mtime_ns == made
    path.with_suffix(".bin").write_bytes(b"damaged")
    assert kept_graph(stored, (16, 8, 8)) == path and path.stat().st_mtime_ns != made
    assert path != kept_graph(stored, WINDOW)


def test_a_network_that_openvino_cannot_convert_is_left_to_torch_or_refused(folder, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no rule for this operation\nand more")

    monkeypatch.setattr(openvino_network, "kept_graph", fails)
    with pytest.raises(ValueError, match=r"net: OpenVINO cannot compute this network \(no rule .*--backend torch"):
        EXACT.open(folder)(_windows())
    scores = Compute("openvino", exact=True, falls_back=True).open(folder)(_windows())
    assert np.allclose(scores, Compute(exact=True).open(folder)(_windows()))
    assert "torch does" in caplog.text


def test_a_cache_that_cannot_be_written_is_named(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        kept_graph(read_network(folder), WINDOW)


def test_a_damaged_model_folder_is_refused_before_the_first_window(folder):
    (folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(BadModel, match="SHA-256 differs"):
        EXACT.open(folder)


def test_labels_are_the_same_and_windows_come_in_any_number(submission):
    image = np.random.default_rng(1).normal(0, 100, (24, 20, 28)).astype(np.float32)
    labels = [load_submission(submission, Compute(name, exact=True)) for name in ("torch", "openvino")]
    torchs, openvinos = (one(image, (2.0, 2.0, 2.0)) for one in labels)
    assert (torchs == openvinos).mean() > 0.999 and torchs.any()
    assert np.array_equal(labels[1].with_batch(1)(image, (2.0, 2.0, 2.0)), openvinos)


def test_a_later_start_needs_neither_torch_nor_monai(submission):
    load_submission(submission, EXACT).prepare()
    code = """
import json, sys
from pathlib import Path
import numpy as np
import flare_core.cli
from flare_core.inference.backends import choose_compute
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission
predict = load_submission(Path(sys.argv[1]), choose_compute("openvino", exact=True))
labels = predict(np.random.default_rng(1).normal(0, 100, (24, 20, 28)), (2.0, 2.0, 2.0))
print(json.dumps([sorted({"torch", "monai", "pandas", "scipy"} & set(sys.modules)), bool(labels.any())]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(submission)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], True]


def test_graphs_are_built_in_another_process_once(folder, monkeypatch):
    runs = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: runs.append(k["input"]) or run(*a, **k))
    wanted = [(read_network(folder), (8, 16, 8))]
    build_missing(wanted)
    build_missing(wanted)
    assert len(runs) == 1 and kept_graph(*wanted[0]).is_file()


def test_the_choice_says_what_it_is_and_refuses_what_is_not_there(monkeypatch):
    assert str(choose_compute("openvino")) == "OpenVINO on cpu"
    assert str(choose_compute("torch", "cpu", exact=True)) == "torch on cpu, float32 everywhere"
    assert choose_compute(device="cpu") == Compute("openvino", falls_back=True)
    with pytest.raises(ValueError, match="'onnx' is not one of auto, torch, openvino"):
        choose_compute("onnx")
    with pytest.raises(ValueError, match="use --backend torch with --device cuda"):
        choose_compute("openvino", "cuda")
    monkeypatch.setattr("flare_core.inference.backends.find_spec", lambda name: None)
    assert choose_compute(device="cpu") == Compute("torch")
    with pytest.raises(ValueError, match="pip install openvino"):
        choose_compute("openvino")
