"""What SECURITY.md promises of the code itself: what it never does, whatever it is given."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from small_models import Draft

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
#: Modules that make objects of bytes by running what these say.
UNPICKLING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "_pickle"}
#: Modules that talk to other machines.
NETWORK = {"asyncio", "ftplib", "http", "requests", "smtplib", "socket", "ssl", "urllib"}
#: Who may: adb's own server on this machine, asked over the loopback.
TALKS = {"costmodel/remote/adb.py"}
#: Calls that run text, or files, as code.
RUNS = {"eval", "exec", "__import__", "exec_module", "compile_command", "execfile"}
#: Who may: what a user names with --data or --import.
RUNS_FILES = {"costmodel/uses/user_code.py": {"exec_module"}}


@cache
def modules() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in ("costmodel", "morphnet_core")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name.partition(".")[0] for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def called(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Names of what is called, the last one of several."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = str(getattr(function, "id", None) or getattr(function, "attr", ""))
            # A model's own method of that name, such as ``module.eval()``, takes nothing.
            if node.args or node.keywords or isinstance(function, ast.Name):
                yield name, node


def test_nothing_is_unpickled() -> None:
    assert len(modules()) > 400
    found = {name for name, tree in modules().items() if set(imported(tree)) & UNPICKLING}
    assert found == set()
    for name, tree in modules().items():
        for call, node in called(tree):
            allowed = {k.arg: k.value for k in node.keywords}.get("allow_pickle")
            assert allowed is None or ast.unparse(allowed) == "False", name
            # numpy.load and torch.load unpickle on request; torch.export.load is given a file that
            # torch_archive wrote, without anything pickled in it.
            target = ast.unparse(node.func)
            assert call != "load" or target not in {"np.load", "numpy.load", "torch.load"}, name


def test_no_text_is_run_as_code() -> None:
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        runs = {call for call, _ in called(tree)} & RUNS
        plain = {
            "compile"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "compile"
        }
        if runs | plain:
            found[name] = runs | plain
    assert found == RUNS_FILES


def test_no_shell_gets_text_of_a_file_and_no_library_of_operators_is_loaded() -> None:
    for name, tree in modules().items():
        for call, node in called(tree):
            assert call not in {"register_custom_ops_library", "add_extension"}, name
            shell = {k.arg: k.value for k in node.keywords}.get("shell")
            assert shell is None or ast.unparse(shell) == "False", name
            assert ast.unparse(node.func) not in {"os.system", "os.popen"}, name


def test_no_module_talks_to_other_machines() -> None:
    found = {name for name, tree in modules().items() if set(imported(tree)) & NETWORK}
    assert found == TALKS
    text = (ROOT / "costmodel" / "remote" / "adb.py").read_text(encoding="utf-8")
    assert re.findall(r"create_connection\(\(([^,]+),", text) == ['"127.0.0.1"']


#: Runs verbs in one process, and writes down what they open for writing and whom they call.
WATCHED = """
import json, os, sys
from pathlib import Path

opened, calls = [], []


def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name, mode, flags = arguments
        writes = set(mode or "") & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
        if writes:
            opened.append(os.fspath(os.path.abspath(os.fsdecode(name))))
    elif event in {"os.mkdir", "os.rename", "os.symlink", "shutil.move"}:
        opened.append(os.path.abspath(os.fsdecode(arguments[0])))
    elif event.split(".")[0] in {"socket", "urllib", "http", "ftplib", "smtplib"}:
        calls.append(f"{event} {arguments}"[:200])


sys.addaudithook(watch)
from costmodel.cli import main as costmodel

given, out = sys.argv[1:]
table = f"{given}/table.jsonl"
codes = []
for words in (
    ["predict", f"{given}/net.onnx", "--cost", "flops"],
    ["predict", f"{given}/net.onnx", "--table", table, "--json"],
    ["predict", f"{given}/net.onnx", "--table", table, "--trace", f"{out}/trace.json"],
    ["show", table], ["check", table], ["report", table, "--html", f"{out}/page.html"],
    ["import", f"{given}/list.csv", "--set", "device=d", "--set", "runtime=r", "--out",
     f"{out}/made.jsonl"],
):
    try:
        costmodel(words)
    except SystemExit as end:
        codes.append(end.code or 0)
made = sorted(str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file())
sys.__stderr__.write(json.dumps({"codes": codes, "opened": opened, "calls": calls, "made": made}))
"""
LIST = (
    "op,height,in_channels,out_channels,kernel,stride,padding,latency_us\nconv2d,8,4,8,3,1,same,9"
)


def namespaces() -> list[str]:
    """Words before a command that take the network from it and leave it one folder to write to.

    Empty for users who may not make namespaces: then only the audit hook looks.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    script = (
        'mount --make-rprivate / && mount -t tmpfs none "$1" && shift && '
        'mount -o remount,bind,ro / && exec "$@"'
    )
    words = [unshare, "--net", "--mount", "sh", "-ec", script, "sh"]
    done = subprocess.run([*words, "/mnt", "true"], capture_output=True, check=False)
    return words if done.returncode == 0 else []


def test_verbs_need_no_network_and_write_where_they_are_asked_to(tmp_path: Path) -> None:
    draft = Draft(1, 3, 16, 16)
    x = draft.node("Relu", draft.conv("x", 3, 8))
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    (given / "net.onnx").write_bytes(draft.done(x, dtype=1).SerializeToString())
    (given / "list.csv").write_text(LIST, encoding="utf-8")
    shipped = ROOT / "profiles/amd-epyc-family-25-model-17/onnxruntime-float32.jsonl"
    lines = shipped.read_bytes().splitlines(keepends=True)[:60]
    (given / "table.jsonl").write_bytes(b"".join(lines))
    words = namespaces()
    done = subprocess.run(
        [*words, *([str(out)] if words else []), sys.executable, "-c", WATCHED, str(given),
         str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
        | {"TMPDIR": str(out), "HOME": str(out), "XDG_CACHE_HOME": str(out / "cache")}
        | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    told = json.loads(done.stderr.splitlines()[-1]) if done.stderr else {}
    assert done.returncode == 0, done.stderr
    assert told["codes"] == [0] * 7, done.stderr
    assert told["made"] == ["made.jsonl", "page.html", "trace.json"]
    assert told["calls"] == []
    # Beside a table lies what its fit found; the folder is read-only here, and that is no matter.
    kept = str(given / "table.jsonl"), str(given / ".table.jsonl.fit.json.")
    asked = (str(out), *kept, os.devnull, "/proc/")
    strange = [name for name in told["opened"] if name != str(given) and not name.startswith(asked)]
    assert strange == []


def test_the_page_names_what_these_tests_hold() -> None:
    for words in ("Nothing is unpickled", "No text is run as code", "No network", "--limit"):
        assert words in PAGE, words


@pytest.mark.parametrize("text", ["costmodel/uses/user_code.py", "morphnet_core/cli/options.py"])
def test_whoever_runs_a_file_says_that_it_may_do_anything(text: str) -> None:
    assert "may do anything" in (ROOT / text).read_text(encoding="utf-8")
