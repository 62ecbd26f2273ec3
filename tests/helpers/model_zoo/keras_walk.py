"""Takes one Keras case through all that the product does with a model."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.network import Network
from costmodel.readers.keras import export_onnx, packed, read_keras
from costmodel.readers.onnx import read_onnx
from model_zoo.keras_models import feeds, make
from model_zoo.onnx_counts import load, look
from model_zoo.onnx_walk import Steps
from morphnet_core.groups import find_groups


@dataclass(slots=True, kw_only=True)
class KerasRecord(Steps):
    """What happened to one Keras case.

    Attributes:
        name: of the case.
        backend: of Keras.
        cannot: why Keras itself has no such model here.
        note: why something of it could not be held against the product's.
        unread: reasons of layers that could not become Ops.
        macs: the product's count.
        traced: that of JAX's trace, on that backend.
        exported: that of the exported file by the formulas of ONNX; None where there is none.
        exported_read: the product's count of the same file.
        exported_unread: reasons of what it could not read of that.
        error: largest difference between the export's outputs and Keras's, of the largest output.
    """

    name: str
    backend: str = ""
    cannot: str = ""
    note: str = ""
    unread: list[str] = field(default_factory=list)
    macs: int | None = None
    traced: int | None = None
    exported: int | None = None
    exported_read: int | None = None
    exported_unread: list[str] = field(default_factory=list)
    error: float | None = None


def walk(name: str, *, export: bool = True) -> dict[str, Any]:
    """The record of a case on the backend that Keras has in this process.

    Args:
        name: one of ``keras_models.names``.
        export: whether to export it to ONNX and run that, where the backend can.
    """
    import keras

    record = KerasRecord(name=name, backend=keras.backend.backend())
    try:
        model = make(name, keras)
    except Exception as error:
        record.cannot = str(error)[:300]
        return asdict(record)
    written: Network | None = record.step("read", lambda: read_keras(model))
    if written is not None:
        record.unread = sorted(set(written.unread.values()))
        record.macs = sum(op.macs for op in written.ops)
        record.step("groups", lambda: find_groups(written))
    if record.backend == "jax":
        from model_zoo.keras_counts import multiply_adds

        try:
            record.traced = multiply_adds(model, feeds(model))
        except Exception as error:
            record.note = f"no trace: {str(error)[:300]}"
    if record.backend == "tensorflow" and export and written is not None:
        with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
            _export(record, model, Path(folder) / "model.onnx")
    return asdict(record)


def _export(record: KerasRecord, model: Any, path: Path) -> None:
    import keras

    if record.step("export", lambda: export_onnx(model, path)) is None:
        return
    values = feeds(model)
    named = dict(zip((item.name for item in model.inputs), values, strict=True))
    try:
        truth = look(path, named)
        record.exported = sum(count or 0 for count in truth.macs.values())
    except Exception as error:
        record.crashed["look"] = str(error)[:300]
    network: Network | None = record.step("read export", lambda: read_onnx(path))
    if network is not None:
        record.exported_read = sum(op.macs for op in network.ops)
        record.exported_unread = sorted(set(network.unread.values()))
    try:
        wanted = keras.tree.flatten(model(packed(model, values), training=False))
    except Exception as error:
        record.note = f"Keras cannot run it: {str(error)[:200]}"
        return

    def compared() -> float:
        found = load(str(path), optimise=True).run(None, named)
        worst = 0.0
        for one, other in zip(found, wanted, strict=True):
            right = np.asarray(keras.ops.convert_to_numpy(other), np.float64)
            worst = max(
                worst, float(np.max(np.abs(one - right)) / max(np.max(np.abs(right)), 1e-9))
            )
        return worst

    record.error = record.step("run export", compared)
