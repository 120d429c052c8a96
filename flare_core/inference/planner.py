"""Keep a prediction within a memory limit: choose windows at once and where scores wait, or refuse.

Serves `flare predict`, above all with `--max-memory`. The estimate counts the process as it is, the image and its label
map, the sums of the windows that are under way and what lives inside the network; none of these but the first two grows
with the number of slices. `benchmarks/scaling.py` compares it with what was really used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from flare_core.cases.splines import spline_bytes
from flare_core.inference.components import PLANES
from flare_core.inference.footprint import window_bytes
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.planes import IN_MEMORY
from flare_core.inference.submission import Submission
from flare_core.inference.trace import Look
from flare_core.machine import usable_cores

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
WORKSPACE = {"float32": 2.0, "bfloat16": 1.4}
"""Convolutions need copies of their input: up to 1.9 times of what `window_bytes` counts was measured in float32. More
voxels in the windows of swinx's and efficient_nnunet's published networks cost OpenVINO 0.55 and 0.7 times as much in
bfloat16."""
CUDA_CONTEXT = 600 * 10**6
"""What a process takes on a card before its first tensor, libraries included."""
RULES_BYTES = 12
"""Post-processing takes so many bytes at most for each voxel of a slab of planes."""
SLACK = 1.1
"""For what is not counted: the memory allocator, threads, files."""
LATE_IMPORTS = 64 * 10**6
"""Libraries that the first image brings along: SciPy's splines take 40 MB."""


class TooLarge(ValueError):
    """A prediction that cannot be held within the limit; the message names the least that would do."""

    is_final = True  # a second try finds the same limit: `flare_core.batch`


@dataclass(frozen=True)
class Plan:
    """How one image is predicted.

    Attributes:
        batch: windows that a network computes at once, at most.
        precision: of the networks. The fastest that the processor has also takes the least memory, so that it is given
            up for no limit, and taken unless float32 was asked for.
        waiting: bytes of scores that wait for those of other networks, at most (a crop leaves fewer). All other sums
            leave window by window.
        in_file: whether these lie in a temporary file however few they are, as the limit has no room for them. Else
            they do so if they are more than `IN_MEMORY`.
        estimate: bytes of the whole process at its peak; None without a limit: then all is as the submission has it.
    """

    batch: int
    precision: str
    waiting: int = 0
    in_file: bool = False
    estimate: int | None = None

    def __str__(self) -> str:
        windows = "1 window at a time" if self.batch == 1 else f"{self.batch} windows at a time"
        spill = f" (in a temporary file if more than {in_units(IN_MEMORY)})" if self.waiting > IN_MEMORY else ""
        place = "a temporary file" if self.in_file else f"memory{spill}"
        waiting = f", up to {in_units(self.waiting)} of scores wait in {place}" if self.waiting else ""
        most = "no memory limit" if self.estimate is None else f"about {in_units(self.estimate)} at most"
        return f"{self.precision}, {windows}{waiting}, {most}"

    def applied(self, submission: Submission) -> Submission:
        """Return the submission that predicts in this way."""
        if self.estimate is None:
            return submission
        planned = submission.with_batch(self.batch)
        return replace(planned, inference=replace(planned.inference, waits_in_file=True)) if self.in_file else planned


