"""Small notebooks for the tests of the runner and the report."""

from pathlib import Path

from nbformat import v4, write


def write_notebook(path: Path, *code: str, parameters: str = "profile = 'smoke'", title: str = "A title") -> Path:
    """Write a notebook: heading, parameters cell (none if `parameters` is empty), then the code cells."""
    cells = [v4.new_markdown_cell(f"# {title}")]
    if parameters:
        cells.append(v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [v4.new_code_cell(text) for text in code]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    write(notebook, path)
    return path
