"""The static picture is always there; widgets come only where a person looks, and itkwidgets only when named."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from flare_core import viewer
from flare_core.case_layers import ShownCase
from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import Geometry, Volume
from flare_core.evaluation.slices import WINDOWS_HU


def volume(values):
    return Volume(values, Geometry.from_spacing(values.shape, (2.0, 2.0, 4.0)))


@pytest.fixture
def case():
    image = volume(np.full((24, 20, 16), -50, np.float32))
    labels = np.zeros(image.data.shape, np.uint8)
    labels[8:16, 6:14, 4:10] = BY_NAME["liver"].id
    return image, volume(labels)


@pytest.fixture
def lab(monkeypatch):
    """The environment of a kernel that Jupyter started for an open notebook."""
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    monkeypatch.delenv("FLARE_BATCH", raising=False)


def test_a_kernel_without_a_session_is_static(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert viewer.choose_viewer("auto") == viewer.Choice("static")
    assert viewer.choose_viewer("itkwidgets").viewer == "static"
    assert "browser" in viewer.choose_viewer("niivue").reason


def test_a_batch_inside_a_session_is_static(lab, monkeypatch):
    monkeypatch.setenv("FLARE_BATCH", "1")
    assert {viewer.choose_viewer(name).viewer for name in viewer.VIEWERS} == {"static"}


def test_a_session_gets_niivue_and_itkwidgets_only_by_name(lab):
    chosen = {name: viewer.choose_viewer(name).viewer for name in viewer.VIEWERS}
    assert chosen == {"auto": "niivue", "static": "static", "niivue": "niivue", "itkwidgets": "itkwidgets"}


def test_a_missing_package_is_said_and_the_picture_stays(lab, monkeypatch):
    monkeypatch.setitem(viewer.PACKAGES, "niivue", "a-package-that-nobody-has")
    choice = viewer.choose_viewer("auto")
    assert choice.viewer == "static"
    assert "not installed" in choice.reason


def test_an_unknown_viewer_is_refused(case):
    with pytest.raises(ValueError, match="choose from auto, static"):
        viewer.show_case(case[0], viewer="slicer")


def test_label_maps_of_another_shape_are_refused(case):
    with pytest.raises(ValueError, match="prediction have shape"):
        viewer.show_case(case[0], prediction=volume(np.zeros((3, 3, 3), np.uint8)), viewer="static")


@pytest.mark.parametrize("maps", [(), ("labels",), ("prediction",), ("labels", "prediction")], ids=str)
def test_every_combination_gives_a_picture(case, maps):
    image, labels = case
    assert isinstance(viewer.show_case(image, **dict.fromkeys(maps, labels), viewer="static"), Figure)


def test_showing_a_case_in_a_batch_imports_no_widget(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from flare_core.cases.nifti import Geometry, Volume\n"
        "from flare_core.viewer import show_case\n"
        "image = Volume(np.zeros((16, 16, 16), np.float32), Geometry.from_spacing((16, 16, 16), (2, 2, 2)))\n"
        "for name in ('auto', 'niivue', 'itkwidgets'):\n"
        "    show_case(image, viewer=name)\n"
        "print(sorted({'itkwidgets', 'ipyniivue'} & set(sys.modules)))"
    )
    environment = {"FLARE_BATCH": "1", "JPY_SESSION_NAME": "a notebook", "PATH": "", "MPLCONFIGDIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_niivue_gets_the_layers_in_our_colors(case):
    image, labels = case
    widget = viewer.niivue_widget()
    viewer.put_into(widget, ShownCase("case", image, labels, volume(np.zeros_like(labels.data))), "bone")
    ct, reference, prediction, error = widget.volumes
    assert [v.name.partition(".")[0] for v in widget.volumes] == ["image", "reference", "prediction", "error"]
    assert (ct.cal_min, ct.cal_max) == WINDOWS_HU["bone"]
    assert [v.opacity for v in (reference, prediction, error)] == [0, viewer.OPACITY, 0]
    lut = reference.colormap_label.lut
    assert lut[4 * BY_NAME["liver"].id :][:4] == [*bytes.fromhex(BY_NAME["liver"].color[1:]), 255]
    assert lut[3] == 0
    assert reference.colormap_label.labels[BY_NAME["tumor"].id] == "Tumor"
    assert error.colormap_label.labels[1:] == ["missed", "added", "other target"]


def test_a_session_sees_the_case_in_a_widget_above_its_picture(lab, case, monkeypatch):
    displayed = []
    monkeypatch.setattr(viewer, "display", displayed.append)
    assert isinstance(viewer.show_case(*case), Figure)
    assert [[v.name for v in widget.volumes] for widget in displayed] == [["image.nii.gz", "reference.nii.gz"]]


def test_a_widget_shows_another_case_in_the_same_place(case):
    image, labels = case
    widget = viewer.niivue_widget()
    viewer.put_into(widget, ShownCase("one", image, labels))
    assert [v.opacity for v in widget.volumes[1:]] == [viewer.OPACITY]
    viewer.put_into(widget, ShownCase("another", image), "lung")
    assert len(widget.volumes) == 1 and widget.volumes[0].cal_max == WINDOWS_HU["lung"][1]


def test_itkwidgets_gets_both_volumes_in_mm_and_in_the_directions_of_itk(case, monkeypatch):
    given = {}
    monkeypatch.setitem(sys.modules, "itkwidgets", SimpleNamespace(view=lambda **volumes: given.update(volumes)))
    data = np.zeros((4, 3, 2), np.uint8)
    data[3, 1, 1] = 5
    labels = Volume(data, Geometry.from_spacing(data.shape, (2, 1, 5), origin_mm=(10, -20, 100), axes="PSR"))
    viewer.view_in_itkwidgets(replace(labels, data=data * 10.0), labels)
    for image, value in ((given["image"], 50), (given["label_image"], 5)):
        assert image.dims == ("z", "y", "x") and image.scale == {"x": 2, "y": 1, "z": 5}
        (voxel,) = np.argwhere(np.asarray(image.data) == value)
        place = {axis: image.translation[axis] + image.scale[axis] * at for axis, at in zip("zyx", voxel, strict=True)}
        assert place == {"x": -16, "y": 19, "z": 105}  # in RAS+ 16, -19, 105 mm
