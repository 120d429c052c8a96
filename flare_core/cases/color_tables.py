"""Write the 14 targets with their colors as files that 3D Slicer and ITK-SNAP load beside a label map.

Serves `flare predict --color-tables`; the colors are those of every figure.

References:
    3D Slicer, developer guide, module Colors: color table files (.txt, .ctbl).
    ITK-SNAP: the header that it writes into a label description file.
"""

from __future__ import annotations

from pathlib import Path

from flare_core.cases.labels import TARGETS
from flare_core.storage import write_file

SLICER, ITK_SNAP = "flare_slicer.ctbl", "flare_itksnap.txt"


def write_color_tables(folder: Path) -> tuple[Path, Path]:
    """Write both files into a folder, made if missing; return their paths: 3D Slicer's, ITK-SNAP's.

    Raises:
        OSError: if the folder cannot be written.
    """
    paths = folder / SLICER, folder / ITK_SNAP
    for path, text in zip(paths, (slicer_color_table(), itk_snap_labels()), strict=True):
        write_file(path, text)
    return paths


def slicer_color_table() -> str:
    """Return a color table for 3D Slicer: value, name without spaces, red, green, blue, opacity (0 to 255)."""
    rows = [f"{t.id} {t.title.replace(' ', '_')} {' '.join(map(str, rgb(t.color)))} 255" for t in TARGETS]
    return "\n".join([f"# Color table file {SLICER}", f"# {len(rows) + 1} values", "0 Background 0 0 0 0", *rows, ""])


def itk_snap_labels() -> str:
    """Return a label description for ITK-SNAP: value, red, green, blue (0 to 255), opacity, two switches, name."""
    head = [
        "################################################",
        "# ITK-SnAP Label Description File",
        "# File format:",
        "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        "################################################",
    ]
    labels = [(0, (0, 0, 0), 0, "Clear Label"), *((t.id, rgb(t.color), 1, t.title) for t in TARGETS)]
    rows = [
        f'{value:5d} {red:5d} {green:4d} {blue:4d} {shown:8d} {shown:2d} {shown:2d}    "{name}"'
        for value, (red, green, blue), shown, name in labels
    ]
    return "\n".join([*head, *rows, ""])


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue (0 to 255) of a color such as `#804020`."""
    return tuple(bytes.fromhex(color.removeprefix("#")))
