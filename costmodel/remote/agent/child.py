"""Child: the process on the device that loads kernels and times them, and may die of it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from costmodel.remote.agent.facts import pick_cores
from costmodel.remote.agent.health import Clock, Health
from costmodel.remote.agent.store import Store, storage_error

Spec = Dict[str, Any]
_PR_SET_PDEATHSIG = 1
_MEMORY_WORDS = ("bad_alloc", "out of memory", "failed to allocate", "cannot allocate memory")
_LONGEST = 400


def run_child(folder: Path, root: Path, orders: int, answers: int) -> None:
    """Answer the front's orders, one JSON object a line, until it is gone.

    Args:
        folder: of the agent's files.
        root: where ``proc`` and ``sys`` lie.
        orders: descriptor to read from.
        answers: descriptor to write to.
    """
    _die_with_parent()
    worker = _Worker(folder, root)
    with os.fdopen(orders, "rb") as source:
        for line in source:
            reply = json.dumps(worker.answer(json.loads(line))).encode() + b"\n"
            while reply:
                reply = reply[os.write(answers, reply) :]


class _Worker:
    """The runtime and what is loaded into it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._store = Store(folder / "files")
        self._setup: Spec = {}
        self._loader: Any = None
        self._watch: Any = None
        self._clock: Clock | None = None
        self._anchor: Any = None
        self._anchor_refused = False
        self._loaded: dict[str, Any] = {}
        self._actions: dict[str, Callable[[Spec], Spec]] = {
            "versions": self._versions,
            "setup": self._prepare,
            "scout": self._scout,
            "visit": self._visit,
            "probe": self._visit,
            "load": self._load,
            "block": self._block,
            "close": self._close,
            "optimise": self._optimise,
            "profile": self._profile,
        }

    def answer(self, order: Spec) -> Spec:
        """Carry out one order; whatever goes wrong is part of the answer."""
        try:
            return self._actions[order["do"]](order)
        except OSError as error:
            found = storage_error(error, self._folder)
            return {"error": found.kind, "text": str(found)}
        except Exception as error:
            return _failure(error)

    def _versions(self, _: Spec) -> Spec:
        """Versions of what the device has; raises what its import raises."""
        import numpy
        import onnxruntime

        return {"numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__}

    def _prepare(self, order: Spec) -> Spec:
        from costmodel.remote.agent.runtime import Loader
        from costmodel.remote.agent.watch import Watch

        setup = self._setup = order["setup"]
        cores: list[int] = setup["cores"]
        if setup["pick"]:
            cores = pick_cores(self._root, cores, setup["threads"], self._turn())
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        self._loader = Loader(setup, self._store.find)
        self._clock = Clock(Health(self._root, cores, setup["max_temperature"]))
        self._watch = Watch(cores, self._clock, setup["rules"])
        return {"cores": cores}

    def _turn(self) -> int:
        """How many children there were before on this device."""
        path = self._folder / "turn"
        try:
            turn = int(path.read_text())
        except (OSError, ValueError):
            turn = 0
        with contextlib.suppress(OSError):  # a full disk says so where it matters
            path.write_text(str(turn + 1))
        return turn

    def _scout(self, order: Spec) -> Spec:
        """Time of a kernel alone, and the sizes that it writes."""
        workload = self._loader.load(order["spec"])
        workload.block(0.0)
        shapes = workload.output_shapes()
        return {"latency_ms": min(workload.block(0.1)[0] for _ in range(2)), "shapes": shapes}

    def _visit(self, order: Spec) -> Spec:
        """Probe the anchor if it is due, then time a kernel unless only the probe is asked for."""
        from costmodel.remote.agent.visit import visit

        found: Spec = {"probe": self._probe(order)}
        if order["do"] == "probe":
            return found
        assert self._clock is not None
        begin = time.perf_counter()
        workload = self._loader.load(order["spec"])
        found["load_ms"] = (time.perf_counter() - begin) * 1000.0
        found.update(visit(workload, order["care"], self._setup["rules"], self._watch))
        found["throttled"] = self._clock.throttled()
        return found

    def _probe(self, order: Spec) -> Spec | None:
        from costmodel.remote.agent.visit import Anchor

        if order.get("anchor") is None or self._anchor_refused:
            return None
        try:  # whatever ails the anchor, the jobs can go on without it
            if self._anchor is None:
                self._anchor = Anchor(self._loader.load(order["anchor"]), self._setup["rules"])
            if not self._anchor.is_due(order["care"]):
                return None
            probe = self._anchor.probe(order["care"], order["best_ms"], order["patience_ms"])
        except Exception:
            self._anchor_refused = True
            return None
        return dict(probe)

    def _load(self, order: Spec) -> Spec:
        workload = self._loader.load(order["spec"])
        workload.block(0.0)
        self._loaded[order["handle"]] = workload
        return {}

    def _block(self, order: Spec) -> Spec:
        workload = self._loaded.get(order["handle"])
        if workload is None:
            return {"error": "not-loaded", "text": "no workload %s" % order["handle"]}
        latency_ms, wall_ms, runs = workload.block(order["min_ms"])
        return {"latency_ms": latency_ms, "wall_ms": wall_ms, "runs": runs}

    def _close(self, order: Spec) -> Spec:
        self._loaded.pop(order["handle"], None)
        return {}

    def _optimise(self, order: Spec) -> Spec:
        from costmodel.remote.agent import trace

        folder = self._folder / "work" / order["work"]
        path = self._loader.path(order["file"])
        return {"inputs": trace.optimise(self._setup, path, folder)}

    def _profile(self, order: Spec) -> Spec:
        from costmodel.remote.agent import trace

        folder = self._folder / "work" / order["work"]
        path = self._loader.path(order["file"])
        return trace.profile(self._setup, path, folder, order["runs"])


def _failure(error: Exception) -> Spec:
    """What the host is told about an error: its sort, and one line."""
    name = type(error).__name__
    text = " ".join(str(error).split())
    if name == "MissingFileError":
        return {"error": "no-file", "text": text}
    if isinstance(error, ImportError):
        return {"error": "no-runtime", "text": text}
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _MEMORY_WORDS):
        return {"error": "out_of_memory", "text": ("%s: %s" % (name, text))[:_LONGEST]}
    shown = text if name == "RejectedError" else "%s: %s" % (name, text)
    return {"error": "rejected", "text": shown[:_LONGEST]}


def _die_with_parent() -> None:
    """Ask Linux for a kill when the front dies, and to be the first to go when memory runs out."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    sys.stdout = sys.stderr
