"""Do the trainings of several runs in an order that respects who teaches whom, each of them once.

Serves `flare train` and `flare retrain`. Runs that share trainings (an ablation and its system, two systems with the
same teacher) meet here as tasks with the same folder. A task is the preparation of a stage or the training of one fold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from flare_core.output_lock import only_run
from flare_core.recipe import Stage
from flare_core.training.loop import Workers
from flare_core.training.run import (
    Run,
    assemble,
    is_finished,
    prepare_stage,
    train_fold,
    train_stage,
    wait_for_first_process,
)

log = logging.getLogger(__name__)

Key = tuple[Path, int | None]
"""A stage's folder, and the fold; None is its preparation."""


class Unfinished(RuntimeError):
    """Trainings that failed; the message has a line for each, what was not reached because of them is left out."""


@dataclass(frozen=True)
class Task:
    """One thing to do.

    Attributes:
        run, stage, fold: what; fold None prepares the stage.
        needs: what must be done before.
    """

    run: Run
    stage: Stage
    fold: int | None
    needs: frozenset[Key] = field(default_factory=frozenset)

    def __call__(self, threads: int) -> None:
        """Do it, with so many threads."""
        torch.set_num_threads(threads)
        folder = self.run.stage_folder(self.stage)
        if self.fold is None:
            with only_run(folder, wait=True):  # another command may want the same
                prepare_stage(self.run, self.stage)
            return
        with only_run(folder / f"fold{self.fold}", wait=True):
            if not is_finished(folder / f"fold{self.fold}"):
                train_fold(self.run, self.stage, self.fold)

    def __str__(self) -> str:
        what = "preparation" if self.fold is None else f"fold {self.fold}"
        return f"{self.run.system.key} {self.run.variant} {self.stage.name}, {what}".replace("  ", " ")


def train_system(run: Run, stages: Iterable[str] = (), folds: Iterable[int] = (), *, jobs: int = 1) -> Path:
    """Train the stages (none named: all that the submission needs) and assemble the submission.

    Args:
        run: what to train and where.
        stages: names to restrict to; then nothing is assembled.
        folds: folds to restrict to; then nothing is assembled.
        jobs: folds trained at the same time, each in its own process with its share of the cores; under `torchrun`,
            where all processes share one training, it must be 1.
    Returns:
        The submission folder, or the run folder if the training was restricted.
    Raises:
        ValueError: for an unknown stage or fold, an impossible number of jobs, or a run folder that another run is
            writing to; before anything is trained.
        NothingToTrain: if a stage finds no cases (`Unfinished` where several jobs run).
    """
    stages, folds = list(stages), list(folds)
    chosen = [run.system.stage(name) for name in stages] or run.needed_stages()
    for stage in chosen:
        if unknown := [fold for fold in folds if not 0 <= fold < stage.folds]:
            raise ValueError(f"stage {stage.name} has folds 0 to {stage.folds - 1}, got {unknown}")
    if jobs < 1 or (jobs > 1 and Workers.join().count > 1):
        raise ValueError(f"jobs is at least 1, and 1 where several processes share a training; got {jobs}")
    with only_run(run.folder) if Workers.join().rank == 0 else nullcontext():
        if jobs == 1:
            for stage in chosen:
                train_stage(run, stage, folds)
        else:
            for _ in train_runs([run], stages, folds, jobs=jobs):
                pass
        if stages or folds:
            return run.folder
        if Workers.join().rank == 0:
            assemble(run, run.submission)
        wait_for_first_process()
        return run.submission


def plan_tasks(runs: Sequence[Run], stages: Sequence[str] = (), folds: Sequence[int] = ()) -> dict[Key, Task]:
    """Return what is left to do for the runs (restricted as in `train_system`); equal tasks of several runs once."""
    tasks: dict[Key, Task] = {}
    for run in runs:
        for stage in [run.system.stage(name) for name in stages] or run.needed_stages():
            folder = run.stage_folder(stage)
            wanted = [fold for fold in folds or stage.trained_folds if not is_finished(folder / f"fold{fold}")]
            taught_by = {
                (run.stage_folder(teacher), fold) for teacher in run.teachers(stage) for fold in teacher.trained_folds
            }
            if wanted:
                tasks.setdefault((folder, None), Task(run, stage, None, frozenset(taught_by)))
            for fold in wanted:
                tasks.setdefault((folder, fold), Task(run, stage, fold, frozenset({(folder, None)})))
    return tasks


def train_runs(
    runs: Sequence[Run], stages: Sequence[str] = (), folds: Sequence[int] = (), *, jobs: int = 1
) -> Iterator[Run]:
    """Train everything that runs need; yield each run as soon as its trainings are there.

    Args:
        runs: those named first come first.
        stages, folds: names and numbers to restrict to.
        jobs: tasks done at the same time, each in its own process with its share of the cores.
    Raises:
        Unfinished: at the end, if a task failed; the others, and the runs that do not need it, were done.
    """
    tasks = plan_tasks(runs, stages, folds)
    waiting = {id(run): set(plan_tasks([run], stages, folds)) for run in runs}
    failed: dict[Key, str] = {}
    done: set[Key] = set()
    for key, error in _carried_out(tasks, jobs):
        if error is None:
            done.add(key)
        else:
            failed[key] = f"{tasks[key]}: {error}"
            log.error(failed[key])
        yield from _complete(runs, waiting, done)
    yield from _complete(runs, waiting, done)
    if failed:
        raise Unfinished("\n".join(failed.values()))


def _complete(runs: Sequence[Run], waiting: dict[int, set[Key]], done: set[Key]) -> Iterator[Run]:
    """Yield the runs that wait for nothing more, each once."""
    for run in runs:
        if id(run) in waiting and waiting[id(run)] <= done:
            del waiting[id(run)]
            yield run


def _carried_out(tasks: Mapping[Key, Task], jobs: int) -> Iterator[tuple[Key, Exception | None]]:
    """Do the tasks, `jobs` at a time; yield each with its error; what needs a failed one is never started."""
    threads = max(1, torch.get_num_threads() // jobs)
    left, blocked = dict(tasks), set(tasks)
    running: dict[Future, Key] = {}
    finished: list[tuple[Key, Exception | None]] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while True:
            for key, task in list(left.items()):
                if len(running) < jobs and not task.needs & blocked:
                    running[pool.submit(left.pop(key), threads)] = key
            yield from finished
            if not running:
                return
            finished = [(running.pop(f), f.exception()) for f in wait(running, return_when=FIRST_COMPLETED).done]
            blocked -= {key for key, error in finished if error is None}
