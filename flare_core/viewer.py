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

import numpy as np

from flare_core.case_layers import MOST_VOXELS, ShownCase, layers_of
from flare_core.cases.color_tables import rgb
from flare_core.cases.nifti import Volume
from flare_core.cases.reduction import Reduction
from flare_core.evaluation.case_figures import case_montage
from flare_core.evaluation.slices import WINDOWS_HU, CaseView
from flare_core.notebook_runner import BATCH_VARIABLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from ngff_zarr import NgffImage

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
        widget = niivue_widget()
        put_into(widget, ShownCase(title, image, labels, prediction))
        display(widget)
    elif viewer == "itkwidgets":
        view_in_itkwidgets(image, prediction if prediction is not None else labels)
    return case_montage(view)


def usable_viewer(viewer: str) -> str:
    """Return the viewer that can be used here; if it is not the one asked for, one printed line says why."""
    choice = choose_viewer(viewer)
    if choice.reason:
        print(f"showing the picture alone: {choice.reason}")
    return choice.viewer


def niivue_widget(height: int = 560):
    """Return a NiiVue widget, still empty: three linked planes and a rendering.

    Args:
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
    return widget


def put_into(
    widget: object, case: ShownCase, preset: str = "abdomen", opacities: Mapping[str, float] | None = None
) -> Volume:
    """Show a case in a NiiVue widget in place of what was there, labels in the colors of all our figures.

    Args:
        widget: from `niivue_widget`.
        case: image and label maps.
        preset: gray window, a name in `slices.WINDOWS_HU`.
        opacities: of layers by name; by default the prediction is seen, else the reference. They have to be given here,
            since what is set of a volume that the browser does not hold yet is lost.
    Returns:
        The CT as it is shown: of a large one a part, or coarser. The widget's volumes are named after the layers.
    """
    from ipyniivue import Volume as NiivueVolume

    low, high = WINDOWS_HU[preset]
    layers, volumes = layers_of(case, Reduction.of(case.image, MOST_VOXELS)), []
    for layer in layers:
        opacity = (opacities or {}).get(layer.name, OPACITY * layer.is_on)
        look = {"opacity": opacity} if layer.colors else {"cal_min": low, "cal_max": high}
        volume = NiivueVolume(data=layer.file, name=f"{layer.name}.nii.gz", colorbar_visible=False, **look)
        if layer.colors:
            volume.set_colormap_label(color_table(layer.colors))
        volumes.append(volume)
    widget.load_volumes(volumes)
    return layers[0].volume


def color_table(colors: Sequence[tuple[int, str, str]]) -> dict[str, list]:
    """Return rows (value, color, words) as NiiVue wants them: lists R, G, B, A over label values `I`, and `labels`."""
    values, shades, words = zip(*colors, strict=True)
    red, green, blue = zip(*map(rgb, shades), strict=True)
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
    display(view(image=in_lps(image), label_image=None if labels is None else in_lps(labels)))


def in_lps(volume: Volume) -> NgffImage:
    """Return a volume as ITK has it: axes z, y, x, in mm of LPS; a grid that is askew is set straight."""
    from ngff_zarr import to_ngff_image

    x, y, _ = volume.data.shape
    left, back, up = np.multiply(volume.affine @ [x - 1, y - 1, 0, 1], (-1, -1, 1, 1))[:3]
    return to_ngff_image(
        volume.data[::-1, ::-1].T,
        dims=("z", "y", "x"),
        scale=dict(zip("xyz", volume.spacing_mm, strict=True)),
        translation={"x": left, "y": back, "z": up},
    )


def display(widget: object) -> None:
    """Show a widget under the cell that runs."""
    from IPython.display import display as show

    show(widget)
