"""Import OpenVINO without its telemetry and without its model converter, and hold its one entry.

Serves `openvino_graph` and `openvino_network`, the only modules that use it, always through here. Imported as usual,
OpenVINO writes an identifier into the home folder and sends its makers a message; where the package
`openvino_telemetry` cannot be imported it puts a stand-in in its place that does nothing. The converter's imports take
a third of those of a quick start, and nothing here uses it: OpenVINO passes over one that cannot be imported, and
imports it when somebody asks for `openvino.convert_model`.

There is one `Core` a process, kept to its end. The plugin that it loads gives the thread a stack for signal handlers,
and puts back the earlier one when the `Core` and its networks are gone. After "make A, make B, drop A, drop B" that is
A's, which is freed: the next signal that Python handles (Ctrl-C, a worker's end) would be a segmentation fault.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino as ov

TELEMETRY, CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


def openvino() -> ModuleType:
    """Return the module `openvino`."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    with _not_importable(TELEMETRY), _not_importable(CONVERTER):
        import openvino as imported
    imported.__getattr__ = _left_out
    return imported


@cache
def core() -> ov.Core:
    """Return OpenVINO's entry."""
    return openvino().Core()


def _left_out(name: str) -> Any:
    """Return what is looked for in the module `openvino` and was left out of it."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    with _not_importable(TELEMETRY):
        from openvino.tools.ovc import convert_model
    return convert_model


@contextmanager
def _not_importable(name: str) -> Iterator[None]:
    """Let every import of a module fail meanwhile."""
    before = sys.modules.get(name)
    sys.modules[name] = None  # what Python takes as "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