class Planner:
    """Plans predictions of one submission.

    With a limit it first makes sure that the networks alone fit, then computes one window with each of them: from then
    on, what compiled networks really take is part of the process's memory, and only the rest is estimated.

    Args:
        submission: what predicts.
        limit: bytes that the process may take at most, on a CUDA device those that it may take there; None: no limit.
    Raises:
        TooLarge: if the networks cannot be held within the limit, whatever the image.
    """

    def __init__(self, submission: Submission, limit: int | None = None) -> None:
        self.submission, self.limit, self._base = submission, limit, 0
        if limit is None:
            submission.prepare()
            return
        self._base = resident_bytes() + sum(network.unloaded_bytes for network in submission.all_networks)
        self.submission = submission.with_batch(self.plan().batch)
        self.submission.prepare()
        for network, window, probabilities in self.submission.known_windows():
            network(np.zeros((network.batch, 1, *window), np.float32), probabilities)
        self._base = resident_bytes()

    def plan(self, shape: Sequence[int] = (1, 1, 1), spacing_mm: Sequence[float] = (1, 1, 1), voxel: int = 2) -> Plan:
        """Return the fastest way to predict an image within the limit.

        Args:
            shape, spacing_mm: of the image; a single voxel needs what every image needs.
            voxel: bytes of an image voxel in memory.
        Raises:
            TooLarge: if there is none.
        """
        most, precision = self.submission.batch, self.submission.precision
        waiting = max((self._waiting(shape, spacing_mm, look) for look in self._looks), default=0)
        always_in_file = getattr(self.submission.inference, "waits_in_file", False)
        if self.limit is None:
            return Plan(most, precision, waiting, always_in_file)
        for batch, in_file in product(range(most, 0, -1), sorted({always_in_file, True})):
            held = 0 if in_file else min(waiting, IN_MEMORY)
            estimate = self._estimate(shape, spacing_mm, voxel, batch, held)
            plan = Plan(batch, precision, waiting, in_file, estimate)
            if estimate <= self.limit:
                return plan
        least = math.ceil(plan.estimate / 1e7) / 100  # rounded up
        what = "any image" if math.prod(shape) == 1 else f"an image of {' x '.join(map(str, shape))} voxels"
        raise TooLarge(
            f"{what} needs at least {least:.2f} GB here in {plan.precision}, the limit is {in_units(self.limit)}; "
            "raise --max-memory" + (", or take a submission with smaller windows" if math.prod(shape) == 1 else "")
        )

    def _estimate(self, shape: Sequence[int], spacing_mm: Sequence[float], voxel: int, batch: int, held: int) -> int:
        """Return the bytes at the peak with so many windows at once and so many bytes of scores that wait in memory."""
        if self.submission.compute.device.startswith("cuda"):
            return int(CUDA_CONTEXT + max(self._on_card(shape, spacing_mm, look, batch) for look in self._looks))
        maps = len(self.submission.inference.parts)
        arrays = math.prod(shape) * (voxel + maps)
        planes = usable_cores() * shape[0] * shape[1] * 4 * 6  # reduction: a few float planes a thread
        looks = [self._look(shape, spacing_mm, look, batch) for look in self._looks]
        slab = shape[0] * shape[1] * min(shape[2], PLANES + 1)
        return int(self._base + LATE_IMPORTS + arrays + max(SLACK * (max(looks) + planes + held), RULES_BYTES * slab))

    @property
    def _looks(self) -> tuple[Look, ...]:
        return self.submission.inference.looks()

    def _waiting(self, shape: Sequence[int], spacing_mm: Sequence[float], look: Look) -> int:
        """Return the bytes of the scores that wait during a look."""
        members = [network for stage in look.stages for network in self.submission.networks[stage]]
        if not look.first_waits or len(members) == 1:
            return 0
        return 4 * members[0].scheme.channels * math.prod(members[0].preprocessing.grid_shape(shape, spacing_mm))

    def _on_card(self, shape: Sequence[int], spacing_mm: Sequence[float], look: Look, batch: int) -> int:
        """Return the bytes on a GPU while some networks look: all weights, and the windows of one network in turn."""
        weights = sum(network.weight_bytes for network in self.submission.all_networks)
        network = self.submission.networks[look.stages[0]][0]
        window = look.scheme.window_for(network, network.preprocessing.grid_shape(shape, spacing_mm))
        channels, batch = network.scheme.channels, min(batch, self.submission.windows_at_once(look))
        inside = WORKSPACE["float32"] * window_bytes(network.architecture, channels, tuple(window))
        return int(weights + batch * (inside + 2 * 4 * channels * math.prod(window)))

    def _look(self, shape: Sequence[int], spacing_mm: Sequence[float], look: Look, batch: int) -> int:
        """Return the bytes while the networks of some stages look at an image through a window scheme."""
        members = [network for stage in look.stages for network in self.submission.networks[stage]]
        network, channels = members[0], members[0].scheme.channels
        batch = min(batch, self.submission.windows_at_once(look))
        grid = network.preprocessing.grid_shape(shape, spacing_mm)
        window = tuple(look.scheme.window_for(network, grid))
        padded = [max(size, side) for size, side in zip(grid, window, strict=True)]
        layer = 4 * padded[0] * padded[1] * window[2]
        sums = 2 * len(members) * channels * layer + 4 * layer + look.holds_grid * math.prod(grid)
        scores = batch * 2 * 4 * channels * math.prod(window)
        is_ready = self._base and network.keeps_its_memory and network.is_ready_for(window)
        workspace = max(WORKSPACE[member.precision] for member in members)
        inside = 0 if is_ready else batch * workspace * window_bytes(network.architecture, channels, window)
        splines = 0
        if getattr(network.preprocessing, "order", 1) != 1:
            splines = spline_bytes(shape, grid, window[2])
        if isinstance(look.scheme, NnUNetPredictor):
            sums = look.scheme.held_bytes(channels, grid, shape)
        return int(sums + scores + inside + splines)


def parse_size(text: str) -> int:
    """Return the bytes meant by a number with a unit: 4GB, 4GiB, 500M, 4e9.

    Raises:
        ValueError: for anything else, or nothing.
    """
    text = str(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*([KMG]?I?)B?\s*", text.upper().replace("E", "e"))
    size = float(match[1]) * UNITS.get(match[2], 0) if match else 0
    if not 0 < size < math.inf:
        raise ValueError(f"expected a size such as 4GB or 500MiB, got {text!r}")
    return int(size)


def in_units(size: float) -> str:
    """Return bytes for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def resident_bytes() -> int:
    """Return the memory that this process takes now."""
    import psutil  # late: a start without a limit does not need it

    return psutil.Process().memory_info().rss
