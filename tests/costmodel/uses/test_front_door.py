"""The three uses as a Python user writes them, on real ONNX Runtime."""

from __future__ import annotations

import importlib
import inspect
import tempfile
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from rows import ADD
from small_models import Draft

import costmodel as cm
import morphnet_core as mc
from costmodel.costs.counts import Flops
from costmodel.errors import DeviceMismatchError, InvalidInputError, MissingDependencyError
from costmodel.figures import digits
from costmodel.runners.fake import FakeRunner, law_ms, write_model
from costmodel.runners.ort.runner import OrtRunner

QUICK = {"samples": 0, "thinned": 0, "rounds": 2}


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device's lock is one per machine: tests that run at once need one each."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


def net(width: int = 16) -> onnx.ModelProto:
    draft = Draft(1, 8, 12, 12)
    model = draft.done(draft.node("Relu", draft.conv("x", 8, width)))
    model.graph.name = f"net{width}"
    return model


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "cpu.jsonl"
    cm.profile(path, models=[net(16), net(32)], **QUICK)  # type: ignore[arg-type]
    return path


def test_a_profile_is_a_table_that_can_be_resumed(table: Path) -> None:
    rows = cm.LatencyTable.load(table)
    assert [row.op.kind for row in rows.values()].count("model") == 2
    report = cm.profile(table, models=net(48), **QUICK)  # type: ignore[arg-type]
    assert len(report.table) > len(rows)


def test_predictions_take_models_and_tables_in_any_form(table: Path, tmp_path: Path) -> None:
    onnx.save(net(), str(tmp_path / "net16.onnx"))
    rows = cm.LatencyTable.load(table)
    forms: list[tuple[object, cm.LatencyTable | Path]] = [
        (net(), rows),
        (tmp_path / "net16.onnx", table),
        (str(tmp_path / "net16.onnx"), rows),
    ]
    found = [cm.predict(model, source) for model, source in forms]
    assert {item.total for item in found} == {found[0].total}
    assert found[0].source == "lowered"
    assert str(found[0]).startswith("net16: ")
    assert cm.predict(net(), cost=cm.fit(rows)).total == found[0].uncalibrated


def test_a_shipped_profile_prices_what_another_device_would_execute() -> None:
    name = "amd-epyc-family-25-model-17/onnxruntime-float32"
    found = cm.predict(net(), name, cost="lookup")
    assert found.device is not None
    assert found.source in {"anticipated", "lowered"}  # the latter on that very processor
    assert found.device.name == "AMD EPYC family 25 model 17"


def test_a_count_needs_no_table() -> None:
    assert cm.predict(net(), cost="flops").total == cm.predict(net(), cost=Flops()).total


def test_compare_takes_one_model_or_several(table: Path) -> None:
    (one,) = cm.compare(net(), table, rounds=2)
    assert one.measured_ms is not None
    assert f"measured {digits(one.measured_ms, one.repeatability)} ms" in str(one)
    assert [item.model for item in cm.compare([net(16), net(32)], table, rounds=2)] == [
        "net16",
        "net32",
    ]


def test_a_runner_may_be_an_object(table: Path) -> None:
    (found,) = cm.compare(net(), table, runner=OrtRunner(threads=1), rounds=2)
    assert found.device.threads == 1
    with pytest.raises(DeviceMismatchError, match="threads"):
        cm.compare(net(), table, runner=OrtRunner(threads=2), rounds=2)


def test_a_runner_given_as_an_object_is_made_anew_where_it_measures(tmp_path: Path) -> None:
    model = write_model(tmp_path / "net.json", [ADD])
    runner = FakeRunner(threads=2)
    report = cm.profile(tmp_path / "t.jsonl", runner=runner, models=model, **QUICK)  # type: ignore[arg-type]
    assert report.table.device == runner.device
    assert report.table[ADD].latency_ms == pytest.approx(law_ms(ADD, threads=2), rel=0.2)


def test_mistakes_say_what_to_do(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="neither a file nor a shipped profile"):
        cm.predict(net(), "nobody/has-this")
    with pytest.raises(InvalidInputError, match="needs a table"):
        cm.predict(net())
    with pytest.raises(InvalidInputError, match="it has no price, unit, name, device"):
        cm.predict(net(), cost=object())  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="table is of 1 threads"):
        cm.predict(net(), table, threads=2)
    with pytest.raises(InvalidInputError, match="is a folder"):
        cm.profile(tmp_path)
    with pytest.raises(InvalidInputError, match="no runner named 'toaster'"):
        cm.profile(tmp_path / "t.jsonl", runner="toaster")
    with pytest.raises(InvalidInputError, match="Options are for one runner"):
        cm.devices(options={"threads": 2})


def test_devices_are_listed_with_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, options: object = None) -> None:
        raise MissingDependencyError(name, "litert", "Profiling")

    found = cm.devices("ort")
    assert [item.name for item in found.runners] == ["ort"]
    assert found.runners[0].device is not None
    assert len(found.profiles) >= 17
    assert "onnxruntime" in str(found)
    monkeypatch.setattr("costmodel.uses.listing.load_runner", fail)
    assert "which is not installed" in cm.devices("ort").runners[0].reason


@pytest.mark.parametrize("package", [cm, mc])
def test_public_names_are_documented_and_never_modules(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        found = getattr(package, name)
        assert not isinstance(found, ModuleType)
        assert found is getattr(importlib.import_module(found.__module__), name)
        text = inspect.getdoc(found) or ""
        if inspect.isfunction(found) and inspect.signature(found).parameters:
            assert "Args:" in text, name
            assert "Raises:" in text or "Returns:" in text, name
        assert ">>>" in text, f"{name} has no example"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing
