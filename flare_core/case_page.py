"""Write one case as one HTML file: linked planes, a 3-D rendering, scores; it opens anywhere and loads nothing.

Serves `flare view`, at the end of the data flow. The viewer (NiiVue) and the volumes are part of the file. Of an image
only voxels and their place in space travel: no header text, no path.

Reference:
    NiiVue, https://github.com/niivue/niivue (BSD-2-Clause, in `assets`).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flare_core.case_layers import MOST_VOXELS, Layer, ShownCase, layers_of
from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import Volume
from flare_core.cases.reduction import Reduction
from flare_core.evaluation.case_table import case_table
from flare_core.evaluation.flare_rules import FLARE23, Rules
from flare_core.evaluation.slices import WINDOWS_HU, middle_voxel
from flare_core.storage import write_file

ASSETS = Path(__file__).parent / "assets"
COLUMN_TITLES = {"dsc": "DSC", "nsd": "NSD", "reference_ml": "Ref. ml", "prediction_ml": "Pred. ml"}


def write_case_page(case: ShownCase, out: Path, *, rules: Rules = FLARE23, most_voxels: int = MOST_VOXELS) -> Path:
    """Write a case as one HTML file.

    Args:
        case: image, and none, one or two label maps.
        out: the file to write.
        rules: under which the targets are scored, on the full grid, if both label maps are there.
        most_voxels: a larger image loses the air around the body, then resolution; the page says so.
    Returns:
        `out`. A target is in the page's table if one of the label maps shows it.
    """
    reduction = Reduction.of(case.image, most_voxels)
    layers = layers_of(case, reduction)
    facts = {
        "windows": WINDOWS_HU,
        "volumes": [_described(layer) for layer in layers],
        **_target_table(case, layers, rules),
    }
    parts = {
        "TITLE": html.escape(case.title),
        "SUMMARY": _summary(case, layers[0].volume, reduction),
        "NOTES": _notes(case, rules, reduction),
        "LICENSE": html.escape((ASSETS / "niivue.LICENSE.txt").read_text()),
        "STYLE": (ASSETS / "case_page.css").read_text(),
        "CASE": json.dumps(facts).replace("<", "\\u003c"),
        "VOLUMES": "\n".join(_element(layer) for layer in layers),
        "NIIVUE": (ASSETS / "niivue.umd.js").read_text(),
        "SCRIPT": (ASSETS / "case_page.js").read_text(),
    }
    page = (ASSETS / "case_page.html").read_text()
    pieces = re.split(r"@([A-Z]+)@", page)  # one pass: what is put in is never searched
    size_mb = sum(map(len, (page, *parts.values()))) / 1e6
    parts["SIZE"] = f"{size_mb:.1f} MB"
    write_file(out, "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces)))
    return Path(out)


def _described(layer: Layer) -> dict:
    """Return what the page's script needs to know of a layer."""
    words = {"name": layer.name, "title": layer.title, "colors": layer.colors}
    return words | {"targets": layer.is_labels, "on": layer.is_on}


def _element(layer: Layer) -> str:
    """Return the element that holds a layer's data as text."""
    packed = base64.b64encode(layer.file).decode()
    return f'<script type="application/octet-stream" id="data-{layer.name}">{packed}</script>'


def _target_table(case: ShownCase, layers: Sequence[Layer], rules: Rules) -> dict:
    """Return columns and rows of the page's table, and where the planes meet when it opens."""
    maps = case.label_maps
    searched = [*(layer.volume for layer in layers if layer.is_labels), *maps.values()]  # the small ones first
    table = case_table(case.reference, case.prediction, rules)
    rows = []
    for name, values in table.to_dict("index").items():
        target = BY_NAME[name]
        marks = [_score(values[metric]) for metric in ("dsc", "nsd") if metric in values]
        marks += [_milliliters(values[f"{which}_ml"]) for which in maps]
        place_mm = next(filter(None, (_middle_mm(volume, target.id) for volume in searched)))
        row = {"id": target.id, "title": target.title, "color": target.color, "values": marks, "place_mm": place_mm}
        rows.append(row)
    largest = str(table.filter(like="_ml").max(axis=1).idxmax()) if rows else ""
    start_mm = next((row["place_mm"] for row in rows if row["id"] == BY_NAME[largest].id), None)
    return {"columns": [COLUMN_TITLES[name] for name in table], "targets": rows, "start_mm": start_mm}


def _score(value: float) -> str:
    """Return a score as it is shown; a target that the rules do not score has none."""
    return "" if np.isnan(value) else f"{value:.3f}"


def _milliliters(volume: float) -> str:
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.1f}"


def _middle_mm(labels: Volume, target: int) -> list[float] | None:
    """Return the place in mm of a voxel in the middle of a target, or None where it is not labeled."""
    voxel = middle_voxel(labels.data, target)
    return None if voxel is None else [round(float(mm), 2) for mm in (labels.affine @ [*voxel, 1])[:3]]


def _summary(case: ShownCase, shown: Volume, reduction: Reduction) -> str:
    """Return a line about the grid, and what is not shown of it."""
    whole = _grid(case.image)
    if shown.data.shape == case.image.data.shape:
        return whole
    coarser = ", coarser" if reduction.is_coarser else ""
    return f"{whole}; too large to be shown as it is: without the air around the body{coarser}, {_grid(shown)}"


def _grid(volume: Volume) -> str:
    voxels = " × ".join(map(str, volume.data.shape))
    return f"{voxels} voxels of {' × '.join(f'{edge:.2f}' for edge in volume.spacing_mm)} mm"


def _notes(case: ShownCase, rules: Rules, reduction: Reduction) -> str:
    """Return how to read the table and the coarser picture, as far as there is any."""
    notes = []
    if len(case.label_maps) == 2:
        notes.append(f"DSC and NSD by the rules {rules.name}, on the full grid.")
    if case.label_maps:
        notes.append("Volumes in ml, from the full grid. Click a name to go there.")
    if reduction.is_coarser:
        notes.append("Image averaged, labels thinned for display: small structures may look broken here.")
    return " ".join(notes)
