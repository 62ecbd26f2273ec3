"""The application ``morphnet``; exit codes and messages are those of ``costmodel``."""

from __future__ import annotations

from costmodel.cli.app import application

app = application(
    "morphnet",
    "MorphNet: networks in the widths that a device is fast with.",
    ("train", "shrink", "expand", "align", "plan", "sweep"),
    "morphnet train net.keras --data cifar.py --table cpu.jsonl --target-ms 5 --out fast",
    "morphnet align pruned.onnx --table cpu.jsonl --out fast.onnx",
    "morphnet plan net.onnx --table cpu.jsonl --target 60% --out plan.json",
)
