"""Make an OpenVINO graph of a trained network, once, and keep it and what is compiled of it in the user's cache folder.

Serves `openvino_network`. Making one needs torch and MONAI; using a kept one does not. A kept file is used only if it
is what was written (SHA-256), for the same weights, architecture, window and version; a compiled one for the same
processor, too. Where nothing can be kept, everything is made anew in every process, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.inference.openvino_start import core, openvino
from flare_core.inference.stored_network import StoredNetwork, read_network
from flare_core.machine import processor_name
from flare_core.paths import user_cache
from flare_core.recipe import encode
from flare_core.storage import write_file

if TYPE_CHECKING:
    import openvino as ov

log = logging.getLogger(__name__)

FORMAT = 1
"""Of a kept graph; a new number makes all of them anew."""


def compiled_network(
    stored: StoredNetwork, window: tuple[int, ...], probabilities: bool, settings: dict[str, Any]
) -> ov.CompiledModel:
    """Return a network compiled for one window and processor, from an earlier start or compiled now.

    Args:
        stored: the model folder.
        window: voxels along X, Y, Z.
        probabilities: whether it ends in a softmax.
        settings: OpenVINO's.
    """
    what = {"probabilities": probabilities, "processor": processor_name(), **settings}
    blob = _folder(stored, window) / f"{_key(what)[:16]}.blob"
    content = _intact_content(blob)
    if content is not None:
        try:
            return core().import_model(content, "CPU", settings)
        except RuntimeError as error:
            log.debug("%s cannot be imported (%s): compiling again", blob, error)
    try:
        graph = core().read_model(kept_graph(stored, window))
    except OSError as error:
        log.warning(
            "%s: the OpenVINO graph cannot be kept (%s) and is built anew in every process; set XDG_CACHE_HOME to a "
            "folder that can be written to",
            stored.folder.name,
            error,
        )
        graph = build_graph(stored, window)
    compiled = core().compile_model(with_softmax(graph) if probabilities else graph, "CPU", settings)
    try:
        content = compiled.export_model().getvalue()
        write_file(blob, content)
        write_file(blob.with_suffix(".sha256"), hashlib.sha256(content).hexdigest())
    except (OSError, RuntimeError) as error:
        log.debug("%s is not kept: %s", blob, error)
    return compiled


def _intact_content(blob: Path) -> bytes | None:
    """Return what a kept file holds if it is what was written, else None."""
    try:
        content = blob.read_bytes()
        return content if hashlib.sha256(content).hexdigest() == blob.with_suffix(".sha256").read_text() else None
    except OSError:
        return None


def kept_graph(stored: StoredNetwork, window: tuple[int, ...]) -> Path:
    """Return the file of a network's graph for one window, from an earlier start or made now.

    Args:
        stored: the model folder.
        window: voxels along X, Y, Z.
    Raises:
        OSError: if it cannot be kept.
    """
    folder = _folder(stored, window)
    if not _is_intact(folder):
        log.info("%s: building the OpenVINO graph for windows of %s", stored.folder.name, " x ".join(map(str, window)))
        _keep(build_graph(stored, window), folder)
    return folder / "graph.xml"


def build_missing(wanted: Iterable[tuple[StoredNetwork, tuple[int, ...]]]) -> None:
    """Build the graphs that are not kept yet, in one other process: torch's memory goes with it.

    What cannot be built there is tried again when it is needed, and its error is met then.
    """
    missing = [(str(stored.folder), window) for stored, window in wanted if not _is_intact(_folder(stored, window))]
    if missing:
        log.info("building %d OpenVINO graphs, once: later starts need neither torch nor MONAI", len(missing))
        command = [sys.executable, "-m", "flare_core.inference.openvino_graph"]
        done = subprocess.run(command, input=json.dumps(missing), text=True, check=False, capture_output=True)
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            log.warning("the OpenVINO graphs could not be built beforehand: %s", words[-1])


def _folder(stored: StoredNetwork, window: tuple[int, ...]) -> Path:
    """Return where a graph is kept: a name that says everything that it follows from."""
    what = {
        "format": FORMAT,
        "weights": stored.sha256,
        "network": encode(stored.architecture),
        "window": tuple(window),
        "openvino": openvino().__version__,
    }
    return user_cache() / "openvino" / _key(what)[:32]


def _key(what: dict[str, Any]) -> str:
    """Return a name that says all of this."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def build_graph(stored: StoredNetwork, window: tuple[int, ...]) -> ov.Model:
    """Return the graph of a network from (1, 1, *window) to (1, C, *window)."""
    import torch

    ov = openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from flare_core.inference.network import load_network

    module, shape = load_network(stored, exact=True).module, (1, 1, *window)
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every branch on a size, and sizes are fixed here
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(module, example_input=torch.zeros(shape))
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape({graph.inputs[0]: ov.PartialShape(shape)})
    return graph


def with_softmax(graph: ov.Model) -> ov.Model:
    """Return a graph that ends in a softmax over the channels."""
    ov = openvino()
    scores = graph.output(0).get_node().input_value(0)
    return ov.Model([ov.opset13.softmax(scores, axis=1)], graph.get_parameters(), "probabilities")


def _keep(graph: ov.Model, folder: Path) -> Path:
    """Write a graph so that its folder is complete or not there; return its file."""
    fresh = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    fresh.mkdir(parents=True, exist_ok=True)
    try:
        openvino().save_model(graph, fresh / "graph.xml", compress_to_fp16=False)
        sums = {name: _sha256(fresh / name) for name in ("graph.xml", "graph.bin")}
        (fresh / "sha256.json").write_text(json.dumps(sums))
        if folder.exists() and not _is_intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            os.replace(fresh, folder)
        except OSError:
            if not _is_intact(folder):  # else another process was faster
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "graph.xml"


def _is_intact(folder: Path) -> bool:
    """Say whether a kept graph is there and is what was written."""
    try:
        sums = json.loads((folder / "sha256.json").read_text())
        return all(_sha256(folder / name) == sums[name] for name in ("graph.xml", "graph.bin"))
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for path, size in json.load(sys.stdin):
        kept_graph(read_network(Path(path)), tuple(size))
