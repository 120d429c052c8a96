"""Generate one synthetic case: patient, anatomy, tumors, scan, annotation, in this order, from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES, TUMOR
from flare_core.cases.cohort.anatomy import Body, all_structures, paint_background
from flare_core.cases.cohort.annotation import TUMOR_CASES, UNMARKED_SHARE, annotate, annotated_targets
from flare_core.cases.cohort.patient import draw_patient
from flare_core.cases.cohort.scanner import SOURCES, Scan, draw_scan, noise
from flare_core.cases.cohort.structure import Canvas, calibrate
from flare_core.cases.cohort.tumors import Tumor, draw_tumors, surroundings_hu


@dataclass(frozen=True)
class Profile:
    """A size of the cohort.

    Attributes:
        pixel_mm: lowest and highest pixel size.
        fineness: voxels of a calibration grid.
    """

    pixel_mm: tuple[float, float]
    fineness: int


PROFILES = {
    "tiny": Profile((7.6, 8.4), 9_000),
    "mini": Profile((3.7, 4.3), 24_000),
}


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """One generated case; arrays are (X, Y, Z) in RAS+.

    Attributes:
        id: unique name made of the seed.
        image_hu: float32.
        truth: uint8 target ids, complete.
        annotation: uint8 target ids, what the label file shows (all zero for an unlabeled case).
        annotated: names of the targets that were marked.
        spacing_mm: voxel edge lengths along X, Y, Z.
        geometry: where the voxels are stored and lie.
        traits: what was drawn (group, phase, volumes in ml, tumors, noise, ...).
    """

    id: str
    image_hu: np.ndarray
    truth: np.ndarray
    annotation: np.ndarray
    annotated: frozenset[str]
    spacing_mm: tuple[float, float, float]
    geometry: Geometry
    traits: dict


def generate_case(
    seed: int, group: str, profile: str = "mini", *, with_tumor_labels: bool | None = None, difficulty: float = 1.0, **scan_changes
) -> SyntheticCase:
    """Generate a case that depends on nothing but its arguments.

    Args:
        seed: >= 0; the same seed gives the same bytes.
        group: organs13, organs5, tumor_only, unlabeled, or validation (a mixture of all sources, completely annotated).
        profile: tiny (about 8 mm), mini (about 4 mm).
        with_tumor_labels: whether tumors are annotated; None draws it in FLARE23's proportion.
        difficulty: 1 is the cohort's own; 0.5 is alike and quiet, 2 varied and noisy.
        scan_changes: fields of `scanner.Scan` to replace.
    Raises:
        ValueError: for an unknown group or profile.
    """
    if group not in (*SOURCES, "validation") or profile not in PROFILES:
        raise ValueError(f"expected a group of {[*SOURCES, 'validation']} and a profile of {list(PROFILES)}, got {group!r}, {profile!r}")
    size = PROFILES[profile]
    draw = [np.random.default_rng((seed, part)) for part in range(7)]
    source = SOURCES[str(draw[0].choice(list(SOURCES)))] if group == "validation" else SOURCES[group]
    scan = replace(draw_scan(draw[0], source, size.pixel_mm, difficulty), **scan_changes)
    patient = draw_patient(draw[1], scan.phase, difficulty)
    body = Body.draw(draw[2], patient, size.fineness)
    structures = calibrate(all_structures(draw[3], body), body.space_around)
    tumors = draw_tumors(draw[4], patient, structures, body.space_around, scan.noise_hu)
    axes = scan_axes(scan, body)
    image, organs, lesions = _sample(axes, body, structures, tumors, scan)
    image += noise(draw[5], image.shape, scan)
    if with_tumor_labels is None:
        share = {"tumor_only": 1.0, "unlabeled": 0.0, "validation": 1.0}.get(group, (TUMOR_CASES - 888) / (250 + 1062))
        with_tumor_labels = bool(draw[6].random() < share)
    annotated = annotated_targets(group, with_tumor_labels)
    unmarked = 0.0 if group == "validation" else UNMARKED_SHARE
    marked = [bool(draw[6].random() >= unmarked) for _ in tumors]
    truth = annotate(organs, lesions, frozenset(TARGET_NAMES), [True] * len(tumors))
    shown = annotate(organs, lesions, annotated, marked)
    spacing = tuple(float(axis[1] - axis[0]) for axis in axes)
    return SyntheticCase(
        f"{group}_{seed:06d}", np.clip(image, -1024, 3000), truth, shown, annotated, spacing,
        _geometry(axes, spacing, scan), _traits(group, scan, patient, tumors, marked))  # fmt: skip


def scan_axes(scan: Scan, body: Body) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions in scanner mm of the voxel centers along X, Y, Z."""
    scale = body.warp.scale
    half_x, half_y = scan.extent_mm[0] / 2, scan.extent_mm[1] / 2
    center_x, center_y = scan.center_mm[0] * scale[0], scan.center_mm[1] * scale[1]
    return (
        np.arange(center_x - half_x, center_x + half_x, scan.pixel_mm),
        np.arange(center_y - half_y, center_y + half_y, scan.pixel_mm),
        np.arange(scan.lower_mm * scale[2], scan.upper_mm * scale[2], scan.slice_mm),
    )


def _sample(axes, body: Body, structures, tumors: list[Tumor], scan: Scan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint the patient on one grid: image in HU, organ ids, lesion numbers."""
    space = body.space(axes)
    edge = float(np.prod([axis[1] - axis[0] for axis in axes]) ** (1 / 3)) / float(np.prod(body.warp.scale) ** (1 / 3))
    canvas = Canvas(space, np.full(space.shape, np.float32(-1000)), np.zeros(space.shape, np.uint8), edge)
    paint_background(canvas, body, scan)
    for structure in structures:
        canvas.paint(structure, body.patient.tissues_hu)
    lesions = np.zeros(space.shape, np.uint8)
    for number, tumor in enumerate(tumors, start=1):
        box = space.box_around(tumor.center[None], tumor.reach_mm)
        part = space.crop(box)
        distance = tumor.field(part)
        core = np.clip((-distance - 4) / 4, 0, 1) * np.float32(tumor.core_hu)
        density = np.float32(surroundings_hu(tumor, body.patient) + tumor.contrast_hu) + core + 3 * part.grain
        canvas.cover(box, distance, density)
        lesions[box][distance < 0] = number
    return canvas.image_hu, canvas.labels, lesions


def _geometry(axes, spacing, scan: Scan) -> Geometry:
    """Return the stored geometry, origin at the first voxel."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    flips = np.eye(4)
    order = [{"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter] for letter in scan.axes]
    shape = [len(axes[axis]) for axis in order]
    flips[:3, :3] = 0
    for stored, (axis, letter) in enumerate(zip(order, scan.axes, strict=True)):
        is_flipped = letter in "LPI"
        flips[axis, stored] = -1 if is_flipped else 1
        flips[axis, 3] = len(axes[axis]) - 1 if is_flipped else 0
    return Geometry.from_affine(shape, affine @ flips)


def _traits(group: str, scan: Scan, patient, tumors: list[Tumor], marked: list[bool]) -> dict:
    """Return what was drawn, as plain values."""
    return {
        "group": group, "phase": scan.phase, "range": scan.range_name, "noise_hu": scan.noise_hu, "axes": scan.axes,
        "is_female": patient.is_female, "visceral": patient.visceral, "volumes_ml": dict(patient.volumes_ml),
        "tumors": [
            {"host": t.host, "volume_ml": t.volume_ml, "contrast_hu": t.contrast_hu, "is_marked": m}
            for t, m in zip(tumors, marked, strict=True)
        ],
    }  # fmt: skip
