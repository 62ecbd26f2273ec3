"""A Ray cluster of several nodes on this machine, in a process of its own that ends all of it."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

#: Bytes of each node's object store.
STORE = 80 << 20
#: A dead node is noticed within a second or two.
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


class RayNodes:
    """The cluster; a context manager.

    Args:
        nodes: custom resources by node; the first is the head.
        store: bytes of each node's object store.
    """

    def __init__(self, nodes: Mapping[str, Mapping[str, float]], store: int = STORE) -> None:
        self._nodes = {name: dict(resources) for name, resources in nodes.items()}
        self._store = store

    def __enter__(self) -> RayNodes:
        # Paths of sockets must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="r"))
        # What jobs write beside the cluster, their locks among it.
        self.temporary = self.folder / "t"
        (self.temporary / "ray").mkdir(parents=True)
        environment = os.environ | {
            "TMPDIR": str(self.temporary),
            "RAY_TMPDIR": str(self.temporary),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        order = json.dumps([str(self.folder), self._nodes, self._store])
        self._process = subprocess.Popen(
            [sys.executable, __file__, order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        try:
            self.address = self._hear()
        except RuntimeError:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        left = self._end()
        assert left == [], left

    def _end(self) -> list[str]:
        """End all; returns command lines of what would not go by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        until = time.monotonic() + 15.0
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(0.05)
        for process in left.values():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        # Ray's own agents of a node that was killed while they still started do not notice.
        return [line for line in left if "/agent" not in line]

    def _left(self) -> dict[str, psutil.Process]:
        """What still runs of the cluster and its jobs, by its command line."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                # What has ended, but nobody has asked how, has no environment.
                if process.environ().get("RAY_TMPDIR") == str(self.temporary):
                    found[f"{process.pid}: {' '.join(process.cmdline())}"] = process
        return found

    def kill(self, name: str) -> None:
        """End a node at once, with all that runs on it."""
        self._say("kill", name)

    def revive(self, name: str) -> None:
        """Start a node that was killed."""
        self._say("start", name)

    def _say(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            message = "The cluster did not start."
            raise RuntimeError(message)
        return line


def wait_for_no_agents() -> None:
    """Have nodes not wait for their dashboard's agents: on a busy machine these start too slowly.

    A node waits for files in which they tell their ports; without a dashboard they have none.
    """
    from ray._private import services

    start_raylet: Any = services.start_raylet

    names = list(inspect.signature(start_raylet).parameters)

    def started(*given: Any, **more: Any) -> Any:
        told = dict(zip(names, given, strict=False)) | more
        for name in ("metrics_agent", "metrics_export", "dashboard_agent_listen"):
            Path(told["session_dir"], f"{name}_port_{told['node_id']}").write_text("-1")
        return start_raylet(**told)

    services.start_raylet = started


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def serve(folder: str, resources: dict[str, dict[str, float]], store: int) -> None:
    """Start the nodes, and do what standard input says until it ends."""
    from ray.cluster_utils import Cluster

    wait_for_no_agents()
    cluster: Any = Cluster(shutdown_at_exit=False)

    def start(name: str) -> Any:
        return cluster.add_node(
            num_cpus=1,
            resources=resources[name],
            object_store_memory=store,
            include_dashboard=False,
            include_log_monitor=False,
            no_monitor=True,
            temp_dir=folder,
            runtime_env_agent_port=free_port(),
            **({"_system_config": HEALTH} if cluster.head_node is None else {}),
        )

    try:
        running = {name: start(name) for name in resources}
        sys.stdout.write(f"{cluster.address}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            word, name = line.split()
            if word == "kill":
                cluster.remove_node(running.pop(name), allow_graceful=False)
            else:
                running[name] = start(name)
            sys.stdout.write("done\n")
            sys.stdout.flush()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    serve(*json.loads(sys.argv[1]))
