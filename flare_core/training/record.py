"""Put what a training leaves for readers beside its submission: learning curves and teachers.

Serves notebooks 04 and 05, which show how the shipped networks were trained without training them again.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flare_core.inference.submission import save_submission
from flare_core.storage import write_file
from flare_core.training.run import Run, teacher_submission
from flare_core.training.selection import PseudoLabels


def add_training_record(run: Run, submission: Path) -> Path:
    """Write `training/STAGE_foldK.csv` for every training and `teachers/STAGE/` for every teacher of a submission.

    Args:
        run: finished (every fold of the stages that the submission needs).
        submission: the folder that `train_system` returned.
    Returns:
        The submission folder.
    Raises:
        FileNotFoundError: if a training is missing.
    """
    for stage in run.needed_stages():
        for fold in stage.trained_folds:
            history = run.stage_folder(stage) / f"fold{fold}" / "history.csv"
            write_file(submission / "training" / f"{stage.name}_fold{fold}.csv", history.read_bytes())
        if isinstance(stage.labels, PseudoLabels):
            teacher = run.system.stage(stage.labels.teacher)
            predicting = teacher_submission(run, teacher)
            folder = submission / "teachers" / teacher.name
            save_submission(folder, predicting.inference, predicting.networks, predicting.facts)
    return submission


def read_histories(submission: Path) -> dict[str, pd.DataFrame]:
    """Return the learning curves of a submission's trainings by name, e.g. `round1_fold0`; none gives an empty dict.

    Columns: `step`, `loss`, `lr`, `seconds`, and where an epoch was validated `validation_dice` and `dice_<channel>`.
    """
    files = sorted((submission / "training").glob("*.csv"))
    return {file.stem: pd.read_csv(file).rename(columns={"learning_rate": "lr"}) for file in files}
