"""Generate one synthetic case: patient, anatomy, tumors, scan, annotation, in this order, from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.cohort.anatomy import Body, build, paint_background
from flare_core.cases.cohort.annotation import annotate, annotated_targets, draw_marks, tumor_share
from flare_core.cases.cohort.enlarge import interpolate, interpolate_labels
from flare_core.cases.cohort.patient import draw_patient
from flare_core.cases.cohort.scanner import SOURCES, Scan, draw_scan, noise
from flare_core.cases.cohort.structure import Canvas, Structure, calibrate
from flare_core.cases.cohort.tumors import Tumor, draw_tumors, surroundings_hu
from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import TARGET_NAMES


@dataclass(frozen=True)
class Profile:
    """A size of the cohort.

    Attributes:
        pixel_mm: lowest and highest pixel size.
        fineness: voxels of a calibration grid.
        matrix: pixels along X and Y; None: as many as the drawn field of view needs.
        slices: number of slices; None: as many as the drawn slice thickness needs.
        working_mm: grid that the anatomy is painted on before it is interpolated; None: the scan's own.
    """

    pixel_mm: tuple[float, float]
    fineness: int
    matrix: int | None = None
    slices: int | None = None
    working_mm: float | None = None


SLAB_SLICES = 40

PROFILES = {
    "tiny": Profile((7.6, 8.4), 6_000),
    "mini": Profile((3.7, 4.3), 24_000),
    "full": Profile((0.7, 0.9), 60_000, 512, 300, 2.0),
}


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """One generated case; arrays are (X, Y, Z) in RAS+.

    Attributes:
        id: unique name made of the seed.
        image_hu: whole HU in -1024..3000, float32; int16 where the profile has a fixed matrix (a full-size scan).
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
    seed: int,
    group: str,
    profile: str | Profile = "mini",
    *,
    with_tumor_labels: bool | None = None,
    difficulty: float = 1.0,
    **scan_changes,
) -> SyntheticCase:
    """Generate a case that depends on nothing but its arguments.

    Args:
        seed: >= 0; the same seed gives the same bytes.
        group: organs13, organs5, tumor_only, unlabeled, or validation (a mixture of all sources, completely annotated).
        profile: tiny (about 8 mm), mini (about 4 mm), full (512 x 512 x 300), or a `Profile` of your own.
        with_tumor_labels: whether tumors are annotated, which also means that there is at least one; None draws it in
            FLARE23's proportion.
        difficulty: 1 is the cohort's own; 0.5 is alike and quiet, 2 varied and noisy.
        scan_changes: fields of `scanner.Scan` to replace.
    Raises:
        ValueError: for an unknown group or profile.
    """
    size = _profile(profile)
    if group not in (*SOURCES, "validation"):
        raise ValueError(f"expected a group of {[*SOURCES, 'validation']}, got {group!r}")
    draw = [np.random.default_rng((seed, part)) for part in range(7)]
    source = SOURCES[str(draw[0].choice(list(SOURCES)))] if group == "validation" else SOURCES[group]
    scan = replace(draw_scan(draw[0], source, size.pixel_mm, difficulty), **scan_changes)
    patient = draw_patient(draw[1], scan.phase, difficulty)
    body = Body.draw(draw[2], patient, size.fineness)
    body, structures = build(draw[3], body)
    structures = calibrate(structures, body.space_around)
    if with_tumor_labels is None:
        with_tumor_labels = bool(draw[6].random() < tumor_share(group))
    least = int(with_tumor_labels and group != "validation")
    tumors = draw_tumors(draw[4], patient, structures, body.space_around, scan, least)
    axes = scan_axes(scan, body, size)
    image, organs, lesions = _image(axes, Scene(body, structures, tumors, scan), size, draw[5])
    annotated = annotated_targets(group, with_tumor_labels)
    marked = draw_marks(draw[6], len(tumors), group)
    truth = annotate(organs, lesions, frozenset(TARGET_NAMES), [True] * len(tumors))
    shown = annotate(organs, lesions, annotated, marked)
    spacing = tuple(float(axis[1] - axis[0]) for axis in axes)
    geometry = Geometry.from_spacing(truth.shape, spacing, [float(axis[0]) for axis in axes], scan.axes)
    traits = _traits(group, scan, patient, tumors, marked)
    return SyntheticCase(f"{group}_{seed:06d}", image, truth, shown, annotated, spacing, geometry, traits)


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is sampled: a calibrated patient with tumors in a scanner."""

    body: Body
    structures: list[Structure]
    tumors: list[Tumor]
    scan: Scan


def _profile(profile: str | Profile) -> Profile:
    """Look a profile up by name."""
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise ValueError(f"expected a profile of {list(PROFILES)}, got {profile!r}")
    return PROFILES[profile]


def scan_axes(scan: Scan, body: Body, size: Profile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions in scanner mm of the voxel centers along X, Y, Z."""
    scale = body.warp.scale
    half_x, half_y = scan.extent_mm[0] / 2, scan.extent_mm[1] / 2
    center_x, center_y = scan.center_mm[0] * scale[0], scan.center_mm[1] * scale[1]
    low_z, high_z = scan.lower_mm * scale[2], scan.upper_mm * scale[2]
    slice_mm = (high_z - low_z) / size.slices if size.slices else scan.slice_mm
    if size.matrix:
        half_x = half_y = size.matrix * scan.pixel_mm / 2 - 1e-6
    return (
        np.arange(center_x - half_x, center_x + half_x, scan.pixel_mm),
        np.arange(center_y - half_y, center_y + half_y, scan.pixel_mm),
        low_z + slice_mm * np.arange(size.slices or round((high_z - low_z) / slice_mm)),
    )


def _image(axes, scene: Scene, size: Profile, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image the scene: noisy HU, organ ids, lesion numbers; slab by slab where the working grid is coarser."""
    if size.working_mm is None:
        image, organs, lesions = _sample(axes, scene)
        image += noise(rng, image.shape, scene.scan)
        return np.clip(np.rint(image), -1024, 3000), organs, lesions
    shape = tuple(len(axis) for axis in axes)
    image, organs, lesions = np.empty(shape, np.int16), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for start in range(0, shape[2], SLAB_SLICES):
        part = slice(start, start + SLAB_SLICES)
        fine = (*axes[:2], axes[2][part])
        coarse = tuple(_working_axis(axis, size.working_mm) for axis in fine)
        painted = _sample(coarse, scene)
        slab = interpolate(painted[0], coarse, fine)
        slab += noise(rng, slab.shape, scene.scan)
        image[:, :, part] = np.clip(np.rint(slab), -1024, 3000)
        organs[:, :, part] = interpolate_labels(painted[1], coarse, fine)
        lesions[:, :, part] = interpolate_labels(painted[2], coarse, fine)
    return image, organs, lesions


def _working_axis(axis: np.ndarray, step_mm: float) -> np.ndarray:
    """Return positions at whole multiples of a step, so that neighboring slabs share them, two beyond each end."""
    return step_mm * np.arange(np.floor(axis[0] / step_mm) - 2, np.ceil(axis[-1] / step_mm) + 3)


def _sample(axes, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint the patient on one grid: image in HU, organ ids, lesion numbers."""
    body, structures, tumors, scan = scene.body, scene.structures, scene.tumors, scene.scan
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
