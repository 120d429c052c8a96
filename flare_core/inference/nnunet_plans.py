"""Turn nnU-Net's plans.json and dataset.json into our values, or say what in them is not supported.

Serves the import of nnU-Net models. Everything spatial in the plans is along (z, y, x); here it is turned around.

References:
    MIC-DKFZ/nnUNet 2.8, utilities/plans_handling/plans_handler.py (inheritance, plans before 2.5),
    utilities/label_handling/label_handling.py; documentation/dataset_format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.cases.labels import TARGET_NAMES
from flare_core.cases.preprocessing import ClipAndStandardize
from flare_core.inference.nnunet_labels import BACKGROUND, NnUNetLabels, target_called
from flare_core.inference.nnunet_preprocessing import (
    NnUNetPreprocessing,
    NnUNetResampling,
    NoNormalization,
    ZScoreNormalization,
)
from flare_core.inference.stored_network import BadModel
from flare_core.models.unet import PlainUNet, ResidualEncoderUNet

NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
READERS = ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient")
ALWAYS_RAS = "NibabelIOWithReorient"
_READ = {"n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"} | {
    *("n_conv_per_stage_decoder", "norm_op_kwargs", "nonlin_kwargs", "dropout_op_kwargs"),
}
"""Architecture arguments that are read or, for dropout's, without effect."""
_FIXED = {
    "conv_op": ("Conv3d",),
    "norm_op": ("InstanceNorm3d",),
    "nonlin": ("LeakyReLU",),
    "conv_bias": (True,),
    "nonlin_first": (None, False),
    "block": (None, "BasicBlockD"),
    "bottleneck_channels": (None,),
    "stem_channels": (None,),
}
"""Arguments of their networks that ours have no choice of, and the values that ours have."""


