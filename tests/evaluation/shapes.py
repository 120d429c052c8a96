"""Draw the label maps that the recorded oracle values belong to, with numpy alone."""

from __future__ import annotations

import numpy as np

# name: (shape, spacing as in a float32 header, reference shapes, prediction shapes, tolerance in mm).
# A shape is ("ball", center, radii) or ("box", start, stop), in voxels; shapes are united.
PAIRS = {
    "shifted_cubes": ((12, 12, 12), (1, 1, 1), [("box", (3, 3, 3), (8, 8, 8))], [("box", (5, 3, 3), (10, 8, 8))], 1),
    "same": ((12, 12, 12), (1, 2, 3), [("ball", (6, 6, 6), (4, 3, 3))], [("ball", (6, 6, 6), (4, 3, 3))], 0),
    "one_voxel_apart": (
        (9, 9, 9),
        (0.8, 0.8, 5),
        [("box", (4, 4, 4), (5, 5, 5))],
        [("box", (5, 5, 4), (6, 6, 5))],
        1.2,
    ),
    "tie_3_4_5": (
        (30, 30, 12),
        (0.8, 0.8, 2.5),
        [("box", (4, 4, 3), (14, 14, 8))],
        [("box", (7, 8, 3), (17, 18, 8))],
        4,
    ),
    "tie_axis": (
        (30, 30, 12),
        (0.7, 0.7, 2.5),
        [("box", (4, 4, 3), (14, 14, 8))],
        [("box", (4, 4, 5), (14, 14, 10))],
        5,
    ),
    "tie_thirds": (
        (30, 30, 12),
        (0.6, 0.6, 1.2),
        [("box", (4, 4, 3), (14, 14, 8))],
        [("box", (9, 4, 3), (19, 14, 8))],
        3,
    ),
    "thick_slices": (
        (40, 40, 12),
        (0.78125, 0.78125, 5),
        [("ball", (20, 19, 6), (11, 9, 4))],
        [("ball", (22, 19, 6), (10, 10, 3))],
        2,
    ),
    "far_blob": (
        (60, 40, 30),
        (0.9, 0.7, 1.25),
        [("ball", (16, 19, 12), (9, 7, 6))],
        [("ball", (17, 19, 12), (9, 8, 6)), ("ball", (50, 30, 24), (3, 3, 3))],
        3,
    ),
    "at_the_border": (
        (20, 20, 20),
        (1.5, 1.5, 1.5),
        [("box", (0, 0, 0), (20, 9, 9))],
        [("box", (0, 0, 0), (20, 8, 9))],
        1.5,
    ),
    "one_slice": (
        (20, 20, 7),
        (0.8, 0.8, 3),
        [("ball", (9, 9, 3), (6, 6, 0.4))],
        [("ball", (10, 9, 3), (6, 5, 0.4))],
        2,
    ),
    "diagonal_neighbors": (
        (8, 8, 8),
        (1, 1.5, 2),
        [("box", (2, 2, 2), (4, 4, 4)), ("box", (4, 4, 4), (6, 6, 6)), ("box", (4, 2, 4), (5, 3, 5))],
        [("box", (2, 2, 2), (4, 4, 4)), ("box", (4, 4, 2), (6, 6, 4))],
        1,
    ),
    "nothing_agrees": ((40, 12, 12), (1, 1, 1), [("box", (2, 2, 2), (9, 9, 9))], [("box", (30, 2, 2), (37, 9, 9))], 2),
    "large_tolerance": (
        (40, 40, 20),
        (0.8, 0.8, 2),
        [("ball", (17, 19, 9), (9, 9, 6))],
        [("ball", (25, 21, 10), (9, 7, 5))],
        7,
    ),
}


def union(shape: tuple[int, int, int], parts: list) -> np.ndarray:
    """Return the bool volume of the united shapes."""
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    mask = np.zeros(shape, bool)
    for kind, first, second in parts:
        if kind == "ball":
            mask |= (((grid - np.array(first)) / np.array(second)) ** 2).sum(axis=-1) <= 1
        else:
            mask |= ((grid >= np.array(first)) & (grid < np.array(second))).all(axis=-1)
    return mask


def rough(mask: np.ndarray, seed: int) -> np.ndarray:
    """Flip about an eighth of the voxels by an integer hash, which makes every 2 x 2 x 2 neighborhood occur."""
    places = np.arange(mask.size, dtype=np.uint64).reshape(mask.shape) + np.uint64(seed * 7919)
    mixed = (places * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    mixed = ((mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    return mask ^ ((mixed >> np.uint64(24)) < 32)


def case(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Draw a reference and a prediction with all 14 targets (some missing on one side or both) and their spacing.

    Returns:
        Two uint8 label maps of shape (64, 56, 24) and the spacing in mm.
    """
    shape = (64, 56, 24)
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for target in range(1, 15):
        column, row = (target - 1) % 4, (target - 1) // 4
        center = np.array((8 + 16 * column, 7 + 14 * row, 8 + (5 * target + seed) % 9))
        radii = np.array((3 + (target + seed) % 4, 3 + (2 * target + seed) % 3, 2 + (target * seed) % 6))
        shift = np.array((seed % 3 - 1, (target + seed) % 3 - 1, (target // 2 + seed) % 3 - 1)) * (1 + target % 3)
        if (target + seed) % 11 != 0:
            reference[union(shape, [("ball", tuple(center), tuple(radii))])] = target
        if (target + seed) % 11 != 0 and (target + seed) % 13 != 1:
            prediction[union(shape, [("ball", tuple(center + shift), tuple(radii + target % 2))])] = target
        if (target + seed) % 17 == 5:
            prediction[tuple(center)] = target
    spacing = ((0.8, 0.8, 2.5), (0.7, 0.7, 5.0), (1.0, 1.0, 1.0), (0.68359375, 0.68359375, 1.25), (0.6, 0.9, 3.0))
    return reference, prediction, spacing[seed % len(spacing)]
