"""Lay the verdicts out for people and programs: a table for a terminal, details of a claim, JSON, Markdown.

Serves `flare claims`, the README and notebook 09.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flare_core.evaluation.claim_list import Claim, ClaimList, Test
from flare_core.evaluation.claims import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    PARTLY_TESTED,
    REPRODUCED,
    SHORT,
    Finding,
    command,
    overall,
    shown,
    shown_with_interval,
    shown_with_unit,
)

VERDICTS = (REPRODUCED, CONTRADICTED, INCONCLUSIVE, PARTLY_TESTED, NOT_TESTED)
WIDTH = 100


def of_claim(claim: Claim, findings: Sequence[Finding]) -> list[Finding]:
    """Return a claim's findings."""
    return [finding for finding in findings if finding.claim == claim.id]


def counts(claims: ClaimList, findings: Sequence[Finding]) -> str:
    """Say in a line how many claims got which verdict."""
    verdicts = [overall(of_claim(claim, findings)) for claim in claims.claims]
    told = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)
    return f"{len(verdicts)} claims: {told}"


def as_text(claims: ClaimList, findings: Sequence[Finding]) -> str:
    """Return a table of at most 100 columns, a line a test; differences of scores are in points."""
    lines = [f"{'claim and measure':<49}{'published':>10}  {'ours [95 %]':<25}{'verdict':<12}"]
    for claim in claims.claims:
        lines.append(claim.id)
        for finding in of_claim(claim, findings):
            cells = _clipped(finding.test, 46), shown(finding.published, finding.unit), shown_with_interval(finding)
            lines.append(f"  {cells[0]:<47}{cells[1]:>10}  {cells[2]:<25}{finding.verdict}")
    lines += ["", counts(claims, findings), "Details and how to rerun a claim: flare claims CLAIM"]
    return "\n".join(line.rstrip() for line in lines)


