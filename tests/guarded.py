"""Run programs with the network refused by `no_network/sitecustomize.py`, in their children and kernels, too."""

from __future__ import annotations

import os
from pathlib import Path

from flare_core import paths


def no_network(refused: Path) -> dict[str, str]:
    """Return the environment variables that do it; what was refused is written into `refused`."""
    refused.touch()
    where = os.pathsep.join([str(paths.ROOT / "tests" / "no_network"), str(paths.ROOT)])
    return {"FLARE_REFUSED": str(refused), "PYTHONPATH": where}
