"""Write the result tables of the README and docs/performance.md from the result files, so that no number is typed.

Serves `make retrain` and a test that compares the README with what the files say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from flare_core.evaluation.claim_list import ClaimList, read_claims
from flare_core.evaluation.claim_measures import NotThere, Results
from flare_core.evaluation.claim_texts import as_markdown, counts, decided
from flare_core.evaluation.claims import judge_claims, write_findings
from flare_core.paths import RESULTS, ROOT, results_of
from flare_core.recipe import variant_title
from flare_core.scale import cases_block, scale_block
from flare_core.scoreboard import existing, mean_over_seeds
from flare_core.storage import write_file
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import count_parameters
from flare_core.targets import steps_block, targets_block

README, PERFORMANCE, SCALE = ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- {}: written by flare_core/readme.py -->", "<!-- end of {} -->"


def results_block(profile: str = "mini") -> str:
    """Return the Markdown table of every trained variant: organ and tumor means over the validation cases."""
    summary = mean_over_seeds(existing(pd.read_csv(results_of(profile) / "summary.csv")))
    lines = [
        "| system | variant | organ DSC | organ NSD | tumor DSC (cases with) | tumor NSD | false tumor ml (without) |",
        "|---|---|---|---|---|---|---|",
    ]
    for (system, variant), rows in summary.groupby(["system", "variant"], sort=False):
        by_row = rows.set_index("row")
        organs, tumor, free = (by_row.loc[n] for n in ("organs", "tumor_bearing_cases", "tumor_free_cases"))
        recipe = SYSTEMS[system].ablated(variant)
        cells = [f"{organs.dsc:.3f}", f"{organs.nsd:.3f}"] if recipe.segments_organs else ["tumor only", ""]
        if recipe.segments_tumors:
            cells += [f"{tumor.dsc:.3f} ({tumor.cases:.0f})", f"{tumor.nsd:.3f}"]
            cells.append(f"{free.false_positive_ml:.1f} ({free.cases:.0f})")
        else:
            cells += ["organs only", "", ""]
        lines.append(f"| `{system}` | {variant_title(variant)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def real_ct_block(profile: str = "mini", shown: str = "nvauto") -> str:
    """Return the sentences on the real CT: one system in full, the means of the others."""
    systems = dict(list(pd.read_csv(results_of(profile) / "real_ct.csv").groupby("system", sort=False)))
    table = systems.pop(shown).set_index("target")
    others = ", ".join(f"`{key}` {rows.dsc.mean():.2f}" for key, rows in systems.items())
    best = ", ".join(f"{name.replace('_', ' ')} {table.dsc[name]:.2f}" for name in table.dsc.sort_values()[::-1].index)
    return (
        f"Mean DSC over its {len(table)} labeled organs, whole volumes compared (`--rules strict`): "
        f"`{shown}` **{table.dsc.mean():.2f}** ({best}); {others}."
    )


def systems_block() -> str:
    """Return the Markdown table of the systems with the parameters of their published networks."""
    lines = ["| key | paper | published networks |", "|---|---|---|"]
    for key, system in SYSTEMS.items():
        networks = ", ".join(f"{s.name} {count_parameters(system, s.name) / 1e6:.2f} M" for s in system.stages)
        lines.append(f"| `{key}` | {system.reference} | {networks} |")
    return "\n".join(lines)


def departures_block() -> str:
    """Return one list item for every departure of every system."""
    keys = {
        item: [k for k, s in SYSTEMS.items() if item in s.departures] for s in SYSTEMS.values() for item in s.departures
    }
    return "\n".join(
        f"- {', '.join(f'`{key}`' for key in keys[item])}, {item.topic}: {item.ours}. Other reading: {item.other}."
        for item in keys
    )


SPEED = {
    "prediction": "`flare predict`: image to label file",
    "cold_start": "cold start, until ...",
    "evaluation": "`flare evaluate`: DSC and NSD of all targets",
    "analysis": "`flare analyze`: who is annotated where",
}
"""Benchmarks whose tables have a row a tool, and what they measure."""


def speed_block(folder: Path = RESULTS / "benchmarks") -> str:
    """Return the Markdown table of the benchmarks against other packages (benchmarks/): medians of whole processes."""
    lines = ["| what | input | `flare_core` | others |", "|---|---|---|---|"]
    processors = set()
    for name, title in SPEED.items():
        if not (folder / f"{name}.csv").is_file():
            continue
        table = pd.read_csv(folder / f"{name}.csv").rename(columns={"until": "input"})
        processors |= set(table.processor + f", {table.cores[0]} cores")
        if "network" in table:
            table["input"] += ", network as in `" + table.network + "`"
        for given, rows in table.groupby("input", sort=False):
            own, others = rows[rows.tool == "flare_core"], rows[~rows.tool.str.startswith("flare_core")]
            if others.empty:  # nobody else's: our own other ways
                others = rows[rows.tool != "flare_core"]
            cells = ["; ".join(_spent(row) for row in part.itertuples()) for part in (own, others)]
            lines.append(f"| {title} | {given} | " + " | ".join(cells) + " |")
    where = f"Median seconds of so many runs (x) and peak memory on {' and '.join(sorted(processors))}"
    return "\n".join([*lines, "", f"{where}; `make benchmarks`. {_unlike(pd.read_csv(folder / 'prediction.csv'))}"])


def _unlike(table: pd.DataFrame) -> str:
    """Say in which way the sides of the prediction benchmark do other work, and what that makes."""
    trained = table[table.network == "mini"].set_index(["tool", "input"])
    peer, like_it = trained.loc["nnunetv2"], trained.loc["flare_core, as nnU-Net"]
    seconds = zip(like_it.seconds_median, peer.seconds_median, strict=True)
    pairs = ", ".join(f"{ours:.3g} (its {its:.3g})" for ours, its in seconds)
    low, high = peer.equal_foreground.min(), peer.equal_foreground.max()
    return (
        "Not all sides do the same. Ours interpolates images linearly and computes in bfloat16, nnU-Net takes cubic "
        f"splines and float32: with the trained network (`mini`) {low:.1%} to {high:.1%} of the foreground is equal. "
        f"The mode of ours that repeats nnU-Net's own steps and gives its labels takes {pairs} s. MONAI's DataAnalyzer "
        "computes intensity statistics, too."
    )


def _spent(row: Any) -> str:
    """Return what one side of a benchmark needed."""
    name = "" if row.tool == "flare_core" else f"{row.tool} {row.version} "
    if getattr(row, "outcome", "done") == "out of memory":
        return f"{name}out of memory beyond {row.peak_mib / 1024:.2g} GiB"
    return f"{name}**{row.seconds_median:.3g} s** x{row.runs}, {row.peak_mib / 1024:.2g} GiB"


def reliability_block(folder: Path = RESULTS / "benchmarks") -> str:
    """Return the Markdown table of what the long tests tried (tests/reliability.py) and of the load that was held."""
    rows = pd.read_csv(folder / "reliability.csv")
    lines = ["| what | tried | broke a promise | outcome | command |", "|---|---|---|---|---|"]
    lines += [f"| {r.what} | {r.tried:,} | {r.failed:,} | {r.outcome} | `{r.command}` |" for r in rows.itertuples()]
    cases, scans = (pd.read_csv(folder / f"{name}.csv") for name in ("cases", "scaling"))
    for r in cases[cases.cases == cases.cases.max()].itertuples():
        held = f"{r.seconds:.0f} s by {r.engine}; the driver takes {r.driver_late_mib:.0f} MiB"
        lines.append(f"| `flare {r.command}` | {r.cases:,} | {r.failed:,} | {held} | `python benchmarks/cases.py` |")
    for r in scans[(scans.slices == scans.slices.max()) & (scans.file == ".nii.gz")].itertuples():
        held = f"{r.seconds_median:.0f} s, {r.peak_mib / 1024:.1f} GiB, planned {r.estimate_mib / 1024:.1f}"
        what, over = f"`flare predict`, {r.submission}, 512x512x{r.slices}", int(r.peak_filled_mib > r.estimate_mib)
        lines.append(f"| {what} | {r.runs} | {over} | {held} | `python benchmarks/scaling.py` |")
    machines = sorted(set(rows.processor + ", " + rows.cores.astype(str) + " cores"))
    return "\n".join(lines) + f"\n\nOn {' and '.join(machines)}."


def claims_block() -> str:
    """Return how many claims got which verdict, how far the compared networks had come, and all claims as a table."""
    claims = read_claims()
    findings = judge_claims(claims)
    return f"{counts(claims, findings)}. {_still_learning(claims)}\n\n{as_markdown(claims, findings)}"


def _still_learning(claims: ClaimList) -> str:
    """Say how far the networks that claims compare in `study` still learned at the end."""
    tables, parts = Results(RESULTS / "study"), {}
    for claim in claims.claims:
        for side in (side for test in claim.tests for side in test.sides if side.stages and "study" in claim.profiles):
            with suppress(NotThere):
                parts[side.system, side.variant, side.stages] = tables.late_changes(side)
    if not parts:
        return ""
    changes = pd.concat(parts)
    low, high = changes.min(), changes.max()
    without = changes["validation_dice"].groupby(level=0, sort=False).count()
    names = " and ".join(f"`{name}`" for name in without.index[without == 0])
    where = f" (not recorded of {names})" if names else ""
    return (
        f"Mean losses of the networks compared in `study` changed by {low['loss']:+.0%} to {high['loss']:+.0%} "
        "from the fourth to the last fifth of their steps; in the last, the Dice of the held-out fold changed by "
        f"{100 * low['validation_dice']:+.1f} to {100 * high['validation_dice']:+.1f} points{where}."
    )


def headline_block() -> str:
    """Return how many claims got which verdict, and the table of those that were decided."""
    claims = read_claims()
    findings = judge_claims(claims)
    counted = f"Of the papers' {counts(claims, findings)}. The decided ones"
    marks = "†: with a caveat; ‡: some of its results were known when it was written"
    where = "details, commands and the other claims: [below](#do-the-papers-claims-hold)"
    return f"{counted} ({marks}; {where}):\n\n{decided(claims, findings)}"


BLOCKS: dict[str, Callable[[], str]] = {
    "headline": headline_block,
    "results": results_block,
    "study": partial(results_block, "study"),
    "real CT": real_ct_block,
    "claims": claims_block,
    "systems": systems_block,
    "departures": departures_block,
    "speed": speed_block,
    "reliability": reliability_block,
}
PAGES = {
    README: BLOCKS,
    PERFORMANCE: {"targets": targets_block, "steps": steps_block},
    SCALE: {"cases": cases_block, "scale": scale_block},
}


def filled(text: str, blocks: Mapping[str, Callable[[], str]] = BLOCKS) -> str:
    """Return a page's text with every block between its marks replaced.

    Raises:
        ValueError: if a mark is missing.
    """
    for name, write in blocks.items():
        begin, end = BEGIN.format(name), END.format(name)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the page needs the marks {begin} and {end} once each")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{write()}\n{end}{rest.split(end)[1]}"
    return text


def update() -> None:
    """Judge the claims anew (`data/results/claims.csv`) and rewrite the blocks of every page."""
    write_findings(judge_claims())
    for page, blocks in PAGES.items():
        write_file(page, filled(page.read_text(), blocks))


if __name__ == "__main__":
    update()
