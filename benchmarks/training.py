"""Measure training steps per second beside the bare forward and backward pass, for every network of the submissions.

    python benchmarks/training.py
    python benchmarks/training.py --threads 1 --systems nvauto

They take the same steps on the same patches at the `mini` profile. The bare side has its patches ready and does nothing
but forward pass, loss, backward pass and the optimizer's step; the trainer cuts and augments them on the way and clips
gradients. They take turns, some steps each, so that a machine's drift meets both alike. `cpu_per_bare` compares the
processor time of both instead of the time that passed: with one thread it says the same, and hardly depends on what
else the machine does. `plain_layers_ms` is the bare side with the network's own layers (`training/channels_last.py`).
`make retrain` trains with one thread a network.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from side_by_side import parser_of, write_table

from flare_core.cases.dataset import Dataset
from flare_core.inference.network import autocast, has_fast_bfloat16
from flare_core.machine import keep_freed_memory
from flare_core.recipe import Stage
from flare_core.systems import SYSTEMS
from flare_core.training import loop
from flare_core.training.batch import Workers, draw_batch
from flare_core.training.channels_last import LAYOUT
from flare_core.training.objective import Lesson
from flare_core.training.prepare import prepare_cases
from flare_core.training.selection import InEqualNumbers
from flare_core.workspace import embedded_cohort

CASES, STEPS = 4, 16
MOST_PER_BARE = 1.1
CPU = torch.device("cpu")


def measure_stage(stage: Stage, dataset: Dataset, rounds: int) -> dict[str, object]:
    """Return seconds a step of both sides for one stage."""
    entries = stage.cases(dataset.training)[:CASES]
    if isinstance(stage.cases, InEqualNumbers):  # of every kind
        groups = {stage.cases.group_of(entry): entry for entry in stage.cases(dataset.training)}
        entries = tuple(groups.values())
    with tempfile.TemporaryDirectory() as cache:
        cases = list(prepare_cases(stage, entries, lambda entry: entry.load(), Path(cache)).values())
        batches = [draw_batch(stage, cases, seed=0, epoch=0, step=step, workers=Workers()) for step in range(STEPS)]
        counted = replace(stage, optimization=replace(stage.optimization, steps_per_epoch=STEPS))
        fast = has_fast_bfloat16(CPU)
        torch.manual_seed(0)

        def learning(module: torch.nn.Module):
            optimizer = stage.optimization.optimizer.build(module.parameters())
            return module.train(), stage.objective.lesson(stage, module), optimizer

        learner = learning(loop.build_learner(stage, CPU))
        plain = learning(stage.network.build(stage.scheme.channels).to(memory_format=LAYOUT))

        def bare(module: torch.nn.Module, lesson: Lesson, optimizer: torch.optim.Optimizer) -> None:
            def forward(*inputs, module=module):
                with autocast(CPU, fast):
                    return module(*inputs)

            for batch in batches:
                loss = lesson.loss(forward, batch.to("cpu", LAYOUT))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        def trainer() -> None:
            loop._epoch(counted, *learner, cases, seed=0, epoch=0)

        bare_ms, trainer_ms, plain_ms = in_turns((partial(bare, *learner), trainer, partial(bare, *plain)), rounds)
    return {
        "threads": torch.get_num_threads(),
        "steps": STEPS * rounds,
        "bare_ms": round(bare_ms[0], 1),
        "trainer_ms": round(trainer_ms[0], 1),
        "trainer_per_bare": round(trainer_ms[0] / bare_ms[0], 3),
        "cpu_per_bare": round(trainer_ms[1] / bare_ms[1], 3),
        "plain_layers_ms": round(plain_ms[0], 1),
    }


def in_turns(sides: Sequence[Callable[[], None]], rounds: int) -> list[tuple[float, float]]:
    """Return for each side the medians of the milliseconds a step: those that passed, and those of all its threads."""
    found = [[] for _ in sides]
    for turn in range(-1, rounds):
        for side, spent in zip(sides, found, strict=True):
            start = time.perf_counter(), time.process_time()
            side()
            if turn >= 0:
                spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return [tuple(1000 * statistics.median(one) / STEPS for one in zip(*spent, strict=True)) for spent in found]


def main() -> int:
    """Measure every stage of every submission that differs from those before; 1 if a trainer takes too long."""
    parser = parser_of(__doc__)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: all cores)")
    parser.add_argument("--no-table", action="store_true", help="print the rows, but leave the table as it is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    dataset, rows, seen = Dataset.load(embedded_cohort("mini")), [], set()
    for key in options.systems:
        for stage in SYSTEMS[key].at("mini").stages:
            drawn = (stage.sampling, stage.augmentation, stage.optimization.batch)
            same = repr((stage.network, *drawn, stage.loss, stage.objective))
            if same not in seen:
                seen.add(same)
                rows.append({"system": key, "stage": stage.name, **measure_stage(stage, dataset, options.runs)})
                print(rows[-1], flush=True)
    if not options.no_table:
        write_table("training", rows)
    slow = [row for row in rows if row["trainer_per_bare"] > MOST_PER_BARE]
    for row in slow:
        print(f"missed: {row['system']} {row['stage']}: {row['trainer_per_bare']} bare steps, {MOST_PER_BARE} allowed")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
