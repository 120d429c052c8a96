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
from flare_core.cases.labels import TARGET_NAMES, TUMOR
from flare_core.machine import usable_cores
from flare_core.recipe import AS_PUBLISHED, PROFILES, System

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from flare_core.cases.dataset import Dataset
    from flare_core.evaluation.flare_rules import Rules

COHORT_SEED = 0
FIRST_SYSTEM = "nvauto"
"""What the notebooks show unless asked otherwise; the committed figures are its."""


@dataclass(frozen=True)
class CohortSize:
    """How much of the embedded cohort a profile needs: voxel size (`cases.cohort`), training and validation cases."""

    voxels: str
    training: int
    validation: int


COHORTS = {
    "smoke": CohortSize("tiny", training=32, validation=2),  # 32 is the least with two fully labeled cases
    "mini": CohortSize("mini", training=80, validation=20),
    "study": CohortSize("mini", training=320, validation=20),  # the same validation cases
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

    system: str = FIRST_SYSTEM
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

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that the system predicts: all of them, or the tumor alone."""
        return TARGET_NAMES if self.recipe().segments_organs else (TUMOR.name,)

    @property
    def scope(self) -> str:
        """Say in a sentence what the system predicts, and so what its tables and pictures show."""
        if self.recipe().segments_organs:
            return f"{self.system} segments thirteen organs and tumors."
        return f"{self.system} segments tumors only: organs are left out of its tables and pictures."

    @property
    def rules(self) -> Rules:
        """The rules of the challenge that the system was submitted to."""
        from flare_core.evaluation.flare_rules import FLARE23, FLARE24_TASK1

        return FLARE23 if self.recipe().segments_organs else FLARE24_TASK1

    def annotated_dataset(self) -> Dataset:
        """Return the dataset with the annotated targets of every case, read from the label files if not recorded."""
        from flare_core.cases.label_analysis import with_inferred_annotation

        return with_inferred_annotation(self.dataset())

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
        """The trained system: the shipped one for `mini` on the embedded cohort, else the one trained here.

        Raises:
            FileNotFoundError: if it is not there.
        """
        own = self.run / "submission"
        folder = own if self.data else self._under(paths.submission_of(self.system, self.profile))
        if not (folder / "submission.json").is_file():
            command = f"flare train {self.system} --data DATASET --profile {self.profile} -o {self.run}"
            remedy = command if folder == own else "make retrain"
            raise FileNotFoundError(f"no trained {self.system} in {folder}; make it with `{remedy}`")
        return folder

    def teacher(self, stage: str) -> Path:
        """The submission folder of a stage that taught another one by pseudo-labels.

        Raises:
            FileNotFoundError: if the submission came without it.
        """
        folder = self.submission / "teachers" / stage
        if not folder.is_dir():
            raise FileNotFoundError(f"the teacher {stage} is not in {folder.parent}; training the system puts it there")
        return folder

    def history(self) -> pd.DataFrame:
        """Return the learning curves of the system's trainings: a row an epoch, with `stage` and `fold`.

        Committed with the results for the embedded cohort, else read from the run. `validation_dice` is NaN where
        nothing was validated.

        Raises:
            FileNotFoundError: if there are none.
        """
        import pandas as pd

        kept = self.results / "history.csv"
        if kept.is_file():
            table = pd.read_csv(kept)
            table = table[(table["system"] == self.system) & (table["variant"] == AS_PUBLISHED)]
            if len(table):
                return table[table["seed"] == table["seed"].min()]
        files = sorted(self.run.glob("*/fold*/history.csv"))
        if not files:
            raise FileNotFoundError(
                f"no learning curves of {self.system} in {kept} or under {self.run}; train the system first"
            )
        names = [(file.parent.parent.name.rpartition("-")[0], file.parent.name.removeprefix("fold")) for file in files]
        tables = [pd.read_csv(f).assign(stage=stage, fold=fold) for f, (stage, fold) in zip(files, names, strict=True)]
        table = pd.concat(tables, ignore_index=True)
        return table if "validation_dice" in table else table.assign(validation_dice=float("nan"))

    @property
    def results(self) -> Path:
        """Where the tables of the trainings lie: committed ones for the embedded cohort, except for `smoke`."""
        return self.folder / "results" if self.data else self._under(paths.results_of(self.profile))

    @property
    def figures(self) -> Path:
        """Where figures go; `make figures` copies those of `mini` to the README's."""
        return self.run / "figures"

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
    """Return the folder of the profile's synthetic cohort, generated now if it is not there.

    The folder is named after the generator's source, so that a changed generator makes a new cohort and no cohort is
    ever changed under a training that reads it; it takes its name only when it is complete.

    Args:
        profile: a key of `COHORTS`.
        folder: holds the cohorts.
    """
    from flare_core.cases.cohort import write_cohort

    size = COHORTS[profile]
    place = folder / f"{size.voxels}-{generator_digest(size)[:8]}"
    if place.is_dir():
        return place
    fresh = folder / f".{place.name}.tmp-{os.getpid()}"
    write_cohort(fresh, size.training, size.validation, COHORT_SEED, size.voxels, workers=usable_cores())
    try:
        os.rename(fresh, place)
    except OSError:  # another process was faster; its cohort has the same bytes
        shutil.rmtree(fresh)
    return place


def generator_digest(size: CohortSize | None = None) -> str:
    """SHA-256 over the generator's source files and what is asked of it."""
    together = hashlib.sha256(repr((COHORT_SEED, size)).encode())
    for path in sorted((Path(__file__).parent / "cases" / "cohort").glob("*.py")):
        together.update(path.read_bytes())
    return together.hexdigest()
