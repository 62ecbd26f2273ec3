"""``costmodel doctor`` and the label of what nobody has tried."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from costmodel import __version__
from costmodel.experimental import EXPERIMENTAL, label_of
from costmodel.profiler.lock import device_lock, hold
from costmodel.runners.ort.device import this_device
from costmodel.runners.ort.providers import PROVIDERS
from costmodel.uses.checking_up import without_names
from costmodel.uses.listing import Devices, list_runner

Run = Callable[..., Any]  # the fixture's


@pytest.fixture
def of_ort_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One runner alone is listed: to ask all, and to read all profiles, takes seconds."""
    monkeypatch.setattr(
        "costmodel.uses.checking_up.devices",
        lambda: Devices(runners=(list_runner("ort"),), profiles=()),
    )


def test_it_says_what_is_installed_and_usable(run: Run) -> None:
    found = run("doctor", "--json")
    assert found.code == 0
    told = found.json
    assert told["versions"]["costmodel"] == __version__
    assert {"python", "system", "numpy", "onnxruntime"} <= told["versions"].keys()
    device = this_device(1, "", {})
    assert told["processor"]["name"] == device.name
    assert told["processor"]["instruction set"] == device.isa
    assert told["locks"] == {"processor": "free"}
    assert set(told["places"].values()) <= {"writable", "writable, not made yet"}
    runners = {item["name"]: item for item in told["runners"]}
    assert runners["ort"]["usable"] is True
    providers = {item["name"]: item for item in told["providers"]}
    assert providers.keys() == PROVIDERS.keys()
    assert all(item["usable"] or item["reason"] for item in told["providers"])


def test_profiles_of_this_processor_are_told_from_those_like_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "costmodel.runners.ort.device.processor_name", lambda _: "AMD EPYC family 25 model 17"
    )
    monkeypatch.setattr("costmodel.runners.ort.device.instruction_set", lambda _: "avx512")
    monkeypatch.setattr("costmodel.uses.listing.runner_names", lambda: ["ort"])
    told = run("doctor", "--json").json
    assert "amd-epyc-family-25-model-17/onnxruntime-float32" in told["matching_profiles"]
    assert not set(told["matching_profiles"]) & set(told["alike_profiles"])


def test_nothing_private_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "zaphod"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(getpass, "getuser", lambda: "zaphod")
    monkeypatch.setattr(platform, "node", lambda: "heartofgold.example")

    def fail(name: str, options: object = None) -> None:
        reason = f"{home}/lib: zaphod on heartofgold cannot open it"
        raise RuntimeError(reason)

    monkeypatch.setattr("costmodel.uses.listing.load_runner", fail)
    monkeypatch.setattr("costmodel.uses.listing.shipped_profiles", dict)
    for form in ((), ("--json",), ("--markdown",)):
        found = run("doctor", *form)
        assert found.code == 0
        assert "cannot open it" in found.out
        for name in ("zaphod", "heartofgold", str(tmp_path)):
            assert name not in found.out


def test_names_that_are_words_stay() -> None:
    assert without_names("the root of it is at localhost") == "the root of it is at localhost"


@pytest.mark.usefixtures("of_ort_alone")
def test_a_lock_that_is_held_is_told_by_process(run: Run) -> None:
    with hold(device_lock(this_device(1, "", {})), "this processor"):
        told = run("doctor", "--json").json["locks"]["processor"]
    assert told.startswith("held by process ")
    assert "pytest" not in told


@pytest.mark.usefixtures("of_ort_alone")
def test_a_place_that_cannot_be_written_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("costmodel.uses.checking_up.tempfile.TemporaryFile", refuse)
    places = run("doctor", "--json").json["places"]
    assert set(places.values()) == {"not writable (Read-only file system)"}


def test_a_bundle_is_untried_whatever_it_is_sent_to() -> None:
    assert label_of("ssh://pi", options=("bundle", "cores")) == EXPERIMENTAL
    assert label_of("ssh://pi", options=("cores",)) == ""


def test_a_profile_by_an_untried_way_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costmodel.experimental.RUNNERS", frozenset({"fake"}))
    arguments = ("--runner", "fake", "--samples", "1", "--rounds", "2", "-o", tmp_path / "t.jsonl")
    assert EXPERIMENTAL in run("profile", *arguments).err


def test_what_nobody_has_tried_says_so(run: Run) -> None:
    told = run("devices", "--json").json
    labels = {item["name"]: item["experimental"] for item in told["runners"]}
    assert (labels["adb"], labels["ort"], labels["fake"]) == (EXPERIMENTAL, None, None)
    labels = {item["name"]: item["experimental"] for item in told["providers"]}
    untried = {name for name, label in labels.items() if label == EXPERIMENTAL}
    assert untried == {"cuda", "tensorrt", "coreml", "nnapi", "qnn"}
    assert EXPERIMENTAL in "".join(run("devices").out.split("\n"))
