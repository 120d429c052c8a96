"""Nothing foreign is run, nothing leaves the machine or its folder, and nothing that names a patient travels on."""

from __future__ import annotations

import ast
import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from fake_networks import Threshold
from guarded import no_network
from nifti_samples import AFFINE, GOOD, ct, targets

from flare_core import cli, paths
from flare_core.cases.dataset import Dataset
from flare_core.cases.label_analysis import analyze
from flare_core.cases.labels import ABDOMEN
from flare_core.cases.nifti import read_image, read_labels, write_image
from flare_core.cases.nifti_writing import nifti_bytes
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.cases.verification import verify
from flare_core.evaluation.case_figures import case_montage
from flare_core.evaluation.evaluate import evaluate_folders
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.style import save
from flare_core.inference.network import TrainedNetwork
from flare_core.inference.predict import find_images, predict_files
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.submission import Submission, save_submission
from flare_core.models.segresnet import SegResNet
from flare_core.output_lock import only_run
from flare_core.storage import probe, write_file
from flare_core.training.checkpoint import load_checkpoint, save_checkpoint

PROGRAMS = sorted([*(paths.ROOT / "flare_core").rglob("*.py"), *(paths.ROOT / "benchmarks").rglob("*.py")])
PROGRAMS = [path for path in PROGRAMS if not path.stem.endswith("_peer")]  # these run other packages, apart from us
NEVER_IMPORTED = {
    *("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"),  # loading one runs what is in it
    *("socket", "urllib", "http", "requests", "httpx", "ftplib", "smtplib", "telnetlib", "xmlrpc"),
    *("tarfile", "zipfile", "code", "codeop", "pty"),  # no archive is unpacked: no member can leave its folder
}
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput"),
    *("subprocess.getstatusoutput", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive"),
    *("torch.hub.load", "torch.jit.load", "np.fromregex", "pd.read_pickle", "pandas.read_pickle"),
}


def name_of(path):
    return str(path.relative_to(paths.ROOT))


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_m01_m09_m13_no_pickle_no_eval_no_yaml_load_no_shell_no_archive(path):
    tree = ast.parse(path.read_text())
    only_for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in only_for_types:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert not tops & NEVER_IMPORTED, names
            if path.stem != "openvino_start" and isinstance(node, ast.Import):
                assert "openvino" not in names, "only through openvino_start, which leaves its telemetry out"
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in NEVER_CALLED, called
        assert not called.startswith(("os.spawn", "os.exec")), called
        assert called != "torch.load" or given.get("weights_only") == "True", "torch.load needs weights_only=True"
        assert given.get("allow_pickle", "False") == "False", "numpy must not unpickle"
        assert given.get("shell", "False") == "False", "no shell"
        assert "trust_remote_code" not in given


