"""Decide which of a header's statements about place and spacing to believe, and say so where they are odd.

Serves reading, between the header and the voxels. The sform counts before the qform, the qform before the bare spacing,
as in every peer; what cannot be is refused, what is merely odd is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flare_core.cases.bad_input import BadInput
from flare_core.cases.geometry import Geometry, corner_distance_mm
from flare_core.cases.header_forms import UNIT_MM, HeaderForms
from flare_core.cases.nifti_header import Header

SPACING_LIMITS_MM = (0.1, 20.0)
"""Voxel edges outside are refused: no CT of a trunk has them, a wrong unit does."""
USUAL_SPACING_MM = (0.25, 15.0)
"""Voxel edges outside are read with a warning."""
SHEAR_ROUNDING = 1e-5
"""Cosine between voxel axes that float32 headers leave behind; not worth a word."""
SHEAR_SMALL = 1e-3
FAR_MM = 1e4
"""No scanner is so large that a voxel lies farther than that from the origin of its coordinates."""
SAME_PLACE_VOXELS = 0.1
"""Two statements about place agree if no corner moves by more than this share of the smallest voxel edge."""


def place(header: Header, path: Path, assume_spacing_mm: Sequence[float] | None = None) -> tuple[Geometry, list[str]]:
    """Return the volume's geometry and what was odd about it.

    Voxel axes are taken as orthogonal whatever the affine says: a sheared volume is processed on its voxel grid with
    the column norms as spacing, and written back with its own affine (`Geometry.shear` keeps the amount).

    Args:
        header: a checked header.
        path: for messages.
        assume_spacing_mm: voxel edges of the stored axes, used only where the header gives none.
    Raises:
        BadInput: no usable spacing, NaN or a singular matrix without a substitute, spacing outside
            `SPACING_LIMITS_MM`.
    """
    warnings: list[str] = []
    forms = header.forms
    if forms.unit not in UNIT_MM:
        warnings.append(f"unknown unit code {forms.unit}: lengths were taken as mm")
    elif forms.unit_mm != 1:
        name = {1: "meters", 3: "microns"}[forms.unit]
        warnings.append(f"lengths are stored in {name} and were converted to mm")
    zooms_valid = all(np.isfinite(zoom) and zoom != 0 for zoom in forms.pixdim[1:])
    affine = _sform_affine(forms, zooms_valid, path, warnings)
    if affine is None:
        if not zooms_valid:
            forms = _assume(forms, assume_spacing_mm, path, warnings)
        affine = _qform_affine(forms, path) if forms.qform_code > 0 else _bare_affine(forms, header.shape, warnings)
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    _check_spacing(norms, forms, path, warnings)
    if (far := np.abs(affine[:3, 3]).max()) > FAR_MM:
        warnings.append(f"the first voxel lies {far:.3g} mm from the coordinates' origin")
    geometry = Geometry(header.shape, affine, _mend_pixdim(forms, norms, warnings))
    _note_disagreement(geometry, header.forms, zooms_valid, warnings)
    return geometry, warnings


def _sform_affine(forms: HeaderForms, zooms_valid: bool, path: Path, warnings: list[str]) -> np.ndarray | None:
    """Return the sform if it is to be used, None if the qform shall decide."""
    if forms.sform_code <= 0:
        return None
    if not np.isfinite(forms.sform).all():
        raise BadInput(path, "expected a finite affine, the sform holds NaN or Inf; repair the header or export again")
    if not _is_singular(forms.sform):
        return forms.sform
    if forms.qform_code > 0 and zooms_valid and not _is_singular(forms.qform):
        warnings.append("the sform is singular: the qform was used")
        return None
    raise BadInput(
        path, "expected an invertible affine, the sform is singular and no qform is valid; repair the header"
    )


def _qform_affine(forms: HeaderForms, path: Path) -> np.ndarray:
    if _is_singular(forms.qform):
        raise BadInput(path, "expected an invertible affine, the qform holds NaN or no rotation; repair the header")
    return forms.qform


def _bare_affine(forms: HeaderForms, shape: tuple[int, int, int], warnings: list[str]) -> np.ndarray:
    """Return what is assumed where neither form is set: nibabel's reading, since most peers and viewers go by it."""
    warnings.append("no orientation stored: axes assumed to point left, anterior, superior, centered (as nibabel does)")
    affine = np.diag((-forms.zooms_mm[0], forms.zooms_mm[1], forms.zooms_mm[2], 1.0))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _assume(
    forms: HeaderForms, assume_spacing_mm: Sequence[float] | None, path: Path, warnings: list[str]
) -> HeaderForms:
    """Put the caller's spacing where the header has none."""
    if assume_spacing_mm is None:
        raise BadInput(
            path,
            f"expected a spacing, the header says {forms.pixdim[1:]} and no usable affine; "
            "repair the header or give the spacing (assume_spacing_mm, --assume-spacing)",
        )
    spacing = tuple(float(edge) for edge in assume_spacing_mm)
    if len(spacing) != 3 or not all(np.isfinite(edge) and edge > 0 for edge in spacing):
        raise ValueError(f"assume_spacing_mm: expected three positive numbers, got {assume_spacing_mm}")
    warnings.append(f"no spacing stored: assumed {spacing} mm as told")
    stored = np.array(spacing, np.float32 if forms.version == 1 else np.float64) / forms.unit_mm
    return replace(forms, pixdim=(forms.pixdim[0], *stored.tolist()))