@dataclass(frozen=True, eq=False)
class Plans:
    """One configuration of an nnU-Net's plans, inheritance resolved.

    Attributes:
        path: of plans.json, for messages.
        content: the whole file.
        configuration: of the trained networks.
    """

    path: Path
    content: Mapping[str, Any]
    configuration: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, content: Mapping[str, Any], name: str) -> Plans:
        """Return the configuration called `name`.

        Raises:
            BadModel: if it is not there, or is one that cannot be imported (2D, cascade, foreign parts).
        """
        configurations, merged, heirs = content.get("configurations", {}), {}, []
        while name:
            if name not in configurations or name in heirs:
                raise BadModel(f"{path}: no usable configuration {name!r}; it has {', '.join(configurations)}")
            heirs.append(name)
            merged = {**configurations[name], **merged}
            name = configurations[name].get("inherits_from")
        plans = cls(path, content, merged)
        plans._check(heirs[0])
        return plans

    def _check(self, name: str) -> None:
        """Refuse what our predictor does not do."""
        if self.configuration.get("previous_stage"):
            raise BadModel(f"{self.path}: {name} is the second stage of a cascade; import a model without a cascade")
        if len(self.configuration["patch_size"]) != 3:
            raise BadModel(f"{self.path}: {name} is a 2D configuration; import a 3D one (3d_fullres or 3d_lowres)")
        self._expect("preprocessor_name", self.configuration.get("preprocessor_name"), ("DefaultPreprocessor",))
        self._expect("label_manager", self.content.get("label_manager", "LabelManager"), ("LabelManager",))
        self._expect("image_reader_writer", self.content.get("image_reader_writer"), READERS)

    def _expect(self, what: str, found: Any, known: tuple) -> None:
        if found not in known:
            raise BadModel(f"{self.path}: {what} {found!r} is not supported; known: {', '.join(map(str, known))}")

    @property
    def window(self) -> tuple[int, int, int]:
        """The patch size along the network's axes."""
        return tuple(self.configuration["patch_size"][::-1])

    def axes(self, stored: str) -> str:
        """Return where the axes of the network's arrays point to.

        Args:
            stored: orientation of the training files; not used where nnU-Net's reader turned them to RAS.
        """
        letters = "RAS" if self.content.get("image_reader_writer") == ALWAYS_RAS else stored
        forward = self.content.get("transpose_forward", [0, 1, 2])
        return "".join(letters[2 - forward[2 - axis]] for axis in range(3)) if len(letters) == 3 else letters

    def preprocessing(self, stored: str) -> NnUNetPreprocessing:
        """Return the preprocessing; `stored` as in `axes`."""
        spacing = tuple(float(edge) for edge in self.configuration["spacing"][::-1])
        try:
            return NnUNetPreprocessing(self.axes(stored), self._normalization(), self.resampling("data"), spacing)
        except ValueError as error:
            raise BadModel(f"{self.path}: {error}") from None

    def resampling(self, what: str) -> NnUNetResampling:
        """Return how the `data` or the `probabilities` are resampled."""
        key = f"resampling_fn_{what}"
        self._expect(key, self.configuration.get(key), ("resample_data_or_seg_to_shape",))
        settings = self.configuration.get(f"{key}_kwargs", {})
        self._expect(f"{key}_kwargs order_z", settings.get("order_z", 0), (0,))
        self._expect(f"{key}_kwargs is_seg", settings.get("is_seg", False), (False,))
        return NnUNetResampling(settings.get("order", 3), settings.get("force_separate_z", False))

    def _normalization(self) -> ClipAndStandardize | ZScoreNormalization | NoNormalization:
        schemes = self.configuration["normalization_schemes"]
        if len(schemes) != 1:
            raise BadModel(f"{self.path}: expected one input channel (CT), found {len(schemes)}")
        known = ("CTNormalization", "ZScoreNormalization", "NoNormalization")
        self._expect("normalization", schemes[0], known)
        if schemes[0] == "NoNormalization":
            return NoNormalization()
        if schemes[0] == "ZScoreNormalization":
            return ZScoreNormalization(bool(self.configuration["use_mask_for_norm"][0]))
        key = "foreground_intensity_properties_per_channel"
        found = self.content.get(key) or self.content["foreground_intensity_properties_by_modality"]
        names = ("percentile_00_5", "percentile_99_5", "mean", "std")
        return ClipAndStandardize(*(float(found["0"][name]) for name in names))

    def network(self) -> PlainUNet | ResidualEncoderUNet:
        """Return the architecture.

        Raises:
            BadModel: for any but the two U-Nets with instance norm, naming what differs.
        """
        name, given = self._architecture()
        kind = name.rpartition(".")[2]
        if not name.startswith("dynamic_network_architectures.") or kind not in NETWORKS:
            raise BadModel(f"{self.path}: architecture {name} is not supported; known: {', '.join(NETWORKS)}")
        if unknown := sorted(key for key, value in given.items() if key not in _READ | _FIXED.keys() and value):
            raise BadModel(f"{self.path}: architecture argument {', '.join(unknown)} is not supported")
        for key, allowed in _FIXED.items():
            value = given.get(key)
            bare = value.rpartition(".")[2] if isinstance(value, str) else value
            self._expect(f"architecture argument {key}", bare, allowed)
        norm, slope = given.get("norm_op_kwargs") or {}, (given.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)
        self._expect("norm", (norm.get("eps", 1e-5), norm.get("affine", False)), ((1e-5, True),))
        self._expect("slope of the leaky ReLU", slope, (0.01,))
        stages = given["n_stages"]
        features = _each(given["features_per_stage"], stages)
        kernels = tuple(_along_xyz(kernel) for kernel in _each(given["kernel_sizes"], stages))
        strides = tuple(_along_xyz(stride) for stride in _each(given["strides"], stages))
        decoder = _each(given["n_conv_per_stage_decoder"], stages - 1)
        if kind == "PlainConvUNet":
            return PlainUNet(features, kernels, strides, _each(given["n_conv_per_stage"], stages), decoder)
        return ResidualEncoderUNet(features, kernels, strides, _each(given["n_blocks_per_stage"], stages), decoder)

    def _architecture(self) -> tuple[str, Mapping[str, Any]]:
        """Return class path and arguments of the network; plans before 2.5 spread them over the configuration."""
        found = self.configuration
        if "architecture" in found:
            return found["architecture"]["network_class_name"], found["architecture"]["arch_kwargs"]
        kind = found.get("UNet_class_name", "of unknown name")
        counts = found["n_conv_per_stage_encoder"]
        width, most = found["UNet_base_num_features"], found["unet_max_num_features"]
        return f"dynamic_network_architectures.architectures.unet.{kind}", {
            "n_stages": len(counts),
            "features_per_stage": [min(width * 2**stage, most) for stage in range(len(counts))],
            "conv_op": "Conv3d",
            "kernel_sizes": found["conv_kernel_sizes"],
            "strides": found["pool_op_kernel_sizes"],
            "n_conv_per_stage": counts,
            "n_blocks_per_stage": counts,
            "n_conv_per_stage_decoder": found["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": "InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "LeakyReLU",
        }


def labels_of(path: Path, dataset: Mapping[str, Any], given: Mapping[str, str] | None) -> NnUNetLabels:
    """Return what the channels of the networks stand for.

    Args:
        path: of dataset.json, for messages.
        dataset: its content.
        given: label name to target name or `background`; it wins over what the names say.
    Raises:
        BadModel: for several input channels, regions, values that are not 0, 1, 2, ..., a name that neither is given
            nor means one of the 14 targets, or a given name that is not there.
    """
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise BadModel(
            f"{path}: expected one input channel (CT), found {len(channels)}: {', '.join(channels.values())}"
        )
    values = {name: value for name, value in dataset.get("labels", {}).items() if name != "ignore"}
    regions = [name for name, value in values.items() if isinstance(value, list) and len(value) > 1]
    if regions:
        raise BadModel(f"{path}: {', '.join(regions)} are regions of several values, which cannot be imported")
    values = {name: value[0] if isinstance(value, list) and value else value for name, value in values.items()}
    names = sorted(values, key=lambda name: str(values[name]).zfill(9))
    if [values[name] for name in names] != list(range(len(names))) or not 2 <= len(names) <= 256:
        raise BadModel(f"{path}: expected label values 0, 1, 2, ... with background 0, found {values}")
    given = dict(given or {})
    targets = {name: given.get(name) or target_called(name) for name in names[1:]}
    unknown = [name for name, target in targets.items() if target is None]
    strange = [f"{name}: {target}" for name, target in given.items() if target not in (*TARGET_NAMES, BACKGROUND)]
    absent = [name for name in given if name not in names[1:]]
    if unknown or strange or absent:
        raise BadModel(
            f"{path}: cannot tell what these labels mean: {', '.join(unknown + strange) or 'none'}; "
            f"given but not there: {', '.join(absent) or 'none'}; give a label map that names each of them, such as "
            f'{{"{(unknown or names[1:])[0]}": "{BACKGROUND}"}}, with one of {", ".join(TARGET_NAMES)} or {BACKGROUND}'
        )
    return NnUNetLabels(tuple(targets), tuple(targets.values()))


def _each(value: Any, count: int) -> tuple:
    """Return one value a stage: nnU-Net writes a single one where all are equal."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * count


def _along_xyz(value: Any) -> tuple[int, int, int]:
    """Return a kernel or stride along X, Y, Z."""
    return _each(value, 3)[::-1]
