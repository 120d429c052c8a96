"""Say where things lie in the project's tree: the only module that knows it.

Serves every step; holds no other knowledge. All paths are absolute and computed from this file's place.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NOTEBOOKS = ROOT / "notebooks"
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
