"""Model and submission folders: what they are is checked before they are used."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flare_core.cases.labels import ABDOMEN
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference.network import BadModel, TrainedNetwork, load_network, pick_device, save_network
from flare_core.inference.submission import load_submission
from flare_core.models.segresnet import SegResNet

ARCHITECTURE = SegResNet(4, (1, 1), 1)
GRID = Preprocessing((4, 4, 4), IntensityWindow(-250, 250))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    module = ARCHITECTURE.build(2).eval()
    return save_network(tmp_path / "net", TrainedNetwork(module, ARCHITECTURE, ABDOMEN, GRID, {"fold": 0}))


def _edit(folder, **changes):
    model = json.loads((folder / "model.json").read_text()) | changes
    (folder / "model.json").write_text(json.dumps(model))


def test_a_network_comes_back_with_its_grid_scheme_and_facts(folder):
    network = load_network(folder, exact=True)
    assert (network.architecture, network.scheme, network.preprocessing) == (ARCHITECTURE, ABDOMEN, GRID)
    assert network.facts == {"fold": 0}
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, 8, 8)
    expected = ARCHITECTURE.build(2).eval()
    expected.load_state_dict({k: v.float() for k, v in load_file(folder / "weights.safetensors").items()})
    assert np.array_equal(network(x.numpy()), expected(x).detach().numpy())


def test_a_changed_weights_file_is_refused(folder):
    path = folder / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadModel, match="SHA-256 differs"):
        load_network(folder)


def test_weights_of_another_network_and_unknown_parts_are_refused(folder):
    wider = json.loads((folder / "model.json").read_text())["network"] | {"width": 8}
    _edit(folder, network=wider)
    with pytest.raises(BadModel, match="do not fit"):
        load_network(folder)
    _edit(folder, network={"type": "Popen", "args": "true"})
    with pytest.raises(BadModel, match="unknown part 'Popen'"):
        load_network(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    import hashlib

    state = load_file(folder / "weights.safetensors")
    state[next(iter(state))].view(-1)[0] = float("nan")
    save_file(state, folder / "weights.safetensors")
    _edit(folder, sha256=hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest())
    with pytest.raises(BadModel, match="NaN"):
        load_network(folder)


def test_missing_or_broken_descriptions_are_named(folder, tmp_path):
    (folder / "model.json").write_text("{")
    with pytest.raises(BadModel, match="no JSON"):
        load_network(folder)
    (folder / "model.json").unlink()
    with pytest.raises(BadModel, match="model.json is missing"):
        load_network(folder)
    with pytest.raises(BadModel, match="a submission folder is"):
        load_submission(tmp_path)
    (tmp_path / "submission.json").write_text('{"networks": []}')
    with pytest.raises(BadModel, match="cannot be used"):
        load_submission(tmp_path)


def test_a_device_that_is_not_there_is_refused_when_it_is_asked_for_by_name():
    assert pick_device("cpu") == "cpu"
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert pick_device("auto") == "cpu"
    with pytest.raises(ValueError, match="no CUDA device"):
        pick_device("cuda")
