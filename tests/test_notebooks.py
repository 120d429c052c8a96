"""The notebooks keep their form, and run in the smoke profile: through papermill, and for every system."""

import ast
import re

import nbformat
import pytest
from guarded import no_network
from notebook_cells import run_cells

from flare_core import paths
from flare_core.notebook_runner import declared_parameters
from flare_core.recipe import PROFILES
from flare_core.reproduce import Batch, reproduce
from flare_core.systems import SYSTEMS
from flare_core.workspace import FIRST_SYSTEM, Workspace

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
MOST_CELLS, MOST_LINES = 12, 14
LAST_CELL = """import sys
assert 'itkwidgets' not in sys.modules
assert sys.modules['sitecustomize'].refuse, 'connections are refused in this kernel'
"""
PARAMETERS = {"system": str, "profile": str, "seed": int, "data": str, "viewer": str}
PARAMETERS |= {"case": str, "target": str, "preset": str}


def name_of(path):
    return path.stem


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_is_one_notebook_a_topic_in_reading_order():
    assert len(NOTEBOOKS) >= 9
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in NOTEBOOKS)
    assert len({path.stem[:2] for path in NOTEBOOKS}) == len(NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_first_cell_is_parameters_and_second_all_imports(path):
    first, second, *others = code_cells(path)
    assert first.metadata.get("tags") == ["parameters"]
    for statement in ast.parse(first.source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
    assert all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(second.source).body)
    for cell in others:
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_parameters_have_the_names_and_types_that_all_notebooks_share(path):
    declared = declared_parameters(path)
    assert declared
    assert {name: type(value) for name, value in declared.items()}.items() <= PARAMETERS.items()
    assert declared.get("profile", "mini") in PROFILES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_only_calls_and_is_short(path):
    cells = code_cells(path)
    assert len(cells) <= MOST_CELLS
    for number, cell in enumerate(cells):
        assert number == 1 or len(cell.source.splitlines()) <= MOST_LINES  # cell 1 holds the imports, however many
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), (
            "no magics: papermill and readers run plain Python"
        )
        forbidden = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, forbidden)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_tells_before_and_after_and_names_the_next(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert cells[-1].cell_type == "markdown"
    following = NOTEBOOKS[NOTEBOOKS.index(path) + 1 :]
    if following:
        assert following[0].stem in cells[-1].source
    kinds = [cell.cell_type for cell in cells]
    assert ["code"] * 3 not in [kinds[i : i + 3] for i in range(4, len(kinds))], "three calls without a word between"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_is_committed_without_results(path):
    content = nbformat.read(path, as_version=4)
    assert content.metadata.keys() <= {"kernelspec", "language_info"}
    assert content.metadata.kernelspec.name == "python3"
    assert content.metadata.kernelspec.display_name == "Python 3"
    assert len({cell.id for cell in content.cells}) == len(content.cells)
    for cell in content.cells:
        assert cell.metadata.keys() <= {"tags"}
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """Every notebook run in the smoke profile, without the network, with a cell more that looks at its imports."""
    folder = tmp_path_factory.mktemp("smoke")
    (folder / "notebooks").mkdir()
    for path in NOTEBOOKS:
        content = nbformat.read(path, as_version=4)
        content.cells.append(nbformat.v4.new_code_cell(LAST_CELL))
        nbformat.write(content, folder / "notebooks" / path.name)
    batch = Batch(profile="smoke", notebooks=folder / "notebooks", reports=folder / "reports", cell_timeout_s=300)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in no_network(folder / "refused.txt").items():
            patch.setenv(name, value)
        return folder / "reports", {outcome.name: outcome for outcome in reproduce(batch)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_runs_in_smoke_to_small_passive_results(path, smoke_run):
    reports, outcomes = smoke_run
    assert (outcomes[path.stem].status, outcomes[path.stem].error) == ("done", "")
    executed = reports / "notebooks" / f"{path.stem}.ipynb"
    assert executed.stat().st_size < 1_500_000
    content = nbformat.read(executed, as_version=4)
    assert "widgets" not in content.metadata
    outputs = [output for cell in content.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds <= {"image/png", "text/html", "text/plain"}
    assert "image/png" in kinds


def test_no_notebook_asks_for_the_network(smoke_run):
    reports, _ = smoke_run
    assert (reports.parent / "refused.txt").read_text() == ""


def test_smoke_report_links_every_notebook_and_loads_nothing(smoke_run):
    reports, _ = smoke_run
    index = (reports / "index.html").read_text()
    for path in NOTEBOOKS:
        assert f"{path.stem}.html" in index
    for page in reports.glob("*.html"):
        assert not re.search(r"<script|<link|<iframe|@import|\ssrc=.?https?:", page.read_text())


def kind_of(value):
    """What a reader sees of a value that a cell shows, rendered."""
    if hasattr(value, "_repr_png_"):
        assert value._repr_png_().startswith(b"\x89PNG")
        return "picture"
    assert "<table" in value._repr_html_() if hasattr(value, "_repr_html_") else str(value)
    return "table or text"


@pytest.mark.parametrize("system", [key for key in SYSTEMS if key != FIRST_SYSTEM])
def test_notebooks_serve_every_other_system(system, capsys):
    """In this process, because starting kernels takes most of the time; 04 trains what the later ones use."""
    work = Workspace(system, "smoke")
    for path in NOTEBOOKS:
        if path.stem[:2] in ("00", "01"):  # say nothing of a single system
            continue
        kinds = [kind_of(value) for value in run_cells(path, system=system, profile="smoke", viewer="static")]
        printed = capsys.readouterr().out
        assert "picture" in kinds
        if path.stem[:2] in ("06", "07", "11"):
            assert work.scope in printed
        if path.stem == "05_pseudo_labels":
            assert ("Nobody fills the labels" in printed) == (system.startswith("dkfz"))
    assert {file.stem for file in work.figures.glob("*.png")} >= {"preprocessing", "region", "windows", "systems"}
