"""Turn executed notebooks into an HTML report that opens anywhere: one page each and an index.

Serves `flare_core.reproduce`. Pages hold text, tables and PNG pictures; they run no script and load nothing from
elsewhere, so the folder can be mailed or put on any web server as it is. A code cell tagged `key` gives the index its
picture or its table; `report_index` writes the first page.
"""

from __future__ import annotations

import base64
import io
import itertools
import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from flare_core.notebook_runner import Outcome
from flare_core.report_index import TITLE, Chapter, index_body
from flare_core.storage import write_file

KEY_TAG = "key"
THUMBNAIL_PIXELS = (360, 270)
TABLE_ENDINGS = (".csv", ".md", ".tex")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: file: 'self'; form-action 'none'"
"""What a browser may run and load, whatever a notebook's output asks for; `file:` is for a report on a disk."""


def build(outcomes: Sequence[Outcome], folder: Path, profile: str, tables: Path | None = None) -> Path:
    """Write one page a notebook and the index.

    Args:
        outcomes: of the notebooks, whose executed copies lie in `folder/notebooks`; none gives an index that says so.
        folder: the report's folder.
        profile: named on the index.
        tables: folder of exported tables, which are copied into the report; None or an empty one: there are none.
    Returns:
        The path of the index.
    """
    outcomes = sorted(outcomes, key=lambda outcome: outcome.name)
    contents = {outcome.name: _executed(folder, outcome) for outcome in outcomes}
    chapters = [_chapter(outcome, contents[outcome.name], folder) for outcome in outcomes]
    shown = [chapter for chapter in chapters if chapter.has_page]
    for place, chapter in enumerate(shown):
        name, before, after = chapter.outcome.name, shown[place - 1 : place], shown[place + 1 : place + 2]
        write_file(folder / f"{name}.html", _notebook_page(contents[name], chapter.title, before, after))
    index = folder / "index.html"
    write_file(index, _page(TITLE, "", index_body(chapters, profile, _copied(tables, folder))))
    return index


def _chapter(outcome: Outcome, content: Any | None, folder: Path) -> Chapter:
    """Write a notebook's pictures in the place of those, and of the page, that an earlier run left."""
    name, pictures = outcome.name, folder / "pictures"
    for path in (folder / f"{name}.html", pictures / f"{name}.png", *pictures.glob(f"{name}-*.jpg")):
        path.unlink(missing_ok=True)
    picture, found = _key_outputs(content)
    if picture:
        write_file(pictures / f"{name}.png", base64.b64decode(picture))
    small = _thumbnails(content, folder, name)
    return Chapter(outcome, _title(content, outcome), content is not None, bool(picture), found, small)


def _executed(folder: Path, outcome: Outcome) -> Any | None:
    """The executed notebook, or what a failed one got to; None if its kernel never started."""
    import nbformat

    ending = ".partial.ipynb" if outcome.status == "failed" else ".ipynb"
    file = folder / "notebooks" / f"{outcome.name}{ending}"
    return nbformat.read(file, as_version=4) if file.exists() else None


def _title(content: Any | None, outcome: Outcome) -> str:
    """The notebook's first heading with its number in front; its file name if there is none."""
    for cell in content.cells if content is not None else ():
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return f"{outcome.name[:2]} {cell.source.splitlines()[0][2:].strip()}"
    return outcome.name


def _key_outputs(content: Any | None) -> tuple[str, tuple[str, ...]]:
    """The picture (base64 PNG) and the tables (HTML) of cells tagged `key`, else the first picture; empty if none."""
    picture, first_picture, tables = "", "", []
    for cell in content.cells if content is not None else ():
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            first_picture = first_picture or data.get("image/png", "")
            if KEY_TAG in cell.metadata.get("tags", ()):
                picture = picture or data.get("image/png", "")
                tables += [data["text/html"]] if "text/html" in data else []
    return picture or first_picture, tuple(tables)


def _pictures(content: Any) -> list[tuple[str, Any]]:
    """Return the outputs that hold a picture, each with its caption: the heading above it, numbered if shared."""
    heading, found = "", []
    for cell in content.cells:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = headings[-1] if headings else heading
        found += [(heading, output) for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    headings = [heading for heading, _ in found]
    counted = [f" ({headings[:n].count(h)} of {headings.count(h)})" for n, h in enumerate(headings, start=1)]
    return [(h + (c if headings.count(h) > 1 else ""), output) for (h, output), c in zip(found, counted, strict=True)]


def _thumbnails(content: Any | None, folder: Path, name: str) -> tuple[tuple[str, str], ...]:
    """Write small copies of a notebook's pictures; return their paths in the report and their captions."""
    from PIL import Image

    written = []
    for number, (heading, output) in enumerate(_pictures(content) if content is not None else (), start=1):
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
        picture.thumbnail(THUMBNAIL_PIXELS)
        small = io.BytesIO()
        picture.save(small, "JPEG", quality=80)
        path = f"pictures/{name}-{number}.jpg"
        write_file(folder / path, small.getvalue())
        written.append((path, heading))
    return tuple(written)


def _copied(tables: Path | None, folder: Path) -> list[str]:
    """Copy exported tables into the report; return their paths there."""
    files = sorted(tables.iterdir()) if tables is not None and tables.is_dir() else []
    shutil.rmtree(folder / "tables", ignore_errors=True)
    copied = [f"tables/{file.name}" for file in files if file.suffix in TABLE_ENDINGS]
    for path in copied:
        write_file(folder / path, (tables / Path(path).name).read_bytes())
    return copied


def _notebook_page(content: Any, title: str, before: Sequence[Chapter], after: Sequence[Chapter]) -> str:
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    for heading, output in _pictures(content):
        output.metadata["image/png"] = {"alt": f"{title} {heading}"}
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(content)
    numbers = itertools.count(1)
    body = re.sub('<div (?=class="output_png )', lambda _: f"<div id=picture{next(numbers)} ", body)
    backward = f"<a href='{before[0].outcome.name}.html'>{escape(before[0].outcome.name)}</a>" if before else ""
    forward = f"<a href='{after[0].outcome.name}.html'>{escape(after[0].outcome.name)}</a>" if after else ""
    navigation = f"<nav><span>{backward}</span><a href='index.html'>overview</a><span>{forward}</span></nav>"
    return _page(title, navigation, body, HtmlFormatter(style="default").get_style_defs(".highlight"))


def _page(title: str, navigation: str, body: str, more_style: str = "") -> str:
    style = Path(__file__).with_name("report.css").read_text()
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">'
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}{more_style}</style></head>"
        f"<body>{navigation}<main>{body}</main></body></html>\n"
    )
