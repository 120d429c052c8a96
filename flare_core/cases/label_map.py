"""Say what foreign label values mean: renaming them, dropping them, or standing for several targets at once.

Serves reading of labels that do not follow FLARE's numbers (nnU-Net folders, kits19). As a file it is a JSON object
from value to target name, to `background`, or to a list of names where a value does not tell which of them it is:

    {"1": ["right_kidney", "left_kidney"], "2": "tumor"}

Several values may have the same meaning; they are united.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flare_core.cases.bad_input import BadInput
from flare_core.cases.labels import BY_NAME, TARGET_NAMES
from flare_core.cases.strict_json import expect, read_strict_json

_ALIASES = {
    "ivc": "inferior_vena_cava",
    "postcava": "inferior_vena_cava",
    "rag": "right_adrenal_gland",
    "lag": "left_adrenal_gland",
    "gall_bladder": "gallbladder",
    "lesion": "tumor",
}


@dataclass(frozen=True)
class LabelMap:
    """What each value of a label file stands for.

    Attributes:
        meanings: pairs (value, target names); no name means background.
    """

    meanings: tuple[tuple[int, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        alone = {names[0] for _, names in self.meanings if len(names) == 1}
        first = [names for _, names in self.meanings if len(names) > 1]
        clash = [
            names
            for names in first
            if names[0] in alone or any(names[0] in other and names != other for other in first)
        ]
        if clash:
            raise ValueError(
                f"{'+'.join(clash[0])} and another value share {clash[0][0]}: voxels could not be told apart; "
                "give both values the same meaning"
            )

    @cached_property
    def ids(self) -> dict[int, int]:
        """Value to target id, 0 for background; a value that stands for several targets becomes the first one's id."""
        return {value: BY_NAME[names[0]].id if names else 0 for value, names in self.meanings}

    @cached_property
    def united(self) -> dict[str, tuple[str, ...]]:
        """First name to all names, for values that stand for several targets."""
        return {names[0]: names for _, names in self.meanings if len(names) > 1}

    @property
    def is_identity(self) -> bool:
        """Whether the values are FLARE's own."""
        return not self.united and all(value == id_ for value, id_ in self.ids.items())


def read_label_map(file: str | Path) -> LabelMap:
    """Read a label map file (format: see this module).

    Raises:
        BadInput: with the path to the key that is wrong.
    """
    path = Path(file)
    content = read_strict_json(path)
    if not content:
        raise BadInput(path, '$: expected at least one value, such as {"1": "liver"}')
    meanings = {}
    for key, meaning in content.items():
        place = f"$.{key}"
        if not re.fullmatch(r"-?[0-9]{1,9}", key):
            raise BadInput(
                path, f'{place}: expected a label value such as "1" as key, found {key!r}; write value: name'
            )
        names = expect(meaning, (str, list), place, path)
        names = [names] if isinstance(names, str) else names
        meanings[int(key)] = tuple(_target(name, place, path) for name in names if name != "background")
    return _checked(meanings, path)


def label_map_of_dataset(labels: Mapping[str, Any], path: Path) -> LabelMap | None:
    """Return what the `labels` of a dataset.json mean, None if they are FLARE's own.

    Args:
        labels: name to value (nnU-Net version 2 and our cohort) or value to name (version 1).
        path: the dataset.json, for messages.
    Raises:
        BadInput: for an unknown name, a value that is no number, a region (list of values), or nnU-Net's ignore label.
    """
    meanings: dict[int, tuple[str, ...]] = {}
    for key, other in labels.items():
        place = f"$.labels.{key}"
        if key.isdigit() and isinstance(other, str):
            name, value = other, int(key)
        else:
            name, value = key, expect(other, int, place, path)
        if value in meanings:
            raise BadInput(path, f"{place}: expected each value once, found {value} again; regions cannot be read")
        meanings[value] = () if name == "background" else (_target(name, place, path),)
    found = _checked(meanings, path)
    return None if found.is_identity else found


def _checked(meanings: Mapping[int, tuple[str, ...]], path: Path) -> LabelMap:
    try:
        return LabelMap(tuple(sorted(meanings.items())))
    except ValueError as error:
        raise BadInput(path, f"$: {error}") from None


def _target(name: Any, place: str, path: Path) -> str:
    """Return the target's name for a common spelling of it."""
    bare = re.sub(r"\([^()]*\)$", "", expect(name, str, place, path).strip())  # "inferior vena cava (IVC)"
    plain = re.sub(r"[\s-]+", "_", bare.strip().lower())
    plain = re.sub(r"our$", "or", plain).replace("oeso", "eso")  # British spellings
    plain = _ALIASES.get(plain, plain)
    if plain not in TARGET_NAMES:
        raise BadInput(
            path, f"{place}: expected background or one of {', '.join(TARGET_NAMES)}, found {name!r}; correct the name"
        )
    return plain
