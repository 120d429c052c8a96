"""Say where things lie in the project's tree, and what is kept outside of it: the only module that knows.

Serves every step; holds no other knowledge. All paths are absolute and computed from this file's place.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NOTEBOOKS = ROOT / "notebooks"
JUPYTER = ROOT / "jupyter"
DATA = ROOT / "data"
PUBLISHED = DATA / "published"
RESULTS = DATA / "results"
FIGURES = ROOT / "figures"
WEIGHTS = ROOT / "weights"
REPORTS = ROOT / "reports"
RUNS = ROOT / "runs"
COHORTS = RUNS / "cohorts"


def results_of(profile: str) -> Path:
    """Return the folder of a profile's result tables; `smoke` proves that things run, its numbers are not committed."""
    return RUNS / "smoke" / "results" if profile == "smoke" else RESULTS / profile


def submission_of(system: str, profile: str) -> Path:
    """Return the folder of a system's submission: shipped for `mini`, else what a run on this machine made."""
    return WEIGHTS / system if profile == "mini" else run_of(system, profile) / "submission"


def run_of(system: str, profile: str) -> Path:
    """Return the folder in which a system is trained at a profile."""
    return RUNS / profile / system


def user_cache() -> Path:
    """Return the folder outside of the tree for what can be made again: compiled networks."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flare_core"
