"""Read what the papers claim, `data/published/claims.yaml`, and refuse what is not a claim.

Serves the verdicts (`claims.py`). The file says what is compared and when a claim holds; it never says whether it does.

A claim has:
    id, paper, place, statement: which, whose, where, what.
    system, source: defaults of its tests' sides.
    profiles: where its rows may come from, the first that has all of them; with `mini`, `mini_suffices` says why.
    caveat: what keeps our comparison from being the paper's, in a sentence; shown wherever the claim is.
    known: which of its results were there when it was written; none if it is left out.
    margin: what the bounds mean and where they come from; needed where a bound is not plain better or worse.
    untestable: why no rows of ours can test it, and what would; without it, rows decide.
    tests: each a `measure` (`claim_measures.MEASURES`), an `effect` (difference, ratio, value), the sides `run` and
        `against`, with `less` a second pair whose difference is subtracted, and `holds` (above and/or below which the
        whole interval must lie).

A side has a system, a variant, a source (`trainings`: scores of what was trained; `inference`: the same networks used
otherwise, `flare ablate`; `efficiency`), its own measure where the two sides differ in that, and the stages whose steps
must be as many on both sides. `published` is what the paper prints for it: a cell of a table, or a number with the text
that it stands in; `effect_published` is the same for the effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from flare_core import paths
from flare_core.evaluation.claim_measures import MEASURES
from flare_core.evaluation.published import TABLES, published_table
from flare_core.recipe import AS_PUBLISHED, PROFILES

CLAIMS = paths.PUBLISHED / "claims.yaml"
SOURCES = ("trainings", "inference", "efficiency")
EFFECTS = ("difference", "ratio", "value")
SCALE = {"%": 0.01, "s": 1.0, "min": 60.0, "": 1.0}
"""What a printed unit is in ours: fractions and seconds."""


class BadClaim(ValueError):
    """A claim that cannot be judged as it is written; the message says which and what to change."""


@dataclass(frozen=True)
class Printed:
    """What a paper prints: the text, and its number in our units (fractions, seconds)."""

    text: str
    number: float


@dataclass(frozen=True)
class Side:
    """What is measured on one side of a comparison (fields as in the module's text)."""

    system: str
    variant: str
    source: str
    measure: str
    stages: tuple[str, ...] = ()
    published: Printed | None = None

    @property
    def rows(self) -> str:
        """Say which rows these are."""
        return f"{self.system} {self.variant} ({self.source})"


@dataclass(frozen=True)
class Test:
    """One comparison.

    Attributes:
        measure: what the table of verdicts calls it.
        note: what tells it from another test of the same measure.
        effect: `difference`, `ratio` or `value`.
        run, against: the sides; a value has no second one.
        less: two more sides, whose difference is subtracted.
        above, below: the claim holds if the whole interval lies between; infinite where there is no bound.
        printed: the published effect; None if the paper has no number.
    """

    __test__ = False  # pytest takes it for one of its own

    measure: str
    note: str
    effect: str
    run: Side
    against: Side | None
    less: tuple[Side, Side] | None
    above: float
    below: float
    printed: float | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """All sides."""
        return tuple(side for side in (self.run, self.against, *(self.less or ())) if side is not None)

    @property
    def title(self) -> str:
        """Measure and note."""
        return f"{self.measure}, {self.note}" if self.note else self.measure

    @property
    def bounds(self) -> tuple[float, ...]:
        """The bounds that there are."""
        return tuple(bound for bound in (self.above, self.below) if abs(bound) != float("inf"))


@dataclass(frozen=True)
class Claim:
    """What a paper claims (fields as in the module's text)."""

    id: str
    paper: str
    place: str
    statement: str
    profiles: tuple[str, ...]
    tests: tuple[Test, ...]
    mini_suffices: str = ""
    margin: str = ""
    caveat: str = ""
    known: str = ""
    untestable: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know with the statement, as sentences."""
        known = f"Known before it was written: {self.known}." if self.known else ""
        return tuple(filter(None, (self.caveat, known)))


@dataclass(frozen=True)
class ClaimList:
    """All claims, and how far two trainings of one recipe come out apart.

    Attributes:
        claims: in the order of the file.
        run_to_run: measure to what is added to both ends of an interval that knows one training, for each difference
            that is compared; several: `Estimate.with_run_to_run`.
        run_to_run_reason: where that comes from.
    """

    claims: tuple[Claim, ...]
    run_to_run: Mapping[str, float]
    run_to_run_reason: str

    def only(self, ids: Collection[str]) -> ClaimList:
        """Return the claims with these ids (none given: all); raises BadClaim for an unknown one."""
        known = [claim.id for claim in self.claims]
        for name in ids:
            _one_of(name, known, "claim")
        return replace(self, claims=tuple(claim for claim in self.claims if claim.id in ids or not ids))


def read_claims(path: Path = CLAIMS) -> ClaimList:
    """Read and check the claims.

    Raises:
        BadClaim: naming the claim, what is wrong and what is expected.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadClaim(f"{path}: not YAML: {error}") from None
    top = _fields(content, path.name, needed=("run_to_run", "claims"))
    run_to_run = _fields(top["run_to_run"], "run_to_run", needed=("half_widths", "reason"))
    if not isinstance(top["claims"], list) or not top["claims"]:
        raise BadClaim(f"{path}: `claims` must be a list of claims")
    claims = tuple(_claim(item, f"claim {number}") for number, item in enumerate(top["claims"], start=1))
    names = [claim.id for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadClaim(f"every claim needs an id of its own; used twice: {', '.join(twice)}")
    if not isinstance(run_to_run["half_widths"], dict):
        raise BadClaim("run_to_run: `half_widths` must map measures to numbers")
    half_widths = {}
    for measure, number in run_to_run["half_widths"].items():
        _one_of(measure, MEASURES, "run_to_run: measure")
        half_widths[measure] = _number(number, f"run_to_run: {measure}")
    return ClaimList(claims, half_widths, " ".join(str(run_to_run["reason"]).split()))


def _claim(item: Any, place: str) -> Claim:
    """Return one claim."""
    needed = ("id", "paper", "place", "system", "source", "statement", "profiles", "tests")
    data = _fields(item, place, needed, ("mini_suffices", "margin", "caveat", "known", "untestable"))
    place = f"claim {data['id']}"
    _one_of(data["paper"], TABLES, f"{place}: paper")
    profiles = tuple(data["profiles"])
    for profile in profiles:
        _one_of(profile, PROFILES, f"{place}: profile")
    if ("mini" in profiles) != bool(data.get("mini_suffices")):
        raise BadClaim(f"{place}: `mini` among the profiles and `mini_suffices`, the reason, come together")
    if not isinstance(data["tests"], list) or not data["tests"]:
        raise BadClaim(f"{place}: needs a list of tests")
    defaults = {"system": data["system"], "variant": AS_PUBLISHED, "source": data["source"]}
    tests = tuple(_test(test, defaults, place) for test in data["tests"])
    plain = all(bound in (0.0, 1.0) for test in tests for bound in test.bounds)
    if not plain and not data.get("margin"):
        raise BadClaim(f"{place}: a bound other than plain better or worse needs its reason in `margin`")
    texts = ("statement", "mini_suffices", "margin", "caveat", "known", "untestable")
    words = {name: " ".join(str(data.get(name, "")).split()) for name in texts}
    return Claim(data["id"], data["paper"], data["place"], profiles=profiles, tests=tests, **words)


def _test(item: Any, defaults: Mapping[str, str], place: str) -> Test:
    """Return one test of a claim."""
    data = _fields(item, place, ("measure", "run", "holds"), ("note", "effect", "against", "less", "effect_published"))
    effect = _one_of(data.get("effect", "difference"), EFFECTS, f"{place}: effect")
    if (effect == "value") == ("against" in data):
        raise BadClaim(f"{place}: a difference or ratio needs `against`, a value has none")
    defaults = {**defaults, "measure": data["measure"]}
    run, against = (_side(data[key], defaults, place) if key in data else None for key in ("run", "against"))
    less = None
    if "less" in data:
        pair = _fields(data["less"], f"{place}: less", ("run", "against"))
        less = _side(pair["run"], defaults, place), _side(pair["against"], defaults, place)
        if effect != "difference":
            raise BadClaim(f"{place}: `less` is subtracted from a difference, not from a {effect}")
    holds = _fields(data["holds"], f"{place}: holds", (), ("above", "below"))
    above, below = (_number(holds.get(key, _INFINITE[key]), place) for key in ("above", "below"))
    if not holds or above >= below:
        raise BadClaim(f"{place}: `holds` needs `above`, `below` or both, the former being less; got {holds}")
    if effect == "difference" and not MEASURES[data["measure"]].unit:
        raise BadClaim(f"{place}: {data['measure']} has no unit to show a difference in; ask for a ratio")
    test = Test(data["measure"], data.get("note", ""), effect, run, against, less, above, below, None)
    for side in test.sides:
        if side.source == "trainings" and side.variant != AS_PUBLISHED and not side.stages:
            raise BadClaim(f"{place}: {side.rows} needs `stages`: whose steps must be equal on all sides")
    if len({bool(side.stages) for side in test.sides}) > 1:
        raise BadClaim(f"{place}: name the `stages` of every side of a comparison of trainings, or of none")
    return _with_published_effect(test, data.get("effect_published"), place)


_INFINITE = {"above": float("-inf"), "below": float("inf")}


def _side(item: Any, defaults: Mapping[str, str], place: str) -> Side:
    """Return one side; what it does not say is the claim's."""
    given = _fields(item, place, (), ("system", "variant", "source", "measure", "stages", "published"))
    data = {**defaults, **given}
    _one_of(data["measure"], MEASURES, f"{place}: measure")
    _one_of(data["source"], SOURCES, f"{place}: source")
    published = _printed(data["published"], place) if "published" in data else None
    words = {key: data[key] for key in ("system", "variant", "source", "measure")}
    return Side(**words, stages=tuple(data.get("stages", ())), published=published)


def _printed(item: Any, place: str) -> Printed:
    """Return what a paper prints, from one cell of a published table or from the text."""
    if "table" not in (item if isinstance(item, dict) else {}):
        data = _fields(item, f"{place}: published", ("printed", "number"), ("unit",))
        unit = _one_of(data.get("unit", ""), SCALE, f"{place}: unit")
        return Printed(str(data["printed"]), _number(data["number"], place) * SCALE[unit])
    data = _fields(item, f"{place}: published", ("table", "label", "column"), ("group",))
    paper, _, number = data["table"].rpartition("_table")
    try:
        cells = published_table(paper, int(number))
    except ValueError as error:
        raise BadClaim(f"{place}: {error}") from None
    for key in ("label", "column", "group"):
        if key in data:
            cells = cells[cells[key] == data[key]]
    if len(cells) != 1 or cells["mean"].isna().any():
        raise BadClaim(f"{place}: {data} is {len(cells)} cells of {data['table']}, expected one with a number")
    cell = cells.iloc[0]
    _one_of(cell["unit"], SCALE, f"{place}: unit of {data['table']}")
    return Printed(cell["printed"], float(cell["mean"]) * SCALE[cell["unit"]])


def _with_published_effect(test: Test, given: Any, place: str) -> Test:
    """Return a test with the effect that the paper prints, or that follows from what it prints for all sides."""
    if given is not None:
        return replace(test, printed=_printed(given, place).number)
    numbers = [side.published.number for side in test.sides if side.published is not None]
    if len(numbers) < len(test.sides):
        return test
    first, second, *pair = [*numbers, 0.0] if test.effect == "value" else numbers
    effect = first / second if test.effect == "ratio" else first - second
    return replace(test, printed=effect - (pair[0] - pair[1]) if pair else effect)


def _fields(item: Any, place: str, needed: Collection[str], allowed: Collection[str] = ()) -> dict[str, Any]:
    """Return a mapping that has what it needs and nothing unknown.

    Raises:
        BadClaim: naming what is missing or unknown, and what there may be.
    """
    if not isinstance(item, dict):
        raise BadClaim(f"{place}: expected fields, got {item!r}")
    missing, unknown = (
        [key for key in needed if key not in item],
        [key for key in item if key not in {*needed, *allowed}],
    )
    if missing or unknown:
        wrong = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        raise BadClaim(f"{place}: {'; '.join(wrong)}; it has {', '.join([*needed, *allowed])}")
    return item


def _one_of(value: Any, known: Collection[str], place: str) -> Any:
    """Return a value that is known; raises BadClaim naming those that are."""
    if value not in known:
        raise BadClaim(f"{place} {value!r} is unknown; choose from {', '.join(filter(None, known))}")
    return value


def _number(value: Any, place: str) -> float:
    """Return a number; raises BadClaim for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadClaim(f"{place}: expected a number, got {value!r}")
    return float(value)
