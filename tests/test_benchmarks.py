"""The benchmark scripts can be started, are found by the one command that runs them all, and their tables are whole.

What they measure is not tested: times belong to machines.
"""

import ast
import json
import subprocess
import sys

import pytest

from flare_core import paths

FOLDER = paths.ROOT / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
PEER_SIDES = [path for path in SCRIPTS if path.stem.endswith("_peer")]
BENCHMARKS = ["analysis", "backends", "cold_start", "evaluation", "prediction", "scaling"]


def run(*command, **options):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_say_what_they_are(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_say_how_they_are_used(name):
    result = run(FOLDER / f"{name}.py", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--runs" in result.stdout


def test_one_command_runs_the_benchmarks_and_nothing_else():
    listed = run("-c", "import __main__, runpy; print(*runpy.run_path('__main__.py')['benchmarks']())", cwd=FOLDER)
    names = listed.stdout.split()
    assert set(BENCHMARKS) <= set(names)
    helpers = {"side_by_side", "peers", "launch", "label_inputs", "prediction_models"}
    assert not {*helpers, "real_ct", "nnunet_parity"} & set(names)
    assert run(FOLDER, "no_such_benchmark").returncode == 2


MEASURE = """
import sys
from side_by_side import Command, measure, with_ratios
held = bytearray(300 * 2**20)
small, large = (sys.executable, "-c", "pass"), (sys.executable, "-c", "b'x' * (60 * 2**20)")
found = measure([Command("flare_core", "1", small), Command("peer", "2", large, runs=1)], 2)
import json
print(json.dumps(with_ratios([measured.row() for measured in found])))
"""


def test_a_run_is_a_process_of_its_own_whose_memory_is_not_that_of_the_measuring_one():
    own, peer = json.loads(run("-c", MEASURE, cwd=FOLDER).stdout)
    assert (own["tool"], own["runs"], peer["tool"], peer["runs"]) == ("flare_core", 2, "peer", 1)
    assert own["peak_mib"] < 60 < peer["peak_mib"] < 120
    assert own["times_ours"] == own["peak_times_ours"] == 1
    assert 0 < own["seconds_min"] <= own["seconds_median"] <= own["seconds_max"]


def test_a_side_that_fails_stops_the_benchmark_with_its_words():
    failing = "from side_by_side import Command, measure\nimport sys\n"
    failing += "measure([Command('peer', '1', (sys.executable, '-c', 'raise ValueError(\"no such case\")'))], 1)"
    result = run("-c", failing, cwd=FOLDER)
    assert result.returncode == 1
    assert "peer ended with 1" in result.stderr
    assert "no such case" in result.stderr


@pytest.mark.parametrize("path", PEER_SIDES, ids=lambda path: path.name)
def test_a_peers_side_imports_nothing_of_this_project(path):
    modules = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [getattr(node, "module", None) or node.names[0].name for node in modules]
    own = {"flare_core", *(script.stem for script in SCRIPTS)}
    assert not [name for name in names if name.split(".")[0] in own]
