"""A pytest plug-in: any skip or expected failure that is not on the list fails the run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rule_versions import apart

from costmodel.runners.ort.device import own_instruction_set

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "allowed_skips.toml"
#: Programs may be installed where users' paths do not lead, or lie where scripts/tools puts them.
PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(ROOT / "build" / "tools" / "bin")]
)


def _holds(entry: Mapping[str, Any]) -> bool:
    """Whether this is one of the places where an entry holds: everywhere for one that says none."""
    if entry.keys() <= {"reason", "why"}:
        return True
    if "without_modules" in entry:
        return any(find_spec(name) is None for name in entry["without_modules"])
    if "without_programs" in entry:
        return any(shutil.which(name, path=PATH) is None for name in entry["without_programs"])
    if "without_files" in entry:
        return not all((ROOT / name).exists() for name in entry["without_files"])
    if "backends" in entry:
        return os.environ.get("KERAS_BACKEND", "tensorflow") in entry["backends"]
    if "without_isa" in entry:
        return own_instruction_set() not in entry["without_isa"]
    if "platforms" in entry:
        return sys.platform in entry["platforms"]
    if "before" in entry:
        return any(_is_before(name, first) for name, first in entry["before"].items())
    if "runtimes_apart" in entry:
        return bool(apart())
    return platform.machine() not in entry["machines_except"]


def _is_before(package: str, first: str) -> bool:
    """Whether an installed package is older than its first version with something."""
    found = version(package).split(".")[:2]
    return tuple(map(int, found)) < tuple(map(int, first.split(".")))


class SkipPolicy:
    """Counts skips and expected failures of a run, and ends it as failed where one is not allowed.

    Args:
        allowed: entries of the list by what they allow: ``skip`` or ``xfail``.
    """

    def __init__(self, allowed: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.allowed = allowed
        self.counts = {"skip": 0, "xfail": 0}
        self.refused: list[str] = []

    def judge(self, sort: str, where: str, reason: str) -> None:
        """Count one test, or one file of tests, and note it if its reason is not on the list."""
        self.counts[sort] += 1
        entries = [e for e in self.allowed.get(sort, ()) if re.fullmatch(e["reason"], reason)]
        if not entries:
            self.refused.append(f"{where}: {reason or 'no reason'} (not on the list)")
        elif not any(map(_holds, entries)):
            self.refused.append(f"{where}: {reason} (which is not so here)")

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            if hasattr(report, "wasxfail"):
                self.judge("xfail", report.nodeid, report.wasxfail.removeprefix("reason: "))
            else:
                self.judge("skip", report.nodeid, _reason(report))

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.judge("skip", report.nodeid, _reason(report))

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        skipped, failed = self.counts["skip"], self.counts["xfail"]
        terminalreporter.write_line(
            f"{skipped} skipped and {failed} expected to fail, {len(self.refused)} of them unlisted"
        )
        for line in self.refused:
            terminalreporter.write_line(f"UNLISTED {line}", red=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What a skipped test says, without the word that pytest puts before it."""
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return text.removeprefix("Skipped: ").strip()


def register(config: pytest.Config) -> None:
    """Judge in the process that prints the summary; workers of xdist send their reports there."""
    if not hasattr(config, "workerinput"):
        allowed = tomllib.loads(LIST.read_text(encoding="utf-8"))
        config.pluginmanager.register(SkipPolicy(allowed), "skip_policy")
