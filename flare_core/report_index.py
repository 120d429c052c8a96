"""Write the body of the report's first page: claims, results, tables, figures, notebooks, where all of it comes from.

Serves `flare_core.report`. Everything is HTML text: no script, nothing loaded from elsewhere. Claims fold open by the
browser's own `details`, so that a telephone shows a line a claim.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from flare_core import paths
from flare_core.environment import environment
from flare_core.evaluation.claim_list import Claim, read_claims
from flare_core.evaluation.claim_texts import VERDICTS, bounds_in_words, counts, drawn_from, of_claim
from flare_core.evaluation.claims import Finding, judge_claims, overall, shown, shown_with_interval
from flare_core.notebook_runner import Outcome
from flare_core.recipe import fingerprint

TITLE = "FLARE, reproduced"
STATUS_WORDS = {
    "done": "made now",
    "unchanged": "unchanged: same inputs as when it was made",
    "earlier": "from an earlier run, not checked now",
    "failed": "failed",
}
NOT_FLARES = (
    "<p class=note>Numbers of the profiles <code>smoke</code>, <code>mini</code> and <code>study</code> come from a "
    "synthetic cohort, made to show the methods at work. <strong>They are never FLARE's.</strong> Not for clinical use."
    "</p>"
)
CAME_ALONG = (
    "<p>These networks were trained earlier and are shipped with the package, as are the result tables that the claims "
    "are judged by; everything else on these pages was made by the notebooks, at the time that each card gives.</p>"
)


@dataclass(frozen=True)
class Chapter:
    """What the index shows of one notebook.

    Attributes:
        outcome: what became of it.
        title: its heading, with its number in front.
        has_page, has_picture: whether `NAME.html` and `pictures/NAME.png` were written.
        tables: HTML of its cells tagged `key`.
        thumbnails: path of each picture's thumbnail, relative to the report, and caption, in the order of the page.
    """

    outcome: Outcome
    title: str
    has_page: bool
    has_picture: bool
    tables: tuple[str, ...] = ()
    thumbnails: tuple[tuple[str, str], ...] = ()


def index_body(chapters: Sequence[Chapter], profile: str, files: Sequence[str] = ()) -> str:
    """Return the body of the first page.

    Args:
        chapters: of the notebooks, in order; none gives a page that says so.
        profile: named in the first line.
        files: paths of exported tables, relative to the report; none leaves their section out.
    """
    tables = [f"<h3>{escape(c.title)}</h3><div class=wide>{t}</div>" for c in chapters for t in c.tables]
    sections = {
        "Do the papers' claims hold?": _claims(),
        "Results": "".join(tables),
        "Tables to take along": _files(files),
        "Figures": _gallery(chapters),
        "Notebooks": f"<ul class=cards>{''.join(map(_card, chapters))}</ul>" if chapters else "",
        "What came along": CAME_ALONG + _table(networks) if (networks := shipped_networks()) else "",
        "Made with": _table([{"": name, "version or value": value} for name, value in environment().items()]),
    }
    shown_sections = {title: text for title, text in sections.items() if text}
    places = {title: f"part{number}" for number, title in enumerate(shown_sections, start=1)}
    links = "".join(f"<li><a href='#{places[title]}'>{escape(title)}</a></li>" for title in shown_sections)
    parts = [f"<h2 id={places[title]}>{escape(title)}</h2>{text}" for title, text in shown_sections.items()]
    return f"<h1>{TITLE}</h1>{_summary(chapters, profile)}{NOT_FLARES}<ul class=contents>{links}</ul>{''.join(parts)}"


def shipped_networks(weights: Path = paths.WEIGHTS) -> list[dict[str, str]]:
    """List the networks that came along with the package instead of being made by this run.

    Args:
        weights: folder with `<system>/.../model.json`; one without any gives an empty list.
    Returns:
        One row a network: where it lies, what it was trained on, its best Dice on the held-out fold, its SHA-256, and
        whether its recipe is still the one in `systems/`.
    """
    rows = []
    for file in sorted(weights.glob("[!.]*/**/model.json")):
        model = json.loads(file.read_text())
        dice = model.get("validation_dice", -1.0)
        rows.append(
            {
                "network": str(file.parent.relative_to(weights)),
                "trained on": f"{model.get('dataset', '?')}, seed {model.get('run_seed', '?')}",
                "held-out Dice": f"{dice:.3f}" if dice >= 0 else "not validated",
                "sha256": str(model.get("sha256", ""))[:12],
                "recipe": "as in this version" if _is_current(model) else "has changed since: stale",
            }
        )
    return rows


def _is_current(model: dict[str, Any]) -> bool:
    """Say whether the stage that a network was trained by has the same value today."""
    from flare_core.systems import SYSTEMS

    try:
        stage = SYSTEMS[model["system"]].at(model["profile"]).stage(model["stage"])
    except (KeyError, ValueError):
        return False
    return fingerprint(stage) == model["recipe"]


def _summary(chapters: Sequence[Chapter], profile: str) -> str:
    """Say what was run and whether it worked."""
    outcomes = [chapter.outcome for chapter in chapters]
    failed = [outcome.name for outcome in outcomes if outcome.status == "failed"]
    spent_s = sum(outcome.time_s for outcome in outcomes if outcome.status in ("done", "failed"))
    said = f"{len(outcomes)} notebooks" if outcomes else "No notebook has been run"
    verdict = (
        f"<span class='status failed'>{len(failed)} failed: {escape(', '.join(failed))}</span>"
        if failed
        else "none failed"
    )
    return (
        f"<p>{said} in the profile <code>{escape(profile)}</code>, {verdict}. "
        f"Written {time.strftime('%Y-%m-%d %H:%M %Z')}; {spent_s:.0f} s of computing now.</p>"
    )


def _claims() -> str:
    """Return every claim as a line that opens: statement and verdict, then measures, reasons, how to rerun."""
    claims = read_claims()
    findings = judge_claims(claims)
    lines = "".join(_claim(claim, of_claim(claim, findings)) for claim in claims.claims)
    found = Counter(overall(of_claim(claim, findings)) for claim in claims.claims)
    parts = [f"<span class={_css(v)} style='flex-grow:{found[v]}'>{found[v]}</span>" for v in VERDICTS if found[v]]
    return (
        f"<p>{escape(counts(claims, findings))}, by the 95 % intervals of the committed results. Bold: our effects "
        "with their intervals (points, hundredths, of what was measured; x: a ratio). Open one to see its measures, "
        f"when it holds, and how to run it again.</p><div class=bar aria-hidden=true>{''.join(parts)}</div>"
        f"<div class=claims>{lines}</div>"
    )


def _claim(claim: Claim, findings: Sequence[Finding]) -> str:
    verdict = overall(findings)
    rows = [
        {
            "measure": finding.test,
            "published": shown(finding.published, finding.unit) or "no number",
            "holds if": bounds_in_words(finding),
            "ours [95 % interval]": shown_with_interval(finding),
            "verdict": finding.verdict,
            "why": finding.reason,
            "from": f"{finding.profile}, {drawn_from(finding)}" if finding.cases else "",
        }
        for finding in findings
    ]
    ours = "; ".join(shown_with_interval(finding) for finding in findings if finding.effect is not None)
    notes = "".join(f" <i>{escape(text)}</i>" for text in claim.notes)
    margin = f"<p class=quiet>Margin: {escape(claim.margin)}</p>" if claim.margin else ""
    rerun = ", ".join(dict.fromkeys(f"<code>{escape(finding.rerun)}</code>" for finding in findings if finding.rerun))
    again = f"<p class=quiet>To run it again: {rerun}</p>" if rerun else ""
    return (
        f"<details id={claim.id}><summary><span class='verdict {_css(verdict)}'>{verdict}</span> "
        f"{escape(claim.statement)} <span class=quiet>{escape(claim.paper)}, {escape(claim.place)}</span> "
        f"<b>{escape(ours)}</b>{notes}</summary>"
        f"<p class=quiet><code>flare claims {claim.id}</code></p>{_table(rows)}{margin}{again}</details>"
    )


def _css(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _files(files: Sequence[str]) -> str:
    """Return links to the exported tables, a line a table with its formats."""
    stems: dict[str, list[str]] = {}
    for file in sorted(files):
        stems.setdefault(Path(file).stem, []).append(file)
    lines = [
        f"<li>{escape(stem)}: " + ", ".join(f"<a href='{f}'>{Path(f).suffix[1:]}</a>" for f in found) + "</li>"
        for stem, found in stems.items()
    ]
    return f"<ul class=columns>{''.join(lines)}</ul>" if lines else ""


def _gallery(chapters: Sequence[Chapter]) -> str:
    """Return the thumbnails of every picture, each a link to its place on its notebook's page, with its caption."""
    pictures = [
        f"<a href='{c.outcome.name}.html#picture{n}'><img loading=lazy src='{path}' alt=''>"
        f"<span>{escape(f'{c.outcome.name[:2]} {caption}')}</span></a>"
        for c in chapters
        for n, (path, caption) in enumerate(c.thumbnails, start=1)
    ]
    return f"<div class=gallery>{''.join(pictures)}</div>" if pictures else ""


def _card(chapter: Chapter) -> str:
    outcome, title = chapter.outcome, escape(chapter.title)
    page = f"{outcome.name}.html"
    image = f"<a href='{page}'><img src='pictures/{outcome.name}.png' alt='{title}'></a>" if chapter.has_picture else ""
    heading = f"<a href='{page}'>{title}</a>" if chapter.has_page else title
    error = f"<p class=failed>{escape(outcome.error)}</p>" if outcome.error else ""
    ending = ".partial.ipynb" if outcome.status == "failed" else ".ipynb"
    source = f" · <a href='notebooks/{outcome.name}{ending}'>as notebook</a>" if chapter.has_page else ""
    made = escape(outcome.made[:16].replace("T", " "))
    return (
        f"<li class=card>{image}<div><h3>{heading}</h3>"
        f"<p><span class='status {outcome.status}'>{STATUS_WORDS[outcome.status]}</span></p>"
        f"<p class=quiet>{outcome.time_s:.1f} s, {made}{source}</p>{error}</div></li>"
    )


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    lines = "".join(f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead>{lines}</table></div>"
