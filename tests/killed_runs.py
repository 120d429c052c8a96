"""Started by test_kills.py in processes of their own, to be killed: says `started`, then does one thing to its end."""

import sys
from dataclasses import replace
from pathlib import Path


def evaluate(predictions: str, references: str, scores: str) -> None:
    """Score two folders."""
    from flare_core.evaluation.evaluate import evaluate_folders
    from flare_core.evaluation.flare_rules import FLARE23

    say_started()
    evaluate_folders(Path(predictions), Path(references), FLARE23, Path(scores))


def train(folder: str) -> None:
    """Train a tiny network for six epochs."""
    import numpy as np
    import torch

    from flare_core.cases.sampling import PreparedCase, class_voxels
    from flare_core.systems import SYSTEMS
    from flare_core.training import loop

    torch.set_num_threads(1)
    stage = SYSTEMS["nvauto"].at("smoke").stage("round1")
    stage = replace(stage, optimization=replace(stage.optimization, epochs=6, steps_per_epoch=2))
    rng = np.random.default_rng(0)
    channels = np.zeros((20, 18, 16), np.uint8)
    channels[2:9, 3:12, 2:12] = 1
    known, voxels = np.ones(stage.scheme.channels, bool), class_voxels(channels)
    cases = [
        PreparedCase(f"c{i}", rng.random(channels.shape, np.float32), channels, known, known, voxels) for i in range(3)
    ]
    say_started()
    loop.train(stage, cases[:2], cases[2:], Path(folder), seed=0, facts={"fold": 0})


def notebooks(source: str, reports: str) -> None:
    """Run a folder of notebooks into a report."""
    from flare_core.reproduce import Batch, reproduce

    say_started()
    outcomes = reproduce(Batch("smoke", notebooks=Path(source), reports=Path(reports)))
    sys.exit(any(outcome.status == "failed" for outcome in outcomes))


def dask(folder: str) -> None:
    """Write a file a case by two workers."""
    from batch_cases import write_slowly

    from flare_core.batch import Engine, map_cases
    from flare_core.output_lock import only_run

    say_started()
    with only_run(folder):
        cases = [(f"c{n}", (folder, f"c{n}")) for n in range(30)]
        map_cases(write_slowly, cases, engine=Engine("dask", 2), folder=Path(folder))


def say_started() -> None:
    """Tell the test that imports are done."""
    print("started", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    {work.__name__: work for work in (evaluate, train, notebooks, dask)}[sys.argv[1]](*sys.argv[2:])
