"""Judge the papers' claims by our result tables: reproduced, contradicted, inconclusive, or not tested.

Last step of the data flow. Read `judge` from top to bottom: the sides' values are paired by seed and case, the effect
gets a 95 % interval (`bootstrap.py`), and the interval decides alone. It lies where the claim says: reproduced. It lies
outside: contradicted. It does both: inconclusive, and how many cases would settle it is said. Rows that are missing, or
trainings of unequal length: not tested, with the command that would test it; so is what no experiment of ours can test,
with the reason. A claim with several tests is partly tested if some are reproduced and the others not tested.

References:
    `data/published/claims.yaml`, whose fields `claim_list.py` explains; the tables, `claim_measures.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from flare_core.evaluation.bootstrap import MOST_CASES, Estimate, paired_bootstrap
from flare_core.evaluation.claim_list import Claim, ClaimList, Test, read_claims
from flare_core.evaluation.claim_measures import MEASURES, NotThere, Results
from flare_core.evaluation.tables import write_csv
from flare_core.paths import RESULTS
from flare_core.recipe import AS_PUBLISHED

REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_TESTED = "reproduced", "contradicted", "inconclusive", "not tested"
PARTLY_TESTED = "partly tested"
SHORT = "mini"
FEWEST_CASES = 5
"""Fewer cases say nothing about how cases differ."""


@dataclass(frozen=True)
class Finding:
    """What came of one test of a claim: a row of `claims.csv`.

    Attributes:
        claim, test: which.
        verdict: one of those above but `partly tested`, which only claims are.
        effect, low, high: estimate with its 95 % interval; None if not tested.
        unit: of the effect: `points` (fractions), `ml`, `times` (a ratio).
        above, below: the claim holds between them; None where there is no bound.
        published: the paper's effect; None if it has no number.
        cases, seeds: drawn from.
        profile: whose rows; empty if no profile's would do.
        rows: which rows were compared.
        reason: why the verdict is what it is.
        rerun: command that makes the rows (again); empty if none does.
    """

    claim: str
    test: str
    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    above: float | None
    below: float | None
    published: float | None
    cases: int
    seeds: int
    profile: str
    rows: str
    reason: str
    rerun: str


def judge_claims(claims: ClaimList | None = None, results: Path = RESULTS) -> list[Finding]:
    """Judge every test of every claim.

    Args:
        claims: None: those of `data/published/claims.yaml`.
        results: folder that holds a folder of tables for each profile.
    Returns:
        A finding a test, in the order of the claims; the same tables always give the same.
    """
    claims = claims or read_claims()
    return [judge(claim, test, claims.run_to_run, results) for claim in claims.claims for test in claim.tests]


def judge(claim: Claim, test: Test, run_to_run: Mapping[str, float], results: Path) -> Finding:
    """Judge one test by the first of the claim's profiles with all its rows; if none has, name the last, cheapest."""
    if claim.untestable:
        return _finding(claim, test, "", NOT_TESTED, claim.untestable, None)
    reasons = []
    for profile in claim.profiles:
        tables = Results(results / profile)
        try:
            estimate, unknown = _measured(test, tables, run_to_run)
        except NotThere as missing:
            reasons.append((profile, str(missing)))
            continue
        outcome, reason = verdict(test, estimate, unknown)
        remarks = tables.remarks(test.run)
        if profile != SHORT and SHORT in claim.profiles:
            remarks += _in_short(claim, test, run_to_run, results)
        return _finding(claim, test, profile, outcome, "; ".join([reason, *remarks]), estimate)
    profile, reason = reasons[-1]
    reason = "; ".join([reason, *_in_short(claim, test, run_to_run, results)])
    return _finding(claim, test, profile, NOT_TESTED, reason, None)


