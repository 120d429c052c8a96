"""A submission as a folder: `submission.json` and one model folder a network.

Serves prediction. The folder is self-contained: it names the inference value and the stage of every network, so that
`flare predict --model FOLDER` needs no system file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.cases.labels import TARGET_NAMES
from flare_core.cases.regions import BodyBox
from flare_core.inference.backends import TORCH, Compute, Network
from flare_core.inference.merged_networks import MergedNetworks
from flare_core.inference.model_checks import MOST_IN_INFERENCE, check_folder_name, read_description, refuse_absurd
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.nnunet_preprocessing import NnUNetResampling
from flare_core.inference.postprocessing import KeepComponents, KeepLargest, LongestRun, RemoveSmall, SplitPairs
from flare_core.inference.region_ensemble import RegionEnsemble
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.stored_network import BadModel
from flare_core.inference.trace import Inference, Look
from flare_core.inference.two_stage import TwoStage
from flare_core.inference.whole_volume import WholeVolume
from flare_core.inference.without_air import WithoutAir
from flare_core.recipe import decode, encode
from flare_core.storage import write_file

if TYPE_CHECKING:
    from flare_core.inference.network import TrainedNetwork

log = logging.getLogger(__name__)

PARTS = (
    *(RegionEnsemble, SlidingEnsemble, MergedNetworks, TwoStage, NnUNetPredictor),
    NnUNetResampling,
    *(SlidingWindow, SparseWindow, WithoutAir, WholeVolume),
    BodyBox,
    *(SplitPairs, LongestRun, RemoveSmall, KeepLargest, KeepComponents),
)
"""Every part that a stored inference may be made of: a new inference file adds its class here."""


@dataclass(frozen=True, eq=False)
class Submission:
    """Everything that turns an image into labels.

    Attributes:
        inference: predicts with the networks.
        networks: trained networks of each stage that the inference uses.
        facts: system, profile and recipe fingerprint.
        compute: what computes the networks.
    """

    inference: Inference | NnUNetPredictor
    networks: Mapping[str, Sequence[Network]]
    facts: dict[str, Any]
    compute: Compute = TORCH

    @property
    def all_networks(self) -> list[Network]:
        """The networks of all stages."""
        return [network for members in self.networks.values() for network in members]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that its labels can show, in their order."""
        shown = {name for network in self.all_networks for name in network.scheme.targets}
        return tuple(name for name in TARGET_NAMES if name in shown)

    @property
    def precision(self) -> str:
        """`bfloat16` where any network computes in it, else `float32`."""
        return "bfloat16" if any(network.precision == "bfloat16" for network in self.all_networks) else "float32"

    @property
    def batch(self) -> int:
        """Most windows that any of its networks computes at once."""
        return max(map(self.windows_at_once, self.inference.looks()), default=1)

    def windows_at_once(self, look: Look) -> int:
        """Return the most windows that a network of a look computes at once."""
        if isinstance(look.scheme, WholeVolume | NnUNetPredictor):
            return 1
        return self.networks[look.stages[0]][0].batch or look.scheme.batch

    def known_windows(self) -> list[tuple[Network, tuple[int, int, int], bool]]:
        """Return every network with its window where that does not depend on the image, and whether it is asked for
        probabilities."""
        found = []
        for look in self.inference.looks():
            for network in (network for stage in look.stages for network in self.networks[stage]):
                grid = network.preprocessing.grid_shape((1, 1, 1), (1, 1, 1))
                window = look.scheme.window_for(network, grid)
                if math.prod(grid) > 1 or not isinstance(look.scheme, WholeVolume):
                    found.append((network, window, look.probabilities))
        return found

    def skipping_air(self, air_hu: float) -> Submission:
        """Return the submission without windows that hold nothing above `air_hu` (`WithoutAir`).

        A network that sees a whole volume at once, and nnU-Net's own mode, have none to skip: then it says so.
        """
        skipping = _skipping(self.inference, air_hu)
        if skipping == self.inference:
            log.warning("this submission has no windows to skip: air is looked at, too")
        return replace(self, inference=skipping)

    def prepare(self) -> None:
        """Make what the first image would have to wait for, in another process: OpenVINO's graphs."""
        if self.compute.backend == "openvino":
            from flare_core.inference.openvino_graph import build_missing

            build_missing((network.stored, window) for network, window, _ in self.known_windows())

    def with_batch(self, batch: int) -> Submission:
        """Return the submission with so many windows at once at most."""
        most = dict.fromkeys(self.networks, batch)
        for look in self.inference.looks():
            most |= {stage: min(most[stage], self.windows_at_once(look)) for stage in look.stages}
        networks = {stage: [one.with_batch(most[stage]) for one in members] for stage, members in self.networks.items()}
        return replace(self, networks=networks)

    def __call__(self, image_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Return the label map (uint8, shape of the image) of one image in HU, RAS+."""
        return self.inference(image_hu, spacing_mm, self.networks)


def _skipping(inference: Any, air_hu: float) -> Any:
    """Return an inference whose windows, and those of its parts, skip air."""
    changed = {}
    for name in (field.name for field in fields(inference)):
        value = getattr(inference, name)
        if isinstance(value, SlidingWindow | SparseWindow):
            changed[name] = WithoutAir(value, air_hu)
        elif isinstance(value, Inference):
            changed[name] = _skipping(value, air_hu)
    return replace(inference, **changed)


def save_submission(
    folder: Path,
    inference: Inference | NnUNetPredictor,
    networks: Mapping[str, Sequence[TrainedNetwork]],
    facts: dict[str, Any],
    precision: str = "float16",
) -> Path:
    """Write a submission folder; `submission.json` comes last, so that a folder with it is complete.

    Args:
        folder: made if missing.
        inference: what predicts with the networks.
        networks: of each stage that the inference uses, with their `fold` among their facts; read once and in order.
        facts: system, profile and recipe fingerprint.
        precision: of the stored weights (`save_network`).
    Returns:
        The folder.
    """
    from flare_core.inference.network import save_network

    members = []
    for stage in inference.stages:
        for network in networks[stage]:
            name = f"{stage}_fold{network.facts['fold']}"
            save_network(folder / name, network, precision)
            members.append({"stage": stage, "folder": name})
    content = {"format": 1, **facts, "inference": encode(inference), "networks": members}
    write_file(folder / "submission.json", json.dumps(content, indent=2) + "\n")
    return folder


def load_submission(folder: Path, compute: Compute = TORCH) -> Submission:
    """Read a submission folder.

    Args:
        folder: holds `submission.json` and the model folders that it names.
        compute: what computes the networks (`choose_compute`).
    Raises:
        BadModel: if the folder is no submission, a network cannot be used or one is missing.
    """
    folder = Path(folder)
    try:
        content = read_description(folder / "submission.json")
    except FileNotFoundError:
        raise BadModel(_no_submission(folder)) from None
    try:
        for key in ("inference", "networks"):
            refuse_absurd(content[key], MOST_IN_INFERENCE, key)
        inference = decode(content["inference"], PARTS)
        members = [(item["stage"], folder / check_folder_name(item["folder"], folder)) for item in content["networks"]]
        if not isinstance(inference, Inference | NnUNetPredictor):
            raise ValueError(f"found {type(inference).__name__} as inference")
    except (ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder}/submission.json cannot be used by this version: {error}") from None
    networks = {stage: [compute.open(path) for name, path in members if name == stage] for stage in inference.stages}
    missing = [stage for stage, loaded in networks.items() if not loaded]
    if missing:
        raise BadModel(f"{folder}: submission.json names no network for {', '.join(missing)}; copy the folder again")
    facts = {k: v for k, v in content.items() if k not in ("format", "inference", "networks")}
    submission = Submission(inference, networks, facts, compute)
    try:
        submission.known_windows()
    except Exception as error:  # fields of a foreign description may be anything
        raise BadModel(f"{folder}/submission.json describes no inference that can run: {error}") from None
    return submission


def _no_submission(folder: Path) -> str:
    """Say why a folder is no submission, and which one may be meant."""
    if not folder.exists():
        return f"{folder}: no such folder; --model takes a submission folder such as weights/nvauto of this project"
    inner = folder / "submission"
    better = f"take {inner}" if (inner / "submission.json").is_file() else "a submission folder is e.g. weights/nvauto"
    return f"{folder}: no submission.json here; {better}"


def submission_hash(folder: Path) -> str:
    """Return a SHA-256 over `submission.json` and every `model.json` (which hold the weights' own hashes)."""
    digest = hashlib.sha256()
    for path in (folder / "submission.json", *sorted(folder.glob("*/model.json"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()
