"""Opens the engine that a file asks for: this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from costmodel.fleets.engine import Engine, HereEngine


@contextmanager
def opened_engine(ray: str) -> Iterator[Engine]:
    """Where jobs run while the body does.

    Args:
        ray: address of a Ray cluster; empty for this machine.

    Raises:
        MissingDependencyError: without Ray, where it is asked for.
        InvalidInputError: if there is no such cluster.
    """
    engine: Engine
    if ray:
        from costmodel.fleets.on_ray import RayEngine

        engine = RayEngine(ray)
    else:
        engine = HereEngine()
    try:
        yield engine
    finally:
        engine.end()
