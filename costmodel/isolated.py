"""Calls a function in a process of its own: what dies there takes nobody along.

Runtimes check little of what is in a model: a damaged one may end the process that loads it, or
keep it busy for ever. Arguments and results are JSON; files are named by path.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib import import_module
from typing import Any

#: Longest time that a call may take, in seconds.
LIMIT_S = 120.0
_CALL = "from costmodel.isolated import answer; answer()"


class DiedError(RuntimeError):
    """The function failed, took too long, or its process ended; the text says which."""


def isolated(function: str, *arguments: Any, limit_s: float = LIMIT_S) -> Any:
    """What ``function`` returns when a new process calls it.

    Args:
        function: ``package.module:name``.
        arguments: of it, as JSON can hold them.
        limit_s: longest time in seconds.

    Raises:
        DiedError: if it raised, ended its process, or took longer.

    >>> isolated("math:gcd", 12, 18)
    6
    """
    order = json.dumps([function, arguments])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CALL],
            input=order,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"it was not done after {limit_s:g} seconds"
        raise DiedError(message) from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        message = f"the process that tried it was ended by {name}"
        raise DiedError(message)
    try:
        sort, value = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        message = f"the process that tried it ended with {done.returncode}: {last}"
        raise DiedError(message) from None
    if sort == "error":
        raise DiedError(value)
    return value


def answer() -> None:
    """The new process: do what standard input says, and write what came of it."""
    from costmodel.streams import take_streams

    orders, answers = take_streams()
    function, arguments = json.loads(orders.read())
    module, _, name = function.partition(":")
    try:
        told = ["value", getattr(import_module(module), name)(*arguments)]
    except Exception as error:
        told = ["error", " ".join(str(error).split()) or type(error).__name__]
    answers.write(json.dumps(told).encode())
    answers.close()
