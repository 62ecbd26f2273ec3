"""What the whole repository promises: modules that say what they are, light imports, no traces."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

import pytest

import costmodel
from costmodel.errors import DISTRIBUTION

ROOT = Path(__file__).parents[1]
HEAVY = ("onnx", "onnxruntime", "sklearn", "tensorflow", "keras", "matplotlib", "bokeh")

#: Machine paths, package indexes and credentials in addresses; written so as not to match itself.
TRACES = re.compile(
    r"""(?<![\w.$}-])/(?:work|tmp|root|home)/\w  # folders of one machine
    |[.]library/
    |py[p]i[.]|pythonhosted[.]|index[-_]url|trusted[-_]host|find[-_]links
    |(?<!ssh)://[^/\s]+@  # a board's address has a user, and never a password""",
    re.VERBOSE | re.IGNORECASE,
)


@cache
def kept_files() -> tuple[str, ...]:
    """Files under version control, as paths from the root."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    return tuple(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def run(code: str) -> str:
    """What ``code`` prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_says_what_it_is() -> None:
    files = python_files("costmodel", "morphnet_core", "scripts")
    assert len(files) > 100
    silent = [
        str(path.relative_to(ROOT))
        for path in files
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_import_is_light() -> None:
    names = ("numpy", "pandas", "scipy", *HEAVY)
    code = f"import sys, costmodel; print([name for name in {names!r} if name in sys.modules])"
    assert run(code) == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["compare", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from costmodel.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(code).endswith("\n[]\n")


@pytest.mark.parametrize(
    ("package", "call", "message"),
    [
        (
            "keras",
            "from costmodel.readers.keras import export_onnx as call\n"
            "arguments = Path('net.keras'), Path('net.onnx')",
            "Reading a Keras model needs the package 'keras', which is not installed. "
            "Install it with: pip install 'morphnet-latency[keras]'",
        ),
        (
            "tensorflow",
            "from costmodel.readers.keras import export_onnx as call\n"
            "arguments = Path('net.keras'), Path('net.onnx')",
            "Reading a Keras model needs the package 'tensorflow', which is not installed. "
            "Install it with: pip install 'morphnet-latency[keras]'",
        ),
        (
            "keras",
            "import morphnet_core as mc\ncall, arguments = (lambda: mc.morph), ()",
            "morphnet_core.morph needs the package 'keras', which is not installed. "
            "Install it with: pip install 'morphnet-latency[keras]'",
        ),
        (
            "tensorflow",
            "import morphnet_core as mc\ncall, arguments = (lambda: mc.CostRegularizer), ()",
            "morphnet_core.CostRegularizer needs the package 'tensorflow', which is not installed. "
            "Install it with: pip install 'morphnet-latency[keras]'",
        ),
        (
            "matplotlib",
            "from costmodel.plots import check_picture as call\narguments = (Path('p.svg'),)",
            "Drawing a picture needs the package 'matplotlib', which is not installed. "
            "Install it with: pip install 'morphnet-latency[report]'",
        ),
        (
            "ray",
            "from costmodel.fleets.on_ray import RayEngine as call\narguments = ('auto',)",
            "Running jobs on a cluster needs the package 'ray', which is not installed. "
            "Install it with: pip install 'morphnet-latency[fleet]'",
        ),
    ],
)
def test_a_missing_extra_is_named(package: str, call: str, message: str) -> None:
    if package == "tensorflow" and find_spec("keras") is None:
        pytest.skip("without Keras, that is what is missing first")
    code = (
        f"{without(package)}"
        "from pathlib import Path\n"
        f"{call}\n"
        "from costmodel.errors import MissingDependencyError\n"
        "try:\n"
        "    call(*arguments)\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    assert run(code) == f"{message}\n"


@pytest.mark.parametrize("verb", ["train", "expand"])
def test_a_verb_of_a_missing_extra_names_it(verb: str, tmp_path: Path) -> None:
    asked = [verb, "net.keras", "--cost", "flops", "--target", "50%"]
    asked += ["--data", "d.py", "--out", "o"] if verb == "train" else ["--out", "o.keras"]
    code = (
        f"{without('keras')}"
        "import os\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "sys.stderr = sys.stdout\n"
        "from morphnet_core.cli import main\n"
        "try:\n"
        f"    main({asked!r})\n"
        "except SystemExit as ended:\n"
        "    print(ended.code)\n"
    )
    (tmp_path / "net.keras").touch()
    (tmp_path / "d.py").touch()
    told = run(code)
    assert "needs the package 'keras'" in told
    assert told.endswith("Install it with: pip install 'morphnet-latency[keras]'\n2\n")


def without(package: str) -> str:
    """Code after which a package is as if it were not installed."""
    return (
        "import sys\n"
        "class Blind:\n"
        "    def __init__(self, finder):\n"
        "        self.finder = finder\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name.partition('.')[0] != {package!r}:\n"
        "            return self.finder.find_spec(name, *rest)\n"
        "sys.meta_path[:] = map(Blind, sys.meta_path)\n"
    )


def test_every_registered_runner_loads() -> None:
    found = entry_points(group="costmodel.runners")
    assert {"fake", "ort"} <= {item.name for item in found}
    for item in found:
        assert {"device", "lower", "load_op", "load_model"} <= set(dir(item.load())), item.name


def test_no_file_tells_where_it_was_made() -> None:
    found = []
    for name in kept_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            lines = content.decode("utf-8").splitlines()
            found += [f"{name}:{i}: {s}" for i, s in enumerate(lines, 1) if TRACES.search(s)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "read " + "/wor" + "k/main/x",
        "see ../" + ".libr" + "ary/README.md",
        "--index" + "-url=x",
        "https://name:secret" + "@host/x",
    ],
)
def test_a_trace_is_recognised(line: str) -> None:
    assert TRACES.search(line)


@pytest.mark.parametrize("line", ["scripts/work/x", "build/tmp/y", "https://example.org/tmp/x"])
def test_other_paths_are_no_traces(line: str) -> None:
    assert not TRACES.search(line)


def test_constraints_are_exact_versions_of_one_package_a_line() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==\w[\w.+!]*", line)]
    assert wrong == []
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines]
    assert len(names) == len(set(names))


def test_constraints_hold_every_package_that_is_asked_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = set(re.findall(r'^\s*"([a-z0-9-]+)>=', text, re.MULTILINE))
    asked |= set(re.findall(r'"([a-z-]+)>=', "\n".join(re.findall(r"= \[.*\]", text))))
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    pinned = {line.partition("==")[0] for line in pins.splitlines()}
    # The build back end, and TensorFlow with its GPU parts, which the scripts do not install.
    assert asked - pinned <= {"hatchling", "tensorflow"}
    assert {"numpy", "onnxruntime", "matplotlib"} <= asked


def test_the_version_is_one() -> None:
    assert version(DISTRIBUTION) == costmodel.__version__


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CHANGELOG.md", "README.md"])
def test_pages_name_files_that_there_are(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|/))`", text))
    homes = (ROOT, ROOT / "costmodel", ROOT / "scripts" / "bench")
    assert [name for name in sorted(named) if not any((h / name).exists() for h in homes)] == []
    if page == "ARCHITECTURE.md":
        assert "costmodel/op.py" in named


def test_the_files_that_start_first_are_there() -> None:
    tree = ast.parse((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (longest,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LONGEST"
    ]
    assert [name for name in longest if not (ROOT / "tests" / name).is_file()] == []
