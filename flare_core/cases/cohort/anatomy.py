"""Put a whole patient together: the order in which structures are painted, and the background that they lie in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.cohort import bowel, foregut, kidneys, organs, skeleton, vessels
from flare_core.cases.cohort.fields import SplineField
from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.scanner import Scan
from flare_core.cases.cohort.space import Axes, Space, Warp
from flare_core.cases.cohort.structure import Canvas, Structure
from flare_core.cases.cohort.trunk import Trunk


@dataclass(frozen=True, eq=False)
class Body:
    """A patient in space, ready to be sampled on any grid.

    Attributes:
        patient, trunk, warp: drawn before.
        lumps, grain: the patient's random fields.
        fineness: about how many voxels a calibration grid has.
    """

    patient: Patient
    trunk: Trunk
    warp: Warp
    lumps: SplineField
    grain: SplineField
    fineness: int

    @classmethod
    def draw(cls, rng: np.random.Generator, patient: Patient, fineness: int) -> Body:
        """Draw how this patient is bent and built."""
        knots = x, y, z = SplineField.knot_positions(60.0)
        roll, curve = 0.03 * rng.standard_normal(), 4 * rng.standard_normal() * patient.difficulty
        bend = SplineField.random(rng, 120.0, 3).on_grid(knots) * np.float32(7.0 * patient.difficulty)
        bend += SplineField.random(rng, 60.0, 3).coefficients * np.float32(2.4 * patient.difficulty)
        bend[0] += (roll * y[None, :, None]).astype(np.float32) + (curve * np.sin(z / 150)[None, None, :]).astype(
            np.float32
        )
        bend[1] -= (roll * x[:, None, None]).astype(np.float32)
        warp = Warp(patient.scale, SplineField(60.0, bend))
        return cls(
            patient,
            Trunk.draw(rng, patient),
            warp,
            SplineField.random(rng, 25.0),
            SplineField.random(rng, 9.0),
            fineness,
        )

    def space(self, axes_mm: Axes) -> Space:
        """Return the space of a grid given by its voxel centers in scanner mm."""
        x, y, z = self.warp.on_grid(axes_mm)
        wall, relative = self.trunk.cavity(x, y, z)
        dome = self.trunk.dome(x, y, z, relative)
        return Space(
            axes_mm, self.warp, x, y, z, wall, dome, self.lumps.on_grid(axes_mm)[0], self.grain.on_grid(axes_mm)[0]
        )

    def space_around(self, points: np.ndarray, reach_mm: float) -> Space:
        """Return a grid of its own around canonical points, about `fineness` voxels."""
        places = self.warp.to_scanner(points)
        low, high = places.min(0) - reach_mm, places.max(0) + reach_mm
        step = float((np.prod(high - low) / self.fineness) ** (1 / 3))
        return self.space(tuple(np.arange(a, b, step) for a, b in zip(low, high, strict=True)))


def fit_dome(body: Body, liver: Structure, lower_edge_mm: float) -> Body:
    """Raise or lower the diaphragm until the liver below it fills its volume down to its usual lower edge.

    A large liver in a slim trunk would otherwise reach into the pelvis, and a small one in a wide trunk hang high above
    the gut.

    Args:
        body: with the diaphragm at its mean height.
        liver: not yet calibrated.
        lower_edge_mm: the level of `liver` that its lower edge should have.
    """
    shifts = np.array([-36.0, -24.0, -12.0, 0.0, 12.0, 24.0])
    space = body.space_around(liver.points, liver.reach_mm)
    voxel_ml = np.prod([axis[1] - axis[0] for axis in space.axes_mm]) / 1000
    volumes = []
    for shift in shifts:
        shifted = replace(space, dome=space.dome - np.float32(shift))
        inside = replace(liver, level=lower_edge_mm).distance(shifted) < 0
        volumes.append(0.93 * voxel_ml * np.count_nonzero(inside))  # kidney, gallbladder and vessels take their part
    return replace(body, trunk=body.trunk.raised(float(np.interp(liver.volume_ml, volumes, shifts))))


def build(rng: np.random.Generator, body: Body) -> tuple[Body, list[Structure]]:
    """Return the body with its diaphragm fitted, and every structure in painting order, not yet calibrated."""
    patient = body.patient
    liver = organs.liver(rng, patient)
    body = fit_dome(body, liver[0], float(rng.normal(6, 14)))
    lift_mm = body.trunk.dome_left_mm - 78
    kidney_fat, kidney_pair = kidneys.kidneys(rng, patient)
    adrenal_fat, adrenal_pair = kidneys.adrenals(rng, patient)
    return body, [
        *bowel.heart(rng, patient, lift_mm),
        *bowel.pelvic_organs(rng, patient),
        *bowel.small_bowel(rng, patient),
        *bowel.colon(rng, patient),
        *liver,
        *foregut.stomach(rng, patient, lift_mm),
        *organs.spleen(rng, patient, lift_mm),
        *kidney_fat,
        *skeleton.muscles(rng, patient),
        *vessels.portal_system(rng, patient),
        *adrenal_fat,
        *kidney_pair,
        *organs.pancreas(rng, patient),
        *foregut.duodenum(rng, patient),
        *organs.gallbladder(rng, patient),
        *foregut.esophagus(rng, patient, lift_mm),
        *vessels.great_vessels(rng, patient),
        *adrenal_pair,
        *skeleton.spine(patient),
        *skeleton.ribs(patient, body.trunk),
        *skeleton.pelvis(rng, patient),
    ]


def paint_background(canvas: Canvas, body: Body, scan: Scan) -> None:
    """Paint table, arms, skin, fat, wall muscles, cavity fat, diaphragm, lungs, mediastinum over the whole grid."""
    space, tissues = canvas.space, body.patient.tissues_hu
    whole = tuple(slice(0, n) for n in space.shape)
    trunk = body.trunk
    skin = trunk.skin(space.x, space.y, space.z)
    if scan.has_table:
        _table(canvas, whole, body)
    if scan.has_arms:
        _arms(canvas, whole, body)
    canvas.cover(whole, skin, np.float32(tissues["skin"]))
    canvas.cover(whole, skin + 2.2, np.float32(tissues["fat"]) + 4 * space.grain)
    muscle = trunk.muscle(space.x, space.y, space.z)
    canvas.cover(whole, muscle, _wall_muscle(space, muscle, tissues, body.patient.visceral))
    canvas.cover(whole, space.wall, np.float32(tissues["fat"]) + 5 * space.grain)
    lining = np.maximum(np.abs(space.wall), space.dome - 4)  # the diaphragm along the wall
    canvas.cover(whole, lining - 1.0, np.float32(tissues["muscle"]))
    chest = np.maximum(space.wall + 2, -space.dome)
    canvas.cover(whole, chest - 1.5, np.float32(tissues["muscle"]))
    mediastinum = np.abs(space.x + 6) - (26 + 10 * np.clip((space.z - 120) / 100, 0, 1)) + 5 * space.lumps
    lungs = np.maximum(chest + 0.5, -mediastinum)
    vessels_in_lung = np.clip((space.grain - 1.5) * 2, 0, 1) * 500
    canvas.cover(whole, lungs, np.float32(tissues["lung"]) + 18 * space.lumps + vessels_in_lung)
    middle = np.maximum(chest + 0.5, mediastinum)
    canvas.cover(whole, middle, np.float32(tissues["fat"]) + 40 * np.clip(space.grain, 0, 2))


def _wall_muscle(space: Space, muscle: np.ndarray, tissues: dict[str, float], visceral: float) -> np.ndarray:
    """Muscle of the trunk wall with seams of fat between its layers and, in the pelvis, between the gluteal muscles."""
    flesh, fat = np.float32(tissues["muscle"]), np.float32(tissues["fat"])
    depth = muscle / np.minimum(muscle - space.wall, -1.0)  # 0 at the outside, 1 at the cavity
    layers = np.maximum(1 - np.abs(depth - 0.36) / 0.09, 1 - np.abs(depth - 0.70) / 0.09)
    layers = layers * np.clip((space.y + 50) / 25, 0, 1)  # the three lateral muscles do not reach the back
    seams = 1 - np.abs(space.lumps) / 0.16
    in_pelvis = np.clip((-130 - space.z) / 30, 0, 1)
    share = np.clip(np.maximum(layers * (1 - in_pelvis), seams * in_pelvis), 0, 1) * np.float32(0.35 + 0.4 * visceral)
    midline = np.clip(1 - np.abs(space.x) / 5, 0, 1) * (space.y > 60) * np.float32(0.7)
    return flesh + (fat - flesh) * np.maximum(share, midline * (space.z < 60))


def _table(canvas: Canvas, whole, body: Body) -> None:
    """A curved carbon table under the back."""
    back = -107 - body.patient.subcutaneous_mm[2]
    top = back + canvas.space.x**2 / 900
    canvas.cover(whole, np.abs(canvas.space.y - np.float32(top)) - 2.0, np.float32(-350))
    canvas.cover(whole, np.abs(canvas.space.y - np.float32(top) + 28) - 2.0, np.float32(-450))


def _arms(canvas: Canvas, whole, body: Body) -> None:
    """Arms at the sides: skin, muscle, bone."""
    tissues = body.patient.tissues_hu
    for side in (-1, 1):
        center = side * (215 + body.patient.subcutaneous_mm[1])
        reach = np.sqrt((canvas.space.x - np.float32(center)) ** 2 + (canvas.space.y - 5) ** 2)
        canvas.cover(whole, reach - 44, np.float32(tissues["fat"]))
        canvas.cover(whole, reach - 37, np.float32(tissues["muscle"]))
        canvas.cover(whole, reach - 11, np.float32(tissues["cortical_bone"]))
        canvas.cover(whole, reach - 6, np.float32(tissues["marrow"]))
