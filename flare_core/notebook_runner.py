"""Run one notebook through papermill, strictly: declared parameters only, nothing half-done under the final name.

Serves `flare_core.reproduce`, the last step of the data flow. Papermill alone would paste parameter names as code, only
warn about unknown ones, follow `../` in output paths and wait forever for a cell; each of these is closed here.

Reference:
    Papermill, https://papermill.readthedocs.io (parameterization, `inspect_notebook`).
"""

from __future__ import annotations

import ast
import difflib
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_VARIABLE = "FLARE_BATCH"
KEPT_OUTPUTS = ("image/png", "text/html", "text/plain", "text/markdown")
LONGEST_TEXT = 20_000
LONGEST_PARAMETER = 1_000

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ARROW = re.compile(r"^-+>\s*\d+\s?(.*)$", re.MULTILINE)
_ACTIVE_HTML = re.compile(  # whatever looks as if it ran or loaded something when the page is opened
    r"<(script|iframe|object|embed|link|meta|base|image)\b|javascript:|@import|url\("
    r"|[\s/\"']((on[a-z]{3,}|srcset|poster|background)\s*=|src\s*=(?!\s*[\"']?data:))",
    re.IGNORECASE,
)


class BadParameter(ValueError):
    """A parameter that no notebook declares, or a value of another type: refused before anything runs."""


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    Attributes:
        name: file name without ending, e.g. `01_label_analysis`.
        status: `done` (made now), `unchanged` (an earlier run's result still holds) or `failed`.
        time_s: seconds that it took when it was made.
        made: ISO date and time of that run.
        parameters: what it was given.
        error: for a failed one, a single line: cell, code line, exception; else empty.
    """

    name: str
    status: str
    time_s: float
    made: str
    parameters: Mapping[str, Any]
    error: str = ""


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Return the names and default values in the notebook's cell tagged `parameters`.

    Args:
        notebook: path of an .ipynb file. Without such a cell the result is empty.
    Raises:
        BadParameter: if a default is not a plain literal.
    """
    import papermill

    declared = {}
    with batch_environment():
        found = papermill.inspect_notebook(str(notebook))
    for name, entry in found.items():
        try:
            declared[name] = ast.literal_eval(entry["default"])
        except (ValueError, SyntaxError):
            raise BadParameter(
                f"{notebook.name}: parameter {name} must be a plain literal, got {entry['default']!r}"
            ) from None
    return declared


def check_parameter(name: str, value: Any, declared: Mapping[str, Any]) -> None:
    """Refuse a parameter unless it is declared and its value is of the declared default's type.

    Args:
        name: as the caller wrote it.
        value: bool, int, float or str; an int is welcome where the default is a float.
        declared: names and default values (see `declared_parameters`).
    Raises:
        BadParameter: naming what was expected, with the closest declared name.
    """
    if not name.isidentifier() or name not in declared:
        close = difflib.get_close_matches(name, declared, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise BadParameter(f"no notebook has a parameter {name!r}, only {', '.join(sorted(declared)) or 'none'}{hint}")
    expected = type(declared[name])
    if type(value) is not expected and not (expected is float and type(value) is int):
        raise BadParameter(f"parameter {name} must be {expected.__name__}, got {value!r} ({type(value).__name__})")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadParameter(f"parameter {name} must be a finite number, got {value}")
    if isinstance(value, str) and (len(value) > LONGEST_PARAMETER or not value.isprintable()):
        raise BadParameter(f"parameter {name} must be one printable line of at most {LONGEST_PARAMETER} characters")


@contextmanager
def batch_environment() -> Iterator[None]:
    """Mark this process, and the kernels that it starts, as a batch: no widgets, no papermill messages."""
    before = os.environ.get(BATCH_VARIABLE)
    os.environ[BATCH_VARIABLE] = "1"
    papermill_log = logging.getLogger("papermill")
    level = papermill_log.level
    papermill_log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        papermill_log.setLevel(level)
        if before is None:
            del os.environ[BATCH_VARIABLE]
        else:
            os.environ[BATCH_VARIABLE] = before


def run_notebook(source: Path, parameters: Mapping[str, Any], folder: Path, timeout_s: float) -> Outcome:
    """Run one notebook into `folder`, under its final name only once it is complete.

    While it runs, and when it fails, the executed copy lies under `NAME.partial.ipynb`; an earlier result is removed
    first, so that a stale one never stands beside a failure.

    Args:
        source: the committed notebook.
        parameters: checked values (`check_parameter`) for parameters that it declares.
        folder: where the executed copy goes; made if missing.
        timeout_s: longest time for one cell.
    Returns:
        The outcome, `done` or `failed`.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    folder.mkdir(parents=True, exist_ok=True)
    final, partial = folder / f"{source.stem}.ipynb", folder / f"{source.stem}.partial.ipynb"
    final.unlink(missing_ok=True)
    start, made, error = time.perf_counter(), time.strftime("%Y-%m-%dT%H:%M:%S%z"), ""
    try:
        with batch_environment():
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar=False,
                store_widget_state=False,
                execution_timeout=math.ceil(timeout_s),
                start_timeout=120,
            )
    except PapermillExecutionError as failure:
        error = error_line(failure)
    except CellTimeoutError:
        error = f"a cell took longer than {timeout_s:g} s"
    except DeadKernelError:
        error = "the kernel died (killed, or out of memory)"
    except (RuntimeError, NoSuchKernel, FileNotFoundError) as failure:
        error = f"it could not be run: {failure}"
    strip_outputs(partial)
    if not error:
        os.replace(partial, final)
    status = "failed" if error else "done"
    return Outcome(source.stem, status, round(time.perf_counter() - start, 2), made, dict(parameters), error)


def error_line(failure: Any) -> str:
    """Return one line for a `PapermillExecutionError`: the cell, the notebook's line that failed, the exception."""
    arrow = _ARROW.search(_ANSI.sub("", "\n".join(failure.traceback)))
    code = f", line `{arrow.group(1).strip()}`" if arrow else ""
    message = _ANSI.sub("", str(failure.evalue)).strip().splitlines()
    return f"cell {failure.exec_count}{code}: {failure.ename}: {message[0] if message else ''}".rstrip(": ")


def strip_outputs(notebook: Path) -> None:
    """Reduce an executed notebook to text and PNG pictures: no widget state, no scripts, no long logs.

    Args:
        notebook: rewritten in place; one that does not exist (the kernel never started) is left so.
    """
    import nbformat

    if not notebook.exists():
        return
    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        kept = [_small(output) for output in cell.get("outputs", ())]
        if "outputs" in cell:
            cell.outputs = [output for output in kept if output is not None]
    nbformat.write(content, notebook)


def _small(output: Any) -> Any | None:
    """Return a notebook output with passive content only, or None if nothing of it remains."""
    if output.output_type == "stream":
        output.text = output.text[:LONGEST_TEXT]
    if output.output_type not in ("display_data", "execute_result"):
        return output
    if any(kind.startswith("application/vnd.jupyter.widget") for kind in output.data):
        return None  # a progress bar, for example: without its state its text is only its first moment
    for kind in list(output.data):
        active = kind == "text/html" and _ACTIVE_HTML.search(output.data[kind])
        if kind not in KEPT_OUTPUTS or active:
            del output.data[kind]
    output.metadata = {}
    return output if output.data else None