def _mend_pixdim(forms: HeaderForms, norms_mm: np.ndarray, warnings: list[str]) -> HeaderForms:
    """Return forms whose pixdim is legal, so that no unreadable header is passed on."""
    zooms = forms.pixdim[1:]
    if any(zoom < 0 for zoom in zooms):
        warnings.append(f"negative spacing {zooms}: its absolute value was used")
    mended = tuple(
        abs(zoom) if np.isfinite(zoom) and zoom != 0 else float(np.float32(norm / forms.unit_mm))
        for zoom, norm in zip(zooms, norms_mm, strict=True)
    )
    return replace(forms, pixdim=(forms.pixdim[0], *mended))


def _check_spacing(norms_mm: np.ndarray, forms: HeaderForms, path: Path, warnings: list[str]) -> None:
    text = " x ".join(f"{norm:.4g}" for norm in norms_mm)
    low, high = SPACING_LIMITS_MM
    if norms_mm.min() < low or norms_mm.max() > high:
        unit = "" if forms.unit_mm == 1 else f" (the header's unit code {forms.unit} was applied: is it right?)"
        raise BadInput(path, f"expected a spacing of {low:g} to {high:g} mm, found {text} mm{unit}; repair the header")
    low, high = USUAL_SPACING_MM
    if norms_mm.min() < low or norms_mm.max() > high:
        warnings.append(f"unusual spacing {text} mm")


def _note_disagreement(geometry: Geometry, stored: HeaderForms, zooms_valid: bool, warnings: list[str]) -> None:
    """Warn where the header contradicts itself or its axes are not orthogonal."""
    norms = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    if not zooms_valid and stored.pixdim[1:] != geometry.forms.pixdim[1:] and stored.sform_code > 0:
        warnings.append(f"spacing {stored.pixdim[1:]} in the header is unusable: the sform's was used")
    elif not np.allclose(geometry.zooms_mm, norms, rtol=1e-2, atol=0):
        shown = tuple(round(float(norm), 4) for norm in norms)
        warnings.append(f"header spacing {geometry.zooms_mm} and affine {shown} disagree: the affine's was used")
    if stored.qform_code > 0 and stored.sform_code > 0 and not _is_singular(geometry.sform):
        distance = corner_distance_mm(geometry.shape, geometry.qform, geometry.sform)
        if not distance <= SAME_PLACE_VOXELS * norms.min():
            warnings.append(f"qform and sform differ by up to {distance:.3g} mm: the sform was used, both are kept")
    if geometry.shear > SHEAR_ROUNDING:
        size = "slightly sheared" if geometry.shear < SHEAR_SMALL else "sheared"
        warnings.append(
            f"voxel axes are {size} ({100 * geometry.shear:.2g} %): processed as orthogonal, affine kept; "
            "distances across the sheared axes are off by as much"
        )


def _is_singular(affine: np.ndarray) -> bool:
    """Whether a matrix places voxels on a plane, a line or nowhere (NaN)."""
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not norms.all():
        return True
    return bool(abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-6)
