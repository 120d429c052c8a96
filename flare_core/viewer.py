"""Show a case in a notebook: a static picture always, an interactive viewer where a browser is there to run it.

Serves every notebook. The picture survives batch runs, HTML and paper; the widgets are extra. itkwidgets replaces a
kernel's message handling when it is imported and needs the internet for its viewer, so it is imported only when asked
for by name, and only in a kernel that a person looks at.

References:
    NiiVue through ipyniivue (works offline); itkwidgets, issue 776 (viewer loaded over the network).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import Volume
from flare_core.evaluation.case_figures import case_montage
from flare_core.evaluation.slices import WINDOWS_HU, CaseView
from flare_core.notebook_runner import BATCH_VARIABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWERS = ("auto", "static", "niivue", "itkwidgets")
PACKAGES = {"niivue": "ipyniivue", "itkwidgets": "itkwidgets"}
SHOWN_HU = WINDOWS_HU["abdomen"]


@dataclass(frozen=True)
class Choice:
    """Which viewer is used, and why not the one that was asked for (empty if it is that one)."""

    viewer: str
    reason: str = ""


def is_interactive() -> bool:
    """Say whether a person sees this kernel in a browser: a Jupyter session, and no batch run inside one."""
    return "JPY_SESSION_NAME" in os.environ and BATCH_VARIABLE not in os.environ


def choose_viewer(viewer: str) -> Choice:
    """Return the viewer that can be used here.

    Args:
        viewer: `auto` (niivue where a person looks, else static), `static`, `niivue` or `itkwidgets`.
    Raises:
        ValueError: for another word.
    """
    if viewer not in VIEWERS:
        raise ValueError(f"no viewer {viewer!r}; choose from {', '.join(VIEWERS)}")
    if viewer == "static" or (viewer == "auto" and not is_interactive()):
        return Choice("static")
    wanted = "niivue" if viewer == "auto" else viewer
    if not is_interactive():
        return Choice("static", f"{wanted} needs a notebook open in a browser")
    try:
        metadata.version(PACKAGES[wanted])  # asks without importing
    except metadata.PackageNotFoundError:
        return Choice("static", f"{PACKAGES[wanted]} is not installed; pip install flare_core[viewer]")
    return Choice(wanted)


def show_case(
    image: Volume,
    labels: Volume | None = None,
    prediction: Volume | None = None,
    *,
    viewer: str = "auto",
    title: str = "",
) -> Figure:
    """Return a picture of a case and, where a person looks, display an interactive viewer above it.

    Args:
        image: the CT.
        labels: reference label map on the image's grid, or None.
        prediction: predicted label map on the image's grid, or None.
        viewer: see `choose_viewer`. When the viewer asked for cannot be used, one printed line says why.
        title: above the picture.
    Returns:
        The static picture: three planes, the reference as solid and the prediction as dashed contours.
    Raises:
        ValueError: for an unknown viewer, or label maps of another shape than the image.
    """
    view = CaseView(
        title,
        image.data,
        image.spacing_mm,
        None if labels is None else labels.data,
        None if prediction is None else prediction.data,
    )
    choice = choose_viewer(viewer)
    if choice.reason:
        print(f"showing the picture alone: {choice.reason}")
    shown = prediction if prediction is not None else labels
    if choice.viewer == "niivue":
        _display(niivue_widget(image, shown))
    elif choice.viewer == "itkwidgets":
        _view_in_itkwidgets(image, shown)
    return case_montage(view)


def niivue_widget(image: Volume, labels: Volume | None = None, height: int = 480):
    """Return a NiiVue widget: three linked planes and a rendering, labels in the colors of all our figures.

    Args:
        image: the CT, shown in a soft-tissue window.
        labels: label map on the same grid, laid over it at half opacity; None shows the CT alone.
        height: in pixels.
    """
    from ipyniivue import NiiVue, SliceType

    layers = [
        {
            "data": nifti_bytes(image, np.float32),
            "name": "image.nii",
            "colormap": "gray",
            "cal_min": SHOWN_HU[0],
            "cal_max": SHOWN_HU[1],
        }
    ]
    if labels is not None:
        layers.append({"data": nifti_bytes(labels, np.uint8), "name": "labels.nii", "opacity": 0.5})
    widget = NiiVue(height=height, is_radiological_convention=True)
    widget.set_slice_type(SliceType.MULTIPLANAR)
    widget.load_volumes(layers)
    if labels is not None:
        widget.volumes[1].set_colormap_label(color_table())
    return widget


def color_table() -> dict[str, list]:
    """Return the targets' colors as NiiVue wants them: lists R, G, B, A over label values `I`, and `labels`."""
    colors = [tuple(int(target.color[i : i + 2], 16) for i in (1, 3, 5)) for target in TARGETS]
    red, green, blue = zip(*colors, strict=True)
    return {
        "R": [0, *red],
        "G": [0, *green],
        "B": [0, *blue],
        "A": [0, *(255 for _ in TARGETS)],
        "I": [0, *(target.id for target in TARGETS)],
        "labels": ["background", *(target.title for target in TARGETS)],
    }


def nifti_bytes(volume: Volume, dtype: type) -> bytes:
    """Return a volume as an uncompressed NIfTI file in memory, in RAS+ order."""
    import nibabel

    return nibabel.Nifti1Image(np.ascontiguousarray(volume.data, dtype), volume.affine).to_bytes()


def _view_in_itkwidgets(image: Volume, labels: Volume | None) -> None:
    """Display itkwidgets; only ever reached in an interactive kernel (see the module's first lines)."""
    from itkwidgets import view

    print("itkwidgets loads its viewer from the internet; behind a firewall its area stays empty")
    _display(view(image=image.data, label_image=None if labels is None else labels.data))


def _display(widget: object) -> None:
    from IPython.display import display

    display(widget)
