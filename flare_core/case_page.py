"""Write one case as one HTML file: linked planes, a 3-D rendering, scores; it opens anywhere and loads nothing.

Serves `flare view`, at the end of the data flow. The viewer (NiiVue) and the volumes are part of the file. Of an image
only voxels and their place in space travel: no header text, no path.

Reference:
    NiiVue, https://github.com/niivue/niivue (BSD-2-Clause, in `assets`).
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flare_core.cases.labels import BY_NAME, TARGETS
from flare_core.cases.nifti import Volume, case_id, check_same_grid, read_image, read_labels
from flare_core.cases.nifti_writing import nifti_bytes
from flare_core.cases.reduction import Reduction
from flare_core.evaluation.case_table import case_table
from flare_core.evaluation.flare_rules import FLARE23, Rules
from flare_core.evaluation.slices import WINDOWS_HU, error_kinds, middle_voxel
from flare_core.evaluation.style import ADDED, CONFUSED, MISSED
from flare_core.storage import write_file

ASSETS = Path(__file__).parent / "assets"
MOST_VOXELS = 12_000_000
COLUMN_TITLES = {"dsc": "DSC", "nsd": "NSD", "reference_ml": "Ref. ml", "prediction_ml": "Pred. ml"}
HU_SHOWN = (-1350, 1300)  # all that the windows tell apart
ERRORS = ((1, MISSED, "missed"), (2, ADDED, "added"), (3, CONFUSED, "other target"))
TARGET_COLORS = tuple((target.id, target.color, target.title) for target in TARGETS)


@dataclass(frozen=True, eq=False)
class ShownCase:
    """A case to show; label maps lie on the image's grid.

    Attributes:
        title: heading of the page.
        image: the CT.
        reference, prediction: label maps, or None.
    """

    title: str
    image: Volume
    reference: Volume | None = None
    prediction: Volume | None = None

    @classmethod
    def read(cls, image: Path, labels: Path | None = None, prediction: Path | None = None) -> ShownCase:
        """Read a case from its files; its title is the case's id.

        Raises:
            BadInput: if a file is missing or unusable, or labels lie on another grid than the image.
        """
        title, ct = case_id(image), read_image(image, dtype=None)
        maps = [None if path is None else read_labels(path) for path in (labels, prediction)]
        for volume in filter(None, maps):
            check_same_grid(ct, volume)
        return cls(title, ct, *maps)

    @property
    def label_maps(self) -> dict[str, Volume]:
        """The label maps that are there, by name."""
        both = {"reference": self.reference, "prediction": self.prediction}
        return {name: volume for name, volume in both.items() if volume is not None}


@dataclass(frozen=True)
class Layer:
    """One volume of the page: the CT, or a colored map over it.

    Attributes:
        name: of the element that holds its data.
        volume: int16 HU or uint8 values.
        title: for people; empty for the CT.
        colors: rows (value, color, what it means); none for the CT.
        is_labels: whether its values are targets, which can be hidden one by one.
        is_on: whether it is seen when the page opens.
    """

    name: str
    volume: Volume
    title: str = ""
    colors: Sequence[tuple[int, str, str]] = ()
    is_labels: bool = False
    is_on: bool = True

    def described(self) -> dict:
        """Return what the page's script needs to know of it."""
        words = {"name": self.name, "title": self.title, "colors": self.colors}
        return words | {"targets": self.is_labels, "on": self.is_on}

    def element(self) -> str:
        """Return the element that holds its data: a compressed NIfTI file as text."""
        dtype = np.uint8 if self.colors else np.int16
        file = nifti_bytes(self.volume.data, self.volume.geometry, dtype)
        packed = base64.b64encode(gzip.compress(file, 6, mtime=0)).decode()
        return f'<script type="application/octet-stream" id="data-{self.name}">{packed}</script>'


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
    layers = _layers(case, reduction)
    facts = {
        "windows": WINDOWS_HU,
        "volumes": [layer.described() for layer in layers],
        **_target_table(case, layers, rules),
    }
    parts = {
        "TITLE": html.escape(case.title),
        "SUMMARY": _summary(case, layers[0].volume, reduction),
        "NOTES": _notes(case, rules, reduction),
        "LICENSE": html.escape((ASSETS / "niivue.LICENSE.txt").read_text()),
        "STYLE": (ASSETS / "case_page.css").read_text(),
        "CASE": json.dumps(facts).replace("<", "\\u003c"),
        "VOLUMES": "\n".join(layer.element() for layer in layers),
        "NIIVUE": (ASSETS / "niivue.umd.js").read_text(),
        "SCRIPT": (ASSETS / "case_page.js").read_text(),
    }
    page = (ASSETS / "case_page.html").read_text()
    pieces = re.split(r"@([A-Z]+)@", page)  # one pass: what is put in is never searched
    size_mb = sum(map(len, (page, *parts.values()))) / 1e6
    parts["SIZE"] = f"{size_mb:.1f} MB"
    write_file(out, "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces)))
    return Path(out)


def _layers(case: ShownCase, reduction: Reduction) -> list[Layer]:
    """Return the CT, the label maps and, where there are two of these, their difference."""
    image = reduction.of_image(case.image)
    layers = [Layer("image", replace(image, data=image.data.clip(*HU_SHOWN)))]
    maps = {name: reduction.of_labels(volume) for name, volume in case.label_maps.items()}
    for name, volume in maps.items():
        is_on = name == "prediction" or len(maps) == 1
        layers.append(Layer(name, volume, name.capitalize(), TARGET_COLORS, is_labels=True, is_on=is_on))
    if len(maps) == 2:
        errors = error_kinds(maps["reference"].data, maps["prediction"].data)
        layers.append(Layer("error", replace(maps["reference"], data=errors), "Error", ERRORS, is_on=False))
    return layers


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
