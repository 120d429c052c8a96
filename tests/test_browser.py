"""In a real Chromium: pages show the targets in their colors, obey their controls and ask nobody for anything.

Slow, and skipped where Chromium is not installed. Screenshots stay in pytest's temporary folder.
"""

import os
import re
import shutil
import time

import nbformat
import numpy as np
import pytest
from chromium import chromium, missing_browser
from jupyter_lab import jupyter_lab

from flare_core import paths
from flare_core.case_layers import ShownCase
from flare_core.case_page import write_case_page
from flare_core.cases.cohort import write_cohort
from flare_core.cases.labels import BY_NAME, TARGETS
from flare_core.cases.nifti import Geometry, Volume
from flare_core.evaluation.slices import WINDOWS_HU
from flare_core.evaluation.style import ADDED, MISSED
from flare_core.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]

SHAPE = (60, 48, 40)
TISSUE_HU = 40
FEW_PIXELS, MANY_PIXELS = 5, 60
LOCAL = re.compile(r"((https?|wss?)://127\.0\.0\.1[:/]|blob:http://127\.0\.0\.1|data:|chrome)")


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path) as opened:
        yield opened
        opened.picture(tmp_path / "last.png")


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def pixels_of(picture, color):
    """How many pixels have a color, up to rounding."""
    return int((np.abs(picture.astype(int) - rgb(color)).max(axis=-1) <= 4).sum())


