"""The benchmark scripts can be started, are found by the one command that runs them all, and their tables are whole.

What they measure is not tested: times belong to machines.
"""

import ast
import json
import math
import re
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
small, large = (sys.executable, "-c", "pass" + 5000 * "#"), (sys.executable, "-c", "b'x' * (60 * 2**20)")
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


IN_PIECES = """
import json, sys
from pathlib import Path
from side_by_side import Command, measure
kept, log = Path(sys.argv[1]), Path(sys.argv[2])
note = f"open({str(log)!r}, 'a').write('{{}} ')"
def side(name, code="", **further):
    return Command(name, "1", (sys.executable, "-c", note.format(name) + code), **further)
large = side("large", "\\nx = b'x' * (600 * 2**20)\\nimport time; time.sleep(30)", most_mib=200, runs=2)
out = kept.with_name("out")
made = f"\\nimport os; os.mkdir({str(out)!r})"
sides = [side("first"), side("second", made, runs=1, warm_up=side("warm", made).argv, removed=(out,)), large]
found = measure(sides, int(sys.argv[3]), kept)
print(json.dumps([{**measured.row(), "outcome": measured.outcome} for measured in found]))
"""


def test_a_measurement_in_pieces_goes_on_and_what_is_too_large_is_said_to_be(tmp_path):
    kept, log = tmp_path / "kept.json", tmp_path / "log"
    (tmp_path / "out").mkdir()  # an earlier measurement's, which would leave nothing to measure
    first, second, large = json.loads(run("-c", IN_PIECES, kept, log, "1", cwd=FOLDER).stdout)
    assert log.read_text().split() == ["warm", "large", "first", "second"]
    assert (first["runs"], second["runs"], large["runs"]) == (1, 1, 0)
    assert large["outcome"] == "out of memory" and math.isnan(large["seconds_median"]) and large["peak_mib"] == 200
    log.unlink()
    kept.write_text(re.sub(r"\d{4}-\d\d-\d\d", "2001-02-03", kept.read_text()))
    first, second, large = json.loads(run("-c", IN_PIECES, kept, log, "2", cwd=FOLDER).stdout)
    assert first["measured"] != second["measured"] == large["measured"] == "2001-02-03", "the day of the last run"
    assert log.read_text().split() == ["first", "first"], "a warm-up, and the run that was missing"
    assert (first["runs"], second["runs"], large["outcome"]) == (2, 1, "out of memory")


TABLE = """
import json, math, sys
from pathlib import Path
import pandas as pd
from prediction import EXACT, missed, with_others
from side_by_side import with_ratios
table, base = Path(sys.argv[1]), {"input": "a", "network": "paper", "version": "1"}
pd.DataFrame([{**base, "tool": "flare_core"}, {**base, "input": "b", "tool": "flare_core"}]).to_csv(table)
rows = [{**base, "tool": "flare_core", "seconds_median": 2.0, "peak_mib": 100},
        {**base, "tool": "nnunetv2", "seconds_median": math.nan, "peak_mib": 900, "outcome": "out of memory"},
        {**base, "tool": "monai", "seconds_median": 1.0, "peak_mib": 500}]
together = with_others(with_ratios(rows), table)
print(json.dumps([[row["input"], row["tool"]] for row in together]))
print(*missed(with_ratios(rows)), sep="\\n")
"""


def test_new_rows_take_the_place_of_their_input_and_out_of_memory_is_not_a_miss(tmp_path):
    done = run("-c", TABLE, tmp_path / "table.csv", cwd=FOLDER)
    rows, *missed = done.stdout.splitlines()
    assert json.loads(rows) == [["b", "flare_core"], ["a", "flare_core"], ["a", "nnunetv2"], ["a", "monai"]]
    assert missed == ["a, paper network, monai: ahead of ours (0.5 x time, 5.0 x memory)"]


def test_what_a_peers_environment_holds_is_pinned_and_says_the_same_as_its_own_pins():
    listing = "import json, peers; print(json.dumps({p.name: [p.packages, p.constraints.read_text()] for p in"
    listing += " (peers.MONAI, peers.NNUNET, peers.SURFACE_DISTANCE)}))"
    for packages, constraints in json.loads(run("-c", listing, cwd=FOLDER).stdout).values():
        lines = constraints.splitlines()
        assert all("==" in line and "+" not in line for line in lines)
        assert {pin.lower() for pin in packages} <= {line.lower() for line in lines}


@pytest.mark.parametrize("path", PEER_SIDES, ids=lambda path: path.name)
def test_a_peers_side_imports_nothing_of_this_project(path):
    modules = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [getattr(node, "module", None) or node.names[0].name for node in modules]
    own = {"flare_core", *(script.stem for script in SCRIPTS)}
    assert not [name for name in names if name.split(".")[0] in own]
