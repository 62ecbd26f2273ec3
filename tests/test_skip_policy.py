"""Skips and expected failures that are not on the list fail a run, also over several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import skip_policy
from skip_policy import SkipPolicy

HERE = Path(__file__).parent
ALLOWED: dict[str, list[dict[str, Any]]] = {
    "skip": [
        {"reason": "needs the moon extra", "without_modules": ["no_such_module", "json"]},
        {"reason": "needs (json|it)", "without_modules": ["json"]},
        {"reason": "needs a shell", "without_programs": ["no-such-program"]},
        {"reason": "needs its file", "without_files": ["pyproject.toml"]},
        {"reason": "needs other signals", "platforms": ["amiga"]},
        {"reason": "needs another machine", "machines_except": ["pdp11"]},
        {"reason": "one step there", "backends": ["torch"]},
    ],
    "xfail": [{"reason": "known exceptions: .*"}],
}


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ("needs the moon extra", ""),
        ("needs the moon extra, and more", "not on the list"),
        ("needs json", "not so here"),
        ("needs a shell", ""),
        ("needs its file", "not so here"),
        ("needs other signals", "not so here"),
        ("needs another machine", ""),
        ("", "no reason"),
    ],
)
def test_a_skip_needs_its_reason_on_the_list_and_its_condition(reason: str, refused: str) -> None:
    policy = SkipPolicy(ALLOWED)
    policy.judge("skip", "t.py::test_it", reason)
    assert policy.counts == {"skip": 1, "xfail": 0}
    assert [refused in line for line in policy.refused] == ([True] if refused else [])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_some_backends_lack_something(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    policy = SkipPolicy(ALLOWED)
    policy.judge("skip", "t.py::test_it", "one step there")
    assert bool(policy.refused) == (backend == "jax")


def test_an_expected_failure_needs_its_reason_on_the_list() -> None:
    policy = SkipPolicy(ALLOWED)
    policy.judge("xfail", "t.py::one", "known exceptions: a swish")
    policy.judge("xfail", "t.py::two", "does not work today")
    assert policy.counts["xfail"] == 2
    assert [line.partition(":: ")[0][:9] for line in policy.refused] == ["t.py::two"]


CASES = """
import pytest

def test_passes():
    pass

@pytest.mark.parametrize("number", range(3))
def test_skips(number):
    pytest.skip("it rains")

@pytest.mark.xfail(strict=True, reason="tomorrow")
def test_fails():
    raise AssertionError
"""


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        ("", 1),
        ('[[skip]]\nreason = "it rains"\nplatforms = ["{}"]\n[[xfail]]\nreason = "tom.*"', 0),
    ],
)
def test_the_run_fails_and_says_why(tmp_path: Path, allowed: str, code: int) -> None:
    (tmp_path / "allowed.toml").write_text(allowed.format(sys.platform))
    (tmp_path / "conftest.py").write_text(
        "import skip_policy\nfrom pathlib import Path\n"
        "skip_policy.LIST = Path(__file__).with_name('allowed.toml')\n"
        "pytest_configure = skip_policy.register\n"
    )
    (tmp_path / "test_it.py").write_text(CASES)
    (tmp_path / "test_file.py").write_text(
        "import pytest\npytest.skip('it rains', allow_module_level=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist.plugin", "-n", "2", "."],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(HERE / "helpers"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    unlisted = 5 if code else 0
    assert f"4 skipped and 1 expected to fail, {unlisted} of them unlisted" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("UNLISTED")]
    assert len(lines) == unlisted
    assert any("test_file.py: it rains (not on the list)" in line for line in lines) == bool(code)


def test_the_list_is_well_formed_and_every_line_has_its_why() -> None:
    listed = tomllib.loads(skip_policy.LIST.read_text(encoding="utf-8"))
    assert set(listed) == {"skip", "xfail"}
    for entry in listed["skip"]:
        (condition,) = entry.keys() - {"reason", "why"}
        assert condition in {
            "without_modules", "without_programs", "without_files", "backends", "platforms",
            "machines_except", "without_isa", "before",
        }  # fmt: skip
        assert entry["why"]
    for entry in listed["xfail"]:
        assert entry.keys() - {"before", "runtimes_apart"} == {"reason", "why"}


def test_rules_of_another_version_may_fail_only_where_a_runtime_is_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed = tomllib.loads(skip_policy.LIST.read_text(encoding="utf-8"))
    reason = "the rules follow onnxruntime 1.32, not 1.20.0"
    for runtimes, refused in ((["onnxruntime"], 0), ([], 1)):
        monkeypatch.setattr(skip_policy, "apart", lambda runtimes=runtimes: runtimes)
        policy = SkipPolicy(allowed)
        policy.judge("xfail", "test_it", reason)
        assert len(policy.refused) == refused
