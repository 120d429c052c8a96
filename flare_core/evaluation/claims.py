"""Judge the papers' claims by our result tables: reproduced, contradicted, inconclusive, or not tested.

Last step of the data flow. Read `judge` from top to bottom: the sides' values are paired by seed and case, the effect
gets a 95 % interval (`bootstrap.py`), and the interval decides alone. It lies where the claim says: reproduced. It lies
outside: contradicted. It does both: inconclusive, and how many cases would settle it is said. Rows that are missing, or
trainings of unequal length: not tested, with the command that would test it.

References:
    `data/published/claims.yaml`, whose fields `claim_list.py` explains; the tables, `claim_measures.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from flare_core.evaluation.bootstrap import Estimate, paired_bootstrap
from flare_core.evaluation.claim_list import AS_PUBLISHED, Claim, ClaimList, Test, read_claims
from flare_core.evaluation.claim_measures import MEASURES, NotThere, Results
from flare_core.evaluation.tables import write_csv
from flare_core.paths import RESULTS

REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_TESTED = "reproduced", "contradicted", "inconclusive", "not tested"
FEWEST_CASES = 5
"""Fewer cases say nothing about how cases differ."""


@dataclass(frozen=True)
class Finding:
    """What came of one test of a claim: a row of `claims.csv`.

    Attributes:
        claim, test: which.
        verdict: one of the four.
        effect, low, high: estimate with its 95 % interval; None if not tested.
        unit: of the effect: `points` (fractions), `ml`, `times` (a ratio).
        above, below: the claim holds between them; None where there is no bound.
        published: the paper's effect; None if it has no number.
        cases, seeds: drawn from.
        profile: whose rows.
        rows: which rows were compared.
        reason: why the verdict is what it is.
        rerun: command that makes the rows (again).
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
    return [judge(claim, test, claims.chance, results) for claim in claims.claims for test in claim.tests]


def judge(claim: Claim, test: Test, chance: float, results: Path) -> Finding:
    """Judge one test by the first of the claim's profiles that has all its rows."""
    reasons = []
    for profile in claim.profiles:
        tables = Results(results / profile)
        try:
            _check_lengths(test, tables)
            estimate = _estimate(test, [tables.values(side) for side in test.sides])
        except NotThere as missing:
            reasons.append((profile, str(missing)))
            continue
        knows_one_training = bool(test.run.stages) and estimate.seeds == 1 and test.effect == "difference"
        if knows_one_training and MEASURES[test.measure].unit == "points":
            estimate = estimate.widened(chance)
        return _finding(claim, test, profile, *verdict(test, estimate), estimate)
    profile, reason = reasons[0]
    return _finding(claim, test, profile, NOT_TESTED, reason, None)


def verdict(test: Test, estimate: Estimate) -> tuple[str, str]:
    """Return the verdict that an interval gives, and why.

    Two sides that agree in every case decide nothing, not even that little is lost: what was changed never acted.
    """
    if estimate.low == estimate.high == {"difference": 0.0, "ratio": 1.0}.get(test.effect):
        return INCONCLUSIVE, "no difference in any case: these cases do not show it"
    if test.above < estimate.low and estimate.high < test.below:
        return REPRODUCED, "the interval lies where the claim says"
    if estimate.high < test.above or estimate.low > test.below:
        return CONTRADICTED, "the interval lies outside of what the claim says"
    bound = min(test.bounds, key=lambda bound: abs(estimate.effect - bound))
    needed = estimate.cases_needed(bound)
    if needed is None:
        return INCONCLUSIVE, "no difference that more cases like these would settle"
    if needed <= estimate.cases:
        return INCONCLUSIVE, "more trainings would settle it: the cases do not"
    return INCONCLUSIVE, f"about {needed:,} cases like these would settle it"


def _check_lengths(test: Test, tables: Results) -> None:
    """Refuse to compare trainings of unequal length.

    Raises:
        NotThere: naming the lengths.
    """
    if test.run.stages:
        steps = {side.rows: tables.steps(side) for side in test.sides}
        if len(set(steps.values())) > 1:
            told = ", ".join(f"{rows}: {count}" for rows, count in steps.items())
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
        command(test, profile),
    )


def command(test: Test, profile: str) -> str:
    """Return what makes the rows of a test."""
    systems = " ".join(dict.fromkeys(side.system for side in test.sides))
    if test.run.source == "efficiency":
        return "make efficiency"
    sources, parts = {side.source for side in test.sides}, []
    if "trainings" in sources or test.run.stages:
        ablations = " --ablations" if any(side.variant != AS_PUBLISHED for side in test.sides) else ""
        parts.append(f"flare retrain {systems} --profile {profile}{ablations}")
    if "inference" in sources:
        timed = " --timed" if MEASURES[test.measure].is_timed else ""
        parts.append(f"flare ablate {systems} --profile {profile}{timed}")
    return " && ".join(parts)


def overall(findings: Collection[Finding]) -> str:
    """Return the verdict on a claim: contradicted if any test is, reproduced if all are, else what is open."""
    verdicts = {finding.verdict for finding in findings}
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    if verdicts == {REPRODUCED}:
        return REPRODUCED
    return INCONCLUSIVE if INCONCLUSIVE in verdicts or REPRODUCED in verdicts else NOT_TESTED


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
