"""The same again from nothing gives the same result files; only measured time and memory, and dates, may differ."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from reliability import recorded

from flare_core import paths

ABOUT_TIME = {"seconds", "made", "recorded", "time", "efficiency", "efficiency_samples"}
"""Columns, keys and tables that hold durations or dates."""
MEASURED = {"efficiency_over_slices", "where_time_goes", "accuracy_against_time"}
MEASURED |= {"memory_over_time", "memory_of_one_case"}
"""Figures of time and memory."""


def results_below(folder: Path) -> dict[str, str]:
    """Every result file to a hash of what in it should not change: labels, weights, tables, descriptions, figures."""
    found = {}
    for path in sorted(folder.rglob("*")):
        timed = path.stem in ABOUT_TIME | MEASURED or ".flare" in path.parts
        if not path.is_file() or timed or path.suffix not in {".gz", ".safetensors", ".csv", ".json", ".svg", ".png"}:
            continue
        content = path.read_bytes()
        if path.suffix == ".csv":
            table = pd.read_csv(io.BytesIO(content))
            content = table.drop(columns=ABOUT_TIME & set(table)).to_csv().encode()
        if path.suffix == ".json":
            values = {key: value for key, value in json.loads(content).items() if key not in ABOUT_TIME}
            content = json.dumps(values).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


CHAIN = """
import sys
from flare_core import cli
data, out = sys.argv[1:]
assert cli.main(["train", "nvauto", "--data", data, "--profile", "smoke", "-o", f"{out}/run", "--seed", "3"]) == 0
submission = f"{out}/run/submission"
predict = ["predict", f"{data}/imagesVal", "-o", f"{out}/labels", "--model", submission, "--backend", "torch"]
assert cli.main(predict) == 0
assert cli.main(["evaluate", f"{out}/labels", f"{data}/labelsVal", "-o", f"{out}/scores.csv"]) == 0
"""


def test_a_chain_from_cohort_to_scores_made_twice_gives_the_same_files(tiny_cohort, tmp_path):
    """Trained, predicted and scored by two processes whose sets and dicts of text are in different orders."""
    runs = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", CHAIN, str(tiny_cohort), str(tmp_path / seed)]
        environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        runs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL))
    for run in runs:
        _, said = run.communicate(timeout=600)
        assert run.returncode == 0, said.decode()[-2000:]
    first, second = (results_below(tmp_path / seed) for seed in ("1", "2"))
    assert {Path(name).name for name in first} >= {
        "weights.safetensors",
        "submission.json",
        "scores.csv",
        "history.csv",
    }
    assert sum(name.startswith("labels/") for name in first) == 2
    assert first == second


@pytest.mark.slow
def test_two_smoke_reproductions_from_nothing_give_identical_result_files(tmp_path):
    """Two copies of the committed tree, each with an empty cache, run every notebook: cohort, trainings, tables."""
    git = shutil.which("git")
    tracked = subprocess.run([git, "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    trees = [tmp_path / "first", tmp_path / "second"]
    for file in tracked.stdout.splitlines():
        (trees[0] / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.ROOT / file, trees[0] / file)
    shutil.copytree(*trees)  # both before anything runs: somebody may be at work in the tree
    with recorded("smoke reproductions from nothing, result files compared", "make test-all") as row:
        for tree in trees:
            own = {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(tree / "cache"), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "flare_core.cli", "reproduce", "--profile", "smoke"]
            done = subprocess.run(command, cwd=tree, env=os.environ | own, capture_output=True, text=True, timeout=3000)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        first, second = (results_below(tree / "runs") for tree in trees)
        differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        row.update(tried=len(first), failed=len(differing), outcome=f"{len(first) - len(differing)} files identical")
        assert len(first) > 100 and differing == []
