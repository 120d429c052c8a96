"""Find what a notebook works on: its dataset, the trained networks, and where results and figures go.

Serves every notebook: each reads and writes through one `Workspace`, so that any of them can be opened alone, in any
profile, on the embedded cohort or on a folder of real data, and never touches what belongs to another profile.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core import paths
from flare_core.recipe import PROFILES, System
from flare_core.storage import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flare_core.cases.dataset import Dataset

COHORT_SEED = 0


@dataclass(frozen=True)
class CohortSize:
    """How much of the embedded cohort a profile needs: voxel size (`cases.cohort`), training and validation cases."""

    voxels: str
    training: int
    validation: int


COHORTS = {
    "smoke": CohortSize("tiny", training=32, validation=2),  # 32 is the least with two fully labeled cases
    "mini": CohortSize("mini", training=80, validation=20),
    "study": CohortSize("mini", training=80, validation=20),
}


@dataclass(frozen=True)
class Workspace:
    """What one notebook works on.

    Attributes:
        system: key of the paper's system.
        profile: `smoke`, `mini`, `study` or `paper`.
        data: a dataset folder; empty means the embedded cohort of the profile.
        root: the project's tree (tests give another).
    """

    system: str = "nvauto"
    profile: str = "mini"
    data: str = ""
    root: Path = paths.ROOT

    def __post_init__(self) -> None:
        from flare_core.systems import SYSTEMS

        if self.system not in SYSTEMS:
            raise ValueError(f"no system {self.system!r}; choose from {', '.join(SYSTEMS)}")
        if self.profile not in PROFILES:
            raise ValueError(f"no profile {self.profile!r}; choose from {', '.join(PROFILES)}")
        if self.profile not in COHORTS and not self.data:
            raise ValueError(f"the profile {self.profile} needs real data: give a dataset folder as `data`")

    def recipe(self) -> System:
        """Return the system's value at the profile."""
        from flare_core.systems import SYSTEMS

        return SYSTEMS[self.system].at(self.profile)

    def dataset(self) -> Dataset:
        """Return the dataset; the embedded cohort is generated first if it is not there.

        Raises:
            BadInput: if `data` is no dataset folder.
        """
        from flare_core.cases.dataset import Dataset

        return Dataset.load(Path(self.data) if self.data else embedded_cohort(self.profile, self._under(paths.COHORTS)))

    @property
    def folder(self) -> Path:
        """Where runs of this profile and dataset write."""
        name = f"{self.profile}-{Path(self.data).resolve().name}" if self.data else self.profile
        return self._under(paths.RUNS) / name

    @property
    def run(self) -> Path:
        """Where this system is trained."""
        return self.folder / self.system

    @property
    def predictions(self) -> Path:
        """Where this system's label files of the validation cases go."""
        return self.run / "predictions"

    @property
    def submission(self) -> Path:
        """The trained system: one trained here, else the one that is shipped.

        Raises:
            FileNotFoundError: if there is neither.
        """
        trained, shipped = self.run / "submission", self._under(paths.WEIGHTS) / self.system
        for folder in (trained, shipped):
            if (folder / "submission.json").is_file() and (folder == trained or self.profile == "mini"):
                return folder
        raise FileNotFoundError(
            f"{self.system} is not trained in the profile {self.profile}: run "
            f"`flare train {self.system} --data DATASET --profile {self.profile} -o {self.run}` first"
        )

    def teacher(self, stage: str) -> Path:
        """The submission folder of a stage that taught another one by pseudo-labels."""
        return self.submission / "teachers" / stage

    @property
    def results(self) -> Path:
        """Where result tables go: with the committed ones for the embedded cohort, except from `smoke`."""
        is_kept = not self.data and self.profile != "smoke"
        return self._under(paths.results_of(self.profile)) if is_kept else self.folder / "results"

    @property
    def figures(self) -> Path:
        """Where figures go: to the README's only from `mini` on the embedded cohort."""
        return self._under(paths.FIGURES) if not self.data and self.profile == "mini" else self.folder / "figures"

    def save_figure(self, figure: Figure, name: str) -> Figure:
        """Write a figure as `NAME.png` and `NAME.svg` into `figures`.

        Args:
            figure: drawn by `evaluation.figures`, `evaluation.case_figures` or `pictures`.
            name: file name without ending.
        Returns:
            The figure, so that a cell can end with this call and show it.
        """
        from flare_core.evaluation.style import save

        save(figure, name, self.figures)
        return figure

    def _under(self, path: Path) -> Path:
        """The same place in this workspace's tree."""
        return self.root / path.relative_to(paths.ROOT)


def embedded_cohort(profile: str, folder: Path = paths.COHORTS) -> Path:
    """Return the folder of the profile's synthetic cohort, generated now if it is missing or of another generator.

    It takes its final name only when it is complete; a generator whose source has changed since makes it anew.

    Args:
        profile: a key of `COHORTS`.
        folder: holds one cohort a size.
    """
    from flare_core.cases.cohort import write_cohort

    size = COHORTS[profile]
    place, made_from = folder / size.voxels, _generator_digest()
    stamp = place / ".made_from"
    if stamp.is_file() and stamp.read_text() == made_from:
        return place
    fresh = folder / f".{size.voxels}.tmp-{os.getpid()}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    write_cohort(fresh, size.training, size.validation, COHORT_SEED, size.voxels, workers=cores)
    write_file(fresh / stamp.name, made_from)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(fresh, place)
    return place


def _generator_digest() -> str:
    """SHA-256 over the generator's source files and the sizes asked of it."""
    together = hashlib.sha256(repr((COHORT_SEED, sorted(COHORTS.items()))).encode())
    for path in sorted((Path(__file__).parent / "cases" / "cohort").glob("*.py")):
        together.update(path.read_bytes())
    return together.hexdigest()
