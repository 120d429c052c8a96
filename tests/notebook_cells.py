"""Run a notebook's code in the test's own process: much faster than a kernel each, and a warning is an error."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat


def run_cells(path: Path, **parameters: Any) -> list[Any]:
    """Run the code cells of a notebook in order and return what they show.

    Args:
        path: the notebook.
        parameters: values that replace those of its `parameters` cell, as far as it declares them.
    """
    shown: list[Any] = []
    names: dict[str, Any] = {"display": shown.append}
    for number, cell in enumerate(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"):
        tree = ast.parse(cell.source)
        last = tree.body.pop().value if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.stem}, cell {number}", "exec"), names)  # noqa: S102
        if last is not None:
            shown.append(eval(compile(ast.Expression(last), f"{path.stem}, cell {number}", "eval"), names))  # noqa: S307
        if "parameters" in cell.metadata.get("tags", ()):
            names |= {name: value for name, value in parameters.items() if name in names}
    return [value for value in shown if value is not None]
