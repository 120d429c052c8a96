"""A real JupyterLab for tests, on this machine's loopback address, with folders of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flare_core import paths

TOKEN = "test"  # noqa: S105
QUIET = ("--no-browser", "--allow-root", "--expose-app-in-browser", "--LabApp.news_url=None")


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Serve a folder as `make lab` does and give the address that notebook names are appended to.

    Args:
        folder: holds the notebooks, and gets Jupyter's settings and log.
    """
    places = {f"JUPYTER_{name}_DIR": str(folder / ".jupyter" / name.lower()) for name in ("CONFIG", "RUNTIME")}
    places |= {f"JUPYTERLAB_{name}_DIR": str(folder / ".jupyter" / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    places |= {"JUPYTER_CONFIG_PATH": str(paths.JUPYTER), "PYTHONPATH": str(paths.ROOT)}
    environment = {name: value for name, value in os.environ.items() if name != "FLARE_BATCH"} | places
    options = ["--ip=127.0.0.1", "--port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    log = folder / "lab.log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "jupyterlab", *QUIET, *options]
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            yield _address(folder / ".jupyter" / "runtime", server, log)
        finally:
            server.terminate()
            server.wait(60)


def _address(runtime: Path, server: subprocess.Popen, log: Path, limit_s: float = 120) -> str:
    """Return the address of notebooks on a server that has started."""
    import json

    end = time.monotonic() + limit_s
    while time.monotonic() < end and server.poll() is None:
        for record in runtime.glob("jpserver-*.json"):
            port = json.loads(record.read_text())["port"]
            return f"http://127.0.0.1:{port}/lab/tree/{{}}?token={TOKEN}"
        time.sleep(0.5)
    raise TimeoutError(f"JupyterLab did not start: {log.read_text()[-2000:]}")
