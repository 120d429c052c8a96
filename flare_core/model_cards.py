"""Write the model card of every shipped submission, `weights/<system>/README.md`, from the files that describe it.

Serves `make retrain` and a test that compares the cards with what the files say. Every number comes from the folder's
`submission.json` and `model.json` or from `data/results`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from flare_core.cases.labels import BY_NAME, TARGET_NAMES, TUMOR
from flare_core.cases.preprocessing import FixedGrid
from flare_core.inference.stored_network import StoredNetwork, read_network
from flare_core.paths import ROOT, WEIGHTS, results_of
from flare_core.recipe import AS_PUBLISHED, System
from flare_core.storage import write_file
from flare_core.systems import SYSTEMS
from flare_core.systems.describe import count_weights
from flare_core.workspace import COHORTS

FINDS_NOTHING = 0.05
"""Below this mean DSC of tumors the card says so in words."""

CARD = """# {title}

<!-- written by flare_core/model_cards.py -->

Segments {shown} in CT of the abdomen by the method of

> {reference} ([references.bib](../../docs/references.bib))

These are not the authors' networks: this package trained them in its `{profile}` profile, many times smaller and
shorter than published. `flare systems {key} --profile {profile}` lists every value.

**Not for clinical use**, nor for anything else that touches a patient. They are for reading, testing and comparing.

```
flare predict CT.nii.gz -o labels --model weights/{key}
```

## Networks

{networks}

Weights are float16 safetensors, checked by SHA-256 (`model.json`) before they are used. Networks below `teachers/` take
no part in a prediction; they label training cases (`flare pseudo-label`).

## Trained on

{dataset}, {cases} training cases ([how it is made](../../data/README.md)): computed abdomens, no
patient. Most of its labels are missing, as in FLARE23's release; how many cases taught a network is in the table. All
trainings of the method together: {steps} steps, seed {seed}, on {device}.

## Scores

On the cohort's {validation} validation cases, under FLARE23's rules; from
[summary.csv](../../data/results/{profile}/summary.csv).

{scores}

{tumors}

{real_ct}

Time and memory on the papers' image sizes: [efficiency.csv](../../data/results/{profile}/efficiency.csv).

## Limits

- Synthetic images alone: what the generator does not compute (implants, surgery, diseases other than its tumors,
  most of what varies between people) these networks have never seen.
- Grids are coarse, and adrenal glands, thin walls and small tumors near their limit.
- Scores of one training on {validation} cases are rough: differences of a few points mean nothing.
- Nothing was measured on FLARE's data. The scores are none of the published method's.

License: Apache-2.0.
"""


def card(key: str, weights: Path = WEIGHTS) -> str:
    """Return the card of a shipped submission as Markdown.

    Args:
        key: of its system.
        weights: where `<key>/submission.json` lies.
    Raises:
        FileNotFoundError: if the submission or a result table is missing.
    """
    system, folder = SYSTEMS[key], weights / key
    facts = json.loads((folder / "submission.json").read_text())
    profile, seed = facts["profile"], facts["run_seed"]
    results = results_of(profile)
    summary, history = (_own(pd.read_csv(results / f"{name}.csv"), key, seed) for name in ("summary", "history"))
    stored = [read_network(path.parent) for path in sorted(folder.rglob("model.json"))]
    rows = summary.set_index("row")
    return CARD.format(
        key=key,
        title=f"{key}: {system.title}",
        shown="13 organs and tumors" if system.segments_organs else "tumors",
        reference=system.reference,
        profile=profile,
        networks=_networks_table(system, stored, folder, history),
        dataset=facts["dataset"],
        cases=COHORTS[profile].training,
        seed=seed,
        steps=f"{history.groupby(['stage', 'fold']).step.max().sum():.0f}",
        device=" and ".join(sorted(set(history.device))),
        validation=f"{rows.cases['tumor']:.0f}",
        scores=_scores_table(rows, system),
        tumors=_tumors_sentence(rows),
        real_ct=_real_ct_sentence(results / "real_ct.csv", key),
    )


def update(weights: Path = WEIGHTS) -> None:
    """Rewrite the cards of all shipped submissions."""
    for key in SYSTEMS:
        write_file(weights / key / "README.md", card(key, weights))


def _own(table: pd.DataFrame, key: str, seed: int) -> pd.DataFrame:
    """Return the rows of a shipped submission."""
    return table[(table.system == key) & (table.variant == AS_PUBLISHED) & (table.seed == seed)]


def _networks_table(system: System, stored: list[StoredNetwork], folder: Path, history: pd.DataFrame) -> str:
    """Return a row a network: where it lies, what it does, its size, who taught it for how long."""
    steps = history.groupby(["stage", "fold"]).step.max()
    lines = ["| folder | does | network | weights | grid | cases | steps |", "|---|---|---|---|---|---|---|"]
    for network in stored:
        stage, fold = network.facts["stage"], network.facts["fold"]
        cells = [f"`{network.folder.relative_to(folder)}`", system.stage(stage).purpose]
        count = count_weights(network.architecture, network.scheme.channels)
        cells += [type(network.architecture).__name__, f"{count / 1e6:.2f} M", _grid(network)]
        cells += [str(network.facts["training_cases"]), f"{steps[stage, fold]:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _grid(network: StoredNetwork) -> str:
    """Return the voxels that a network sees: their edges, or how many there always are."""
    grid = network.preprocessing
    sides, unit = (grid.shape, "voxels") if isinstance(grid, FixedGrid) else (grid.spacing_mm, "mm")
    return " x ".join(f"{side:g}" for side in sides) + f" {unit}"


def _scores_table(rows: pd.DataFrame, system: System) -> str:
    """Return a row a target that the submission segments, and the organs' mean."""
    names = [*TARGET_NAMES, "organs"] if system.segments_organs else [TUMOR.name]
    titles = {name: BY_NAME[name].title for name in TARGET_NAMES} | {"organs": "mean of the organs"}
    lines = ["| target | DSC | NSD |", "|---|---|---|"]
    return "\n".join(lines + [f"| {titles[n]} | {rows.dsc[n]:.3f} | {rows.nsd[n]:.3f} |" for n in names])


def _tumors_sentence(rows: pd.DataFrame) -> str:
    """Return how tumors score in cases with and without one."""
    bearing, free = rows.loc["tumor_bearing_cases"], rows.loc["tumor_free_cases"]
    verdict = " In short: it does not find tumors." if bearing.dsc < FINDS_NOTHING else ""
    return (
        f"Tumors, over the {bearing.cases:.0f} cases that have one: DSC {bearing.dsc:.3f}, NSD {bearing.nsd:.3f}; "
        f"the {free.cases:.0f} others get {free.false_positive_ml:.1f} ml of false tumor on average.{verdict}"
    )


def _real_ct_sentence(path: Path, key: str) -> str:
    """Return the agreement with other labels of one real CT, where it was measured."""
    table = pd.read_csv(path)
    table = table[table.system == key]
    if table.empty:
        return "On a real CT it was not measured: the one at hand has no tumor labels."
    return (
        f"On one real unenhanced CT: mean DSC {table.dsc.mean():.2f} over {len(table)} organs, against another "
        f"network's labels, so agreement, not accuracy ([{path.name}](../../{path.relative_to(ROOT)}))."
    )


if __name__ == "__main__":
    update()
