"""Affinity: the worker and its parent share no processor if they need not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def split_cores(threads: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Processors for the worker and for the parent.

    The worker gets the last ones: systems tend to serve interrupts on the first. Both are empty
    where the system has no affinity; the parent's is empty where none are left for it.

    Args:
        threads: threads of one kernel.
    """
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    usable = sorted(os.sched_getaffinity(0))
    threads = max(1, min(threads, len(usable)))
    return tuple(usable[-threads:]), tuple(usable[:-threads])


@contextlib.contextmanager
def confined(cores: tuple[int, ...]) -> Iterator[None]:
    """Keep this thread, and threads that it starts, on some processors while the body runs.

    Args:
        cores: the processors; empty to leave everything as it is.
    """
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    former = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, former)
