"""Order: a list of steps that the host wants done, one after the other, and how far it is."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Callable, Dict

from costmodel.remote.agent.health import Health

Spec = Dict[str, Any]
#: How often a visit is tried again because the device was throttling, and looks at a hot device.
_MOST_REPEATS, COOL_LOOK_S = 2, 1.0


class Order:
    """Steps, the one that is under way, and the waiting for a hot device between them.

    Args:
        order: from the host: ``steps`` and what they share.
        health: the sensors.
        tell: writes an event into the journal and sends it.
        limit_s: longest that one step may take.
        cool_s: longest wait for a device that throttles, at one time.
    """

    def __init__(
        self,
        order: Spec,
        health: Health,
        tell: Callable[[Spec], None],
        *,
        limit_s: float,
        cool_s: float,
    ) -> None:
        self._shared = {key: order.get(key) for key in ("care", "anchor", "best_ms")}
        self._patience_ms = float(order.get("patience_ms") or 0.0)
        self._steps: deque[Spec] = deque(order["steps"])
        self._health = health
        self._tell = tell
        self._cool_s = cool_s
        self._cooling_since: float | None = None
        self._repeats = 0
        self._cool_next = False
        self.limit_s = limit_s
        self.name = order["order"]
        self.current: Spec | None = None

    def stop(self) -> None:
        """Do nothing after the present step."""
        self._steps.clear()

    @property
    def finished(self) -> bool:
        """Whether nothing is left or under way."""
        return self.current is None and not self._steps

    @property
    def cooling(self) -> bool:
        """Whether it waits for the device to cool down."""
        return self._cooling_since is not None

    def next(self) -> Spec | None:
        """The order to give to the child now; None to wait, or at the end."""
        if not self._steps or self._must_wait():
            return None
        step = self.current = self._steps.popleft()
        if not self._repeats and step["do"] != "probe":
            self._tell({"event": "started", "step": step["step"]})
        order = dict(self._shared, patience_ms=self._patience_ms, do=step["do"])
        order["spec"] = step.get("spec")
        return order

    def _must_wait(self) -> bool:
        """Whether the device is too hot, or throttled just now, and may still cool down."""
        now = time.monotonic()
        since = self._cooling_since
        if since is None:
            if not (self._cool_next or self._health.too_hot()):
                return False
            self._cooling_since = now
            self._tell({"event": "cooling", "state": self._health.state()})
            return True
        waited_s = now - since
        throttled = self._cool_next and waited_s < min(COOL_LOOK_S * 5, self._cool_s)
        if waited_s < self._cool_s and (throttled or self._health.too_hot(cooling=True)):
            return True
        self._cooling_since, self._cool_next = None, False
        self._tell({"event": "cooled", "waited_s": waited_s, "state": self._health.state()})
        return False

    def ended(self, answer: Spec) -> None:
        """Take the child's answer to the present step."""
        step = self.current
        assert step is not None
        self.current = None
        probe = answer.pop("probe", None)
        if probe:
            self._patience_ms -= probe["waited_ms"]
            self._tell(dict(probe, event="probed"))
        if step["do"] == "probe":
            return
        if answer.pop("throttled", False) and self._repeats < _MOST_REPEATS:
            self._repeats += 1
            self._cool_next = True
            self._steps.appendleft(step)
            return
        if "error" in answer:
            event = {"event": "failed", "error": answer["error"], "text": answer["text"]}
        else:
            name = "scouted" if step["do"] == "scout" else "visited"
            event = dict(answer, event=name, repeats=self._repeats)
        self._repeats = 0
        self._tell(dict(event, step=step["step"]))
