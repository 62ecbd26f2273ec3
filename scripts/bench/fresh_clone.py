"""Figure g: a fresh clone with no .venv runs `scripts/demo` and, with --test, `scripts/test`.

    python scripts/bench/fresh_clone.py [--test]

The committed state is cloned into a temporary folder with nothing beside it. The clone is removed
when all went well, and kept for a look when it did not.
`--command` runs another command instead, to try this script; then nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ledger
import place

DEMO_MINUTES, TEST_MINUTES, NETWORKS = 12.0, 9.0, 6
#: Longest that one test may take, in seconds.
ONE_TEST_S = 15.0
_DURATION = re.compile(r"^([\d.]+)s (?:call|setup|teardown) +tests/")
#: A command that takes this many times its target is stopped.
PATIENCE = 3.0

_TITLE = "Predicted against measured, in ms"
_NUMBER = r"[\d.]+"
_ROW = re.compile(
    rf"^\s*(?P<network>\S+)\s+(?P<predicted_ms>{_NUMBER})\s+(?:{_NUMBER} to {_NUMBER}|-)"
    rf"\s+(?P<measured_ms>{_NUMBER})\s+{_NUMBER}\s+(?P<error>[+-]{_NUMBER}) %"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command in the clone ended.

    Attributes:
        command: what ran.
        code: exit status; None when it was stopped for taking too long.
        minutes: wall time.
        lines: what it wrote, stdout and stderr as they came.
    """

    command: str
    code: int | None
    minutes: float
    lines: tuple[str, ...]

    @property
    def failure(self) -> str:
        """Why it counts for nothing; empty if it ended well."""
        if self.code is None:
            return f"{self.command} was stopped after {self.minutes:.1f} minutes"
        return f"{self.command} ended with exit status {self.code}" if self.code else ""

    @property
    def detail(self) -> dict[str, object]:
        """For the results, with the line in which a command sums up what it did."""
        last = next((line for line in reversed(self.lines) if line.strip()), "")
        return {
            "command": self.command,
            "exit": self.code,
            "minutes": round(self.minutes, 2),
            "last_line": last,
        }


def compared(lines: Sequence[str]) -> list[dict[str, object]]:
    """Networks with both numbers in the last table of predicted against measured."""
    starts = [index for index, line in enumerate(lines) if line.strip() == _TITLE]
    found = [_ROW.match(line) for line in lines[starts[-1] :]] if starts else []
    return [
        {
            "network": row["network"],
            "predicted_ms": float(row["predicted_ms"]),
            "measured_ms": float(row["measured_ms"]),
            "error": round(float(row["error"]) / 100.0, 4),
        }
        for row in found
        if row is not None
    ]


def bare_environment() -> dict[str, str]:
    """This process's environment without what leads to an environment of Python already made."""
    active = os.environ.get("VIRTUAL_ENV")
    made = {str(Path(folder) / "bin") for folder in (active, place.ROOT / ".venv") if folder}
    path = [item for item in os.environ.get("PATH", "").split(os.pathsep) if item not in made]
    left_out = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "BUDGET")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PATH": os.pathsep.join(path)}


