from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from costmodel.device import Device
from costmodel.errors import DeviceMismatchError

DEVICE = Device(
    name="AMD EPYC (test)",
    runtime="onnxruntime",
    runtime_version="1.20",
    isa="avx2",
    threads=2,
    caches=(32768, 524288),
    options=(("arena", "on"),),
    state={"governor": "performance"},
)


def test_state_is_not_identity() -> None:
    other = replace(DEVICE, state={"governor": "powersave"})
    assert other == DEVICE
    assert other.fingerprint == DEVICE.fingerprint
    DEVICE.require_same(other, "Merging")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "other"),
        ("runtime", "fake"),
        ("runtime_version", "1.21"),
        ("provider", "other"),
        ("isa", "avx512"),
        ("threads", 1),
        ("dtype", "int8"),
        ("caches", ()),
        ("options", ()),
        ("provenance", "imported"),
    ],
)
def test_every_other_field_is_identity(field: str, value: Any) -> None:
    other = replace(DEVICE, **{field: value})
    assert other.fingerprint != DEVICE.fingerprint
    with pytest.raises(DeviceMismatchError, match=f"Merging.*{field!r}"):
        DEVICE.require_same(other, "Merging")


def test_json_gives_the_device_back() -> None:
    again = msgspec.json.decode(msgspec.json.encode(DEVICE), type=Device)
    assert (again, again.state) == (DEVICE, DEVICE.state)


def test_devices_can_be_keys() -> None:
    assert {DEVICE: 1}[replace(DEVICE, state={})] == 1


def test_slug_and_label() -> None:
    assert DEVICE.slug == "amd-epyc-test/onnxruntime-float32-t2"
    assert replace(DEVICE, threads=1).slug == "amd-epyc-test/onnxruntime-float32"
    assert DEVICE.label == "AMD EPYC (test), onnxruntime 1.20, float32, 2 threads"
    plain = Device(name="board", runtime="fake")
    assert plain.label == "board, fake, float32, 1 thread"
