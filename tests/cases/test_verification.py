"""`flare verify`: a sound dataset gives no finding, and each kind of fault gives one that says what to do."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bad_input_rows import ODD, REFUSED, Row, name_of
from dataset_samples import GEOMETRY, add_index, add_labels
from nifti_samples import packed

from flare_core import cli
from flare_core.cases.case_checks import advised
from flare_core.cases.dataset import Dataset
from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import BadInput, write_image, write_labels
from flare_core.cases.verification import verify

LIVER, SPLEEN, STOMACH = (BY_NAME[name].id for name in ("liver", "spleen", "stomach"))


def hu(shift: int) -> np.ndarray:
    """A body of soft tissue with some bone in air; every `shift` is another patient."""
    image = np.full(GEOMETRY.ras_shape, -1000, np.int16)
    image[2:6, 1:5] = 40 + shift
    image[2, 1] = 700
    return image


def add_case(root: Path, case: str, shift: int, geometry: Geometry = GEOMETRY) -> None:
    (root / "imagesTr").mkdir(parents=True, exist_ok=True)
    (root / "labelsTr").mkdir(exist_ok=True)
    write_image(root / f"imagesTr/{case}_0000.nii.gz", hu(shift), geometry)
    labels = np.zeros(geometry.ras_shape, np.uint8)
    labels[3, 2, : 1 + shift % 5], labels[4, 2:4, 1:3], labels[5, 4, 4] = LIVER, SPLEEN, STOMACH
    write_labels(root / f"labelsTr/{case}.nii.gz", labels, geometry)


@pytest.fixture
def root(tmp_path) -> Path:
    """Five sound labeled cases."""
    names = [f"case_{number}" for number in range(5)]
    for number, case in enumerate(names):
        add_case(tmp_path / "data", case, number)
    add_index(tmp_path / "data", annotated={case: ["liver", "spleen", "stomach", "tumor"] for case in names})
    return tmp_path / "data"


def found(root: Path) -> list[tuple[str, str, str]]:
    """Severity, file and check of every finding."""
    return [(one.severity, one.file, one.check) for one in verify(Dataset.load(root)).findings]


def test_a_sound_dataset_has_no_finding_also_where_a_patient_has_no_tumor(root):
    verification = verify(Dataset.load(root))
    assert verification.findings == ()
    assert str(verification) == "5 cases: 5 without a finding; 0 errors, 0 warnings"


def test_the_cohort_has_none_but_organs_that_the_patient_lacks(tiny_dataset):
    findings = verify(tiny_dataset).findings
    assert [one for one in findings if "declared but empty" not in one.found] == []


def test_a_real_ct_has_none(real_ct, tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    shutil.copy(real_ct / "imagesTr_RealCT_0001_0000.nii.gz", tmp_path / "imagesTr/RealCT_0001_0000.nii.gz")
    shutil.copy(real_ct / "labelsTr_RealCT_0001.nii.gz", tmp_path / "labelsTr/RealCT_0001.nii.gz")
    assert found(tmp_path) == [("warning", "dataset.json", "dataset")]


IMAGE, LABELS = "imagesTr/case_2_0000.nii.gz", "labelsTr/case_2.nii.gz"


def cut_short(root: Path) -> None:
    (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:-9])


def illegal_label(root: Path) -> None:
    add_labels(root / LABELS, liver=3, v77=2)


def other_shape(root: Path) -> None:
    shape = (8, 6, 4)
    write_image(root / IMAGE, hu(2)[..., :4], Geometry.from_spacing(shape, (1, 2, 5), axes="LPS"))


def moved_labels(root: Path) -> None:
    labels = np.full(GEOMETRY.ras_shape, LIVER, np.uint8)
    write_labels(root / LABELS, labels, Geometry.from_spacing(GEOMETRY.ras_shape, (1, 2, 5), (0, 0, 4), "LPS"))


def empty_labels(root: Path) -> None:
    add_labels(root / LABELS)


def labels_in_air(root: Path) -> None:
    labels = np.zeros(GEOMETRY.ras_shape, np.uint8)
    labels[0], labels[1, 0], labels[4, 2] = LIVER, STOMACH, SPLEEN
    write_labels(root / LABELS, labels, GEOMETRY)


def normalized(root: Path) -> None:
    write_image(root / IMAGE, np.clip(hu(2), -160, 240), GEOMETRY)


def hardly_any_tissue(root: Path) -> None:
    write_image(root / IMAGE, np.where(hu(2) > 600, 700, -1000).astype(np.int16), GEOMETRY)


def coarse(root: Path) -> None:
    add_case(root, "case_2", 2, Geometry.from_spacing(GEOMETRY.ras_shape, (1, 9, 5), axes="LPS"))


def orphan(root: Path) -> None:
    (root / IMAGE).unlink()


def unsafe_name(root: Path) -> None:
    shutil.copy(root / IMAGE, root / "imagesTr/case 9.nii.gz")


def copied_image(root: Path) -> None:
    write_image(root / IMAGE, hu(1), GEOMETRY)


def copied_labels(root: Path) -> None:
    shutil.copy(root / "labelsTr/case_1.nii.gz", root / LABELS)


def undeclared(root: Path) -> None:
    add_index(
        root, annotated={f"case_{number}": ["liver", "spleen", "stomach"][: 3 - (number == 2)] for number in range(5)}
    )


def unseen(root: Path) -> None:
    names = {f"case_{number}": ["liver", "spleen", "stomach"] + ["aorta"] * (number == 2) for number in range(5)}
    add_index(root, annotated=names)


def unknown_case(root: Path) -> None:
    names = {f"case_{number}": ["liver", "spleen", "stomach"] for number in range(6)}
    add_index(root, annotated=names)


FAULTS = {
    cut_short: [("error", IMAGE, "file")],
    illegal_label: [("error", LABELS, "file")],
    other_shape: [("error", LABELS, "grid")],
    moved_labels: [("error", LABELS, "grid"), ("warning", LABELS, "annotation")],
    empty_labels: [("warning", LABELS, "labels"), ("warning", LABELS, "annotation")],
    labels_in_air: [("warning", LABELS, "labels")],
    normalized: [("warning", IMAGE, "values")],
    hardly_any_tissue: [("warning", IMAGE, "values"), ("warning", LABELS, "labels")],
    coarse: [("warning", IMAGE, "geometry")],
    orphan: [("error", LABELS, "file")],
    unsafe_name: [("error", "case 9.nii.gz", "name")],
    copied_image: [("warning", IMAGE, "duplicate")],
    copied_labels: [("warning", LABELS, "duplicate")],
    undeclared: [("warning", LABELS, "annotation")],
    unseen: [("warning", LABELS, "annotation")],
    unknown_case: [("warning", "dataset.json", "dataset")],
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_gives_its_finding_and_no_other(root, fault):
    fault(root)
    assert sorted(found(root)) == sorted(FAULTS[fault])


def test_the_same_image_in_training_and_validation_is_an_error_however_it_is_compressed(root):
    (root / "imagesVal").mkdir()
    (root / "imagesVal/other_0000.nii.gz").write_bytes(packed(gzip.decompress((root / IMAGE).read_bytes())))
    (error,) = verify(Dataset.load(root)).findings
    assert (
        str(error)
        == f"error: imagesVal/other_0000.nii.gz: the same voxels as {IMAGE} of the other split; keep one of the two"
    )


def test_the_command_says_a_line_a_finding_and_writes_the_table(root, tmp_path, capsys, caplog):
    report = tmp_path / "new" / "report.csv"
    assert cli.main(["verify", str(root), "-o", str(report)]) == cli.DONE
    assert list(pd.read_csv(report)) == ["severity", "case", "file", "check", "found", "advice"]
    empty_labels(root)
    assert cli.main(["verify", str(root)]) == cli.DONE, "warnings alone do not fail"
    cut_short(root)
    capsys.readouterr()
    assert cli.main(["verify", str(root), "-o", str(report), "--jobs", "2"]) == cli.SOME_FAILED
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"error: {IMAGE}: file is cut short") and printed[0].endswith("; fetch it again")
    assert printed[-1] == "5 cases: 4 without a finding; 1 errors, 2 warnings"
    assert pd.read_csv(report).file.tolist() == [IMAGE, LABELS, LABELS]
    assert "no voxel is labeled" not in caplog.text, "said once, as a finding"
    assert cli.main(["verify", str(root / "nowhere")]) == cli.REFUSED
    assert cli.main(["verify", str(root), "-o", str(tmp_path)]) == cli.REFUSED
    shutil.copy(root / IMAGE, root / "imagesTr/CASE_2.nii.gz")
    assert cli.main(["verify", str(root)]) == cli.REFUSED, "two files for one case"


TO_DO = {"fetch", "convert", "stack", "choose", "export", "repair", "crop", "save", "give"}
"""What a person can do about a file; every refusal says one of them."""


@pytest.mark.parametrize("row", REFUSED, ids=name_of)
def test_every_refusal_ends_with_what_to_do(row: Row, tmp_path):
    (tmp_path / row.file).write_bytes(row.content())
    with pytest.raises(BadInput) as caught:
        row.reader(tmp_path / row.file, **dict(row.options))
    problem, _, advice = caught.value.problem.rpartition("; ")
    assert problem and set(advice.split()) & TO_DO, advice


@pytest.mark.parametrize("row", ODD, ids=name_of)
def test_every_warning_of_reading_has_an_advice(row: Row, tmp_path):
    (tmp_path / row.file).write_bytes(row.content())
    for warning in row.reader(tmp_path / row.file, **dict(row.options)).warnings:
        check, problem, advice = advised(warning)
        assert check and problem and advice and "; " not in problem
