"""Drives a headless Chromium through its debugging pipe: no package but Python's own is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
#: Nothing is fetched, nothing is kept, and what a GPU would draw is drawn by the processor.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--hide-scrollbars", "--enable-unsafe-swiftshader"),
    "--disable-dev-shm-usage",
)
#: Seconds that one answer may take.
PATIENCE_S = 60.0


def find_chromium() -> str | None:
    """The installed browser, else the one that ``scripts/tools`` unpacked."""
    names = ("chromium", "chromium-headless-shell")
    unpacked = [str(ROOT / "build" / "tools" / "bin" / name) for name in names]
    return next((path for path in map(shutil.which, (*names, *unpacked)) if path), None)


#: The browser reads its orders from 3 and answers into 4.
_LAUNCH = """
import fcntl, os, sys
orders, answers = (fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 9) for pipe in sys.argv[1:3])
for number, pipe in ((3, orders), (4, answers)):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One page of a headless browser; a context manager.

    Args:
        program: the browser.
        home: an empty folder for its profile.
        size: width and height of the page, in pixels.
    """

    def __init__(self, program: str, home: Path, size: tuple[int, int] = (1400, 900)) -> None:
        self.program = program
        self.home = home
        self.size = size
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._number = 0
        self._session = ""

    def __enter__(self) -> Chromium:
        self._start()
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            found = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = found["sessionId"]
            for part in ("Page", "Runtime", "Log"):
                self.call(f"{part}.enable")
            self.resize(*self.size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        their_input, to_them = os.pipe()
        from_them, their_output = os.pipe()
        own = [f"--user-data-dir={self.home}", "--remote-debugging-pipe", "about:blank"]
        command = [self.program, *FLAGS, *own]
        environment = os.environ | {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCH, str(their_input), str(their_output), *command],
            pass_fds=(their_input, their_output),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        os.close(their_input)
        os.close(their_output)
        self._out = os.fdopen(to_them, "wb")
        self._in = os.fdopen(from_them, "rb")
        self._reader = threading.Thread(target=_read, args=(self._in, self._inbox), daemon=True)
        self._reader.start()

    def __exit__(self, *exc: object) -> None:
        self._session = ""
        try:
            self.call("Browser.close")
            self._process.wait(timeout=10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=10)
        with contextlib.suppress(OSError):  # what was not taken is of no use any more
            self._out.close()
        self._in.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        self._out.write(json.dumps(order).encode() + b"\0")
        self._out.flush()
        until = time.monotonic() + PATIENCE_S
        while self._number not in self._answers:
            self._take(until - time.monotonic(), method)
        answer = self._answers.pop(self._number)
        if "error" in answer:
            message = f"{method}: {answer['error']}"
            raise RuntimeError(message)
        found: dict[str, Any] = answer["result"]
        return found

    def _take(self, seconds: float, method: str) -> None:
        try:
            message = self._inbox.get(timeout=max(0.0, seconds))
        except queue.Empty:
            message = None
        if message is None:
            raise RuntimeError(f"{method}: the browser gave no answer")  # noqa: EM102
        if "id" in message:
            self._answers[message["id"]] = message
            return
        told = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(" ".join(str(item.get("value", item)) for item in told["args"]))
        elif message["method"] == "Network.requestWillBeSent":  # once that part is enabled
            self.requests.append(told["request"]["url"])
        elif message["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def resize(self, width: int, height: int) -> None:
        """Make the page another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of a script, which may be a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            message = str(found["exceptionDetails"])
            raise RuntimeError(message)
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE_S) -> Any:
        """Wait until a script has a value that is true, and return it."""
        until = time.monotonic() + seconds
        while not (found := self.evaluate(script)):
            if time.monotonic() > until:
                message = f"{script} did not come true in {seconds:g} s: {self.errors}"
                raise RuntimeError(message)
            time.sleep(0.1)
        return found

    def screenshot(self, path: Path) -> Path:
        """Write what is to be seen as a PNG."""
        found = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))
        return path


def _read(stream: IO[bytes], inbox: queue.Queue[dict[str, Any] | None]) -> None:
    """Put every message into the inbox, and None after the last."""
    rest = b""
    while True:
        try:
            piece = os.read(stream.fileno(), 1 << 16)
        except (OSError, ValueError):
            piece = b""
        if not piece:
            inbox.put(None)
            return
        *whole, rest = (rest + piece).split(b"\0")
        for message in whole:
            inbox.put(json.loads(message))
