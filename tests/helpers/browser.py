"""A headless Chromium, driven over its DevTools protocol: what a page logs, and looks like."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

ROOT = Path(__file__).parents[2]
#: Programs that will do, the first that is there.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Nothing of its own goes to the network, and nothing needs a desktop or a graphics card.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)
#: Addresses that ask nobody for anything.
_LOCAL = ("file:", "data:", "blob:", "about:")


def find_chromium() -> str | None:
    """The installed browser, else the one that ``scripts/tools`` unpacked."""
    unpacked = ROOT / "build" / "tools" / "bin" / "chromium"
    installed = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    return installed or (str(unpacked) if unpacked.exists() else None)


class Browser:
    """One browser with one page; a context manager.

    Args:
        program: from ``find_chromium``.
        home: empty folder for its profile.

    Attributes:
        errors: what the page has logged as an error or thrown since it was opened.
        requests: addresses outside the file that it has asked for.
    """

    def __init__(self, program: str, home: Path) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._program = program
        self._home = home
        self._number = 0
        self._loaded = False

    def __enter__(self) -> Browser:
        self._home.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [self._program, *FLAGS, f"--user-data-dir={self._home}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self._home)},
            start_new_session=True,
        )
        try:
            self._socket = websocket.create_connection(
                self._address(), timeout=60, suppress_origin=True
            )
        except BaseException:
            self._end()
            raise
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _address(self) -> str:
        """Where the page's socket is, once the browser has written its port."""
        port = self._home / "DevToolsActivePort"
        for _ in range(600):
            if port.is_file() and len(lines := port.read_text(encoding="utf-8").split()) > 1:
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                    targets = json.load(answer)
                pages = [item for item in targets if item["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        message = f"{self._program} did not start."
        raise RuntimeError(message)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Result of one method of the protocol; events that come before it are looked at."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        found = self._receive()
        while found.get("id") != self._number:
            found = self._receive()
        if "error" in found:
            message = f"{method}: {found['error'].get('message')}"
            raise RuntimeError(message)
        return dict(found["result"])

    def _receive(self) -> dict[str, Any]:
        """The next message; what it tells of the page is kept."""
        found: dict[str, Any] = json.loads(self._socket.recv())
        self._note(found.get("method", ""), found.get("params", {}))
        return found

    def _note(self, event: str, what: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details)))
        elif event == "Runtime.consoleAPICalled" and what["type"] in {"error", "warning", "assert"}:
            words = [str(item.get("value", item.get("description"))) for item in what["args"]]
            self.errors.append(" ".join(words))
        elif event == "Log.entryAdded" and what["entry"]["level"] in {"error", "warning"}:
            self.errors.append(what["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            address = what["request"]["url"]
            if not address.startswith(_LOCAL):
                self.requests.append(address)

    def evaluate(self, expression: str) -> Any:
        """Value of an expression in the page, waited for if it is a promise.

        Raises:
            RuntimeError: if it throws.
        """
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            message = f"{expression}: {found['exceptionDetails']}"
            raise RuntimeError(message)
        return found["result"].get("value")

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Give the window a width in pixels, and the system a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> float:
        """Open a page, and return how many milliseconds it took until all was drawn."""
        self.errors.clear()
        self.requests.clear()
        self._loaded = False
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._receive()
        return float(self.evaluate(_DRAWN))

    def settle(self) -> None:
        """Wait until all that was asked for is drawn."""
        self.evaluate(_DRAWN)

    def pixels(self, element: str = "document.documentElement") -> bytes:
        """A picture of an element, as a PNG file holds it; of the whole page by default."""
        box = self.evaluate(
            f"(({{x, y, width, height}}) => ({{x: x + scrollX, y: y + scrollY, width, height}}))"
            f"({element}.getBoundingClientRect())"
        )
        found = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**box, "scale": 1}
        )
        return base64.b64decode(found["data"])

    def picture(self, path: Path) -> Path:
        """Write a picture of the whole page."""
        path.write_bytes(self.pixels())
        return path


#: Milliseconds from the start of loading until every plot says that it is drawn, and two frames
#: more, of which the last has painted it.
_DRAWN = """
new Promise((done) => {
  const look = () => {
    const documents = globalThis.Bokeh?.documents ?? []
    const ready = document.readyState == "complete" && documents.length > 0
    if (ready && documents.every((item) => item.is_idle)) {
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))
    } else {
      setTimeout(look, 5)
    }
  }
  look()
})
"""
