"""Say what results were made with: package, commit, Python, processor, memory, libraries.

Serves the report and notebook 10.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib import metadata

from flare_core import __version__, paths
from flare_core.machine import processor_name, usable_cores

SHOWN_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "nibabel",
    "connected-components-3d",
    "openvino",
    "pandas",
    "papermill",
)


def environment() -> dict[str, str]:
    """Return names and versions or values, for people."""
    import psutil

    facts = {
        "flare_core": " ".join(filter(None, (__version__, _commit()))),
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": f"{processor_name()}, {usable_cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    for package in SHOWN_PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def _commit() -> str:
    """The commit of the working tree, with `+` when files differ from it; empty outside git."""
    git = shutil.which("git")
    if git is None:
        return ""
    commit = subprocess.run([git, "rev-parse", "--short", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    if commit.returncode:
        return ""
    changed = subprocess.run([git, "diff", "--quiet", "HEAD"], cwd=paths.ROOT, capture_output=True).returncode
    return f"({commit.stdout.strip()}{'+' if changed else ''})"
