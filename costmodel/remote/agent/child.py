"""Child: the process on the device that loads kernels and times them, and may die of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from costmodel.remote.agent.health import Clock, Health
from costmodel.remote.agent.store import Store, storage_error
from costmodel.timing.anchor import Anchor
from costmodel.timing.cores import split_cores, stay_on
from costmodel.timing.mishaps import die_with_parent, is_out_of_memory, one_line
from costmodel.timing.visit import visit
from costmodel.timing.watch import Watch

Spec = Dict[str, Any]


def run_child(folder: Path, root: Path, orders: int, answers: int) -> None:
    """Answer the front's orders, one JSON object a line, until it is gone.

    Args:
        folder: of the agent's files.
        root: where ``proc`` and ``sys`` lie.
        orders: descriptor to read from.
        answers: descriptor to write to.
    """
    _begin()
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
        self._watch: Watch | None = None
        self._clock: Clock | None = None
        self._anchor: Anchor | None = None
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

        setup = self._setup = order["setup"]
        cores: list[int] = setup["cores"]
        if setup["pick"]:
            cores, _ = split_cores(cores, setup["threads"], self._turn(), self._root)
        stay_on(cores)
        self._loader = Loader(setup, self._store.find)
        self._clock = Clock(Health(self._root, cores, setup["max_temperature"]))
        self._watch = Watch(cores, self._clock)
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
        return {
            "latency_ms": min(workload.block(0.1).latency_ms for _ in range(2)),
            "shapes": shapes,
        }

    def _visit(self, order: Spec) -> Spec:
        """Probe the anchor if it is due, then time a kernel unless only the probe is asked for."""
        found: Spec = {"probe": self._probe(order)}
        if order["do"] == "probe":
            return found
        assert self._clock is not None
        assert self._watch is not None
        begin = time.perf_counter()
        workload = self._loader.load(order["spec"])
        found["load_ms"] = (time.perf_counter() - begin) * 1000.0
        times = {name: order["care"][name] for name in ("visit_ms", "block_ms")}
        stay = visit(workload, self._watch, **times)
        found.update(stay.summary._asdict(), warm_ms=stay.warm_ms, timed_ms=stay.timed_ms)
        found["throttled"] = self._clock.throttled()
        return found

    def _probe(self, order: Spec) -> Spec | None:
        if order.get("anchor") is None or self._anchor_refused:
            return None
        try:  # whatever ails the anchor, the jobs can go on without it
            if self._anchor is None:
                self._anchor = Anchor(self._loader.load(order["anchor"]))
            if not self._anchor.is_due(order["care"]["anchor_every_ms"]):
                return None
            block_ms, patience_ms = order["care"]["block_ms"], order["patience_ms"]
            probe = self._anchor.probe(block_ms, patience_ms, order["best_ms"])
        except Exception:
            self._anchor_refused = True
            return None
        return probe._asdict()

    def _load(self, order: Spec) -> Spec:
        workload = self._loader.load(order["spec"])
        workload.block(0.0)
        self._loaded[order["handle"]] = workload
        return {}

    def _block(self, order: Spec) -> Spec:
        workload = self._loaded.get(order["handle"])
        if workload is None:
            return {"error": "not-loaded", "text": "no workload %s" % order["handle"]}
        return dict(workload.block(order["min_ms"])._asdict())

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
    if name == "MissingFileError":
        return {"error": "no-file", "text": one_line(error, named=False)}
    if isinstance(error, ImportError):
        return {"error": "no-runtime", "text": one_line(error, named=False)}
    kind = "out_of_memory" if is_out_of_memory(error) else "rejected"
    return {"error": kind, "text": one_line(error, named=name not in _OURS)}


#: Errors whose text says enough.
_OURS = frozenset({"NoTimeError", "RejectedError", "UnfitInputError"})


def _begin() -> None:
    """Be a process of its own that ends with the front."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    die_with_parent()
    sys.stdout = sys.stderr
