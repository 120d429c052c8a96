"""Turn a trained nnU-Net version 2 model folder into a submission folder that `flare predict` runs.

Serves `flare import-nnunet`. An nnU-Net model folder (`nnUNetTrainer__nnUNetPlans__3d_fullres` or the like) holds
`plans.json`, `dataset.json` and a folder a fold with its checkpoint. The weights stay in single precision and are
computed in it, so that the labels equal those of nnU-Net's own predictor (`NnUNetPredictor`).

References:
    MIC-DKFZ/nnUNet 2.8, inference/predict_from_raw_data.py (initialize_from_trained_model_folder).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core.cases.bad_input import BadInput
from flare_core.cases.strict_json import read_strict_json
from flare_core.inference.network import TrainedNetwork
from flare_core.inference.nnunet_checkpoint import Checkpoint, read_checkpoint, weights_along_xyz
from flare_core.inference.nnunet_mode import NnUNetPredictor
from flare_core.inference.nnunet_plans import Plans, labels_of
from flare_core.inference.stored_network import BadModel
from flare_core.inference.submission import save_submission
from flare_core.storage import file_hash

STAGE = "nnunet"
"""Name of the only stage of an imported submission."""


def import_nnunet(
    folder: Path,
    out: Path,
    *,
    folds: Sequence[int | str] | None = None,
    labels: Mapping[str, str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    axes: str = "LPS",
    mirror: bool = False,
    tile_step: float = 0.5,
) -> Path:
    """Write a submission folder with the weights of an nnU-Net version 2 model.

    Args:
        folder: of the model: holds plans.json, dataset.json and fold_* folders.
        out: submission folder to write; it must not exist or be empty.
        folds: to average, such as (0, 1) or ("all",); None takes every numbered fold that has the checkpoint, or
            fold_all if there is none.
        labels: nnU-Net's label name to one of the 14 targets or `background`, for names that do not speak for
            themselves; several may become the same target.
        checkpoint: file name in each fold's folder.
        axes: where the stored axes of the training files point to. nnU-Net never reorients, so this cannot be read
            from the model. LPS is what SimpleITK stores for an axial CT; the LAS and RAS of other converters differ
            from it by mirrored axes. Not used if the model was trained with NibabelIOWithReorient, which makes
            everything RAS.
        mirror: average over mirrored views along the axes that the training allows. nnU-Net's predictor does it
            unless told otherwise; it takes eight times as long.
        tile_step: largest step between windows as a share of the window (nnU-Net's tile_step_size).
    Returns:
        `out`.
    Raises:
        BadModel: if the folder is no such model, or one that cannot be imported: other architectures or
            preprocessing, cascades, 2D, regions, several input channels, labels of unknown meaning, and pickles that
            want to call something. The message says which.
        FileExistsError: if `out` holds anything.
        ValueError: if `tile_step` is not in (0, 1].
    """
    folder, out = Path(folder), Path(out)
    if not 0 < tile_step <= 1:
        raise ValueError(f"expected a tile step above 0 and at most 1, got {tile_step}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder; choose another one or remove it")
    plans_json, dataset = (_read_json(folder / name) for name in ("plans.json", "dataset.json"))
    scheme = labels_of(folder / "dataset.json", dataset, labels)
    names = _fold_names(folder, folds, checkpoint)
    first = read_checkpoint(folder / f"fold_{names[0]}" / checkpoint)
    paths = [folder / f"fold_{name}" / checkpoint for name in names]
    try:
        plans = Plans.of(folder / "plans.json", plans_json, first.configuration)
        blank = TrainedNetwork(None, plans.network(), scheme, plans.preprocessing(axes))
        resampling = plans.resampling("probabilities")
    except (KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{folder / 'plans.json'} is not what nnU-Net version 2 writes: {error!r}") from None
    mirror_axes = tuple(sorted(2 - axis for axis in first.mirror_axes)) if mirror else ()
    predictor = NnUNetPredictor(STAGE, plans.window, tile_step, mirror_axes, resampling)
    source = {"folder": folder.name, "dataset": plans_json.get("dataset_name"), "configuration": first.configuration}
    networks = _networks(paths, names, first, blank)  # one at a time: five large networks need not fit into memory
    facts = {"system": "nnU-Net", "nnunet": {**source, "trainer": first.trainer}}
    return save_submission(out, predictor, {STAGE: networks}, facts, precision="float32")


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of the model folder."""
    if not path.is_file():
        raise BadModel(
            f"{path.parent}: no {path.name} here; give the folder that holds plans.json, dataset.json and fold_0, such "
            "as nnUNetTrainer__nnUNetPlans__3d_fullres"
        )
    try:
        return read_strict_json(path)
    except BadInput as error:
        raise BadModel(str(error)) from None


def _fold_names(folder: Path, folds: Iterable[int | str] | None, checkpoint: str) -> list[str]:
    """Return the folds to import, all of which have the checkpoint."""
    found = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint}"))
    numbered = [name for name in found if name.isdigit()]
    wanted = list(dict.fromkeys(map(str, folds))) if folds is not None else numbered or found
    if missing := [name for name in wanted if name not in found]:
        raise BadModel(f"{folder}: no {checkpoint} for fold {', '.join(missing)}; it is there for {', '.join(found)}")
    if not wanted:
        raise BadModel(f"{folder}: no fold_*/{checkpoint} here; train a fold or name another checkpoint")
    return wanted


def _networks(
    paths: Sequence[Path], names: Sequence[str], first: Checkpoint, blank: TrainedNetwork
) -> Iterator[TrainedNetwork]:
    """Give one fold's network after the other.

    Args:
        paths: of the checkpoints.
        names: of the folds.
        first: the first fold's checkpoint, whose configuration the others must have.
        blank: architecture, labels and preprocessing of all.
    """
    for path, name in zip(paths, names, strict=True):
        fold = first if path is paths[0] else read_checkpoint(path)
        if (fold.configuration, fold.trainer) != (first.configuration, first.trainer):
            raise BadModel(
                f"{path}: trained as {fold.trainer}, {fold.configuration}, but {paths[0].parent.name} as "
                f"{first.trainer}, {first.configuration}; an ensemble is made of folds of one model"
            )
        facts = {"system": "nnU-Net", "stage": STAGE, "fold": int(name) if name.isdigit() else name}
        yield TrainedNetwork(
            _module(path, fold, blank),
            blank.architecture,
            blank.scheme,
            blank.preprocessing,
            {**facts, "nnunet_labels": list(blank.scheme.names), "checkpoint_sha256": file_hash(path)},
        )


def _module(path: Path, fold: Checkpoint, blank: TrainedNetwork):
    """Return the network with a fold's weights."""
    import torch

    module = blank.architecture.build(blank.scheme.channels).eval()
    weights = weights_along_xyz(fold.weights)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).splitlines()[1].split())[:200]
        raise BadModel(
            f"{path}: the weights do not fit the network in plans.json ({reason}); trainer {fold.trainer} may build "
            "another one, which cannot be imported"
        ) from None
    if not all(torch.isfinite(tensor).all() for tensor in weights.values()):
        raise BadModel(f"{path}: the weights hold NaN or infinite values; train or copy the model again")
    return module
