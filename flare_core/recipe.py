"""Hold a paper's method as a value: `System` made of `Stage`s made of parts, and shrink it to a profile.

Serves every step: training, inference, notebooks and tables read the same frozen value. The containers know nothing of
the parts inside them; equal values are the same method, and an ablation is one `dataclasses.replace(...)`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

PROFILES = ("smoke", "mini", "study", "paper")
AS_PUBLISHED = "as_published"
"""What the method itself is called among its ablations."""


def variant_title(name: str) -> str:
    """Return what tables and figures call a variant: an ablation's name in words, or `the method` for itself."""
    return "the method" if name == AS_PUBLISHED else name.replace("_", " ")


@dataclass(frozen=True)
class Override:
    """One value that a profile changes, with the reason.

    Attributes:
        where: dotted path from the system, e.g. `inference.window.roi`; a stage is reached by its name and every stage
            by `*`, a member of a tuple by its number, e.g. `round1.optimization.epochs`, `*.network.width` or
            `inference.postprocessing.1`.
        value: the new value, or `Scaled`.
        reason: why short training on small data needs it.
    """

    where: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Scaled:
    """What an override makes of a number or a tuple of numbers: times a factor, whatever the profile has there."""

    factor: int

    def applied_to(self, old: Any) -> Any:
        """Return what replaces the old value; raises TypeError if it holds anything but numbers."""
        if isinstance(old, (int, float)):
            return old * self.factor
        if isinstance(old, tuple):
            return tuple(self.applied_to(item) for item in old)
        raise TypeError(f"cannot multiply {old!r} by {self.factor}; expected a number or a tuple of numbers")


@dataclass(frozen=True)
class Departure:
    """Where `paper` had to choose: what the source says, what we do, and the other reading as one replacement."""

    topic: str
    ours: str
    other: str


@dataclass(frozen=True)
class Limits:
    """What the challenge tolerates for one case."""

    time_s: float
    memory_mib: float


@dataclass(frozen=True)
class Stage:
    """One training: which cases teach which network how. Fields follow the data flow.

    Attributes:
        name: identifier within the system.
        purpose: one line for people.
        cases: picks the training cases (`flare_core.training.selection`).
        labels: says what an unannotated target counts as (same module).
        scheme: network channels (`flare_core.cases.labels.LabelScheme`).
        preprocessing, sampling, augmentation: `flare_core.cases`.
        network: builds the module (`flare_core.models`).
        loss, optimization, validation: `flare_core.training`.
        folds: number of parts that the cases are split into; fold k validates on part k.
        trained_folds: which of them are trained; with `folds` 1 the only network learns from all cases.
        objective: how a batch becomes a loss (`flare_core.training.objective`).
        region: the part of a case that training sees (`flare_core.cases.regions`); None: all of it.
        start: stage whose weights this one starts from; "": random ones.
    """

    name: str
    purpose: str
    cases: Any
    labels: Any
    scheme: Any
    preprocessing: Any
    sampling: Any
    augmentation: tuple
    network: Any
    loss: Any
    optimization: Any
    validation: Any
    folds: int
    trained_folds: tuple[int, ...]
    objective: Any
    region: Any = None
    start: str = ""

    def steps_per_epoch(self, cases: int) -> int:
        """Return the optimizer steps of an epoch over so many training cases."""
        return self.optimization.steps(cases, getattr(self.sampling, "per_case", 1))


@dataclass(frozen=True)
class System:
    """A submission as published: its stages in training order, its inference, and what the profiles change.

    Attributes:
        key: name on the command line.
        title, reference: for people.
        stages: trainings in order; a later one may use an earlier one's networks.
        inference: turns one case into labels with the trained networks (`flare_core.inference`).
        limits: the challenge's tolerances.
        departures: where the paper is silent or contradicts itself.
        profiles: profile name to its overrides; `paper` is the value itself.
        ablations: experiments as overrides on any profile: the paper's own, and what its claims need. Some train
            (`trains`), others only use the trained networks in another way.
    """

    key: str
    title: str
    reference: str
    stages: tuple[Stage, ...]
    inference: Any
    limits: Limits
    departures: tuple[Departure, ...] = ()
    profiles: Mapping[str, tuple[Override, ...]] = field(default_factory=dict)
    ablations: Mapping[str, tuple[Override, ...]] = field(default_factory=dict)

    @property
    def segments_organs(self) -> bool:
        """Whether the submission predicts anything besides tumors."""
        names = {n for stage in self.inference.stages for group in self.stage(stage).scheme.groups for n in group}
        return names != {"tumor"}

    @property
    def segments_tumors(self) -> bool:
        """Whether a network of the submission tells tumors from organs."""
        return any(("tumor",) in self.stage(stage).scheme.groups for stage in self.inference.stages)

    def stage(self, name: str) -> Stage:
        """Return the stage called `name`; raises ValueError naming the stages there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ValueError(f"{self.key} has no stage {name!r}; it has {', '.join(s.name for s in self.stages)}")

    def at(self, profile: str) -> System:
        """Return this system with the overrides of a profile applied.

        Raises:
            ValueError: if the system has no such profile.
            AttributeError: if an override names a field that does not exist.
        """
        if profile == "paper":
            return self
        if profile not in self.profiles:
            raise ValueError(f"{self.key} has no profile {profile!r}; choose from {', '.join(self.profiles)}, paper")
        return self._with(self.profiles[profile])

    def ablated(self, name: str) -> System:
        """Return this system with an ablation applied (AS_PUBLISHED: none); raises ValueError for an unknown name."""
        if name == AS_PUBLISHED:
            return self
        if name not in self.ablations:
            raise ValueError(f"{self.key} has no ablation {name!r}; choose from {', '.join(self.ablations)}")
        return self._with(self.ablations[name])

    def trains(self, name: str) -> bool:
        """Say whether an ablation changes a training; one that does not needs the system's own networks alone."""
        return self.ablated(name).stages != self.stages

    def _with(self, overrides: Iterable[Override]) -> System:
        """Return this system with overrides applied in order."""
        system = self
        for override in overrides:
            system = replaced(system, override.where, override.value)
        return system


