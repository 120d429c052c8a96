"""The tree keeps its shape: imports point left, files stay readable, nothing happens at import."""

import ast
import re
import subprocess
import sys

import pytest

from flare_core import paths

PACKAGE = paths.ROOT / "flare_core"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROSE = [paths.ROOT / name for name in ("README.md", "Makefile", "pyproject.toml", "environment.yml")]
TEXTS = [
    path
    for path in [*MODULES, *PROSE]
    + [file for folder in ("docs", "tests", "notebooks", "benchmarks") for file in (paths.ROOT / folder).rglob("*")]
    if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yml", ".ipynb", ".css", ""}
]
# A module may import from its own step and from any step before it; what is not named here may import everything.
STEPS = (
    {"recipe", "paths", "storage", "machine", "timing"}
    | {"batch", "batch_dask", "attempt", "ledger", "output_lock", "records", "rows"},
    {"cases"},
    {"models"},
    {"inference", "evaluation"},
    {"training"},
    {"systems"},
)
STRANGERS = ({"inference", "evaluation"},)
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 330, 60, 6


def name_of(path):
    return str(path.relative_to(paths.ROOT))


def step_of(top):
    places = [index for index, names in enumerate(STEPS) if top in names]
    return places[0] if places else len(STEPS)


def imported_parts(tree):
    """The top-level parts of flare_core that a module imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:  # stays inside its own folder, so inside its own step
                assert node.level == 1, "relative imports never leave their folder"
            elif node.module == "flare_core":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("flare_core."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("flare_core."))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parent != PACKAGE or path.stem != "__init__"], ids=name_of
)
def test_imports_point_left(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for part in set(imported_parts(ast.parse(path.read_text()))) - {"__version__"}:
        assert step_of(part) <= step_of(own), f"{own} must not import {part}"
        assert not any({own, part} == pair for pair in STRANGERS), f"{own} and {part} do not know each other"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_fit_on_a_screen_or_a_few(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for function in functions(ast.parse(text)):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = function.end_lineno - body[0].lineno + 1 if body else 0
        assert lines <= LONGEST_FUNCTION, f"{function.name} has {lines} lines"
        named = [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]
        assert len([name for name in named if name not in ("self", "cls")]) <= MOST_PARAMETERS, function.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_public_names_are_documented(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not text.strip(), "module without docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_file_names_say_what_is_inside():
    vague = re.compile(r"(utils?|helpers?|common|misc|manager|new|v\d+|tools|stuff)$")
    assert [name_of(path) for path in MODULES if vague.search(path.stem)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_happens_at_import(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} does something at import"
        else:
            allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
            assert isinstance(node, allowed), f"line {node.lineno} does something at import"
            for call in ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign)) else ():
                assert "environ" not in (getattr(call, "attr", ""), getattr(call, "id", "")), (
                    "environment read at import"
                )


def test_light_steps_need_no_torch():
    light = ["paths", "recipe", "batch", "cases.labels", "cases.nifti", "cases.dataset", "cases.label_analysis"]
    light += ["cases.cohort", "evaluation.evaluate", "evaluation.figures", "evaluation.tables", "reproduce", "cli"]
    code = "".join(f"import flare_core.{name}\n" for name in light)
    code += "import sys\nprint(sorted({'torch', 'monai', 'itkwidgets', 'openvino'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_texts_name_no_private_place_and_leave_nothing_open(path):
    text = path.read_text()
    private = ["/" + name + "/" for name in ("home", "root", "Users", "work", "opt")]
    assert [place for place in private if re.search(rf"(?<![\w.$~}}]){place}", text)] == []
    assert re.findall(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b", text) == []


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_spelling_is_american(path):
    british = (
        r"colo"
        r"ur|cent"
        r"re\b|neighb"
        r"our|normali"
        r"se|optimi"
        r"se|label"
        r"led|o"
        r"esoph|tum"
        r"our|gr"
        r"ey\b"
    )
    assert re.findall(rf"(?i)\b\w*(?:{british})\w*", text_without_addresses(path)) == []


def text_without_addresses(path):
    return re.sub(r"https?://\S+", "", path.read_text())
