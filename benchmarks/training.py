"""Measure training steps per second beside the bare forward and backward pass, for every network of the submissions.

    python benchmarks/training.py

Both take the same steps on the same patches at the `mini` profile. The bare side has its patches ready and does nothing
but forward pass, loss, backward pass and the optimizer's step; the trainer cuts and augments them on the way. They take
turns, some steps each, so that a machine's drift meets both alike.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from side_by_side import parser_of, write_table

from flare_core.cases.dataset import Dataset
from flare_core.inference.network import autocast, has_fast_bfloat16
from flare_core.recipe import Stage
from flare_core.systems import SYSTEMS
from flare_core.training import loop
from flare_core.training.batch import Workers, draw_batch
from flare_core.training.prepare import prepare_cases
from flare_core.training.selection import InEqualNumbers
from flare_core.workspace import embedded_cohort

CASES, STEPS = 4, 8


def measure_stage(stage: Stage, dataset: Dataset, rounds: int) -> dict[str, object]:
    """Return seconds a step of both sides for one stage."""
    entries = stage.cases(dataset.training)[:CASES]
    if isinstance(stage.cases, InEqualNumbers):  # of every kind
        groups = {stage.cases.group_of(entry): entry for entry in stage.cases(dataset.training)}
        entries = tuple(groups.values())
    with tempfile.TemporaryDirectory() as cache:
        cases = list(prepare_cases(stage, entries, lambda entry: entry.load(), Path(cache)).values())
        torch.manual_seed(0)
        module = stage.network.build(stage.scheme.channels).to(memory_format=loop.LAYOUT).train()
        lesson = stage.objective.lesson(stage, module)
        optimizer = stage.optimization.optimizer.build(module.parameters())
        batches = [draw_batch(stage, cases, seed=0, epoch=0, step=step, workers=Workers()) for step in range(STEPS)]
        counted = replace(stage, optimization=replace(stage.optimization, steps_per_epoch=STEPS))
        fast = has_fast_bfloat16(torch.device("cpu"))

        def forward(*inputs, module=module):
            with autocast(torch.device("cpu"), fast):
                return module(*inputs)

        def bare() -> None:
            for batch in batches:
                loss = lesson.loss(forward, batch.to("cpu", loop.LAYOUT))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        def trainer() -> None:
            loop._epoch(counted, module, lesson, optimizer, cases, seed=0, epoch=0)

        seconds: dict[str, list[float]] = {"bare": [], "trainer": []}
        for turn in range(-1, rounds):
            for name, side in (("bare", bare), ("trainer", trainer)):
                start = time.perf_counter()
                side()
                if turn >= 0:
                    seconds[name].append((time.perf_counter() - start) / STEPS)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    return {f"{name}_ms": round(1000 * median, 1) for name, median in medians.items()} | {
        "trainer_per_bare": round(medians["trainer"] / medians["bare"], 3)
    }


def main() -> int:
    """Measure every stage of every submission that differs from those before; print and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    options = parser.parse_args()
    dataset, rows, seen = Dataset.load(embedded_cohort("mini")), [], set()
    for key in options.systems:
        for stage in SYSTEMS[key].at("mini").stages:
            same = (stage.network, stage.sampling, stage.augmentation, stage.loss, stage.optimization.batch)
            if repr(same) not in seen:
                seen.add(repr(same))
                rows.append({"system": key, "stage": stage.name, **measure_stage(stage, dataset, options.runs)})
                print(rows[-1], flush=True)
    write_table("training", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
