"""What a model folder says: `model.json`, and `weights.safetensors` checked against it.

Serves every backend, and needs none: a start that finds its compiled network ready imports no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.cases.labels import LabelScheme
from flare_core.cases.preprocessing import ClipAndStandardize, FixedGrid, IntensityWindow, Preprocessing, SigmoidWindow
from flare_core.inference.model_checks import (
    MOST_CHANNELS_OR_BLOCKS,
    MOST_IN_INFERENCE,
    MOST_WEIGHT_BYTES,
    BadModel,
    read_description,
    refuse_absurd,
)
from flare_core.inference.nnunet_labels import NnUNetLabels
from flare_core.inference.nnunet_preprocessing import (
    NnUNetPreprocessing,
    NnUNetResampling,
    NoNormalization,
    ZScoreNormalization,
)
from flare_core.models.phtrans import PHTrans
from flare_core.models.segresnet import SegResNet
from flare_core.models.smit import SmitPretraining
from flare_core.models.swinx import SwinX
from flare_core.models.unet import PlainUNet, ResidualEncoderUNet
from flare_core.recipe import decode

PARTS = (
    *(LabelScheme, Preprocessing, FixedGrid, IntensityWindow, SigmoidWindow, ClipAndStandardize),
    *(NnUNetLabels, NnUNetPreprocessing, NnUNetResampling, NoNormalization, ZScoreNormalization),
    *(SegResNet, PlainUNet, ResidualEncoderUNet, PHTrans, SwinX, SmitPretraining),
)
"""Every part that a stored network may be made of; a new network file adds its class here."""

Architecture = SegResNet | PlainUNet | ResidualEncoderUNet | PHTrans | SwinX | SmitPretraining
Stride = int | tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A model folder, read without its weights.

    Attributes:
        folder: holds `weights.safetensors` and `model.json`.
        architecture: what builds the network.
        scheme: its channels.
        preprocessing: its grid and intensities.
        precision: of the stored weights, `float16` or `float32`; the latter is always computed in float32.
        sha256: of the weights file.
        facts: what made it (system, stage, fold, steps, seed, ...).
    """

    folder: Path
    architecture: Architecture
    scheme: LabelScheme | NnUNetLabels
    preprocessing: Preprocessing | FixedGrid | NnUNetPreprocessing
    precision: str
    sha256: str
    facts: dict[str, Any]

    def weights(self) -> bytes:
        """Return the content of the weights file.

        Raises:
            BadModel: if it is missing or not the file that `model.json` describes.
        """
        path = self.folder / "weights.safetensors"
        try:
            if path.stat().st_size > MOST_WEIGHT_BYTES:
                raise BadModel(f"{path}: expected at most {MOST_WEIGHT_BYTES} bytes; copy the model folder again")
            weights = path.read_bytes()
        except FileNotFoundError as error:
            raise _incomplete(self.folder, error) from None
        if hashlib.sha256(weights).hexdigest() != self.sha256:
            raise BadModel(
                f"{self.folder}: weights.safetensors is not the file that model.json describes (SHA-256 differs)"
            )
        return weights


def read_network(folder: Path) -> StoredNetwork:
    """Read a model folder's `model.json`.

    Raises:
        BadModel: if it is missing, damaged, or describes a network that this version does not know.
    """
    try:
        model = read_description(folder / "model.json")
    except FileNotFoundError as error:
        raise _incomplete(folder, error) from None
    try:
        refuse_absurd(model["network"], MOST_CHANNELS_OR_BLOCKS, "network")
        for key in ("scheme", "preprocessing"):
            refuse_absurd(model[key], MOST_IN_INFERENCE, key)
        parts = [decode(model.pop(key), PARTS) for key in ("network", "scheme", "preprocessing")]
        kinds = (Architecture, LabelScheme | NnUNetLabels, Preprocessing | FixedGrid | NnUNetPreprocessing)
        for part, kind in zip(parts, kinds, strict=True):
            if not isinstance(part, kind):
                raise ValueError(f"found {type(part).__name__} where it cannot be")
        model.pop("format", None)
        return StoredNetwork(folder, *parts, model.pop("precision", "float16"), model.pop("sha256"), model)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadModel(f"{folder}/model.json does not describe a network of this version: {error}") from None


def _incomplete(folder: Path, error: FileNotFoundError) -> BadModel:
    return BadModel(f"{folder}: expected weights.safetensors and model.json, {error.filename} is missing")
