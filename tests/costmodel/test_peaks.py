"""How fast a device can possibly be."""

from __future__ import annotations

import pytest

from costmodel.device import Device
from costmodel.op import conv_op
from costmodel.peaks import most_macs_per_ms, peak_of, savings


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("NVIDIA K80", "one GPU of a K80"),
        ("AMD MI50/Radeon VII (gfx906, 60 CU)", "MI50"),
        ("Pixel 4 GPU (Adreno 640)", "a phone's GPU"),
        ("Pixel 4 (Snapdragon 855)", "a phone's or board's processor"),
        ("nVIDIA RTX2080 of Desktop", "a GPU"),
        ("AMD EPYC family 25 model 17", "a processor"),
        ("Raspberry Pi 5", "a Raspberry Pi"),
        ("device 7", "any one device"),
    ],
)
def test_a_name_tells_the_sort_of_device(name: str, what: str) -> None:
    assert peak_of(Device(name=name, runtime="lib")).what == what


def test_a_bound_is_above_what_is_printed_and_below_ten_times_that() -> None:
    device = Device(name="NVIDIA GTX 1080 Ti", runtime="cudnn")
    plain = conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1))
    assert 11.3e12 < most_macs_per_ms(plain, device) * 2 * 1e3 < 14e12


@pytest.mark.parametrize(("kernel", "stride", "groups", "times"), [
    (1, 1, 1, 1.0), (3, 1, 1, 4.0), (3, 2, 1, 1.0), (3, 1, 8, 1.0), (7, 1, 1, 49 / 2.25),
])  # fmt: skip
def test_fast_algorithms_save_where_windows_overlap(
    kernel: int, stride: int, groups: int, times: float
) -> None:
    op = conv_op(
        in_channels=8,
        out_channels=8,
        size=(8, 8),
        kernel=(kernel, kernel),
        stride=stride,
        groups=groups,
    )
    assert savings(op) == pytest.approx(times)