def test_m01_a_checkpoint_that_wants_to_call_something_is_refused_and_calls_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "called"),)

    torch.save({"epoch": 1, "module": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="no readable checkpoint .*checkpoint.pt: UnpicklingError.*delete them"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("value", [np.float64(0.5), np.int64(3), np.zeros(2)], ids=["float", "int", "array"])
def test_m02_a_checkpoint_with_numpy_values_is_refused_when_it_is_written_and_not_when_it_is_needed(tmp_path, value):
    save_checkpoint(tmp_path / "checkpoint.pt", {"epoch": 1})
    with pytest.raises(TypeError, match=r"checkpoint.pt\['history'\]\S*: .*plain numbers"):
        save_checkpoint(tmp_path / "checkpoint.pt", {"epoch": 2, "history": [{"score": value}]})
    assert load_checkpoint(tmp_path / "checkpoint.pt") == {"epoch": 1}


HOSTILE = [
    "-rf",
    ".hidden",
    "a b",
    "a;touch b",
    "$(touch b)",
    "con",
    "..",
    "x" * 200,
    "é",
    "a\\..\\b",
    "\n",
    "a..",
    "~",
]


def test_c2_46_no_case_name_leaves_the_output_folder(tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for name in [*HOSTILE, "good"]:
        (images / f"{name}.nii.gz").write_bytes(GOOD)
    before = set(tmp_path.rglob("*"))
    found = find_images([images])
    report = predict_files(found, out, Submission(Threshold(), {}, {}), "m")
    assert set(report.results) == {"good"}
    assert len(report.failures) == len(found) - 1 and all("a case name" in why for why in report.failures.values())
    for name in ("../evil", "/evil", "a/../../evil", "a\0b"):  # a caller's own names
        report = predict_files([(name, images / "good.nii.gz")], out, Submission(Threshold(), {}, {}), "m")
        assert "a case name" in report.failures[name]
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(out) for path in new)
    assert {path.name for path in out.iterdir()} == {"good.nii.gz", ".flare"}
    assert {path.name for path in new if path.suffix == ".json"} == {"good.json"}


def test_c2_47_no_output_is_written_through_a_link_or_into_the_inputs_by_one(tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    out.mkdir()
    (images / "case_0000.nii.gz").write_bytes(GOOD)
    (out / "case.nii.gz").symlink_to(images / "case_0000.nii.gz")
    found, submission = find_images([images]), Submission(Threshold(), {}, {})
    assert "never written through" in predict_files(found, out, submission, "m").failures["case"]
    (tmp_path / "link").symlink_to(images)
    with pytest.raises(ValueError, match="folder of the input images"):
        predict_files(found, tmp_path / "link", submission, "m")
    assert (images / "case_0000.nii.gz").read_bytes() == GOOD


@pytest.mark.parametrize("command", ["evaluate", "predict", "verify", "analyze", "efficiency"])
@pytest.mark.parametrize(
    "place", ["{data}/labelsTr/case.nii.gz", "{data}/labelsTr/new.csv", "{tmp}/scan.nii.gz", "{tmp}/a.py"]
)
def test_no_command_writes_its_table_over_a_file_that_is_none_or_into_its_inputs(
    small, tmp_path, command, place, capsys
):
    data = small / "data"
    labels, images = str(data / "labelsTr"), str(data / "imagesTr")
    (tmp_path / "scan.nii.gz").write_bytes(GOOD)
    (tmp_path / "a.py").write_text("")
    out = place.format(data=data, tmp=tmp_path)
    if command in ("predict", "efficiency"):
        out = out.replace("labelsTr/case", "imagesTr/case_0000").replace("labelsTr", "imagesTr")
    words = {
        "evaluate": [labels, labels, "-o", out],
        "predict": [images, "-o", str(tmp_path / "out"), "--model", str(small / "model"), "--volumes", out],
        "verify": [str(data), "-o", out],
        "analyze": [str(data), "-o", str(Path(out).parent) if out.startswith(str(data)) else out],
        "efficiency": [str(small / "model"), "--cases", images, "-o", out],
    }
    before = {path: path.read_bytes() for path in (*small.rglob("*"), *tmp_path.rglob("*")) if path.is_file()}
    assert cli.main([command, *words[command]]) == cli.REFUSED
    said = capsys.readouterr().err
    assert "lies in the input folder" in said or "cannot be written" in said
    assert {path: path.read_bytes() for path in (*small.rglob("*"), *tmp_path.rglob("*")) if path.is_file()} == before


def test_a_device_is_never_replaced_by_a_file_and_a_linked_state_folder_not_followed(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for place in (tmp_path / "pipe.csv", Path(os.devnull)):
        with pytest.raises(OSError, match="a device"):
            probe(place)
        with pytest.raises(FileExistsError, match="never replaced"):
            write_file(place, "")
        assert place.exists() and not place.is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".flare").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="never written through"), only_run(tmp_path / "out"):
        pytest.fail("held through a link")
    with pytest.raises(FileExistsError, match="never written through"):
        write_file(tmp_path / "out" / ".flare" / "scores" / "case.json", "{}")
    images = [("a", tmp_path / "a.nii.gz")]
    with pytest.raises(ValueError, match="never written through"):
        predict_files(images, tmp_path / "out", Submission(Threshold(), {}, {}), "m")
    assert list((tmp_path / "mine").iterdir()) == []


SECRET = b"DOE^JANE"


def with_secrets(data: np.ndarray) -> bytes:
    """A compressed NIfTI whose every text field, and an extension, name the patient."""
    image = nib.Nifti1Image(data, AFFINE)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = SECRET
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET))
    raw = image.to_bytes()
    assert raw.count(SECRET) == 5
    return gzip.compress(raw)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, unpacked."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw for name, raw in files.items()}


