"""Import OpenVINO without its telemetry.

Serves `openvino_graph` and `openvino_network`, the only modules that use it, always through here. Imported as usual,
OpenVINO writes an identifier into the home folder and sends its makers a message. Where the package
`openvino_telemetry` cannot be imported it puts a stand-in in its place that does nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

TELEMETRY = "openvino_telemetry"


def openvino() -> ModuleType:
    """Return the module `openvino`."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    before = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # what Python takes as "cannot be imported"
    try:
        import openvino as imported
    finally:
        del sys.modules[TELEMETRY]
        if before is not None:
            sys.modules[TELEMETRY] = before
    return imported
