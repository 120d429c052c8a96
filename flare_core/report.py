"""Turn executed notebooks into an HTML report that opens anywhere: one page each and an index.

Serves `flare_core.reproduce`. Pages hold text, tables and PNG pictures; they run no script and load nothing from
elsewhere, so the folder can be mailed or put on any web server as it is. A code cell tagged `key` gives the index its
picture or its table.
"""

from __future__ import annotations

import base64
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

from flare_core import __version__, paths
from flare_core.machine import processor_name, usable_cores
from flare_core.notebook_runner import Outcome
from flare_core.recipe import fingerprint
from flare_core.storage import write_file

TITLE = "FLARE, reproduced"
KEY_TAG = "key"
SHOWN_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "nibabel",
    "connected-components-3d",
    "openvino",
    "pandas",
    "papermill",
)
CAME_ALONG = (
    "<h2>What came along</h2><p>These networks were trained earlier and are shipped with the package; everything else "
    "on these pages was made by the notebooks, at the time that each card gives.</p>"
)
STATUS_WORDS = {
    "done": "made now",
    "unchanged": "unchanged: same inputs as when it was made",
    "earlier": "from an earlier run, not checked now",
    "failed": "failed",
}


def build(outcomes: Sequence[Outcome], folder: Path, profile: str) -> Path:
    """Write one page a notebook and the index.

    Args:
        outcomes: of the notebooks, whose executed copies lie in `folder/notebooks`; none gives an index that says so.
        folder: the report's folder.
        profile: named on the index.
    Returns:
        The path of the index.
    """
    outcomes = sorted(outcomes, key=lambda outcome: outcome.name)
    cards, tables = [], []
    for place, outcome in enumerate(outcomes):
        before, after = outcomes[place - 1 : place], outcomes[place + 1 : place + 2]
        content = _executed(folder, outcome)
        if content is not None:
            write_file(folder / f"{outcome.name}.html", _notebook_page(content, outcome, before, after))
        picture, table = _key_outputs(content)
        if picture:
            image = folder / "pictures" / f"{outcome.name}.png"
            image.parent.mkdir(exist_ok=True)
            image.write_bytes(base64.b64decode(picture))
        cards.append(_card(outcome, _title(content, outcome), bool(picture), content is not None))
        if table:
            tables.append(f"<h2>{escape(_title(content, outcome))}</h2><div class=wide>{table}</div>")
    index = folder / "index.html"
    write_file(index, _page(TITLE, "", _index_body(outcomes, cards, tables, profile)))
    return index


