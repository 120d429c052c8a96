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
    """Return the folder of the committed result tables of one profile."""
    return RESULTS / profile
