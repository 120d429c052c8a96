"""Which cases teach a stage, and what an unannotated target counts as.

Serves training: a `Stage` names one selection and one label policy.

References:
    nvauto, section 2.3 and Table 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flare_core.cases.labels import ORGAN_NAMES, LabelScheme

if TYPE_CHECKING:
    from flare_core.cases.dataset import Entry


@dataclass(frozen=True)
class AnnotatedCases:
    """Cases in which at least the given targets are annotated (none given: every labeled case).

    Attributes:
        targets: names that must be among a case's annotated targets.
    """

    targets: tuple[str, ...] = ()

    def __call__(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Return the training entries that qualify, in their order (possibly none)."""
        needed = set(self.targets)
        return tuple(
            e for e in entries if e.split == "train" and e.is_labeled and needed <= (e.annotated or frozenset())
        )


FULLY_LABELED = AnnotatedCases(ORGAN_NAMES)
LABELED = AnnotatedCases()


@dataclass(frozen=True)
class AsGiven:
    """Take the labels as they are: an unannotated target is background to the network."""


@dataclass(frozen=True)
class PseudoLabels:
    """Fill the unannotated targets from an earlier stage's ensemble; real labels win voxel by voxel.

    Attributes:
        teacher: name of the stage whose trained folds predict.
        never: targets that are not filled (nvauto: the tumor).
    """

    teacher: str
    never: tuple[str, ...] = ()


@dataclass(frozen=True)
class CautiousPseudoLabels(PseudoLabels):
    """The same, but of a case in which they are not annotated, the `ignored` targets teach nothing, not even absence.

    Attributes:
        ignored: targets whose channel is left out of the loss in such a case.
    """

    ignored: tuple[str, ...] = ()


def taught_channels(labels: AsGiven | PseudoLabels, scheme: LabelScheme, annotated: Iterable[str]) -> np.ndarray:
    """Say which channels a case's labels teach under a label policy.

    Args:
        labels: the policy.
        scheme: of the network.
        annotated: names of the targets that a person annotated in the case.
    Returns:
        bool array of shape (C,); True everywhere unless the policy ignores an unannotated target.
    """
    silent = set(getattr(labels, "ignored", ())) - set(annotated)
    return np.array([True, *(not silent & set(group) for group in scheme.groups)])
