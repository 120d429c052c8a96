"""Say what the channels of an nnU-Net stand for.

Serves the import of nnU-Net models. nnU-Net names its labels freely ("kidney_right", "postcava"); here each becomes one
of the 14 targets or nothing. Unlike a `LabelScheme`, several labels may mean the same target and some may mean none.

References:
    Label names of the public datasets AMOS22, BTCV, FLARE22, KiTS23 and TotalSegmentator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from flare_core.cases.labels import BY_NAME, TARGETS

BACKGROUND = "background"
_SAME = {
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "vena cava": "inferior vena cava",
    "rag": "right adrenal",
    "lag": "left adrenal",
    "gall bladder": "gallbladder",
    "lesion": "tumor",
    "lesions": "tumor",
    "tumors": "tumor",
}


@dataclass(frozen=True)
class NnUNetLabels:
    """The label scheme of an imported network: channel 0 is background, channel i is `names[i - 1]`.

    Attributes:
        names: nnU-Net's label names in the order of their values.
        targets: for each the target that it becomes, or `background`.
    """

    names: tuple[str, ...]
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.targets) - {BACKGROUND, *BY_NAME})
        if unknown or len(self.names) != len(self.targets):
            raise ValueError(f"expected a target name or {BACKGROUND} for each of {self.names}, got {self.targets}")

    @property
    def channels(self) -> int:
        """Number of output channels, background included."""
        return len(self.names) + 1

    def to_targets(self, channel_map: np.ndarray) -> np.ndarray:
        """Turn channels into target ids.

        Args:
            channel_map: integer array of any shape with values 0..channels - 1.
        Returns:
            uint8 array of the same shape with target ids 0..14.
        """
        ids = [0 if name == BACKGROUND else BY_NAME[name].id for name in self.targets]
        return np.array([0, *ids], np.uint8)[channel_map]


def target_called(name: str) -> str | None:
    """Return the target that a label name means, None if it means none of the 14.

    Case, word order, underscores, hyphens, "gland", what follows in parentheses, and British spelling do not matter.
    """
    plain = re.sub(r"\([^()]*\)", " ", name.lower()).replace("our", "or").replace("oeso", "eso")
    words = re.findall(r"[a-z]+", plain)
    words = re.findall(r"[a-z]+", _SAME.get(" ".join(words), " ".join(words)))
    wanted = sorted(set(words) - {"gland"})
    for target in TARGETS:
        if wanted == sorted(set(target.name.split("_")) - {"gland"}):
            return target.name
    return None
