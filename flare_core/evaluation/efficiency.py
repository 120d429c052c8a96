"""Measure what a submission costs, as the FLARE organizers do: a fresh process a case, its time and its memory.

Serves `flare efficiency` and notebook 08. The clock starts before the process and stops after it, so that starting
Python, importing libraries and loading networks count. Each submission is started once before, on its first case, so
that libraries, networks and compiled graphs come from the system's file cache for all cases alike; how long that first
start took is kept, too.

References:
    FLARE organizers' evaluation, JunMa11/FLARE, FLARE23/Efficiency.py and resource_eval.py (the same for FLARE24).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flare_core.batch import BatchReport, Reused, map_cases
from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import read_place
from flare_core.evaluation.efficiency_table import (
    SAMPLE_COLUMNS,
    STAGES,
    EfficiencyTables,
)
from flare_core.evaluation.memory import PERIOD_S, Gpu, ProcessRecord, watch_process
from flare_core.machine import processor_name, usable_cores
from flare_core.output_lock import only_run
from flare_core.storage import file_hash

CUDA_CONTEXT_MB = 64
"""A GPU whose memory grew by less has not been used: a CUDA context alone takes more."""


class FailedCase(RuntimeError):
    """A prediction that ended without its label file; the message is its own last line."""


@dataclass(frozen=True)
class Subject:
    """A submission to be measured: what tables call it, its folder, and a hash of its recipe and networks."""

    name: str
    folder: Path
    sha256: str


@dataclass(frozen=True)
class Conditions:
    """How predictions are started and watched.

    Attributes:
        options: words passed on to `flare predict`, such as `("--precision", "exact")`.
        gpu: sampled too; None where there is none.
        longest_s: a prediction that takes longer is ended and has failed.
        warm_up: start each submission once before it is measured.
        program: what is started, without `predict`.
    """

    options: tuple[str, ...] = ()
    gpu: Gpu | None = None
    longest_s: float = 3600.0
    warm_up: bool = True
    program: tuple[str, ...] = field(default=(sys.executable, "-m", "flare_core.cli"))

    @property
    def processor(self) -> str:
        """The machine that the row is measured on."""
        parts = [f"{processor_name()}, {usable_cores()} cores", self.gpu.name if self.gpu else ""]
        return " + ".join(filter(None, parts))


def organizers_area(mb: Sequence[float], period_s: float = PERIOD_S) -> float:
    """Return the organizers' area under the memory-time curve: the sum of the samples times the sleep between them.

    A sample itself takes time, so the true period is longer and this area too small.

    Args:
        mb: samples in MB; none gives 0.
        period_s: the sleep, 0.1 s.
    Returns:
        MB s, rounded to a whole number as theirs.
    """
    return float(round(float(np.sum(mb)) * period_s))


def trapezoid_area(time_s: Sequence[float], mb: Sequence[float]) -> float:
    """Return the area under the memory-time curve by the trapezoid rule, with the samples' own time stamps.

    Args:
        time_s, mb: of the samples; fewer than two give 0. What lies before the first and after the last is left out.
    Returns:
        MB s, one digit.
    Raises:
        ValueError: if there are not as many times as samples.
    """
    if len(time_s) != len(mb):
        raise ValueError(f"expected a time a sample, got {len(time_s)} and {len(mb)}")
    return round(float(np.trapezoid(mb, time_s)), 1)


def measure_efficiency(
    subjects: Sequence[Subject],
    images: Sequence[tuple[str, Path]],
    out: Path,
    conditions: Conditions = Conditions(),
    *,
    force: bool = False,
) -> BatchReport:
    """Measure every submission on every case, one at a time, into a table that is complete after each.

    A row that is there for the same submission, image, options and processor is kept unless it failed.

    Args:
        subjects: the submissions, with different names.
        images: pairs (case id, file); none leaves the table as it is.
        out: the CSV (`COLUMNS`); the samples (`SAMPLE_COLUMNS`) go beside it (`samples_file`).
        conditions: how.
        force: measure again what is there.
    Returns:
        A report whose items are named `SUBMISSION CASE`; results are rows of the table.
    Raises:
        ValueError: if `out` holds something else or another run is writing to its folder.
        OSError: if `out` cannot be written.
    """
    out = Path(out)
    with only_run(out.parent):  # two at a time would also spoil each other's times
        tables = EfficiencyTables.read(out)
        tables.write()
        jobs = [(f"{subject.name} {case}", (subject, case, path)) for subject in subjects for case, path in images]
        started: set[Subject] = set()
        measure = partial(_measure_into, tables, conditions, started, force=force)
        return map_cases(measure, jobs, title="efficiency", folder=out.parent, retry=False)  # a row tells of one try


def _measure_into(
    tables: EfficiencyTables,
    conditions: Conditions,
    started: set[Subject],
    job: tuple[Subject, str, Path],
    *,
    force: bool,
) -> dict[str, Any] | Reused:
    """Measure one case unless its row is there; a failed one leaves a row with its reason, and raises it."""
    subject, case, path = job
    if not path.is_file():
        raise BadInput(path, "no such image file")
    asked = {
        "submission": subject.name,
        "submission_sha256": subject.sha256[:12],
        "case": case,
        "image_sha256": file_hash(path)[:12],
        "options": " ".join(conditions.options),
        "processor": conditions.processor,
    }
    there = tables.find(asked)
    if len(there) and not force and there["failure"].isna().iloc[-1]:
        return Reused(there.iloc[-1].to_dict())
    measured = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    run = hashlib.sha256(json.dumps([asked, measured]).encode()).hexdigest()[:8]
    row = {**asked, "slices": _slices(path), "run": run, "measured": measured}
    is_first = conditions.warm_up and subject not in started
    record, failure, told = _predict(subject, case, path, conditions)
    if is_first and not failure:
        started.add(subject)
        row["first_start_s"] = round(record.seconds, 2)
        record, failure, told = _predict(subject, case, path, conditions)
    if failure:
        failed = {name: row[name] for name in row if name != "first_start_s"} | {"failure": failure}
        tables.put(failed, pd.DataFrame(columns=list(SAMPLE_COLUMNS)))
        raise FailedCase(failure)
    row |= _memory_facts(record) | _stage_seconds(record.seconds, told) | _settings(told, conditions)
    tables.put(row, _long_samples(record).assign(**{name: row[name] for name in ("submission", "case", "run")}))
    return row


def _predict(
    subject: Subject, case: str, path: Path, conditions: Conditions
) -> tuple[ProcessRecord, str, dict[str, Any]]:
    """Predict a case in a process of its own; return its record, why it failed (or nothing), and what it wrote."""
    with tempfile.TemporaryDirectory(prefix="flare-efficiency-") as folder:
        out, log = Path(folder) / "labels", Path(folder) / "log.txt"
        command = [*conditions.program, "predict", path, "-o", out, "--model", subject.folder, *conditions.options]
        words = [str(word) for word in command]
        record = watch_process(words, log, gpu=conditions.gpu, longest_s=conditions.longest_s)
        failure = _failure(record, out, case)
        return record, failure, {} if failure else _told(out / ".flare" / f"{case}.json")


def _slices(path: Path) -> int | None:
    """Return the planes of an image along the body; None where its header cannot be read, which predicting will say."""
    try:
        return read_place(path).data.shape[2]
    except (BadInput, OSError):
        return None


def _failure(record: ProcessRecord, out: Path, case: str) -> str:
    """Return why a prediction failed, empty if it did not."""
    if record.exit_code == 0 and (out / f"{case}.nii.gz").is_file():
        return ""
    if record.is_late:
        return f"not done after {record.seconds:.0f} s"
    if record.exit_code < 0:
        return f"ended by signal {-record.exit_code}" + (" (out of memory?)" if record.exit_code == -9 else "")
    lines = [line.strip() for line in record.output.splitlines() if line.strip() and not line.startswith("plan for ")]
    reasons = [line.partition(": ")[2] for line in lines if line.startswith((f"{case}: ", "flare predict: "))]
    return (reasons or lines or [f"exit code {record.exit_code} without a word"])[-1][:300]


def _told(path: Path) -> dict[str, Any]:
    """Return what a prediction wrote about itself; nothing if it wrote nothing."""
    return json.loads(path.read_text()) if path.is_file() else {}


def _memory_facts(record: ProcessRecord) -> dict[str, Any]:
    """Return peak and areas of the memory that counts: the GPU's if it was used, else the process tree's."""
    times = [sample.time_s for sample in record.samples]
    host, gpu, own = (
        [getattr(sample, name) for sample in record.samples] for name in ("host_mb", "gpu_mb", "gpu_process_mb")
    )
    on_gpu = bool(gpu) and np.max(gpu) - record.gpu_before_mb > CUDA_CONTEXT_MB  # NaN compares as false
    counted = gpu if on_gpu else host
    return {
        "seconds": round(record.seconds, 2),
        "peak_mb": round(max(counted, default=0.0), 1),
        "area_sum_mb_s": organizers_area(counted),
        "area_trapezoid_mb_s": trapezoid_area(times, counted),
        "high_water_mb": round(record.high_water_mb, 1),
        "host_peak_mb": round(max(host, default=0.0), 1),
        "gpu_before_mb": round(record.gpu_before_mb, 1),
        "gpu_process_peak_mb": round(float(np.fmax.reduce(own)), 1) if own else np.nan,
        "memory": "gpu" if on_gpu else "host",
    }


def _stage_seconds(seconds: float, told: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of each stage, as far as the prediction tells them; they add up to the whole time."""
    if "seconds" not in told:
        return {}
    inside = {name: told.get("timings", {}).get(name) for name in STAGES[1:-1]}
    known = {name: value for name, value in inside.items() if value is not None}
    parts = {"start": seconds - told["seconds"], **known, "other": told["seconds"] - sum(known.values())}
    return {f"{name}_s": round(max(0.0, value), 3) for name, value in parts.items()}


def _settings(told: dict[str, Any], conditions: Conditions) -> dict[str, str]:
    """Return backend and precision as the prediction tells them, else as they were asked for."""
    made_from, words = told.get("made_from", {}), conditions.options
    asked = dict(zip(words[::2], words[1::2], strict=False))
    names = {"backend": "computed_by", "precision": "precision"}
    return {name: str(made_from.get(key) or asked.get(f"--{name}", "auto")) for name, key in names.items()}


def _long_samples(record: ProcessRecord) -> pd.DataFrame:
    """Return a row a sample and kind of memory; kinds without any number are left out."""
    names = {"host_mb": "host", "gpu_mb": "gpu", "gpu_process_mb": "gpu_process"}
    wide = pd.DataFrame([vars(sample) for sample in record.samples], columns=["time_s", *names]).rename(columns=names)
    long = wide.melt("time_s", var_name="memory", value_name="mb").dropna(subset="mb")
    return long.round({"time_s": 3, "mb": 1}).reindex(columns=list(SAMPLE_COLUMNS))
