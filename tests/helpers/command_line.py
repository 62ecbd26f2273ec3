"""Runs the command lines in this process, and holds every ``--json`` against its schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from json_promises import check_output

Main = Callable[[Sequence[str]], object]


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


def runs(main: Main, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs ``main`` with its arguments, as a shell would."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        check_output(arguments, written.out)
        return Ended(int(ended.value.code or 0), written.out, written.err)

    return call
