"""`flare view`: one file that loads nothing and tells nothing of the header; the volumes in it are the case's."""

import base64
import gzip
import json
import re

import nibabel
import numpy as np
import pytest

from flare_core import cli
from flare_core.case_layers import ShownCase
from flare_core.case_page import ASSETS, write_case_page
from flare_core.cases.labels import BY_NAME, TARGETS
from flare_core.cases.nifti import Geometry, Volume, write_image, write_labels
from flare_core.storage import file_hash

SHAPE = (24, 20, 16)
GEOMETRY = Geometry.from_spacing(SHAPE, (2.0, 2.0, 4.0), origin_mm=(-30, 10, 100), axes="LPS")


def label_map(**places):
    data = np.zeros(SHAPE, np.uint8)
    for name, start in places.items():
        data[start : start + 6, 6:14, 4:10] = BY_NAME[name].id
    return data


@pytest.fixture
def files(tmp_path):
    """Image, reference and prediction of a case as files; the image's header has free text."""
    hu = np.linspace(-2000, 3000, np.prod(SHAPE)).reshape(SHAPE).round()
    paths = [tmp_path / name for name in ("ct_0000.nii.gz", "reference.nii.gz", "prediction.nii.gz")]
    write_image(paths[0], hu.astype(np.int16), GEOMETRY)
    image = nibabel.load(paths[0])
    image.header["descrip"], image.header["aux_file"] = b"DOE^JANE 1960-01-01", b"ward 7"
    image.header["intent_name"] = b"hospital"
    nibabel.save(image, paths[0])
    write_labels(paths[1], label_map(liver=2, spleen=14), GEOMETRY)
    write_labels(paths[2], label_map(liver=4), GEOMETRY)
    return paths


def page_of(files, *options):
    out = files[0].parent / "case.html"
    arguments = ["view", files[0], "--labels", files[1], "--prediction", files[2], "-o", out, *options]
    assert cli.main([str(argument) for argument in arguments]) == cli.DONE
    return out.read_text()


def facts_of(page):
    return json.loads(re.search(r'id="case">(.*?)</script>', page, re.S)[1])


def volume_of(page, name):
    packed = re.search(rf'id="data-{name}">(.*?)</script>', page, re.S)[1]
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(packed)))


def test_the_page_has_the_volumes_in_their_places(files):
    page = page_of(files)
    names = [volume["name"] for volume in facts_of(page)["volumes"]]
    assert names == ["image", "reference", "prediction", "error"]
    for name, file in zip(names, files, strict=False):
        kept, stored = volume_of(page, name), nibabel.as_closest_canonical(nibabel.load(file))
        np.testing.assert_array_equal(kept.get_fdata(), stored.get_fdata())
        np.testing.assert_allclose(kept.affine, stored.affine)
    errors = volume_of(page, "error").get_fdata()
    assert errors[2, 8, 5] == 1 and errors[8, 8, 5] == 2 and errors[5, 8, 5] == 0  # missed, added, right


def test_scores_volumes_and_colors_are_in_the_page(files):
    facts = facts_of(page_of(files))
    assert facts["columns"] == ["DSC", "NSD", "Ref. ml", "Pred. ml"]
    liver, spleen = facts["targets"]
    assert (liver["title"], liver["color"]) == ("Liver", BY_NAME["liver"].color)
    assert liver["values"][0] == "0.667" and liver["values"][2:] == ["4.6", "4.6"]
    assert spleen["values"] == ["0.000", "0.000", "4.6", "0.0"]
    assert facts["volumes"][1]["colors"] == [[target.id, target.color, target.title] for target in TARGETS]


def test_nothing_of_the_header_or_the_paths_is_in_the_page(files):
    page = page_of(files)
    text = page + "".join(str(volume_of(page, name).to_bytes()) for name in ("image", "reference", "prediction"))
    for secret in ("DOE^JANE", "1960-01-01", "ward 7", "hospital", str(files[0].parent)):
        assert secret not in text


def test_the_page_refers_to_nothing_outside_of_itself(files):
    page = page_of(files)
    own = page.replace((ASSETS / "niivue.umd.js").read_text(), "")
    assert "default-src 'none'" in own and "connect-src data:" in own
    assert not re.search(r"(?i)<link|<iframe|<img|@import|url\(|\bsrc\s*=|\bimport\s*\(|fetch\(", own)


def test_the_viewer_is_the_published_one_with_its_license():
    digest = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"  # @niivue/niivue 0.69.0
    assert file_hash(ASSETS / "niivue.umd.js") == digest
    assert "</script" not in (ASSETS / "niivue.umd.js").read_text()
    assert "Copyright (c) 2021, Niivue" in (ASSETS / "niivue.LICENSE.txt").read_text()


def test_a_large_image_is_made_smaller_and_the_page_says_so(files):
    page = page_of(files, "--max-voxels", "1000")
    assert np.prod(volume_of(page, "image").shape) <= 1000
    assert "too large to be shown as it is" in page and "labels thinned" in page
    assert [row["values"] for row in facts_of(page)["targets"]] == [
        row["values"] for row in facts_of(page_of(files))["targets"]
    ]


def test_the_page_states_its_size(files):
    page = page_of(files)
    stated = float(re.search(r"loads nothing: ([\d.]+) MB", page)[1])
    assert stated == pytest.approx(len(page.encode()) / 1e6, abs=0.1)


def test_an_image_alone_is_a_page_without_a_table(tmp_path):
    image = Volume(np.zeros(SHAPE, np.int16), GEOMETRY)
    page = write_case_page(ShownCase("</script><b>", image), tmp_path / "case.html").read_text()
    assert facts_of(page)["targets"] == [] and facts_of(page)["start_mm"] is None
    assert "<b>" not in page.replace((ASSETS / "niivue.umd.js").read_text(), "")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda files: files[0].unlink(), "ct_0000.nii.gz"),
        (lambda files: files[2].unlink(), "prediction.nii.gz"),
        (
            lambda files: write_labels(files[1], np.zeros((5, 5, 5), np.uint8), _grid_of(5)),
            "expected the image's shape",
        ),
        (lambda files: write_labels(files[1], label_map(), _grid_of(*SHAPE)), "expected the image's place"),
    ],
    ids=["no_image", "no_prediction", "another_shape", "another_place"],
)
def test_what_cannot_be_shown_is_refused_in_one_line(files, change, said, capsys):
    change(files)
    out = files[0].parent / "case.html"
    arguments = ["view", files[0], "--labels", files[1], "--prediction", files[2], "-o", out]
    assert cli.main([str(argument) for argument in arguments]) == cli.REFUSED
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("flare view: ") and said in line
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [["-o", "case.txt"], ["-o", "a.html", "--rules", "mine"], ["-o", "a.html", "--max-voxels", "0"]],
    ids=["no_html", "no_such_rules", "no_voxels"],
)
def test_wrong_usage_is_refused_before_anything_is_read(options, capsys):
    assert cli.main(["view", "nowhere.nii.gz", *options]) == cli.REFUSED
    assert "nowhere" not in capsys.readouterr().err


def _grid_of(*shape):
    shape = shape * 3 if len(shape) == 1 else shape
    return Geometry.from_spacing(shape, (2.0, 2.0, 4.0))