def canvas_of(browser, file=None):
    """A screenshot of the first canvas in the page."""
    x, y, width, height = browser.run(
        "const b = document.querySelector('canvas').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    )
    return browser.picture(file)[int(y) : int(y + height), int(x) : int(x + width)]


def drawn(browser):
    """Wait until what was asked for is painted."""
    browser.wait("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))", 30)


def click(browser, selector):
    browser.run("document.querySelector(arguments[0]).click()", selector)
    drawn(browser)


def blocks(names, shift=0):
    """A label map with one block a target, in a row of five by three."""
    data = np.zeros(SHAPE, np.uint8)
    for name in names:
        place = BY_NAME[name].id - 1
        x, y = 2 + 11 * (place % 5) + shift, 4 + 14 * (place // 5)
        data[x : x + 8, y : y + 10, 10:30] = BY_NAME[name].id
    return data


@pytest.fixture
def page(tmp_path):
    """A case whose reference shows all targets; the prediction lacks the liver and lies a voxel to the side."""
    geometry = Geometry.from_spacing(SHAPE, (3, 3, 4))
    names = [target.name for target in TARGETS]
    hu = np.full(SHAPE, TISSUE_HU, np.int16)
    maps = blocks(names), blocks(names[1:], shift=1)
    case = ShownCase("all targets", Volume(hu, geometry), *(Volume(data, geometry) for data in maps))
    return write_case_page(case, tmp_path / "case.html")


def test_the_page_of_a_case_shows_every_target_and_obeys(browser, page, tmp_path):
    browser.requests()
    browser.visit(page.as_uri())
    browser.wait("return document.body.dataset.ready === 'yes'", 120)
    assert browser.run("return document.getElementById('trouble').hidden")
    browser.run("const o = document.getElementById('opacity'); o.value = 100; o.dispatchEvent(new Event('input'))")
    click(browser, "#show-prediction")
    click(browser, "#show-reference")
    for row, target in enumerate(TARGETS, start=1):
        click(browser, f"#targets tbody tr:nth-child({row}) button")
        assert f"reference: {target.title.lower()}" in browser.run(
            "return document.getElementById('place').textContent"
        )
        assert pixels_of(canvas_of(browser, tmp_path / f"{target.name}.png"), target.color) > MANY_PIXELS, target.name

    click(browser, "#targets tbody tr:nth-child(14) input")
    assert pixels_of(canvas_of(browser), TARGETS[13].color) < FEW_PIXELS  # hidden
    click(browser, "#targets tbody tr:nth-child(14) input")
    assert pixels_of(canvas_of(browser), TARGETS[13].color) > MANY_PIXELS

    click(browser, "#show-reference")
    assert pixels_of(canvas_of(browser), TARGETS[13].color) < FEW_PIXELS
    click(browser, "#targets tbody tr:nth-child(1) button")
    click(browser, "#show-error")
    errors = canvas_of(browser, tmp_path / "error.png")
    assert min(pixels_of(errors, MISSED), pixels_of(errors, ADDED)) > MANY_PIXELS
    click(browser, "#show-error")

    for place, (low, high) in enumerate(WINDOWS_HU.values(), start=1):
        click(browser, f"#windows button:nth-child({place})")
        level = round(255 * (TISSUE_HU - low) / (high - low))
        assert pixels_of(canvas_of(browser), f"#{level:02x}{level:02x}{level:02x}") > MANY_PIXELS
    for place in range(2, 6):
        click(browser, f"#views button:nth-child({place})")
    assert browser.complaints() == []
    sent = [address for address in browser.requests() if not address.startswith(("data:", "chrome"))]
    assert set(sent) == {page.as_uri()}


def test_a_browser_without_webgl_is_told_so(browser, page):
    text = page.read_text().replace('getContext("webgl2")', 'getContext("no such thing")')
    page.write_text(text)
    browser.visit(page.as_uri())
    browser.wait("return !document.getElementById('trouble').hidden", 60)
    assert "WebGL" in browser.run("return document.getElementById('trouble').textContent")


@pytest.fixture
def explorer_folder(tmp_path):
    """Notebook 11 on a dataset of two validation cases, with the shipped networks as what was trained on it."""
    data = write_cohort(tmp_path / f"browser-{os.getpid()}", cases=1, validation=2, seed=7, profile="mini")
    work = Workspace("nvauto", "mini", str(data))
    shutil.copytree(paths.WEIGHTS / "nvauto", work.run / "submission")
    content = nbformat.read(paths.NOTEBOOKS / "11_case_explorer.ipynb", as_version=4)
    parameters = next(cell for cell in content.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\ndata = {str(data)!r}\ntarget = 'liver'\nviewer = 'niivue'"
    (tmp_path / "lab").mkdir()
    nbformat.write(content, tmp_path / "lab" / "explorer.ipynb")
    yield tmp_path / "lab"
    shutil.rmtree(work.folder)


IDLE = "return window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
SET_OPACITY = """
const readout = [...document.querySelectorAll('.widget-slider')].find(w => w.textContent.startsWith(arguments[0]))
  .querySelector('.widget-readout');
readout.textContent = arguments[1];
readout.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', keyCode: 13, bubbles: true}));
"""
CHOOSE = """
const select = [...document.querySelectorAll('.widget-dropdown')].find(w => w.textContent.startsWith(arguments[0]))
  .querySelector('select');
const titles = [...select.options].map(option => option.text.replaceAll('\u00a0', ' '));
if (arguments[1] !== null) {
  select.selectedIndex = titles.indexOf(arguments[1]);
  select.dispatchEvent(new Event('change', {bubbles: true}));
}
return titles;
"""
CHOSEN_CASE = """
return [...document.querySelectorAll('.widget-dropdown')].find(w => w.textContent.startsWith('Case'))
  .querySelector('select').value;
"""


def shown_within(browser, color, limit_s=60):
    """Whether a color is in the canvas before the limit."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if pixels_of(canvas_of(browser), color) > FEW_PIXELS:
            return True
        time.sleep(0.5)
    return False


def changed_within(browser, before, limit_s=60):
    """Whether a tenth of the canvas looks otherwise than before, before the limit."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if (canvas_of(browser) != before).any(axis=-1).mean() > 0.1:
            return True
        time.sleep(0.5)
    return False


def test_the_case_explorer_shows_organs_in_a_real_jupyter_lab(browser, explorer_folder, tmp_path):
    with jupyter_lab(explorer_folder) as address:
        browser.requests()
        browser.visit(address.format("explorer.ipynb"))
        browser.wait(IDLE, 180)
        browser.run("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        browser.wait("return document.querySelector('canvas')?.isConnected", 480)
        browser.run("document.querySelector('canvas').scrollIntoView({block: 'center'})")
        for name, opacity in (("Reference", "1"), ("Prediction", "0")):
            browser.run(SET_OPACITY, name, opacity)
        titles = browser.run(CHOOSE, "Target", None)
        assert len(titles) >= 12  # a synthetic patient has nearly all
        for target in (target for target in TARGETS if target.title in titles):
            browser.run(CHOOSE, "Target", target.title)
            assert shown_within(browser, target.color), f"{target.name} is not seen in its color"
        canvas_of(browser, tmp_path / "reference.png")
        for name, opacity in (("Reference", "0"), ("Error", "1")):
            browser.run(SET_OPACITY, name, opacity)
        assert shown_within(browser, MISSED) and shown_within(browser, ADDED)

        (other,) = set(browser.run(CHOOSE, "Case", None)) - {browser.run(CHOSEN_CASE)}
        table = browser.run("return document.querySelector('.widget-html').textContent")
        browser.run(SET_OPACITY, "Error", "0")
        browser.run(SET_OPACITY, "Reference", "1")
        assert shown_within(browser, BY_NAME["liver"].color)
        before = canvas_of(browser)
        browser.run(CHOOSE, "Case", other)
        browser.wait("return document.querySelector('.widget-html').textContent !== arguments[0]", 60, table)
        assert changed_within(browser, before) and shown_within(browser, BY_NAME["liver"].color)
        browser.picture(tmp_path / "another_case.png")

        page = browser.run("return document.body.textContent")
        assert "Error displaying widget" not in page and "Traceback" not in page
        foreign = {address for address in browser.requests() if not LOCAL.match(address)}
        assert foreign == set()
