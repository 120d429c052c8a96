"""In a real Chromium: pages show the targets in their colors, obey their controls and ask nobody for anything.

Slow, and skipped where Chromium is not installed. Screenshots stay in pytest's temporary folder.
"""

import numpy as np
import pytest
from chromium import chromium, missing_browser

from flare_core.case_page import ShownCase, write_case_page
from flare_core.cases.labels import BY_NAME, TARGETS
from flare_core.cases.nifti import Geometry, Volume
from flare_core.evaluation.slices import WINDOWS_HU
from flare_core.evaluation.style import ADDED, MISSED

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())]

SHAPE = (60, 48, 40)
TISSUE_HU = 40
FEW_PIXELS, MANY_PIXELS = 5, 60


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path) as opened:
        yield opened


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