def _measured(test: Test, tables: Results, run_to_run: Mapping[str, float]) -> tuple[Estimate, list[str]]:
    """Return an effect and the measures whose run-to-run variation it needs and nobody knows.

    Raises:
        NotThere: if rows are missing or cannot be compared.
    """
    _check_lengths(test, tables)
    values = [tables.values(side) for side in test.sides]
    if len(processors := {name for side in test.sides for name in tables.processors(side)}) > 1:
        raise NotThere(f"seconds of different processors say nothing: {', '.join(sorted(processors))}")
    estimate = _estimate(test, values)
    if test.effect != "difference" or not any(side.stages or side.source == "trainings" for side in test.sides):
        return estimate, []
    if unknown := [side.measure for side in test.sides if side.measure not in run_to_run]:
        return estimate, unknown
    differences = test.sides[:2], test.sides[2:]
    added = (run_to_run[measure] for sides in differences for measure in {side.measure for side in sides})
    return estimate.with_run_to_run(sum(added)), []


def _in_short(claim: Claim, test: Test, run_to_run: Mapping[str, float], results: Path) -> list[str]:
    """Say what `mini` gives for a claim that it does not decide, or not alone; nothing without its rows."""
    try:
        estimate, unknown = _measured(test, Results(results / SHORT), run_to_run)
    except NotThere:
        return []
    outcome, _ = verdict(test, estimate, unknown)
    found = _finding(claim, test, SHORT, outcome, "", estimate)
    if SHORT in claim.profiles:
        return [f"{SHORT} gives {shown_with_unit(found)}, {outcome}"]
    return [] if unknown else [f"{SHORT}, too short to decide, gives {shown_with_unit(found)}"]


def verdict(test: Test, estimate: Estimate, unknown: Sequence[str] = ()) -> tuple[str, str]:
    """Return the verdict that an interval gives, and why.

    One training a side decides nothing where `unknown` names measures whose run-to-run variation nobody knows.
    Two sides that agree in every case decide nothing, not even that little is lost: what was changed never acted. Nor
    does a value that is 0 in every case: an interval without width does not say how often others have it.
    """
    if unknown and estimate.trainings == 1:
        return INCONCLUSIVE, f"one training a side: the run-to-run variation of {unknown[0]} is not known"
    reach = estimate.by_seeds
    if estimate.low + reach == estimate.high - reach == (1.0 if test.effect == "ratio" else 0.0):
        if test.effect == "value":
            often = f"up to {min(1.0, 3 / estimate.cases):.0%} of cases may differ, by the rule of three"
            return INCONCLUSIVE, f"0 in all of {estimate.cases} cases: {often}, and nothing bounds by how much"
        return INCONCLUSIVE, "not testable on this cohort: no difference in any case"
    if test.above < estimate.low and estimate.high < test.below:
        return REPRODUCED, "the interval lies where the claim says"
    if estimate.high < test.above or estimate.low > test.below:
        return CONTRADICTED, "the interval lies outside of what the claim says"
    crossed = [bound for bound in test.bounds if estimate.low <= bound <= estimate.high]
    needed = [estimate.cases_needed(bound) for bound in crossed]
    if None not in needed:
        return INCONCLUSIVE, f"about {max(needed):,} cases like these would settle it"
    if any(abs(estimate.effect - bound) <= reach for bound in crossed if reach):
        return INCONCLUSIVE, "more trainings might settle it, more cases alone do not"
    return INCONCLUSIVE, f"not even {MOST_CASES:,} cases like these would settle it"


def _check_lengths(test: Test, tables: Results) -> None:
    """Refuse to compare trainings of unequal length.

    Raises:
        NotThere: naming the lengths.
    """
    if test.run.stages:
        steps = {side.rows: tables.steps(side) for side in test.sides}
        if len(set(steps.values())) > 1:
            told = ", ".join(f"{rows}: {' and '.join(map(str, counts))}" for rows, counts in steps.items())
            raise NotThere(f"trainings of unequal length say nothing; steps of {told}")


def _estimate(test: Test, values: list[pd.Series]) -> Estimate:
    """Return the effect over the seeds and cases that all sides share.

    Raises:
        NotThere: if they share too few.
    """
    tables = [side.unstack("case") for side in values]
    seeds = sorted(set.intersection(*(set(table.index) for table in tables)))
    tables = [table.loc[seeds].dropna(axis=1) for table in tables]
    cases = sorted(set.intersection(*(set(table.columns) for table in tables)))
    if not seeds or len(cases) < FEWEST_CASES:
        raise NotThere(f"{len(seeds)} seeds and {len(cases)} cases on all sides; needs 1 and {FEWEST_CASES}")
    first, second, *pair = [table[cases].to_numpy() for table in tables] + [None] * (len(tables) == 1)
    if pair:
        first, second = first - second, pair[0] - pair[1]
    return paired_bootstrap(first, second, ratio=test.effect == "ratio")


