"""Run the notebooks in order through papermill, strictly and resumably, and build the report.

The last step of the data flow: each notebook reads the result files that earlier ones and the shipped networks left,
so a failing notebook is named and the others go on. Nothing is trained here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from flare_core import paths, report
from flare_core.notebook_runner import BadParameter, Outcome, check_parameter, declared_parameters, run_notebook
from flare_core.recipe import PROFILES
from flare_core.storage import write_file
from flare_core.workspace import Workspace

TABLES_NOTEBOOK = "10_paper_tables"


@dataclass(frozen=True)
class Batch:
    """Which notebooks to run, how, and where to.

    Attributes:
        profile: given to every notebook that declares it.
        only: notebook names or their numbers (`07`); none means all.
        parameters: further values by parameter name, for the notebooks that declare it.
        force: run even what an earlier run has already made from the same inputs.
        notebooks: folder of `NN_topic.ipynb`.
        reports: folder that gets `index.html` and `notebooks/`; None means `reports/` for mini, `reports/PROFILE` else.
        cell_timeout_s: longest time for one cell.
    """

    profile: str = "mini"
    only: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    notebooks: Path = paths.NOTEBOOKS
    reports: Path | None = None
    cell_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.reports is None:
            place = paths.REPORTS if self.profile == "mini" else paths.REPORTS / self.profile
            object.__setattr__(self, "reports", place)


def reproduce(batch: Batch, say: Callable[[str], None] = print) -> tuple[Outcome, ...]:
    """Run the batch and write the report.

    A notebook whose inputs are those of its last complete run (its own source, its parameters, the package's source,
    the shipped networks and result tables, the lock) is not run again, unless an earlier notebook was run now: it may
    read what that one wrote. With a `data` folder given, or `force`, everything runs.

    Args:
        batch: what to run.
        say: gets one line for each notebook and one at the end.
    Returns:
        The outcome of every notebook, in order; any `failed` among them means exit code 1.
    Raises:
        BadParameter: on an unknown notebook, profile, parameter or value, or while another run is writing the same
            reports folder; always before anything runs.
    """
    plan = planned(batch)
    shared = _digest_of_files(_shared_inputs())
    outcomes: list[Outcome] = []
    ran_now = batch.force or bool(batch.parameters.get("data"))
    with _only_writer(batch.reports):
        folder = batch.reports / "notebooks"
        for source, parameters in plan.items():
            inputs = _digest(shared, _sources_of(source), json.dumps(parameters, sort_keys=True))
            earlier = None if ran_now else _earlier_outcome(folder, source.stem, inputs)
            outcome = earlier or run_notebook(source, parameters, folder, batch.cell_timeout_s)
            if earlier is None:
                ran_now = True
                _write_record(folder, outcome, inputs)
            outcomes.append(outcome)
            say(f"{outcome.name:<24} {outcome.status:<10} {outcome.time_s:7.1f} s  {outcome.error}".rstrip())
        shown = [*outcomes, *_not_asked_for(batch, plan)]
        index = report.build(shown, batch.reports, batch.profile, _exported_tables(batch, shown))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    say(f"{len(outcomes)} notebooks: {len(outcomes) - failed} done, {failed} failed; report: {index}")
    return tuple(outcomes)


def planned(batch: Batch) -> dict[Path, dict[str, Any]]:
    """Return the notebooks to run, in order, each with the parameters that it gets.

    Raises:
        BadParameter: on an unknown notebook, profile, parameter or value.
    """
    if batch.profile not in PROFILES:
        raise BadParameter(f"no profile {batch.profile!r}; choose from {', '.join(PROFILES)}")
    there = sorted(batch.notebooks.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in there if not batch.only or {path.stem, path.stem[:2]} & set(batch.only)]
    unknown = [name for name in batch.only if not any(name in (path.stem, path.stem[:2]) for path in there)]
    if unknown or not chosen:
        raise BadParameter(
            f"no notebook {', '.join(unknown) or ''} in {batch.notebooks}; there are "
            f"{', '.join(path.stem for path in there) or 'none'}"
        )
    declared = {path: declared_parameters(path) for path in chosen}
    everything = {name: value for values in declared.values() for name, value in values.items()}
    for name, value in batch.parameters.items():
        check_parameter(name, value, everything)
    given = {"viewer": "static", **batch.parameters, "profile": batch.profile}
    return {path: {name: given[name] for name in names if name in given} for path, names in declared.items()}


def parse_parameters(texts: Iterable[str], notebooks: Path = paths.NOTEBOOKS) -> dict[str, Any]:
    """Turn `name=value` texts from a command line into values of the types that the notebooks declare.

    Args:
        texts: such as `seed=3`; none gives an empty dict.
        notebooks: the folder whose notebooks declare the parameters.
    Raises:
        BadParameter: on a text without `=`, an undeclared name, or a value that the type cannot hold.
    """
    declared: dict[str, Any] = {}
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        declared.update(declared_parameters(path))
    parsed = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadParameter(f"expected name=value, got {text!r}")
        wanted = type(declared.get(name, ""))
        try:
            parsed[name] = {"True": True, "False": False}[value] if wanted is bool else wanted(value)
        except (ValueError, KeyError):
            raise BadParameter(f"parameter {name} must be {wanted.__name__}, got {value!r}") from None
        check_parameter(name, parsed[name], declared)
    return parsed


@contextmanager
def _only_writer(reports: Path) -> Iterator[TextIO]:
    reports.mkdir(parents=True, exist_ok=True)
    with (reports / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadParameter(f"another run is writing {reports}; wait for it, or give another folder") from None
        yield lock


def _shared_inputs() -> list[Path]:
    """Every file outside the notebooks that their results hang on, in a fixed order."""
    package = sorted((paths.ROOT / "flare_core").rglob("*.py"))
    networks = sorted(path for path in paths.WEIGHTS.rglob("*") if path.is_file())
    tables = [*sorted(paths.PUBLISHED.glob("*")), *sorted(paths.RESULTS.rglob("*.csv"))]
    return [*package, *networks, *tables, paths.ROOT / "requirements.lock"]


def _digest(*texts: str) -> str:
    """SHA-256 over the texts, each with its length, so that no two sequences look the same."""
    together = hashlib.sha256()
    for text in texts:
        together.update(f"{len(text)}:{text}".encode())
    return together.hexdigest()


def _digest_of_files(files: list[Path]) -> str:
    return _digest(
        *(f"{file.relative_to(paths.ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)
    )


def _sources_of(notebook: Path) -> str:
    """The notebook's cells without outputs and counts, which a visit in Jupyter changes."""
    cells = json.loads(notebook.read_text())["cells"]
    return json.dumps([(cell["cell_type"], "".join(cell["source"])) for cell in cells])