def in_detail(claims: ClaimList, findings: Sequence[Finding]) -> str:
    """Return everything about some claims as text."""
    lines = []
    for claim in claims.claims:
        lines += [f"{claim.id}: {overall(of_claim(claim, findings))}"]
        lines += textwrap.wrap(claim.statement, WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
        facts = {"claimed in": f"{claim.paper}, {claim.place}", "caveat": claim.caveat, "known before": claim.known}
        facts |= {"margin": claim.margin, "mini suffices": claim.mini_suffices}
        lines += [line for name, text in facts.items() if text for line in _wrapped(name, text, "  ")]
        for finding in of_claim(claim, findings):
            lines.append(f"  {finding.test}: {finding.verdict}")
            facts = {"holds": bounds_in_words(finding), "published": shown(finding.published, finding.unit)}
            profile = f", profile {finding.profile}" if finding.profile else ""
            facts |= {"ours": shown_with_interval(finding), "rows": f"{finding.rows}{profile}"}
            facts["drawn from"] = drawn_from(finding)
            facts |= {"reason": finding.reason, "rerun": finding.rerun}
            lines += [line for name, text in facts.items() if text for line in _wrapped(name, text, "    ")]
        lines.append("")
    return "\n".join(lines).rstrip()


def as_data(claims: ClaimList, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the claims with their tests and verdicts as JSON data."""
    return [
        {
            "id": claim.id,
            "paper": claim.paper,
            "place": claim.place,
            "statement": claim.statement,
            "verdict": overall(of_claim(claim, findings)),
            "caveat": claim.caveat,
            "known": claim.known,
            "margin": claim.margin,
            "untestable": claim.untestable,
            "mini_suffices": claim.mini_suffices,
            "tests": [{k: v for k, v in asdict(f).items() if k != "claim"} for f in of_claim(claim, findings)],
        }
        for claim in claims.claims
    ]


def as_markdown(claims: ClaimList, findings: Sequence[Finding]) -> str:
    """Return the Markdown table of the README: a row a claim, a line in it for each test."""
    lines = ["| claim | published | holds if | ours [95 % interval] | verdict | rerun |", "|---|---|---|---|---|---|"]
    for claim in claims.claims:
        own = of_claim(claim, findings)
        verdict = overall(own)
        ours = "<br>".join(f"{f.test}: {_ours(f, verdict)}" for f in own)
        rerun = "<br>".join(
            dict.fromkeys(how for f, test in zip(own, claim.tests, strict=True) for how in _reruns(claim, test, f))
        )
        statement = f"`{claim.id}`<br>{claim.statement} ({claim.paper}, {claim.place})"
        statement += "".join(f"<br>*{text}*" for text in claim.notes)
        cells = statement, *_expected(own), ours, f"**{verdict}**", rerun
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def decided(claims: ClaimList, findings: Sequence[Finding]) -> str:
    """Return the Markdown table of the claims that were reproduced or contradicted: what holds, and by how much."""
    lines = ["| verdict | claim | published | holds if | ours [95 % interval] |", "|---|---|---|---|---|"]
    for wanted in (REPRODUCED, CONTRADICTED):
        for claim in claims.claims:
            own = of_claim(claim, findings)
            if overall(own) == wanted:
                marks = "†" * bool(claim.caveat) + "‡" * bool(claim.known)
                others = (f" ({f.verdict})" if f.verdict != wanted else "" for f in own)
                ours = "<br>".join(f"{f.test}: {shown_with_unit(f)}{o}" for f, o in zip(own, others, strict=True))
                cells = f"{wanted}{marks}", f"`{claim.id}`<br>{claim.statement}", *_expected(own), ours
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _expected(findings: Sequence[Finding]) -> tuple[str, str]:
    """Return what is published and when a claim holds, a line a test."""
    published = "<br>".join(shown(f.published, f.unit) or "no number" for f in findings)
    return published, "<br>".join(bounds_in_words(f) for f in findings)


def drawn_from(finding: Finding) -> str:
    """Say what an interval was drawn from; nothing if there is none."""
    if not finding.cases:
        return ""
    if finding.rows.endswith("(efficiency)"):
        return f"{finding.cases} sizes"
    return f"{finding.cases} cases, {finding.seeds} training{'s' * (finding.seeds > 1)}"


def _ours(finding: Finding, verdict: str) -> str:
    """Return the effect with its unit, its own verdict where the claim's is another, and what else is to be said."""
    if finding.effect is None:
        return f"{NOT_TESTED} ({finding.reason})" if finding.rerun else NOT_TESTED
    own = finding.verdict if finding.verdict != verdict else ""
    why, _, remarks = finding.reason.partition("; ")
    said = [f"{finding.profile}, {drawn_from(finding)}", own, why if finding.verdict == INCONCLUSIVE else "", remarks]
    return f"{shown_with_unit(finding)} ({'; '.join(filter(None, said))})"


def _reruns(claim: Claim, test: Test, finding: Finding) -> list[str]:
    """Return the commands that make a test's rows again, or why there is none."""
    if not finding.rerun:
        return [finding.reason]
    short = command(test, SHORT)
    suffices = finding.profile != SHORT and SHORT in claim.profiles and "retrain" not in short
    return [f"`{finding.rerun}`"] + [f"`{short}` (minutes, shipped networks)"] * suffices


def bounds_in_words(finding: Finding) -> str:
    """Say between which bounds a claim holds."""
    told = {"above": finding.above, "below": finding.below}
    return " and ".join(f"{name} {_plain(bound, finding.unit)}" for name, bound in told.items() if bound is not None)


def _plain(bound: float, unit: str) -> str:
    """Return a bound as it was set, in points where scores are."""
    if unit == "times":
        return f"x{bound:g}"
    number = round(100 * bound if unit == "points" else bound, 6)
    return f"{number:+g}" if number else "0"


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrapped(name: str, text: str, indent: str) -> list[str]:
    """Return lines of `name: text` that fit."""
    first = f"{indent}{name + ':':<15}"
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
