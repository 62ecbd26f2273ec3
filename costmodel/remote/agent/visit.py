"""Visit: the timing loop of one stay at one workload, by the rules that the host sends."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Dict

from costmodel.remote.agent.runtime import RejectedError
from costmodel.remote.agent.watch import Sample, Watch

Spec = Dict[str, Any]


def visit(workload: Any, care: Spec, rules: Spec, watch: Watch) -> Spec:
    """Warm up, then time blocks until enough undisturbed ones are in, or enough is enough.

    Args:
        workload: what to time.
        care: ``visit_ms`` and ``block_ms``.
        rules: the host's constants.
        watch: tells what each block lost to others.

    Returns:
        The round's numbers, and the wall times ``warm_ms`` and ``timed_ms``.

    Raises:
        RejectedError: if no block has a time above 0.
    """
    before = time.perf_counter()
    warm_block_ms = _warm_up(workload, care, rules)
    warmed = time.perf_counter()
    watch.reset()
    is_long = warm_block_ms > care["visit_ms"] * rules["long_share"]
    samples = _collect(workload, care, rules, watch, needed=_needed(rules, is_long=is_long))
    done = time.perf_counter()
    found = summarise(samples)
    found["warm_ms"] = (warmed - before) * 1000.0
    found["timed_ms"] = (done - warmed) * 1000.0
    return found


def _needed(rules: Spec, *, is_long: bool) -> int:
    return int(rules["min_long_blocks"] if is_long else rules["min_blocks"])


def _warm_up(workload: Any, care: Spec, rules: Spec) -> float:
    """Run until steady; returns the wall time of one block in ms."""
    latency_ms, wall_ms, _ = workload.block(care["block_ms"])
    spent_ms = wall_ms
    recent = [latency_ms]
    while spent_ms < care["visit_ms"] * rules["warm_share"]:
        if len(recent) >= rules["max_warm_blocks"]:
            break
        latency_ms, wall_ms, _ = workload.block(care["block_ms"])
        spent_ms += wall_ms
        recent.append(latency_ms)
        last = recent[-int(rules["steady_blocks"]) :]
        steady = max(last) - min(last) <= rules["steady_share"] * abs(min(last))
        if len(last) == rules["steady_blocks"] and steady:
            break
    return float(wall_ms)


def _collect(workload: Any, care: Spec, rules: Spec, watch: Watch, *, needed: int) -> list[Sample]:
    samples: list[Sample] = []
    spent_ms = 0.0
    while True:
        watch.begin()
        latency_ms, wall_ms, runs = workload.block(care["block_ms"])
        sample = watch.end(Sample(latency_ms, wall_ms, runs, rules["lost_share"]))
        samples.append(sample)
        spent_ms += sample.wall_ms
        if len(samples) < needed or spent_ms < care["visit_ms"]:
            continue
        watch.settle()
        kept = [item.wall_ms for item in samples if not item.disturbed]
        if len(kept) >= needed and sum(kept) >= care["visit_ms"]:
            return samples
        target_ms = max(care["visit_ms"], needed * median(item.wall_ms for item in samples))
        enough = rules["replace"] * needed, rules["replace"] * target_ms
        if len(samples) >= enough[0] and spent_ms >= enough[1]:
            return samples


def summarise(samples: list[Sample]) -> Spec:
    """Numbers of the undisturbed samples; of the least disturbed one if there is no other.

    Raises:
        RejectedError: if no sample has a time above 0.
    """
    kept = [item for item in samples if not item.disturbed]
    if not kept:
        timed = [item for item in samples if item.has_time]
        if not timed:
            text = "none of %d blocks has a time above 0" % len(samples)
            raise RejectedError(text + "; the clock or the overhead correction is wrong")
        kept = [min(timed, key=lambda item: item.lost_ms)]
    times = [item.latency_ms for item in kept]
    return {
        "quiet_ms": min(times),
        "median_ms": median(times),
        "blocks": len(kept),
        "discarded": len(samples) - len(kept),
        "runs": sum(item.runs for item in kept),
    }


class Anchor:
    """A loaded kernel that is probed between visits, to show when the device slows down.

    Args:
        workload: the kernel, loaded.
        rules: the host's constants.
    """

    def __init__(self, workload: Any, rules: Spec) -> None:
        self._workload = workload
        self._rules = rules
        self._best_ms = float("inf")
        self._last: float | None = None

    def is_due(self, care: Spec) -> bool:
        """Whether the last probe is long enough ago."""
        if self._last is None:
            return True
        since_ms = (time.perf_counter() - self._last) * 1000.0
        return since_ms >= float(care["anchor_every_ms"])

    def probe(self, care: Spec, best_ms: float | None, patience_ms: float) -> Spec:
        """Time the kernel; while it is slow, wait and try again.

        Args:
            care: how long a block is.
            best_ms: least time that an earlier session saw.
            patience_ms: most to wait in sum.
        """
        rules = self._rules
        self._best_ms = min(self._best_ms, best_ms or float("inf"))
        patience_ms = min(patience_ms, rules["most_wait_ms"])
        waited_ms = timed_ms = 0.0
        wait_ms = rules["wait_ms"]
        while True:
            begin = time.perf_counter()
            blocks = [self._workload.block(care["block_ms"]) for _ in range(rules["probe_blocks"])]
            timed_ms += (time.perf_counter() - begin) * 1000.0
            latency_ms = min(block[0] for block in blocks)
            slow = latency_ms > rules["slow"] * self._best_ms
            if not slow or waited_ms + wait_ms > patience_ms:
                break
            time.sleep(wait_ms / 1000.0)
            waited_ms += wait_ms
            wait_ms *= rules["wait_growth"]
        self._best_ms = min(self._best_ms, latency_ms)
        self._last = time.perf_counter()
        return {
            "latency_ms": latency_ms,
            "slow": bool(slow),
            "timed_ms": timed_ms,
            "waited_ms": waited_ms,
        }
