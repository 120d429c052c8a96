"""What computes networks: the same scores from torch and OpenVINO, and a start without torch."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_core.cases.labels import ABDOMEN
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference import openvino_network
from flare_core.inference.backends import Compute, choose_compute
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.network import TrainedNetwork, save_network
from flare_core.inference.openvino_graph import build_missing, kept_graph
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.stored_network import BadModel, read_network
from flare_core.inference.submission import load_submission, save_submission
from flare_core.inference.whole_volume import WholeVolume
from flare_core.inference.without_air import WithoutAir
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

    monkeypatch.setattr(openvino_network, "core", Core)
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

    monkeypatch.setattr(openvino_network, "compiled_network", fails)
    with pytest.raises(ValueError, match=r"net: OpenVINO cannot compute this network \(no rule .*--backend torch"):
        EXACT.open(folder)(_windows())
    network = Compute("openvino", exact=True, falls_back=True).open(folder)
    assert network.keeps_its_memory
    scores = network(_windows())
    assert not network.keeps_its_memory, "torch gives it back: the planner must count it for every image"
    assert np.allclose(scores, Compute(exact=True).open(folder)(_windows()))
    assert "torch does" in caplog.text


def test_without_a_cache_everything_is_built_in_the_process_and_said_so(folder, monkeypatch, tmp_path, caplog):
    expected = EXACT.open(folder)(_windows())
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert np.allclose(EXACT.open(folder)(_windows()), expected, atol=1e-5)
    assert "cannot be kept" in caplog.text and "set XDG_CACHE_HOME" in caplog.text


def test_a_damaged_compiled_network_is_compiled_again(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = EXACT.open(folder)(_windows())
    (blob,) = (tmp_path / "cache").rglob("*.blob")
    content = bytearray(blob.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    blob.write_bytes(content)
    assert np.array_equal(EXACT.open(folder)(_windows()), expected)
    assert blob.read_bytes() != content


def test_a_compiled_network_is_taken_from_the_cache(folder, monkeypatch):
    expected = EXACT.open(folder)(_windows())
    monkeypatch.setattr("flare_core.inference.openvino_graph.kept_graph", lambda *_: pytest.fail("read again"))
    assert np.array_equal(EXACT.open(folder)(_windows()), expected)


def test_a_window_alone_gets_all_cores_and_a_batch_one_each(folder, monkeypatch):
    network, streams = EXACT.open(folder).with_batch(3), []
    compiled = openvino_network.compiled_network

    def counted(stored, window, probabilities, settings):
        streams.append(settings["NUM_STREAMS"])
        return compiled(stored, window, probabilities, settings)

    monkeypatch.setattr(openvino_network, "compiled_network", counted)
    alone = network(_windows(1))
    assert np.allclose(network(_windows(3))[:1], alone, atol=1e-5)
    assert np.allclose(network(_windows(1)), alone, atol=1e-5)
    assert streams == [1, 3]


def test_another_batch_is_another_network_and_only_one_of_them_stays_compiled(folder):
    pair = EXACT.open(folder).with_batch(2)
    alone = pair.with_batch(1)
    assert (pair.batch, alone.batch) == (2, 1) and pair.with_batch(2) is pair
    expected = pair(_windows(2))
    assert np.allclose(alone(_windows(2)), expected, atol=1e-5)
    assert {batch for batch, *_ in pair._compiled} == {1}, "what the pair compiled is dropped"
    assert pair.is_ready_for(WINDOW) and np.array_equal(pair(_windows(2)), expected)


def test_a_signal_is_survived_after_networks_have_come_and_gone(folder):
    code = """
import faulthandler, os, signal, sys
from pathlib import Path
import numpy as np
from flare_core.inference.backends import Compute
faulthandler.enable()
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
networks = [Compute("openvino", exact=True).open(Path(sys.argv[1])) for _ in range(2)]
for network in networks:
    network(np.zeros((1, 1, 8, 8, 8), np.float32))
while networks:
    del networks[0]
del network
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_windows_that_an_interrupt_left_running_are_waited_for(folder):
    network = EXACT.open(folder)
    windows = _windows()
    before = network(windows)
    for request in network._requests(WINDOW, False, len(windows)):
        request.start_async({0: windows[:1]})
    assert np.array_equal(network(windows), before)


def test_openvinos_converter_is_there_when_it_is_asked_for():
    code = "import sys\nfrom flare_core.inference.openvino_start import openvino\nopenvino = openvino()\n"
    code += "before = 'openvino.tools.ovc' in sys.modules\n"
    code += "print(before, callable(openvino.convert_model), hasattr(openvino, 'nothing'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]


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
needless = {"torch", "monai", "pandas", "scipy", "tqdm", "psutil", "openvino.tools.ovc"}
print(json.dumps([sorted(needless & set(sys.modules)), bool(labels.any())]))
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


def test_graphs_that_cannot_be_built_beforehand_are_named(folder, caplog):
    stored = read_network(folder)
    (folder / "model.json").write_text("{}")
    build_missing([(stored, (16, 16, 8))])
    assert "could not be built beforehand" in caplog.text and "model.json" in caplog.text


def test_air_is_skipped_in_every_sliding_scheme_of_a_submission(submission, caplog):
    skipping = load_submission(submission).skipping_air(-300)
    assert skipping.inference.window == WithoutAir(SlidingWindow(WINDOW, batch=2), -300)
    merged = MergedNetworks(skipping.inference, SlidingEnsemble(("all",), SparseWindow(WINDOW)))
    tumor = replace(skipping, inference=merged).skipping_air(-500).inference.tumor
    assert tumor.window == WithoutAir(SparseWindow(WINDOW), -500)
    whole = SlidingEnsemble(("all",), WholeVolume())
    assert replace(skipping, inference=whole).skipping_air(-500).inference == whole
    assert caplog.messages == ["this submission has no windows to skip: air is looked at, too"]
