"""Keep a system's teachers beside its submission, so that its pseudo-labels can be made again without training.

Serves notebook 05 and every run that ships a submission.
"""

from __future__ import annotations

from pathlib import Path

from flare_core.inference.submission import save_submission
from flare_core.training.run import Run, teacher_submission
from flare_core.training.selection import PseudoLabels

FOLDER = "teachers"


def save_teachers(run: Run, submission: Path) -> list[Path]:
    """Write `teachers/STAGE/`, a submission by itself, for every stage that taught another one by pseudo-labels.

    Args:
        run: with the teachers' folds trained.
        submission: folder of the system's submission.
    Returns:
        The folders written; none for a system without pseudo-labels.
    Raises:
        FileNotFoundError: if a teacher's fold is not trained.
    """
    names = [stage.labels.teacher for stage in run.needed_stages() if isinstance(stage.labels, PseudoLabels)]
    folders = []
    for name in dict.fromkeys(names):
        teacher = teacher_submission(run, run.system.stage(name))
        folders.append(submission / FOLDER / name)
        save_submission(folders[-1], teacher.inference, teacher.networks, teacher.facts)
    return folders
