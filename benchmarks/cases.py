"""Measure what thousands of cases cost beside the work on them: `analyze` and `evaluate` on tiny label maps.

    python benchmarks/cases.py

Each command runs once in a fresh process: by two dask workers on a quarter of the cases and on all, and one after the
other on a quarter. The driver's resident memory is sampled while the ledger grows: flat means no higher at the end than
in the middle. `overhead_ms` is the time of a case beyond the work that its ledger line tells of, shared by the workers;
`load` is what else ran on the machine when the run began (the system's load average), which shows in all times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from label_inputs import SEED, spoiled
from side_by_side import OWN, WORK, write_table

from flare_core import __version__
from flare_core.cases.cohort import write_cohort
from flare_core.cases.nifti import read_labels, write_labels
from flare_core.ledger import ledger_file, read_ledger

CASES = 4000
WORKERS = 2
DIFFERENT = 32
MIB = 2**20


def inputs(count: int) -> Path:
    """Return a folder with `references` and `predictions` of so many cases: copies of a few different ones."""
    folder, made = WORK / "cases" / str(count), WORK / "cases" / "made"
    if (folder / "complete").is_file():
        return folder
    write_cohort(made, DIFFERENT, 0, SEED, "tiny")
    sources = sorted((made / "labelsTrTrue").glob("*.nii.gz"))
    (made / "spoiled").mkdir(exist_ok=True)
    for path in sources:
        labels = read_labels(path)
        write_labels(made / "spoiled" / path.name, labels.geometry.to_ras(spoiled(labels.stored())), labels.geometry)
    for kind, place in (("references", "labelsTrTrue"), ("predictions", "spoiled")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = sources[number % len(sources)].name
            shutil.copyfile(made / place / name, folder / kind / f"case_{number:04d}.nii.gz")
    (folder / "complete").touch()
    return folder


def watched(command: list[str | Path], out: Path) -> tuple[float, list[tuple[int, float]]]:
    """Run a command; return its seconds and samples (bytes of the ledger, MiB of the driver)."""
    shutil.rmtree(out, ignore_errors=True)
    start, samples, ledger = time.perf_counter(), [], ledger_file(out)
    with (WORK / "cases" / "log.txt").open("w") as log:
        process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            size = ledger.stat().st_size if ledger.is_file() else 0
            with suppress(psutil.Error):  # it has just ended
                samples.append((size, driver.memory_info().rss / MIB))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}: see {log.name}")
    return time.perf_counter() - start, samples


def row_of(command: str, workers: int, count: int) -> dict[str, object]:
    """Return the row of one run."""
    folder, out = inputs(count), WORK / "cases" / "out"
    words = {
        "analyze": ["analyze", folder / "references", "-o", out],
        "evaluate": ["evaluate", folder / "predictions", folder / "references", "-o", out / "scores.csv"],
    }[command]
    engine = ["--workers", workers] if workers else []
    load = os.getloadavg()[0]
    seconds, samples = watched([sys.executable, "-m", "flare_core.cli", *words, *engine], out)
    lines = read_ledger(out)
    end = max(size for size, _ in samples)
    middle, late = (
        [mib for size, mib in samples if low * end <= size <= high * end] for low, high in ((0.4, 0.6), (0.8, 1))
    )
    work = sum(line["seconds"] for line in lines)
    return {
        "command": command,
        "tool": OWN,
        "version": __version__,
        "engine": f"dask, {workers} workers" if workers else "serial",
        "cases": len(lines),
        "failed": sum(line["status"] != "done" for line in lines),
        "seconds": round(seconds, 1),
        "ms_a_case": round(1000 * seconds / len(lines), 2),
        "work_ms": round(1000 * work / len(lines), 2),
        "overhead_ms": round(1000 * (seconds - work / max(1, workers)) / len(lines), 2),
        "driver_middle_mib": round(statistics.median(middle), 1) if middle else None,
        "driver_late_mib": round(statistics.median(late), 1),
        "driver_peak_mib": round(max(mib for _, mib in samples), 1),
        "case_peak_mib": round(max(line["peak_mb"] for line in lines), 1),
        "load": round(load, 1),
    }


def main() -> int:
    """Measure, print and write the table; 1 if a case is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=CASES, help=f"default: {CASES}")
    options = parser.parse_args()
    counts = sorted({max(1, options.cases // 4), options.cases})
    rows = []
    for count in counts:
        for command in ("analyze", "evaluate"):
            for workers in (WORKERS, 0) if count == counts[0] else (WORKERS,):
                rows.append(row_of(command, workers, count))
                print(rows[-1], flush=True)
    write_table("cases", rows)
    wrong = [row for row in rows if row["failed"] or row["cases"] not in counts]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