def replaced(value: Any, where: str, new: Any) -> Any:
    """Return a copy of a frozen value with the field at a dotted path replaced.

    Args:
        value: a dataclass, usually a `System`.
        where: path as in `Override.where`.
        new: the new value, or `Scaled`.
    Raises:
        AttributeError: if a name on the path is no field.
        TypeError: if what is to be scaled is no number.
    """
    if not where:
        return new.applied_to(value) if isinstance(new, Scaled) else new
    head, _, rest = where.partition(".")
    if isinstance(value, tuple) and head.isdecimal() and int(head) < len(value):
        at = int(head)
        return (*value[:at], replaced(value[at], rest, new), *value[at + 1 :])
    if isinstance(value, System) and head in ("*", *(stage.name for stage in value.stages)):
        stages = tuple(replaced(s, rest, new) if head in ("*", s.name) else s for s in value.stages)
        return replace(value, stages=stages)
    if not is_dataclass(value) or head not in {f.name for f in fields(value)}:
        raise AttributeError(f"{type(value).__name__} has no field {head!r} (in the path {where!r})")
    return replace(value, **{head: replaced(getattr(value, head), rest, new)})


def encode(value: Any, *, with_defaults: bool = True) -> Any:
    """Turn a frozen value into JSON data; a dataclass becomes a mapping with its class name under `type`.

    Args:
        value: of dataclasses, mappings, sequences, sets and plain values.
        with_defaults: also those fields that have their default; `decode` needs none of them.
    Raises:
        TypeError: for anything else.
    """
    again = partial(encode, with_defaults=with_defaults)
    if is_dataclass(value) and not isinstance(value, type):
        shown = [f for f in fields(value) if with_defaults or not _has_default(value, f)]
        return {"type": type(value).__name__, **{f.name: again(getattr(value, f.name)) for f in shown}}
    if isinstance(value, Mapping):
        return {str(key): again(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [again(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot store a {type(value).__name__} in a recipe; use dataclasses, tuples and plain values")


def decode(data: Any, parts: Iterable[type]) -> Any:
    """Rebuild the value that `encode` wrote, from the given dataclasses only.

    Args:
        data: parsed JSON.
        parts: every class that may occur; nothing is looked up by import path.
    Raises:
        ValueError: if a type is not among `parts` or its fields do not fit.
    """
    by_name = {part.__name__: part for part in parts}
    if isinstance(data, list):
        return tuple(decode(item, by_name.values()) for item in data)
    if not isinstance(data, dict):
        return data
    if "type" not in data:
        return {key: decode(item, by_name.values()) for key, item in data.items()}
    name = data["type"]
    if name not in by_name:
        raise ValueError(f"unknown part {name!r}; this version knows {', '.join(sorted(by_name))}")
    arguments = {key: decode(item, by_name.values()) for key, item in data.items() if key != "type"}
    try:
        return by_name[name](**arguments)
    except TypeError as error:
        raise ValueError(f"{name} does not take what was stored: {error}") from None


def fingerprint(value: Any) -> str:
    """Return the SHA-256 hex digest of a value's canonical JSON.

    Fields that have their default are left out: a field that a later version adds does not make another value of
    one that never needed it.
    """
    text = json.dumps(encode(value, with_defaults=False), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _has_default(value: Any, field: Field) -> bool:
    """Say whether a field of a dataclass value is what it would be if nobody had given it."""
    if field.default_factory is not MISSING:
        return getattr(value, field.name) == field.default_factory()
    return field.default is not MISSING and getattr(value, field.name) == field.default
