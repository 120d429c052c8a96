"""Make the environments that peers run in: one folder each under runs/, made once, with exact versions.

Peers are other people's packages that ours is compared with. They never enter this project's own environment. What they
need in their turn has its versions in `constraints/NAME.txt`: `pip freeze` of one, without the builds of torch.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from flare_core.paths import RUNS

CONSTRAINTS = Path(__file__).parent / "constraints"
TORCH = "torch==2.13.0"
"""The version of requirements.lock: with another one, torch would be compared and not the peer."""


@dataclass(frozen=True)
class Peer:
    """One environment.

    Attributes:
        name: of the tool, in tables.
        packages: exact pins, the tool's own first; what these need comes along, in the versions of `constraints`.
    """

    name: str
    packages: tuple[str, ...]

    @property
    def version(self) -> str:
        """The tool's own version."""
        return self.packages[0].partition("==")[2]

    @property
    def constraints(self) -> Path:
        """The versions of all that the environment holds."""
        return CONSTRAINTS / f"{self.name}.txt"

    @property
    def folder(self) -> Path:
        """Where the environment lies; other pins have another folder."""
        pins = hashlib.sha256("\n".join((*self.packages, self.constraints.read_text())).encode()).hexdigest()[:8]
        return RUNS / "peers" / f"{self.name}-{pins}"

    def python(self) -> Path:
        """Return the environment's Python, after making it where it is not there yet.

        `PIP_OPTIONS` holds options for pip, as for `make`: they choose torch's build.

        Raises:
            subprocess.CalledProcessError: if a package cannot be installed; what is half made is made anew next time.
        """
        python, stamp = self.folder / "bin" / "python", self.folder / "installed.txt"
        if not stamp.is_file():
            print(f"making {self.folder} with {', '.join(self.packages)}", flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
            pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
            options = shlex.split(os.environ.get("PIP_OPTIONS", ""))
            subprocess.run([*pip, "install", "--quiet", *options, "-c", self.constraints, *self.packages], check=True)
            frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
            stamp.write_text(frozen)  # last, so that an interrupted installation is not taken for a whole one
        return python


# The package calls names that later versions of NumPy and SciPy no longer have.
SURFACE_DISTANCE = Peer(
    "surface-distance", ("surface-distance==0.1", "numpy==1.26.4", "scipy==1.13.1", "nibabel==5.3.2")
)
MONAI = Peer(
    "monai",
    ("monai==1.6.1", TORCH, "numpy==2.4.6", "scipy==1.17.1", "nibabel==5.4.2", "pandas==3.1.1", "pyyaml==6.0.3"),
)
NNUNET = Peer("nnunetv2", ("nnunetv2==2.8.1", TORCH, "torchvision==0.28.0"))
