"""Runs the tests in a clean environment at one end of what pyproject.toml allows.

    python scripts/try_versions.py --end oldest --python python3.11
    python scripts/try_versions.py --end newest --python python3.13 tests/costmodel/costs
    python scripts/try_versions.py --lock                # constraints-oldest.txt anew
    python scripts/try_versions.py --write               # docs/results/versions.md of all runs

The wheel is built and installed with its dependencies by the lock of that end, and the tests of
this checkout, those that are named or ``PART``, run against it. ``constraints.txt`` is the newest
end; ``constraints-oldest.txt`` pins what pyproject.toml names to its floor, and beside it the
newest that goes with that. What came out is kept in the folder ``versions`` of
``$COSTMODEL_BENCH_DIR``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from installed import ROOT, build

sys.path.insert(0, str(ROOT / "scripts" / "bench"))
import ledger
import place

LOCKS = {"oldest": "constraints-oldest.txt", "newest": "constraints.txt"}
#: Extras that both ends are tried with; PyTorch's wheels are larger than all others together.
EXTRAS = ("keras-cpu", "report", "frames", "litert", "openvino", "xla")
#: What the tests import beside the package; users need none of it, so both ends have the newest.
TEST_TOOLS = ("pytest", "pytest-xdist", "hypothesis", "jsonschema")
#: What the oldest end needs older than its newest: later ones warn of calls that the oldest
#: Matplotlib and typer make.
BESIDE = {"click": "8.1.8", "pyparsing": "3.2.5"}
#: The tests that run unless others are named: every module of one runtime, without the browsers.
PART = (
    "tests/costmodel",
    "tests/contracts",
    "tests/morphnet_core/alignment",
    "tests/morphnet_core/groups",
    "tests/morphnet_core/morphing",
    "tests/morphnet_core/surgery",
    "tests/test_golden.py",
)
#: A requirement's name and least version.
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9][0-9.]*)")
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)")


def floors(extras: Sequence[str] = EXTRAS) -> dict[str, str]:
    """Least version of everything that the package and these extras name.

    >>> floors(())["numpy"] >= "1.26"
    True
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras for line in optional[name])]
    found: dict[str, str] = {}
    for line in lines:
        if "tensorflow>=" in line and ";" in line:
            continue  # tensorflow-cpu stands for it where the two are told apart
        if (match := _FLOOR.match(line)) is not None:
            found[match[1].lower()] = match[2]
    return found


def pins(text: str) -> dict[str, str]:
    r"""Versions of a lock.

    >>> pins("# why\nnumpy==1.26.4\nPyYAML==6.0")
    {'numpy': '1.26.4', 'pyyaml': '6.0'}
    """
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name.strip().lower().replace("_", "-"): version.strip() for name, _, version in pairs}


