"""Analyze label maps with MONAI's DataAnalyzer; run by `analysis.py` in MONAI's environment.

    python benchmarks/analysis_peer.py LABELS OUT

Imports nothing of this project. The analyzer wants images: every label map is given as its own, and the intensity
statistics that come with that cannot be left out. One process, no workers, no connected components (its defaults but
for the workers). Writes OUT/counts.json (case -> label value -> voxels, from the shares that the analyzer reports) and
OUT/seconds.txt (the analysis without imports).
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import nibabel
from monai.apps.auto3dseg import DataAnalyzer


def main() -> None:
    """Analyze a folder of label maps."""
    labels, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(labels.glob("*.nii.gz"))
    cases = {"training": [{"image": str(file), "label": str(file)} for file in files]}
    start = time.perf_counter()
    analyzer = DataAnalyzer(cases, "", output_path=str(out / "stats.yaml"), device="cpu", worker=0)
    found = analyzer.get_all_case_stats()
    (out / "seconds.txt").write_text(str(time.perf_counter() - start))
    counts = {}
    for file, stats in zip(files, found["stats_by_cases"], strict=True):
        voxels, summary = math.prod(nibabel.load(file).shape), stats["label_stats"]
        shares = [float(entry["foreground_percentage"]) for entry in summary["label"]]
        pairs = zip(summary["labels"], shares, strict=True)
        counts[file.name.removesuffix(".nii.gz")] = {int(value): round(share * voxels) for value, share in pairs}
    (out / "counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