def environment() -> dict[str, str]:
    """Say what the report was made with: package, commit, Python, processor, memory, libraries."""
    import psutil

    facts = {
        "flare_core": " ".join(filter(None, (__version__, _commit()))),
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{processor_name()}, {usable_cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    for package in SHOWN_PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def shipped_networks(weights: Path = paths.WEIGHTS) -> list[dict[str, str]]:
    """List the networks that came along with the package instead of being made by this run.

    Args:
        weights: folder with `<system>/.../model.json`; one without any gives an empty list.
    Returns:
        One row a network: where it lies, what it was trained on, its best validation Dice, its SHA-256, and whether its
        recipe is still the one in `systems/`.
    """
    rows = []
    for file in sorted(weights.glob("*/**/model.json")):
        model = json.loads(file.read_text())
        rows.append(
            {
                "network": str(file.parent.relative_to(weights)),
                "trained on": f"{model.get('dataset', '?')}, seed {model.get('run_seed', '?')}",
                "validation Dice": f"{model['validation_dice']:.3f}" if "validation_dice" in model else "",
                "sha256": str(model.get("sha256", ""))[:12],
                "recipe": "as in this version" if _is_current(model) else "has changed since: stale",
            }
        )
    return rows


def _is_current(model: dict[str, Any]) -> bool:
    """Say whether the stage that a network was trained by has the same value today."""
    from flare_core.systems import SYSTEMS

    try:
        stage = SYSTEMS[model["system"]].at(model["profile"]).stage(model["stage"])
    except (KeyError, ValueError):
        return False
    return fingerprint(stage) == model["recipe"]


def _index_body(outcomes: Sequence[Outcome], cards: list[str], tables: list[str], profile: str) -> str:
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    spent_s = sum(outcome.time_s for outcome in outcomes if outcome.status in ("done", "failed"))
    said = f"{len(outcomes)} notebooks" if outcomes else "No notebook has been run"
    verdict = (
        f"<span class='status failed'>{len(failed)} failed: {escape(', '.join(failed))}</span>"
        if failed
        else "none failed"
    )
    networks = shipped_networks()
    return "".join(
        (
            f"<h1>{TITLE}</h1><p>{said} in the profile <code>{escape(profile)}</code>, {verdict}. ",
            f"Written {time.strftime('%Y-%m-%d %H:%M %Z')}; {spent_s:.0f} s of computing now.</p>",
            f"<ul class=cards>{''.join(cards)}</ul>",
            *tables,
            CAME_ALONG if networks else "",
            _table(networks),
            "<h2>Made with</h2>",
            _table([{"": name, "version or value": value} for name, value in environment().items()]),
        )
    )


def _card(outcome: Outcome, title: str, has_picture: bool, has_page: bool) -> str:
    page = f"{outcome.name}.html"
    image = f"<a href='{page}'><img src='pictures/{outcome.name}.png' alt='{escape(title)}'></a>" if has_picture else ""
    heading = f"<a href='{page}'>{escape(title)}</a>" if has_page else escape(title)
    error = f"<p class=failed>{escape(outcome.error)}</p>" if outcome.error else ""
    return (
        f"<li class=card>{image}<div><h3>{heading}</h3>"
        f"<p><span class='status {outcome.status}'>{STATUS_WORDS[outcome.status]}</span></p>"
        f"<p class=quiet>{outcome.time_s:.1f} s, {escape(outcome.made[:16].replace('T', ' '))}</p>{error}</div></li>"
    )


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


def _key_outputs(content: Any | None) -> tuple[str, str]:
    """The picture (base64 PNG) and the table (HTML) of cells tagged `key`, else the first picture; empty if none."""
    picture = first_picture = table = ""
    for cell in content.cells if content is not None else ():
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            first_picture = first_picture or data.get("image/png", "")
            if KEY_TAG in cell.metadata.get("tags", ()):
                picture = picture or data.get("image/png", "")
                table = table or data.get("text/html", "")
    return picture or first_picture, table


def _pictures(content: Any) -> list[Any]:
    """The outputs that hold a picture, in order."""
    outputs = [output for cell in content.cells for output in cell.get("outputs", ())]
    return [output for output in outputs if "image/png" in output.get("data", {})]


def _notebook_page(content: Any, outcome: Outcome, before: Sequence[Outcome], after: Sequence[Outcome]) -> str:
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    title = _title(content, outcome)
    for number, output in enumerate(_pictures(content), start=1):
        output.metadata["image/png"] = {"alt": f"{title}, picture {number}"}
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(content)
    backward = f"<a href='{before[0].name}.html'>{escape(before[0].name)}</a>" if before else ""
    forward = f"<a href='{after[0].name}.html'>{escape(after[0].name)}</a>" if after else ""
    navigation = f"<nav><span>{backward}</span><a href='index.html'>all notebooks</a><span>{forward}</span></nav>"
    return _page(title, navigation, body, HtmlFormatter(style="default").get_style_defs(".highlight"))


def _page(title: str, navigation: str, body: str, more_style: str = "") -> str:
    style = Path(__file__).with_name("report.css").read_text()
    return (
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{style}{more_style}</style></head>"
        f"<body>{navigation}<main>{body}</main></body></html>\n"
    )


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    lines = "".join(f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>{lines}</table></div>"


def _commit() -> str:
    """The commit of the working tree, with `+` when files differ from it; empty outside git."""
    git = shutil.which("git")
    if git is None:
        return ""
    commit = subprocess.run([git, "rev-parse", "--short", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    if commit.returncode:
        return ""
    changed = subprocess.run([git, "diff", "--quiet", "HEAD"], cwd=paths.ROOT, capture_output=True).returncode
    return f"({commit.stdout.strip()}{'+' if changed else ''})"