def test_text_of_a_header_reaches_no_output_record_table_figure_or_message(tmp_path, caplog):
    data, out = tmp_path / "data", tmp_path / "out"
    for folder, name, array in (("imagesTr", "case_0000", ct()), ("labelsTr", "case", targets())):
        (data / folder).mkdir(parents=True)
        (data / folder / f"{name}.nii.gz").write_bytes(with_secrets(array))
    caplog.set_level("DEBUG")
    image = read_image(data / "imagesTr/case_0000.nii.gz")
    labels = read_labels(data / "labelsTr/case.nii.gz")
    predict_files(find_images([data / "imagesTr"]), out / "labels", Submission(Threshold(), {}, {}), "m")
    write_image(out / "image.nii", image.data, image.geometry)
    evaluate_folders(out / "labels", data / "labelsTr", FLARE23, out / "scores.csv")
    analyze(Dataset.load(data)).save(out / "analysis")
    verify(Dataset.load(data)).save(out / "findings.csv")
    save(case_montage(CaseView("case", image.data, image.spacing_mm, labels.data)), "montage", out)
    (out / "widget.nii").write_bytes(nifti_bytes(image.data, image.geometry, np.float32))
    view = ["view", str(image.path), "--labels", str(labels.path), "-o", str(out / "case.html")]
    assert cli.main(view) == cli.DONE
    written = contents(out)
    assert {"labels/case.nii.gz", "labels/.flare/case.json", "montage.svg", "montage.png"} <= written.keys()
    for name, raw in {**written, "messages": caplog.text.encode()}.items():
        assert b"DOE^" not in raw and b"JANE" not in raw, name


def guarded(arguments: list[str], folder: Path) -> tuple[subprocess.CompletedProcess, str]:
    """Run Python in a home folder of its own with the network refused; return what it did and what was refused."""
    refused = folder / "refused.txt"
    refused.write_text("")
    (folder / "home").mkdir(exist_ok=True)
    environment = os.environ | no_network(refused) | {"HOME": str(folder / "home")}
    for name in ("XDG_CACHE_HOME", "CI"):  # the caches belong into that home; in CI telemetry is silent
        environment.pop(name, None)
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    return done, refused.read_text()


def test_the_guard_refuses_and_writes_down_even_what_a_program_swallows(tmp_path):
    code = "import urllib.request as r\ntry: r.urlopen('http://192.0.2.1/')\nexcept OSError: pass"
    done, refused = guarded(["-c", code], tmp_path)
    assert done.returncode == 0 and "192.0.2.1" in refused


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A dataset of one case, and a submission."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("imagesTr/case_0000.nii.gz", "labelsTr/case.nii.gz"):
        (folder / "data" / name).parent.mkdir(parents=True)
        array = ct() if "images" in name else targets()
        (folder / "data" / name).write_bytes(gzip.compress(nib.Nifti1Image(array, AFFINE).to_bytes()))
    torch.manual_seed(0)
    architecture = SegResNet(4, (1, 1), 1)
    grid = Preprocessing((4, 4, 4), IntensityWindow(-100, 100))
    network = TrainedNetwork(architecture.build(2).eval(), architecture, ABDOMEN, grid, {"fold": 0})
    save_submission(folder / "model", SlidingEnsemble(("all",), SlidingWindow((8, 8, 8))), {"all": [network]}, {})
    return folder


@pytest.mark.parametrize("command", ["openvino", "torch", "evaluate", "analyze", "verify", "view", "cohort"])
def test_no_command_asks_for_the_network_or_leaves_traces_in_the_home_folder(small, tmp_path, command):
    data, out = str(small / "data"), str(tmp_path / "out")
    labels = str(small / "data" / "labelsTr")
    predict = ["predict", f"{data}/imagesTr", "-o", out, "--model", str(small / "model"), "--backend"]
    commands = {
        "openvino": [*predict, "openvino"],
        "torch": [*predict, "torch"],
        "evaluate": ["evaluate", labels, labels, "-o", f"{out}/scores.csv"],
        "analyze": ["analyze", data, "-o", out],
        "verify": ["verify", data, "-o", f"{out}/findings.csv"],
        "view": ["view", f"{data}/imagesTr/case_0000.nii.gz", "-o", f"{out}/case.html"],
        "cohort": ["cohort", out, "--cases", "1", "--seed", "0", "--profile", "tiny"],
    }
    done, refused = guarded(["-m", "flare_core.cli", *commands[command]], tmp_path)
    assert (done.returncode, refused) == (0, ""), done.stderr
    made = {path.name for path in (tmp_path / "home").iterdir()}
    assert made <= {".cache", ".config"}, "OpenVINO's telemetry makes ~/intel; matplotlib makes the other two"
    assert any(Path(out).iterdir())