def commit_of(folder: Path) -> str:
    """Commit that is checked out in a folder."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def make_clone(folder: Path) -> Path:
    """A clone of the commit that is checked out."""
    clone = folder / "checkout"
    source = str(place.ROOT)
    subprocess.run(["git", "clone", "--quiet", "--local", source, str(clone)], check=True)
    # By its name, because a clone does not follow where HEAD is detached.
    head = commit_of(place.ROOT)
    subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", "--detach", head], check=True)
    return clone


def run(command: str, clone: Path, minutes: float, environment: Mapping[str, str]) -> Ended:
    """Run a command in the clone, showing what it writes; stop it after ``minutes``."""
    begin = time.perf_counter()
    lines: list[str] = []
    stopped = threading.Event()
    with subprocess.Popen(
        shlex.split(command),
        cwd=clone,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that its workers can be stopped with it
    ) as process:

        def stop() -> None:
            stopped.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(minutes * 60.0, stop)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip("\n").replace(str(clone), "."))
                print(line, end="", flush=True)
            code = process.wait()
        except BaseException:
            stop()
            raise
        finally:
            timer.cancel()
    took = (time.perf_counter() - begin) / 60.0
    code_or_none = None if stopped.is_set() else code
    return Ended(command=command, code=code_or_none, minutes=took, lines=tuple(lines))


def demo_figures(ended: Ended) -> list[ledger.Figure]:
    """Lines of the ledger for the demonstration."""
    networks = len(compared(ended.lines))
    return [
        ledger.figure(
            "g-demo-networks",
            "networks predicted and measured at the end of scripts/demo, from a fresh clone",
            networks,
            "networks",
            at_least=NETWORKS,
            sound=not ended.failure,
            reason=ended.failure,
        ),
        _time_figure("g-demo-time", ended, DEMO_MINUTES),
    ]


def check_figures(ended: Ended | None) -> list[ledger.Figure]:
    """Lines of the ledger for the checks."""
    if ended is None:
        return [
            ledger.figure(
                "g-test",
                "scripts/test from a fresh clone",
                None,
                target="exit status 0",
                reason="run without --test",
            )
        ]
    return [
        ledger.figure(
            "g-test",
            "exit status of scripts/test, from a fresh clone",
            ended.code,
            exactly=0,
            reason=ended.failure,
        ),
        _time_figure("g-test-time", ended, TEST_MINUTES),
        ledger.figure(
            id="g-test-slowest",
            what="wall time of the slowest test, two at a time",
            target=f"<= {ONE_TEST_S:g}",
            reached=slowest(ended.lines),
            unit="s",
            passed=(slowest(ended.lines) or 2 * ONE_TEST_S) <= ONE_TEST_S and ended.code == 0,
            reason=ended.failure,
        ),
    ]


def slowest(lines: Sequence[str]) -> float | None:
    """Seconds of the slowest test in what pytest wrote of durations; None without one."""
    found = [float(match[1]) for line in lines if (match := _DURATION.match(line))]
    return max(found, default=None)


def _time_figure(key: str, ended: Ended, target: float) -> ledger.Figure:
    return ledger.figure(
        key,
        f"wall time of {ended.command}, installation included",
        ended.minutes,
        "minutes",
        at_most=target,
        sound=not ended.failure,
        reason=ended.failure,
    )


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--test", action="store_true", help="also run scripts/test")
    parser.add_argument("--keep", action="store_true", help="keep the clone in any case")
    parser.add_argument("--command", help="run this in the clone instead, and write no results")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="costmodel-clone-"))
    passed = False
    try:
        clone = make_clone(folder)
        environment = bare_environment()
        if options.command is not None:
            ended = run(options.command, clone, PATIENCE * DEMO_MINUTES, environment)
            print(f"exit status {ended.code} after {ended.minutes:.2f} minutes")
            passed = ended.code == 0
            return 0 if passed else 1
        demo = run("scripts/demo", clone, PATIENCE * DEMO_MINUTES, environment)
        test = None
        if options.test:
            # The checks start from nothing too, or the demonstration would have installed for them.
            shutil.rmtree(clone / ".venv", ignore_errors=True)
            test = run("scripts/test", clone, PATIENCE * TEST_MINUTES, environment)
        passed = write(commit_of(clone), demo, test)
        return 0 if passed else 1
    finally:
        if passed and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"The clone is kept in {folder}", file=sys.stderr)


def write(commit: str, demo: Ended, test: Ended | None) -> bool:
    """Write the results; whether every figure that was taken passed."""
    networks = compared(demo.lines)
    figures = demo_figures(demo) + check_figures(test)
    rows = (
        f"{row['network']} | {row['predicted_ms']} | {row['measured_ms']} | {row['error']:+.1%}"
        for row in networks
    )
    # What was cloned, whatever this checkout has become since.
    detail: dict[str, object] = {"commit": commit, "networks": networks, "demo": demo.detail}
    if test is not None:
        detail["test"] = test.detail
    ledger.write(
        "fresh_clone",
        topic="main-job",
        figures=figures,
        detail=detail,
        notes=[ledger.table("network | predicted ms | measured ms | error", rows)],
    )
    return all(item["passed"] is not False for item in figures)


if __name__ == "__main__":
    sys.exit(main())
