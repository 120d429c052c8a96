"""Convert stored voxels to HU or target ids, piece by piece, and remember what was odd about them.

Serves reading. Each check sees every voxel exactly once, while it is still in the processor's cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flare_core.cases.bad_input import BadInput
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti_header import Header

AIR_HU = -1024.0
"""What stands for voxels without a value."""
HU_LIMITS = (-32768.0, 65535.0)
"""What 16-bit scanners can store; anything beyond is no CT."""
MAX_NOT_FINITE = 0.01
"""Share of NaN or Inf voxels beyond which a file is refused."""
LABEL_ROUNDING = 1e-3
"""How far from a whole number a label stored as float may be."""
MAX_LABEL = TARGETS[-1].id
_SHOWN_VALUES = 10
_TISSUE_SHIFTED = (900, 1300)
"""Soft tissue where 1024 was added to HU."""


class ImageCheck:
    """Turn stored values into HU and find what no CT should hold.

    Args:
        header: the checked header.
        path: for messages.
    """

    def __init__(self, header: Header, path: Path) -> None:
        self._header = header
        self._path = path
        self._lowest, self._highest = np.inf, -np.inf
        self._not_finite = 0
        self._histogram = np.zeros(1500, np.int64)  # of values 0..1499, filled only while none is negative

    def convert(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Write the HU of one piece.

        Args:
            stored: 1D array of stored values.
            out: float32 or int16 array of the same size; fractions are rounded for int16.
        Raises:
            BadInput: if a value is beyond `HU_LIMITS`, or beyond int16 where that was asked for.
        """
        values = self._values(stored)
        lowest, highest = float(values.min()), float(values.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            values = self._replace_not_finite(stored, values)
            lowest, highest = float(values.min()), float(values.max())
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        low, high = HU_LIMITS if out.dtype.kind == "f" else (-32768.0, 32767.0)
        if not (low <= lowest and highest <= high):
            raise BadInput(
                self._path,
                f"values outside CT range: expected HU of {low:g} to {high:g}, found {lowest:.4g} to "
                f"{highest:.4g} (scl_slope {self._header.slope:g}, scl_inter {self._header.intercept:g}); export again",
            )
        if self._lowest >= 0:
            inside = values[values < len(self._histogram)].astype(np.int16)
            self._histogram += np.bincount(inside, minlength=len(self._histogram))
        is_fractional = values.dtype.kind == "f" and out.dtype.kind != "f"
        np.copyto(out, np.rint(values) if is_fractional else values, casting="unsafe")

    def _values(self, stored: np.ndarray) -> np.ndarray:
        """Return the values meant: integers as they are, all else as float64."""
        if not self._header.is_scaled:
            return stored if stored.dtype.kind != "f" else stored.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # found by the checks that follow
            return stored * np.float64(self._header.slope) + self._header.intercept

    def _replace_not_finite(self, stored: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Count and replace voxels stored as NaN or Inf; what the value scale made infinite stays, to be refused."""
        bad = ~np.isfinite(stored)
        self._not_finite += int(np.count_nonzero(bad))
        return np.where(bad, AIR_HU, values)

    def finish(self) -> list[str]:
        """Return warnings about the volume as a whole.

        Raises:
            BadInput: if more than `MAX_NOT_FINITE` of all voxels have no value.
        """
        warnings = []
        voxels = self._header.voxels
        if self._not_finite > MAX_NOT_FINITE * voxels:
            raise BadInput(
                self._path,
                f"expected numbers, {self._not_finite} of {voxels} voxels are NaN or Inf (over 1 %); export again",
            )
        if self._not_finite:
            warnings.append(f"{self._not_finite} of {voxels} voxels are NaN or Inf: replaced by {AIR_HU:g} HU")
        if self._lowest == self._highest:
            warnings.append(f"constant image, every voxel is {self._lowest:g} HU: there is nothing to segment")
        elif self._highest < -500:
            warnings.append(f"all air, no voxel above {self._highest:g} HU: there is nothing to segment")
        elif self._lowest >= 0:
            warnings.append(self._shift_warning())
        return warnings

    def _shift_warning(self) -> str:
        """Say what an image without a negative value looks like; it is never shifted silently."""
        counts = self._histogram
        air = np.cumsum(counts[:200])
        median_of_air = int(np.searchsorted(air, air[-1] / 2)) if air[-1] else None
        low, high = _TISSUE_SHIFTED
        has_shifted_tissue = counts[low:high].sum() > 0.01 * self._header.voxels
        if median_of_air is not None and median_of_air <= 50 and has_shifted_tissue:
            return (
                f"no value below 0 and air near {median_of_air}: looks like HU + 1024; read as stored, "
                "set scl_inter to -1024 if so"
            )
        return "no value below 0, which a CT with air in it cannot have: are these HU? read as stored"


class LabelCheck:
    """Turn stored values into target ids and count every value that is none.

    Args:
        header: the checked header.
        path: for messages.
        label_map: foreign value to target id, None if the file holds target ids.
        may_be_empty: a map without a labeled voxel is nothing to warn of.
    """

    def __init__(
        self, header: Header, path: Path, label_map: Mapping[int, int] | None, may_be_empty: bool = False
    ) -> None:
        self._header = header
        self._path = path
        self._map = None if label_map is None else {0: 0, **{int(value): int(id_) for value, id_ in label_map.items()}}
        self._strange: Counter[int] = Counter()
        self._foreground = False
        self._may_be_empty = may_be_empty

    def convert(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Write the target ids of one piece.

        Args:
            stored: 1D array of stored values.
            out: uint8 array of the same size.
        """
        whole = self._whole_numbers(stored)
        if self._map is None:
            if whole.max() > MAX_LABEL or whole.min() < 0:
                self._note_strange(whole[(whole > MAX_LABEL) | (whole < 0)])
            np.copyto(out, whole, casting="unsafe")
        else:
            self._rename(whole, out)
        self._foreground = self._foreground or bool(out.any())

    def _whole_numbers(self, stored: np.ndarray) -> np.ndarray:
        """Return integers, refusing labels that are not nearly whole."""
        if stored.dtype.kind != "f" and not self._header.is_scaled:
            return stored
        values = stored * self._header.slope + self._header.intercept if self._header.is_scaled else stored
        values = values.astype(np.float64, copy=False)
        rounded = np.rint(values)
        with np.errstate(invalid="ignore"):
            whole = np.abs(values - rounded) <= LABEL_ROUNDING
        whole &= np.abs(rounded) < 2**53
        if not whole.all():
            wrong = values[~whole]
            raise BadInput(
                self._path,
                f"expected whole numbers as labels, found {wrong[0]:g} and {wrong.size - 1} more in the same piece; "
                "give labels that were never interpolated, and no image",
            )
        return rounded.astype(np.int64)

    def _rename(self, whole: np.ndarray, out: np.ndarray) -> None:
        """Apply the label map."""
        out[:] = 0
        values = np.unique(whole[whole != 0])
        for value in values.tolist():
            if value in self._map:
                out[whole == value] = self._map[value]
            else:
                self._note_strange(whole[whole == value])

    def _note_strange(self, values: np.ndarray) -> None:
        found, counts = np.unique(values, return_counts=True)
        if len(self._strange) < 1000:  # an image read as labels has any number of values
            self._strange.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def finish(self) -> list[str]:
        """Return warnings about the volume as a whole.

        Raises:
            BadInput: if any value is no target's.
        """
        if self._strange:
            listed = [f"{value} ({count} voxels)" for value, count in sorted(self._strange.items())]
            more = f" and {len(listed) - _SHOWN_VALUES} further values" if len(listed) > _SHOWN_VALUES else ""
            expected = f"labels 0 to {MAX_LABEL}" if self._map is None else f"the mapped values {sorted(self._map)}"
            raise BadInput(
                self._path,
                f"expected {expected}, found {', '.join(listed[:_SHOWN_VALUES])}{more}; "
                "give a label map that says what they mean (--map, --prediction-map), or correct the file",
            )
        return [] if self._foreground or self._may_be_empty else ["no voxel is labeled"]
