"""The options of `flare` that say who works on the cases, the same for every command over cases.

A part of `flare_core.cli`.
"""

from __future__ import annotations

import argparse

from flare_core.batch import Engine
from flare_core.machine import usable_cores


def add_engine(parser: argparse.ArgumentParser, *, jobs: str = "") -> None:
    """Add `--engine`, `--workers` and `--scheduler`, and `--jobs` (threads) where its help text is given."""
    engines = ["serial", "threads", "dask"] if jobs else ["serial", "dask"]
    parser.add_argument("--engine", choices=engines, help="who works on the cases (default serial)")
    parser.add_argument("--workers", type=int, metavar="N", help="local dask workers, a process each (default: cores)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a running dask scheduler: its workers are used")
    if jobs:
        parser.add_argument("--jobs", type=int, metavar="N", help=f"{jobs} (threads; default 1)")


def engine_of(options: argparse.Namespace, memory_limit: int | None = None) -> Engine:
    """Return the engine that the options ask for.

    Args:
        options: of a command with `add_engine`.
        memory_limit: bytes that a worker may take.
    Raises:
        ValueError: for options that contradict each other.
    """
    jobs, workers, name = getattr(options, "jobs", None), options.workers, options.engine
    asked = {"threads": jobs is not None, "dask": workers is not None or bool(options.scheduler)}
    implied = [engine for engine, is_asked in asked.items() if is_asked]
    if len({*implied, *([name] if name else [])}) > 1:
        raise ValueError("--jobs means threads, --workers and --scheduler mean dask; name one engine")
    if options.scheduler and workers is not None:
        raise ValueError("--workers starts local ones, --scheduler takes those of a scheduler; name one")
    name = name or next(iter(implied), "serial")
    if name == "dask":
        limit = None if options.scheduler else memory_limit
        return Engine(name, usable_cores() if workers is None else workers, options.scheduler or "", limit)
    return Engine("serial") if name == "serial" else Engine("threads", 1 if jobs is None else jobs)