def make(python: str, home: Path, constraints: Path) -> str:
    """A clean environment with the wheel; its interpreter.

    Raises:
        subprocess.CalledProcessError: if it cannot be installed.
    """
    wheel = build(home).wheel
    subprocess.run([python, "-m", "venv", str(home / "venv")], check=True)
    interpreter = str(home / "venv" / "bin" / "python")
    subprocess.run(
        [
            *(interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-compile", "--constraint", str(constraints)),
            *(f"{wheel}[{','.join(EXTRAS)}]", *TEST_TOOLS),
        ],
        check=True,
        cwd=home,
    )
    return interpreter


def run_tests(interpreter: str, home: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of this checkout against what is installed there; exit code and what they say."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    temporary = home / "tmp"
    temporary.mkdir(exist_ok=True)
    variables |= {
        "PYTHONPYCACHEPREFIX": str(home / "pycache"), "TMPDIR": str(temporary),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": os.pathsep.join([str(home / "venv" / "bin"), variables.get("PATH", "")]),
    }  # fmt: skip
    # -P: the package is the installed one, not the one that lies in this folder.
    words = [interpreter, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
    words += ["--continue-on-collection-errors", "-n", "2", "--dist", "loadscope", "--tb=line"]
    said = []
    with subprocess.Popen(
        [*words, *tests], cwd=ROOT, env=variables, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line)
    return process.returncode, "".join(said)


def frozen(interpreter: str) -> dict[str, str]:
    """Versions of everything that is installed there, itself left out."""
    command = [interpreter, "-m", "pip", "freeze", "--exclude", "morphnet-latency"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return pins(done.stdout)


def lock_oldest(python: str) -> None:
    """Write ``constraints-oldest.txt`` from the floors and what pip finds to go with them."""
    with tempfile.TemporaryDirectory(prefix="versions-") as name:
        home = Path(name).resolve()
        wanted = home / "floors.txt"
        pinned = floors() | BESIDE
        lines = [f"{package}=={version}" for package, version in sorted(pinned.items())]
        wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = frozen(make(python, home, wanted))
    text = "".join(f"{package}=={version}\n" for package, version in sorted(found.items()))
    head = "# The oldest of what pyproject.toml names: python scripts/try_versions.py --lock\n"
    (ROOT / LOCKS["oldest"]).write_text(head + text, encoding="utf-8")


def attempt(python: str, end: str, tests: Sequence[str], keep: Path | None) -> dict[str, Any]:
    """Make an environment and run tests in it.

    Args:
        python: an interpreter's name or path.
        end: of ``LOCKS``.
        tests: files and folders.
        keep: where the environment is made, or found; None for one that goes.
    """
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="versions-") as name:
        home = Path(name).resolve() if keep is None else keep.resolve()
        home.mkdir(parents=True, exist_ok=True)
        interpreter = str(home / "venv" / "bin" / "python")
        if not (home / "made").exists():
            shutil.rmtree(home / "venv", ignore_errors=True)
            interpreter = make(python, home, ROOT / LOCKS[end])
            (home / "made").touch()
        code, said = run_tests(interpreter, home, tests)
        versions = frozen(interpreter)
        told = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True)
    counts = {kind: int(number) for number, kind in _COUNTS.findall(said[-400:])}
    named = {name: versions.get(name, "") for name in sorted(floors())}
    return {
        "python": told.stdout.split()[-1], "end": end, "tests": list(tests), "code": code,
        "counts": counts, "seconds": round(time.perf_counter() - begin), "versions": named,
        "commit": ledger.commit(),
    }  # fmt: skip


def kept_runs() -> dict[str, dict[str, Any]]:
    """The latest run of each Python at each end."""
    path = place.folder("versions") / "runs.json"
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_results(runs: Mapping[str, Mapping[str, Any]]) -> int:
    """Write what the runs came to into the ledger."""
    found = []
    for place_, item in enumerate(runs.values(), 1):
        failed = sum(
            n for kind, n in item["counts"].items() if kind in {"failed", "error", "errors"}
        )
        found.append(
            ledger.figure(
                f"d{place_}",
                f"tests that fail, of {item['counts'].get('passed', 0) + failed}, on Python "
                f"{item['python']} with the {item['end']} versions ({len(item['tests'])} files or "
                "folders)",
                failed, "tests", exactly=0, sound=item["code"] == 0,
            )
        )  # fmt: skip
    ledger.write("versions", topic="trust", figures=found, detail={"runs": dict(runs)})
    return 0 if all(item["passed"] for item in found) else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", default=list(PART))
    parser.add_argument("--end", choices=sorted(LOCKS), default="newest")
    parser.add_argument("--python", default="python3.11")
    parser.add_argument("--keep", type=Path, help="folder of the environment, used again if made")
    parser.add_argument("--lock", action="store_true", help="write constraints-oldest.txt")
    parser.add_argument("--write", action="store_true", help="write the runs into docs/results")
    arguments = parser.parse_args()
    if arguments.lock:
        lock_oldest(arguments.python)
        return 0
    runs = kept_runs()
    if arguments.write:
        return write_results(runs)
    found = attempt(arguments.python, arguments.end, arguments.tests, arguments.keep)
    runs[f"{found['python']} {found['end']}"] = found
    (place.folder("versions") / "runs.json").write_text(json.dumps(runs, indent=1))
    print(f"Python {found['python']}, {found['end']}: {found['counts']}, {found['seconds']} s")
    return int(found["code"])


if __name__ == "__main__":
    sys.exit(main())
