"""A headless Chromium for tests, driven through chromedriver's HTTP interface (W3C WebDriver), with no other package.

Names resolve nowhere but on this machine, and every request that a page tries is kept.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def missing_browser() -> str:
    """Say what a browser test lacks here ("" if it can run)."""
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (Debian: chromium, chromium-driver)" if absent else ""


class Browser:
    """One window of a running Chromium."""

    def __init__(self, port: int) -> None:
        self._port, self._session = port, ""

    def open(self, size: tuple[int, int], profile: Path) -> None:
        """Start the browser with a window of so many pixels and a profile folder of its own."""
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        wanted = {
            "browserName": "chrome",
            "pageLoadStrategy": "normal",
            "goog:chromeOptions": {"args": flags, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"
        self._call("POST", self._session + "/timeouts", {"script": 120_000, "pageLoad": 120_000})

    def visit(self, address: str) -> None:
        """Load a page."""
        self._call("POST", self._session + "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script's body in the page and return what it returns."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, limit_s: float, *arguments: Any) -> Any:
        """Run a script until it returns something true, and return that.

        Raises:
            TimeoutError: if it does not within the limit.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = self.run(script, *arguments)
            if found:
                return found
            time.sleep(0.3)
        raise TimeoutError(f"nothing true within {limit_s} s: {script}")

    def picture(self, file: Path | None = None) -> np.ndarray:
        """Return a screenshot as (rows, columns, 3) uint8, and keep it as a PNG if a file is named."""
        from matplotlib.image import imread

        png = base64.b64decode(self._call("GET", self._session + "/screenshot"))
        if file:
            file.write_bytes(png)
        return np.rint(imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(np.uint8)

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the last call, those that failed too."""
        entries = self._call("POST", self._session + "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        sockets = [m["params"] for m in messages if m["method"] == "Network.webSocketCreated"]
        return [params["request"]["url"] for params in sent] + [params["url"] for params in sockets]

    def complaints(self) -> list[str]:
        """Return the console's errors since the last call."""
        entries = self._call("POST", self._session + "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def close(self) -> None:
        """End the browser."""
        if self._session:
            self._call("DELETE", self._session)

    def _call(self, method: str, path: str, content: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=180)
        try:
            connection.request(method, path, None if content is None else json.dumps(content))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value


@contextmanager
def chromium(folder: Path, size: tuple[int, int] = (1400, 900)) -> Iterator[Browser]:
    """Run a browser whose files stay in `folder`; it ends with the block, whatever happens there."""
    log = (folder / "chromedriver.log").open("w+")
    driver = subprocess.Popen([shutil.which("chromedriver"), "--port=0"], stdout=log, stderr=subprocess.STDOUT)
    browser = None
    try:
        browser = Browser(_port_of(folder / "chromedriver.log"))
        browser.open(size, folder / "profile")
        yield browser
    finally:
        try:
            if browser:
                browser.close()
        finally:
            driver.terminate()
            driver.wait(20)
            log.close()


def _port_of(log: Path, limit_s: float = 30) -> int:
    """Return the port that a chromedriver says it listens on."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        said = log.read_text()
        if "on port " in said and "started successfully" in said:
            return int(said.rpartition("on port ")[2].split(".")[0])
        time.sleep(0.1)
    raise TimeoutError(f"chromedriver did not start within {limit_s} s: {log.read_text()}")