def _earlier_outcome(folder: Path, name: str, inputs: str | None) -> Outcome | None:
    """Return the outcome of a complete earlier run from the same inputs (from any, if `inputs` is None), or None."""
    record, result = folder / f"{name}.json", folder / f"{name}.ipynb"
    if not record.exists() or not result.exists():
        return None
    try:
        stored = json.loads(record.read_text())
        made_from = stored.pop("inputs")
        if stored["status"] != "done" or inputs not in (None, made_from):
            return None
        return replace(Outcome(**stored), status="unchanged")
    except (json.JSONDecodeError, KeyError, TypeError):
        return None  # a record of another version says nothing about this one: run again


def _not_asked_for(batch: Batch, plan: Mapping[Path, Any]) -> list[Outcome]:
    """Complete results of notebooks outside the plan, from earlier runs in the same profile: shown, not checked."""
    found = []
    for path in sorted(set(batch.notebooks.glob("[0-9][0-9]_*.ipynb")) - set(plan)):
        outcome = _earlier_outcome(batch.reports / "notebooks", path.stem, inputs=None)
        if outcome and outcome.parameters.get("profile", batch.profile) == batch.profile:
            found.append(replace(outcome, status="earlier"))
    return found


def _exported_tables(batch: Batch, outcomes: Iterable[Outcome]) -> Path | None:
    """Return where the notebook of the papers' tables has exported them; None if it did not get there."""
    if not any(outcome.name == TABLES_NOTEBOOK and outcome.status != "failed" for outcome in outcomes):
        return None
    return Workspace(profile=batch.profile, data=str(batch.parameters.get("data", ""))).folder / "tables"


def _write_record(folder: Path, outcome: Outcome, inputs: str) -> None:
    write_file(folder / f"{outcome.name}.json", json.dumps({**asdict(outcome), "inputs": inputs}, indent=1))
