"""An environment outside the checkout that has what would be published, and nothing else of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "keras-cpu,report,runners"
#: Seconds after which a command is taken to hang.
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Built:
    """The files that would be published."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that has the wheel, and a folder outside the checkout.

    Attributes:
        home: of everything that is made.
        variables: of its processes.
    """

    home: Path
    variables: Mapping[str, str] = field(repr=False)

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(_programs(self.home) / "python")

    def run(self, command: str | Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a command, in a shell if it is a text, with temporary files of its own."""
        temporary = folder / ".tmp"
        temporary.mkdir(exist_ok=True)
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        variables = {**self.variables, "TMPDIR": str(temporary)}
        try:
            return subprocess.run(
                words, cwd=folder, env=variables, capture_output=True, text=True, check=False,
                timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            late = f"It did not end within {PATIENCE_S} s."
            return subprocess.CompletedProcess(words, 124, "", late)


def build(folder: Path) -> Built:
    """Build sdist and, from it, the wheel; check their metadata.

    Raises:
        subprocess.CalledProcessError: if either fails.
    """
    _call([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    built = Built(next(folder.glob("*.tar.gz")), next(folder.glob("*.whl")))
    _call([sys.executable, "-m", "twine", "check", "--strict", str(built.sdist), str(built.wheel)])
    return built


def install(wheel: Path, home: Path, *, fast: bool) -> Environment:
    """Make an environment with the wheel and, by pip or from this Python, what it depends on.

    Raises:
        subprocess.CalledProcessError: if it cannot be installed.
    """
    venv = home / "venv"
    _call([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    python = str(_programs(home) / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    pip.append("--disable-pip-version-check")
    if fast:
        # Their packages, and none of what is installed there as editable: .pth files do not nest.
        found = [path for path in sys.path if Path(path).name == "site-packages"]
        site = next(venv.glob("**/site-packages"))
        (site / "libraries.pth").write_text("\n".join(found) + "\n", encoding="utf-8")
        _call([*pip, "--no-deps", str(wheel)])
    else:
        constraints = str(ROOT / "constraints.txt")
        _call([*pip, "--constraint", constraints, f"{wheel}[{EXTRAS}]"])
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    variables["PATH"] = os.pathsep.join([str(_programs(home)), variables.get("PATH", "")])
    # Two examples run at once, and threads that spin for the same processor take turns.
    variables |= {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100", "OPENBLAS_NUM_THREADS": "1"}
    return Environment(home, variables)


def profiles(environment: Environment) -> tuple[set[str], set[str]]:
    """Names of the profiles that the installed ``costmodel devices`` lists, and of the checkout's.

    Raises:
        RuntimeError: if the package that answers is not the installed one.
    """
    code = (
        "import costmodel, morphnet_core; print(costmodel.__file__); print(morphnet_core.__file__)"
    )
    done = environment.run([environment.python, "-c", code], environment.home)
    if not all(line.startswith(str(environment.home)) for line in done.stdout.split()):
        message = f"The packages are not those of the wheel: {done.stdout}{done.stderr}"
        raise RuntimeError(message)
    done = environment.run("costmodel devices --json", environment.home)
    listed = {item["name"] for item in json.loads(done.stdout)["profiles"] if "rows" in item}
    folder = ROOT / "profiles"
    there = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.glob("*/*.jsonl")}
    return listed, there


def _programs(home: Path) -> Path:
    return home / "venv" / ("Scripts" if os.name == "nt" else "bin")


def _call(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
