"""Say where the time of a case goes: seconds by step, each second counted once.

Serves `flare predict`, whose records `flare efficiency` reads. Steps are named where the work is done (`timed`); a
`Timings` listens from outside, in its own thread only. Without one, nothing is measured.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENING: ContextVar[Timings | None] = ContextVar("timings", default=None)


class Timings:
    """Seconds by step. A step inside another one is not counted in the outer one.

    Attributes:
        seconds: by step, in the order of their first occurrence; steps that did not happen are not there.
        counts: of what was `counted`, by name.
        stages: seconds inside of networks, by the stage whose network it was.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def listening(self) -> Iterator[Timings]:
        """Count what happens inside this context."""
        token = _LISTENING.set(self)
        try:
            yield self
        finally:
            _LISTENING.reset(token)

    def turn(self, enter: str | None) -> None:
        """Begin a step (or, with None, end the innermost one)."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        if enter is None:
            self._open.pop()
        else:
            self._open.append(enter)
            self.seconds.setdefault(enter, 0.0)
        self._since = now


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Count the seconds of this context as a step of whoever listens."""
    timings = _LISTENING.get()
    if timings is None:
        yield
        return
    timings.turn(step)
    try:
        yield
    finally:
        timings.turn(None)


@contextmanager
def timed_stage(stage: str) -> Iterator[None]:
    """Add the seconds of this context to a stage's of whoever listens; they stay in their step, too."""
    start, timings = time.perf_counter(), _LISTENING.get()
    try:
        yield
    finally:
        if timings is not None:
            timings.stages[stage] += time.perf_counter() - start


def counted(name: str, count: int) -> None:
    """Add to a count of whoever listens."""
    timings = _LISTENING.get()
    if timings is not None:
        timings.counts[name] += count
