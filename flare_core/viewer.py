"""Show a case in a notebook: a static picture always, an interactive viewer where a browser is there to run it.

Serves every notebook. The picture survives batch runs, HTML and paper; the widgets are extra. itkwidgets replaces a
kernel's message handling when it is imported and needs the internet for its viewer, so it is imported only when asked
for by name, and only in a kernel that a person looks at.

References:
    NiiVue through ipyniivue (works offline); itkwidgets, issue 776 (viewer loaded over the network).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from flare_core.case_layers import MOST_VOXELS, ShownCase, layers_of
from flare_core.cases.nifti import Volume
from flare_core.cases.reduction import Reduction
from flare_core.evaluation.case_figures import case_montage
from flare_core.evaluation.slices import WINDOWS_HU, CaseView
from flare_core.notebook_runner import BATCH_VARIABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWERS = ("auto", "static", "niivue", "itkwidgets")
PACKAGES = {"niivue": "ipyniivue", "itkwidgets": "itkwidgets"}
OPACITY = 0.55
ORGANS_ALONE = (-0.9, 180, 0)  # NiiVue clips the CT alone: with all of it clipped away the rendering shows the organs


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
    viewer = usable_viewer(viewer)
    if viewer == "niivue":
        display(niivue_widget(ShownCase(title, image, labels, prediction)))
    elif viewer == "itkwidgets":
        view_in_itkwidgets(image, prediction if prediction is not None else labels)
    return case_montage(view)


def usable_viewer(viewer: str) -> str:
    """Return the viewer that can be used here; if it is not the one asked for, one printed line says why."""
    choice = choose_viewer(viewer)
    if choice.reason:
        print(f"showing the picture alone: {choice.reason}")
    return choice.viewer


def niivue_widget(case: ShownCase, preset: str = "abdomen", height: int = 560):
    """Return a NiiVue widget: three linked planes and a rendering, labels in the colors of all our figures.

    Args:
        case: image and label maps; a prediction is laid over the image at first, else the reference.
        preset: gray window, a name in `slices.WINDOWS_HU`.
        height: in pixels.
    """
    from ipyniivue import MultiplanarType, NiiVue, ShowRender, SliceType

    widget = NiiVue(
        height=height,
        is_radiological_convention=True,
        sagittal_nose_left=True,
        slice_type=SliceType.MULTIPLANAR,
        multiplanar_layout=MultiplanarType.GRID,
        multiplanar_show_render=ShowRender.ALWAYS,
        multiplanar_pad_pixels=4,
        crosshair_color=(0.45, 0.7, 1.0, 0.8),
        crosshair_width_unit="percent",
        crosshair_width=0.3,
        crosshair_gap=12.0,
        clip_plane_color=(0.0, 0.0, 0.0, 0.0),
    )
    widget.set_clip_plane(*ORGANS_ALONE)
    widget.set_render_azimuth_elevation(180, 10)
    put_into(widget, case, preset)
    return widget


def put_into(widget: object, case: ShownCase, preset: str, opacities: Mapping[str, float] | None = None) -> None:
    """Show a case in a NiiVue widget in place of what was there; its volumes are named after the layers.

    Args:
        widget: from `niivue_widget`.
        case: image and label maps.
        preset: gray window, a name in `slices.WINDOWS_HU`.
        opacities: of layers by name; by default the prediction is seen, else the reference. They have to be given here,
            since what is set of a volume that the browser does not hold yet is lost.
    """
    from ipyniivue import Volume as NiivueVolume

    low, high = WINDOWS_HU[preset]
    volumes = []
    for layer in layers_of(case, Reduction.of(case.image, MOST_VOXELS)):
        opacity = (opacities or {}).get(layer.name, OPACITY * layer.is_on)
        look = {"opacity": opacity} if layer.colors else {"cal_min": low, "cal_max": high}
        volume = NiivueVolume(data=layer.file, name=f"{layer.name}.nii.gz", colorbar_visible=False, **look)
        if layer.colors:
            volume.set_colormap_label(color_table(layer.colors))
        volumes.append(volume)
    widget.load_volumes(volumes)


def color_table(colors: Sequence[tuple[int, str, str]]) -> dict[str, list]:
    """Return rows (value, color, words) as NiiVue wants them: lists R, G, B, A over label values `I`, and `labels`."""
    values, shades, words = zip(*colors, strict=True)
    red, green, blue = zip(*(bytes.fromhex(shade[1:]) for shade in shades), strict=True)
    return {
        "R": [0, *red],
        "G": [0, *green],
        "B": [0, *blue],
        "A": [0, *(255 for _ in values)],
        "I": [0, *values],
        "labels": ["background", *words],
    }


def view_in_itkwidgets(image: Volume, labels: Volume | None) -> None:
    """Display itkwidgets; only ever reached in an interactive kernel (see the module's first lines)."""
    from itkwidgets import view

    print(
        "itkwidgets loads its viewer from the internet (start with `make lab ITKWIDGETS=1`); "
        "behind a firewall its area stays empty"
    )
    display(view(image=image.data, label_image=None if labels is None else labels.data))


def display(widget: object) -> None:
    """Show a widget under the cell that runs."""
    from IPython.display import display as show

    show(widget)
