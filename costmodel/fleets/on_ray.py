"""Jobs on a Ray cluster: one actor a job, placed by custom resources. The only place with Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from costmodel.errors import DISTRIBUTION, InvalidInputError, MissingDependencyError
from costmodel.fleets.engine import LISTEN_S, Heard, Post
from costmodel.fleets.seat import Seat, SeatLostError

_LOG = logging.getLogger("costmodel")
#: Seconds between two looks at what resources the cluster has.
_LOOK_EVERY_S = 5.0
#: Longest wait for what a closed actor still has to do, in seconds.
_CLOSE_S = 10.0


class Stand:
    """The actor: a seat on the machine that Ray chose.

    Args:
        version: of the driver's package.
        module: of the job; see ``Seat``.
        order: the first one.
        folder: the job's own; files that it needs go there.
        files: by key, name and content.
    """

    def __init__(
        self,
        version: str,
        module: str,
        order: bytes,
        folder: str,
        files: Mapping[str, tuple[str, Any]],
    ) -> None:
        if version != (here := version_of(DISTRIBUTION)):
            message = f"its host has {DISTRIBUTION} {here}, the driver {version}"
            raise RuntimeError(message)
        import ray

        paths = {}
        for key, (name, content) in files.items():
            path = Path(folder).expanduser() / "models" / key / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ray.get(content))
            paths[key] = str(path)
        self._seat = Seat(module, order, paths)

    def turn(self, order: bytes) -> list[bytes] | str:
        """Say something to the job and listen to it; a text says why it is lost."""
        try:
            return self._seat.turn(order, LISTEN_S)
        except SeatLostError as error:
            return str(error)

    def stop(self) -> None:
        """Ask the job for a clean end."""
        self._seat.stop()

    def close(self, order: bytes) -> None:
        """End the job; ``order`` is a last line for it."""
        self._seat.close(order)


class RayEngine:
    """Jobs on the nodes of a cluster.

    Args:
        address: of its head, or ``auto`` for the one that runs on this machine.

    Raises:
        MissingDependencyError: without Ray.
        InvalidInputError: if there is no cluster.
    """

    def __init__(self, address: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            package, extra, what = "ray", "fleet", "Running jobs on a cluster"
            raise MissingDependencyError(package, extra, what) from error
        self._ray: Any = ray
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            message = (
                f"There is no Ray cluster at {address!r}: {_first(error)}. Start its head on this "
                "machine: RAY_USAGE_STATS_ENABLED=0 ray start --head"
            )
            raise InvalidInputError(message) from error
        self._make = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=2)(Stand)
        self._stands: dict[str, Any] = {}
        self._posts: dict[str, Post] = {}
        self._met: set[str] = set()
        self._turns: dict[Any, str] = {}
        self._shipped: dict[Path, Any] = {}
        self._most: dict[str, float] = {}
        self._looked = -_LOOK_EVERY_S

    def has_room(self, cpus: float) -> bool:
        """Always: Ray has jobs wait for their resources."""
        del cpus
        return True

    def open(self, name: str, post: Post, cpus: float) -> None:
        """Start a job where its resource is; see ``Engine``."""
        del cpus  # what counts on a cluster is in the post
        files = {key: (path.name, self._ship(path)) for key, path in post.files.items()}
        resources = {post.host: 1.0} if post.host else {}
        actor = self._make.options(
            num_cpus=0 if post.host else post.cpus, resources=resources
        ).remote(version_of(DISTRIBUTION), post.module, post.order, post.folder, files)
        self._stands[name], self._posts[name] = actor, post
        self.answer(name)

    def _ship(self, path: Path) -> Any:
        """The file in the cluster's store, once for all jobs."""
        if path not in self._shipped:
            self._shipped[path] = self._ray.put(path.read_bytes())
        return self._shipped[path]

    def problem(self, name: str) -> str:
        """That no node has what a job needs, and how to start one that has."""
        post = self._posts[name]
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked, self._most = now, self._most_of_a_node()
        if not post.host:
            if (there := self._most.get("CPU", 0.0)) >= post.cpus:
                return ""
            return f"no node of the cluster has {post.cpus:g} processors, at most {there:g}"
        host = post.host
        if self._most.get(host, 0.0) >= 1.0:
            return ""
        return (
            f"no node of the cluster has the resource {host!r}. Start one there: "
            f"ray start --address=HEAD:6379 --resources='{{\"{host}\": 1}}'"
        )

    def _most_of_a_node(self) -> dict[str, float]:
        """By resource, the most that a single node has: a job is on one."""
        most: dict[str, float] = {}
        for node in self._ray.nodes():
            for resource, count in node["Resources"].items() if node["Alive"] else ():
                most[resource] = max(count, most.get(resource, 0.0))
        return most

    def hear(self, within_s: float) -> list[Heard]:
        """What jobs have said; see ``Engine``."""
        if not self._turns:
            time.sleep(within_s)
            return []
        turns = list(self._turns)
        ready, _ = self._ray.wait(turns, num_returns=1, timeout=within_s)
        if ready:
            ready, _ = self._ray.wait(turns, num_returns=len(turns), timeout=0)
        found = []
        for turn in ready:
            name = self._turns.pop(turn)
            heard = self._result(name, turn)
            if heard.lines or heard.lost:
                found.append(heard)
            else:  # it was silent
                self.answer(name)
        return found

    def _result(self, name: str, turn: Any) -> Heard:
        try:
            said: Sequence[bytes] | str = self._ray.get(turn)
        except self._ray.exceptions.RayError as error:
            self._met.discard(name)
            return Heard(name=name, lost=f"its host or its job is gone: {_first(error)}")
        self._met.add(name)
        if isinstance(said, str):
            return Heard(name=name, lost=said)
        return Heard(name=name, lines=tuple(said))

    def answer(self, name: str, order: bytes = b"") -> None:
        """Ask for what comes next; see ``Engine``."""
        self._turns[self._stands[name].turn.remote(order)] = name

    def stop(self, name: str) -> None:
        """Ask a job for a clean end; one that still waits for a place has nothing to end."""
        if name in self._met:
            self._stands[name].stop.remote()
        else:
            self._ray.kill(self._stands[name])

    def close(self, name: str, order: bytes = b"") -> None:
        """End a job and its actor; see ``Engine``."""
        actor = self._stands.pop(name, None)
        if actor is None:
            return
        self._posts.pop(name)
        self._turns = {turn: other for turn, other in self._turns.items() if other != name}
        if name in self._met:  # an actor that waits for a place would not answer
            self._met.discard(name)
            try:
                self._ray.get(actor.close.remote(order), timeout=_CLOSE_S)
            except self._ray.exceptions.RayError as error:
                _LOG.debug("%s: %s", name, _first(error))
        self._ray.kill(actor)

    def end(self) -> None:
        """End all jobs and leave the cluster."""
        for name in list(self._stands):
            self.close(name)
        self._shipped.clear()
        self._ray.shutdown()


def _first(error: BaseException) -> str:
    """The first line that says something; of an actor that did not come to be, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "creation task" in lines[0] else 0].rstrip(".")
