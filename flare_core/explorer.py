"""Walk through predicted cases in a notebook: choose system, case, target, gray window and what is laid over the CT.

Serves notebook 11, where a person looks; a batch has the pictures alone.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from flare_core.case_layers import ShownCase
from flare_core.cases.labels import BY_NAME
from flare_core.evaluation.case_sheets import COLUMNS
from flare_core.evaluation.case_table import case_table
from flare_core.evaluation.flare_rules import Rules
from flare_core.evaluation.slices import WINDOWS_HU
from flare_core.scoreboard import PredictedCase, has_predictions, predicted_case
from flare_core.systems import SYSTEMS
from flare_core.viewer import OPACITY, display, niivue_widget, put_into, usable_viewer, view_in_itkwidgets
from flare_core.workspace import Workspace


def explore(work: Workspace, case: str, target: str, preset: str = "abdomen", viewer: str = "auto") -> None:
    """Display an interactive viewer of a predicted case; where nobody looks, a line says why if one was asked for.

    Args:
        work: dataset, profile and first system; the others that have predictions can be chosen in the viewer.
        case: id of a validation case.
        target: name of the target in whose middle the planes meet.
        preset: a name in `slices.WINDOWS_HU`.
        viewer: as for `viewer.choose_viewer`.
    """
    viewer = usable_viewer(viewer)
    if viewer == "itkwidgets":
        opened = predicted_case(work, case)
        view_in_itkwidgets(opened.image, opened.prediction)
    elif viewer == "niivue":
        others = [replace(work, system=system) for system in SYSTEMS if system != work.system]
        works = {w.system: w for w in (work, *others) if w is work or has_predictions(w)}
        cases = [entry.id for entry in work.dataset().validation if entry.is_labeled]
        explorer = Explorer(lambda system, name: predicted_case(works[system], name), list(works), cases, work.rules)
        explorer.open(work.system, case, target, preset)
        display(explorer.box)


class Explorer:
    """The widgets and what connects them.

    Attributes:
        box: all of them, to be displayed.
    """

    def __init__(
        self,
        read: Callable[[str, str], PredictedCase],
        systems: Sequence[str],
        cases: Sequence[str],
        rules: Rules,
    ) -> None:
        """Make the widgets; `open` fills them.

        Args:
            read: returns a case by system and id.
            systems, cases: what can be chosen.
            rules: under which a case is scored.
        """
        import ipywidgets

        self._read, self._rules = read, rules
        self.system = ipywidgets.Dropdown(options=systems, description="System")
        self.case = ipywidgets.Dropdown(options=cases, description="Case")
        self.target = ipywidgets.Dropdown(description="Target")
        self.preset = ipywidgets.ToggleButtons(options=list(WINDOWS_HU), description="Window")
        self.preset.style.button_width = "auto"
        self.opacities = {
            name: ipywidgets.FloatSlider(
                OPACITY * (name == "prediction"), max=1, step=0.05, description=name.capitalize()
            )
            for name in ("reference", "prediction", "error")
        }
        self.table = ipywidgets.HTML()
        self.view = niivue_widget()
        screen = ipywidgets.VBox([self.view], layout=ipywidgets.Layout(flex="1 1 auto", min_width="0"))
        choices = ipywidgets.HBox([self.system, self.case, self.target], layout=ipywidgets.Layout(flex_flow="row wrap"))
        side = ipywidgets.VBox([*self.opacities.values(), self.table], layout=ipywidgets.Layout(flex="0 0 auto"))
        self.box = ipywidgets.VBox([choices, self.preset, ipywidgets.HBox([screen, side])])

    def open(self, system: str, case: str, target: str, preset: str) -> None:
        """Show a case, and from then on whatever is chosen; for the first time only."""
        self.system.value, self.case.value, self.preset.value = system, case, preset
        self._show_case()
        if target in self._scores.index:
            self.target.value = target
        self._go_to_target()
        reactions = {self.system: self._show_case, self.case: self._show_case, self.target: self._go_to_target}
        reactions |= {self.preset: self._set_window} | dict.fromkeys(self.opacities.values(), self._set_opacities)
        for widget, reaction in reactions.items():
            widget.observe(lambda _, react=reaction: react(), "value")

    def _show_case(self) -> None:
        """Read the chosen case and show it."""
        opened = self._opened = self._read(self.system.value, self.case.value)
        shown = ShownCase(opened.id, opened.image, opened.reference, opened.prediction)
        opacities = {name: slider.value for name, slider in self.opacities.items()}
        self._shown_ct = put_into(self.view, shown, self.preset.value, opacities)
        self._scores = case_table(opened.reference, opened.prediction, self._rules)
        kept = self.target.value
        self.target.options = [(BY_NAME[name].title, name) for name in self._scores.index]
        self.target.value = kept if kept in self._scores.index else next(iter(self._scores.index), None)
        self._go_to_target()

    def _go_to_target(self) -> None:
        """Let the planes meet in the middle of the chosen target, and mark its row."""
        name, image = self.target.value, self._opened.image
        voxel = self._opened.middle_of(name) if name else np.array(image.data.shape) // 2
        voxel = np.linalg.solve(self._shown_ct.affine, image.affine @ [*voxel, 1])[:3]
        self.view.scene.crosshair_pos = ((voxel + 0.5) / self._shown_ct.data.shape).tolist()
        self.table.value = table_as_html(self._scores, name)

    def _set_window(self) -> None:
        """Show the CT in the chosen gray window."""
        image = self.view.volumes[0]
        image.cal_min, image.cal_max = WINDOWS_HU[self.preset.value]

    def _set_opacities(self) -> None:
        """Lay the label maps and the error over the CT as the sliders say."""
        for volume in self.view.volumes[1:]:
            volume.opacity = self.opacities[volume.name.partition(".")[0]].value


def table_as_html(scores: pd.DataFrame, marked: str | None = None) -> str:
    """Return a case's table (`case_table`) with the targets' colors; one row may be marked."""
    head = "".join(f"<th>{html.escape(COLUMNS[name])}</th>" for name in scores)
    lines = [f"<tr><th></th>{head}</tr>"]
    for name, row in scores.iterrows():
        chip = f'<span style="color:{BY_NAME[name].color}">&#9632;</span> {BY_NAME[name].title}'
        cells = "".join(f"<td style='text-align:right'>{_cell(column, row[column])}</td>" for column in scores)
        lines.append(f"<tr{' style=font-weight:bold' if name == marked else ''}><td>{chip}</td>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cell(column: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.1f}" if column.endswith("_ml") else f"{value:.3f}"
