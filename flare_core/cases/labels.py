"""Name the 14 FLARE targets and say how a network's channels stand for them.

First step of the data flow: every label map in the project holds target ids 0 (background) to 14 (tumor) in FLARE23's
order. A `LabelScheme` turns them into the channels of one network and says which channels a case can teach.

References:
    FLARE23 label order and NSD tolerances: JunMa11/FLARE, FLARE23/FLARE23_DSC_NSD_Eval.py.
    Left-right merging: nvauto, section 2.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Target:
    """One structure to segment.

    Attributes:
        id: value in label files, 1..14.
        name: identifier used in tables and file formats.
        title: the same for people.
        color: sRGB hex color shared by every figure and viewer.
        tolerance_mm: NSD tolerance of the official evaluation.
        is_tubular: scored only inside the annotated slice range (aorta, inferior vena cava, esophagus).
        partner: name of the mirror organ, or None.
    """

    id: int
    name: str
    title: str
    color: str
    tolerance_mm: float
    is_tubular: bool = False
    partner: str | None = None


TARGETS = (
    Target(1, "liver", "Liver", "#6b2814", 5),
    Target(2, "right_kidney", "Right kidney", "#ffca00", 3, partner="left_kidney"),
    Target(3, "spleen", "Spleen", "#8700d4", 3),
    Target(4, "pancreas", "Pancreas", "#ffffa0", 5),
    Target(5, "aorta", "Aorta", "#dd0008", 2, is_tubular=True),
    Target(6, "inferior_vena_cava", "Inferior vena cava", "#22307c", 2, is_tubular=True),
    Target(7, "right_adrenal_gland", "Right adrenal gland", "#6cfff3", 2, partner="left_adrenal_gland"),
    Target(8, "left_adrenal_gland", "Left adrenal gland", "#006567", 2, partner="right_adrenal_gland"),
    Target(9, "gallbladder", "Gallbladder", "#138863", 2),
    Target(10, "esophagus", "Esophagus", "#d077ac", 3, is_tubular=True),
    Target(11, "stomach", "Stomach", "#8ccdff", 5),
    Target(12, "duodenum", "Duodenum", "#ff9fa7", 7),
    Target(13, "left_kidney", "Left kidney", "#cc9746", 3, partner="right_kidney"),
    Target(14, "tumor", "Tumor", "#e446ff", 2),
)
ORGANS = TARGETS[:13]
TUMOR = TARGETS[13]
TARGET_NAMES = tuple(target.name for target in TARGETS)
ORGAN_NAMES = TARGET_NAMES[:13]
BY_NAME = {target.name: target for target in TARGETS}
FIVE_ORGANS = ("liver", "right_kidney", "spleen", "pancreas", "left_kidney")


@dataclass(frozen=True)
class LabelScheme:
    """How the channels of a network stand for targets: channel 0 is background, channel i is `groups[i - 1]`.

    Targets named in no group are background to the network.

    Attributes:
        groups: for each foreground channel the names of the targets united in it.

    Reference:
        nvauto section 2.5 (13 channels after uniting both kidneys and both adrenal glands).
    """

    groups: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        names = self.targets
        unknown = sorted(set(names) - set(TARGET_NAMES))
        if unknown or len(set(names)) != len(names):
            raise ValueError(
                f"a scheme needs each of the 14 target names at most once, got {names} (unknown: {unknown}); "
                "use names from flare_core.cases.labels.TARGET_NAMES"
            )

    @property
    def channels(self) -> int:
        """Number of output channels, background included."""
        return len(self.groups) + 1

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that it knows, alone or united."""
        return tuple(name for group in self.groups for name in group)

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """One name a channel: `background`, the target's name, or the names joined by `+`."""
        return ("background", *("+".join(group) for group in self.groups))

    @cached_property
    def _channel_of_id(self) -> np.ndarray:
        table = np.zeros(256, np.uint8)
        for channel, group in enumerate(self.groups, start=1):
            table[[BY_NAME[name].id for name in group]] = channel
        return table

    def merge(self, labels: np.ndarray) -> np.ndarray:
        """Turn target ids into channels, voxel by voxel.

        Args:
            labels: uint8 array of any shape with target ids 0..14.
        Returns:
            uint8 array of the same shape with values 0..channels - 1 (an empty map stays empty).
        """
        return self._channel_of_id[labels]

    def to_targets(self, channel_map: np.ndarray) -> np.ndarray:
        """Turn channels into target ids; a united channel becomes its first target (split it afterwards).

        Args:
            channel_map: integer array of any shape with values 0..channels - 1.
        Returns:
            uint8 array of the same shape with target ids.
        """
        return self.table[channel_map]

    @property
    def table(self) -> np.ndarray:
        """Target id of each channel, uint8; a united channel has its first target's."""
        return np.array([0, *(BY_NAME[group[0]].id for group in self.groups)], np.uint8)

    def annotated_channels(self, annotated: Iterable[str]) -> np.ndarray:
        """Say which channels a case can teach: those whose every target is annotated.

        Args:
            annotated: names of the targets that the case's annotator marked (present or not).
        Returns:
            bool array of shape (channels,). Background is taught only when every foreground channel is.
        """
        known = set(annotated)
        foreground = [set(group) <= known for group in self.groups]
        return np.array([all(foreground), *foreground])


SEPARATE = LabelScheme(tuple((name,) for name in TARGET_NAMES))
MERGED_PAIRS = LabelScheme(
    (
        ("liver",),
        ("right_kidney", "left_kidney"),
        ("spleen",),
        ("pancreas",),
        ("aorta",),
        ("inferior_vena_cava",),
        ("right_adrenal_gland", "left_adrenal_gland"),
        ("gallbladder",),
        ("esophagus",),
        ("stomach",),
        ("duodenum",),
        ("tumor",),
    )
)
ABDOMEN = LabelScheme((ORGAN_NAMES,))
