"""Measure how the time and the memory of `flare predict` grow with the number of slices.

    python benchmarks/scaling.py

One synthetic case of 512 x 512 x 300 voxels is repeated along z, every second time mirrored, cut to each length and
written uncompressed, so that reading is no unpacking; the longest is also read packed. Every length is predicted within
a memory limit by every submission. `arrays_mib` is the image (int16) and its label maps (uint8; efficient_nnunet has a
second one, for its tumors), which grow with the length; what is beyond them must not, and no run may take more than the
planner's estimate. Pages of an array that nobody writes to are not in memory, which would hide growth: memory has a run
of its own in which the C library fills whatever it hands out (`peak_filled_mib`; glibc). `*_s` are the seconds by step
of the last run, as it recorded them; `ms_a_slice` and the line through all lengths are of the fastest runs, since
whatever else the machine does only adds to them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from label_inputs import synthetic_labels
from side_by_side import WORK, measure, own_command, parser_of, write_table

from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti import read_image
from flare_core.cases.nifti_writing import write_image
from flare_core.inference.submission import load_submission
from flare_core.paths import ROOT
from flare_core.systems import SYSTEMS

SLICES = (100, 300, 500, 1000, 2000)
PACKED = ".nii.gz"
LIMIT = "4GB"
FILLED = ("env", "MALLOC_PERTURB_=1")
"""glibc then writes to all memory that it hands out, zeros that were asked for included."""
MOST_GROWTH_MIB = 64
"""How much more than the shortest case a longer one may take beyond its arrays. Not 0: what the memory allocator keeps
differs from run to run by some tens of MiB."""
STEPS = ("read", "resample", "network", "reduce", "postprocess", "other", "write")
MIB = 2**20


def long_image(slices: int, suffix: str) -> Path:
    """Return the file of an image with so many slices, written once."""
    path = WORK / "scaling" / f"{slices}{suffix}"
    if not path.is_file():
        (source,) = (synthetic_labels(300).parent / "imagesTr").iterdir()
        image = read_image(source, dtype=None)
        there = np.arange(image.data.shape[2])
        order = np.resize(np.concatenate([there, there[::-1]]), slices)
        shape = (*image.data.shape[:2], slices)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image.data[..., order], Geometry.from_spacing(shape, image.spacing_mm, axes="LPS"))
    return path


def row_of(system: str, slices: int, runs: int, suffix: str = ".nii") -> dict[str, object]:
    """Return what predicting one length needs."""
    model, out = ROOT / "weights" / system, WORK / "scaling" / "labels"
    command = own_command(
        *("predict", long_image(slices, suffix), "-o", out, "--model", model, "--max-memory", LIMIT), removed=[out]
    )
    (measured,) = measure([command], runs)
    record = json.loads((out / ".flare" / f"{slices}.json").read_text())
    found = measured.row()
    (filled,) = measure([replace(command, argv=(*FILLED, *command.argv))], 1)
    if filled.outcome != "done":
        raise SystemExit(f"{system}, {slices} slices: {filled.outcome} with filled memory")
    (peak_filled_mib,) = filled.peak_mib
    maps = len(load_submission(model).inference.parts)
    arrays_mib = 512 * 512 * slices * (2 + maps) / MIB
    return {
        "submission": system,
        **found,
        "slices": slices,
        "file": suffix,
        "ms_a_slice": round(1000 * found["seconds_min"] / slices, 2),
        "arrays_mib": round(arrays_mib),
        "peak_filled_mib": round(peak_filled_mib),
        "beyond_arrays_mib": round(peak_filled_mib - arrays_mib),
        "estimate_mib": round(record["plan"]["estimate"] / MIB),
        "windows_at_once": record["plan"]["batch"],
        **{f"{step}_s": record["timings"].get(step, 0.0) for step in STEPS},
    }


def with_line(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows of one submission with the seconds of the line through all fastest runs, and print that line.

    The packed file is not on the line.
    """
    on_line = [row for row in rows if row["file"] != PACKED]
    slices, seconds = ([row[key] for row in on_line] for key in ("slices", "seconds_min"))
    if len(on_line) < 2:
        return rows
    slope, start = np.polyfit(slices, seconds, 1)
    fitted = start + slope * np.array(slices)
    unexplained = np.sum((seconds - fitted) ** 2) / np.sum((seconds - np.mean(seconds)) ** 2)
    extra, _ = np.polyfit(slices, [row["beyond_arrays_mib"] for row in on_line], 1)
    print(
        f"{rows[0]['submission']}: {start:.2f} s + {1000 * slope:.2f} ms a slice (R2 {1 - unexplained:.4f}); "
        f"memory beyond the arrays: {1000 * extra:+.1f} MiB a thousand slices"
    )
    return [{**row, "seconds_on_line": round(start + slope * row["slices"], 2)} for row in rows]


def main() -> int:
    """Measure every length, print and write the table; 1 if memory grows or an estimate is exceeded."""
    parser = parser_of(__doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=SLICES, help="default: 100 300 500 1000 2000")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    options = parser.parse_args()
    rows = []
    for system in options.systems:
        found = [row_of(system, slices, options.runs) for slices in sorted(options.slices)]
        rows += with_line([*found, row_of(system, max(options.slices), options.runs, PACKED)])
    write_table("scaling", rows)
    table = pd.DataFrame(rows)
    growth = table.groupby("submission").beyond_arrays_mib.agg(lambda beyond: beyond.max() - beyond.iloc[0])
    grown = growth[growth > MOST_GROWTH_MIB]
    for system, mib in grown.items():
        print(f"{system}: {mib} MiB more beyond the arrays than for the shortest case; {MOST_GROWTH_MIB} allowed")
    exceeded = table[table[["peak_mib", "peak_filled_mib"]].max(axis=1) > table.estimate_mib]
    for row in exceeded.itertuples():
        took = f"took {row.peak_mib} or {row.peak_filled_mib} MiB, more than the planned {row.estimate_mib}"
        print(f"{row.submission}, {row.slices} slices: {took}")
    return int(len(grown) + len(exceeded) > 0)


if __name__ == "__main__":
    sys.exit(main())