def _finding(claim: Claim, test: Test, profile: str, outcome: str, reason: str, estimate: Estimate | None) -> Finding:
    """Return a row of the table of verdicts."""
    effect, low, high = (None, None, None) if estimate is None else (estimate.effect, estimate.low, estimate.high)
    rounded = [None if number is None else round(number, 5) for number in (effect, low, high, test.printed)]
    bounds = [None if abs(bound) == float("inf") else bound for bound in (test.above, test.below)]
    return Finding(
        claim.id,
        test.title,
        outcome,
        *rounded[:3],
        "times" if test.effect == "ratio" else MEASURES[test.measure].unit,
        *bounds,
        rounded[3],
        estimate.cases if estimate else 0,
        estimate.seeds if estimate else 0,
        profile,
        " against ".join(dict.fromkeys(side.rows for side in test.sides)),
        reason,
        command(test, profile) if profile else "",
    )


def command(test: Test, profile: str) -> str:
    """Return what makes the rows of a test."""
    systems = " ".join(dict.fromkeys(side.system for side in test.sides))
    if test.run.source == "efficiency":
        return "make efficiency EFFICIENCY_OPTIONS=--force"
    sources, parts = {side.source for side in test.sides}, []
    predicts = "inference" in sources or any(MEASURES[side.measure].only for side in test.sides)  # it writes cases.csv
    if "trainings" in sources or test.run.stages or profile != "mini":  # only `mini`'s networks are shipped
        own = [side for side in test.sides if side.source == "trainings" or side.stages]
        ablations = dict.fromkeys(side.variant for side in own if side.variant != AS_PUBLISHED)
        options = f" --ablations {' '.join(ablations)}" if ablations else ""
        if not predicts and all(side.variant in ablations for side in test.sides):
            options += " --alone"
        parts.append(f"flare retrain {systems} --profile {profile}{options}")
    if predicts:
        timed = " --timed" if MEASURES[test.measure].is_timed else ""
        parts.append(f"flare ablate {systems} --profile {profile}{timed}")
    return " && ".join(parts)


def overall(findings: Collection[Finding]) -> str:
    """Return the verdict on a claim: contradicted or inconclusive if any test is, else whether all of it was tested."""
    verdicts = {finding.verdict for finding in findings}
    for outcome in (CONTRADICTED, INCONCLUSIVE):
        if outcome in verdicts:
            return outcome
    return PARTLY_TESTED if len(verdicts) > 1 else verdicts.pop()


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return the findings as a table, a row a test."""
    return pd.DataFrame([asdict(finding) for finding in findings])


def write_findings(findings: Iterable[Finding], path: Path = RESULTS / "claims.csv") -> Path:
    """Write the table of verdicts, complete or not at all."""
    return write_csv(findings_table(findings), path)


def shown(number: float | None, unit: str) -> str:
    """Return an effect for people: points with their sign, ratios with a cross; nothing for None."""
    if number is None or number != number:
        return ""
    if unit == "times":
        return f"x{number:.2f}"
    return f"{round(100 * number if unit == 'points' else number, 6):+.1f}"


def shown_with_interval(finding: Finding) -> str:
    """Return a finding's effect and interval for people; nothing if it is not tested."""
    if finding.effect is None:
        return ""
    effect, low, high = (shown(number, finding.unit) for number in (finding.effect, finding.low, finding.high))
    return f"{effect} [{low}, {high}]" + (f" {finding.unit}" if finding.unit == "ml" else "")


def shown_with_unit(finding: Finding) -> str:
    """Return a finding's effect and interval with their unit, points too, for text without a column that names it."""
    return shown_with_interval(finding) + (" points" if finding.unit == "points" else "")
