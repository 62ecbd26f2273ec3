"""Processes that compile, as many at once as there are processors."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping

import msgspec

from costmodel.errors import CostModelError
from costmodel.runners.tpu_aot.messages import Answer, Estimate, Request

#: What a compiling process is told: there is no TPU, look for none, ask no metadata server, and do
#: not mind other processes that hold the library.
ENVIRONMENT: Mapping[str, str] = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
#: Settings of the user's that would change what the compiler does, unseen by the cache.
_DROPPED = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_X64", "LIBTPU_INIT_ARGS", "XLA_FLAGS")
_READ = msgspec.json.Decoder(Answer)


class Pool:
    """Compiling processes for one generation and element type, started when they are needed."""

    def __init__(self, generation: str, dtype: str, size: int) -> None:
        """Prepare; nothing is started yet.

        Args:
            generation: which TPU.
            dtype: element type of floats.
            size: most processes at once.
        """
        self.size = size
        self._command = [sys.executable, "-P", "-m", f"{__package__}.child", generation, dtype]
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(None)
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _stop_all, self._running)

    def estimate(self, request: Request) -> Estimate:
        """Let one process compile something; waits for a free one. For any thread.

        Raises:
            InvalidInputError: as the process says, and so the two errors below.
            ModelFormatError: for a file that is no model.
            UnsupportedOpError: for what cannot be built or the compiler rejects.
            CostModelError: if the process dies of it.
        """
        process = self._idle.get()
        try:
            if process is None:
                process = self._start()
            found = self._ask(process, request)
        except BaseException:
            self._drop(process)
            process = None
            raise
        finally:
            self._idle.put(process)
        if found.estimate is not None:
            return found.estimate
        refusal = found.refusal
        assert refusal is not None
        raise refusal.as_error()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            _stop_all(self._running)
            self._running.clear()

    def _start(self) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, **ENVIRONMENT},
        )
        with self._lock:
            self._running.append(process)
        return process

    def _drop(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            _stop(process)
            with self._lock:
                if process in self._running:
                    self._running.remove(process)

    def _ask(self, process: subprocess.Popen[bytes], request: Request) -> Answer:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            status = process.wait()
            what = request.op.label if request.op is not None else request.model
            message = (
                f"The compiling process ended with status {status} while at {what}. "
                "Expected an answer; memory may have run out (each process takes 1 to 4 GB): use "
                "fewer with the option jobs."
            )
            raise CostModelError(message)
        return _READ.decode(line)


def _stop_all(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
