"""Takes one ONNX case through all that the product does with a file, and notes what it found."""

from __future__ import annotations

import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from costmodel.anticipation import anticipate
from costmodel.costs.counts import Flops
from costmodel.errors import CostModelError
from costmodel.network import Network
from costmodel.readers.onnx import read_onnx
from costmodel.runners.ort.runner import OrtRunner
from model_zoo.case import Case
from model_zoo.onnx_counts import PLAIN, Truth, load, look, run
from morphnet_core.groups import find_groups


@dataclass(slots=True, kw_only=True)
class Steps:
    """How the steps of a walk failed.

    Attributes:
        refused: clear errors, by step.
        crashed: tracebacks, by step.
    """

    refused: dict[str, str] = field(default_factory=dict)
    crashed: dict[str, str] = field(default_factory=dict)

    def step(self, name: str, action: Callable[[], Any]) -> Any:
        """Do something, and note how it failed; None then."""
        try:
            return action()
        except CostModelError as error:
            self.refused[name] = str(error)
        except Exception:
            self.crashed[name] = traceback.format_exc(limit=-6)
        return None


@dataclass(slots=True, kw_only=True)
class Record(Steps):
    """What happened to one case.

    Attributes:
        name: family and name of the case.
        opset: operator set of the file.
        runs: whether the runtime runs it; else why not, in ``cannot``.
        cannot: the runtime's complaint.
        unread: reasons of layers that could not become Ops.
        missing: nodes that are neither layers nor unread.
        sizes: layers whose sizes are not the runtime's: (layer, product's, runtime's).
        counts: layers whose multiply-adds are not those of the formulas: the same.
        uncounted: kinds without FLOPs.
        lowered: whether the runtime's own graph was read.
        lowered_unread: reasons of kernels there that are no Ops.
        plain: whether all its tensors are float32, int64 or bool.
        anticipated: whether the rules say what the runtime executes; None if not asked.
        differs: Ops only the runtime executes (``-``) or only the rules expect (``+``).
        macs: all multiply-adds by the formulas.
    """

    name: str
    opset: int = 0
    runs: bool = False
    cannot: str = ""
    unread: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    sizes: list[Any] = field(default_factory=list)
    counts: list[Any] = field(default_factory=list)
    uncounted: list[str] = field(default_factory=list)
    lowered: bool = False
    lowered_unread: list[str] = field(default_factory=list)
    plain: bool = False
    anticipated: bool | None = None
    differs: list[str] = field(default_factory=list)
    macs: int = 0


def walk(name: str, case: Case) -> dict[str, Any]:
    """The record of a case, as JSON.

    Args:
        name: what the record is to be called.
        case: the model.
    """
    record = Record(name=name)
    record.opset = max((i.version for i in case.model.opset_import if not i.domain), default=0)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = case.save(Path(folder))
        truth = _truth(record, case, path)
        written: Network | None = record.step("read", lambda: read_onnx(path, case.sizes))
        if written is not None:
            _compare(record, written, truth)
            record.step("groups", lambda: find_groups(written))
            prices = record.step("flops", lambda: Flops().price(written.ops))
            if prices is not None:
                record.uncounted = sorted(
                    {f"{written.ops[i].kind}: {why}" for i, why in prices.reasons.items()}
                )
        runner = OrtRunner()
        lowered: Network | None = record.step("lower", lambda: runner.lower(path, case.sizes))
        record.step("load", lambda: runner.load_model(path, case.sizes))
        if lowered is not None:
            record.lowered = True
            record.lowered_unread = sorted(set(lowered.unread.values()))
        if written is not None and truth is not None:
            record.plain = set(truth.types.values()) <= PLAIN
            if record.plain and lowered is not None and not written.unread:
                _anticipate(record, written, lowered, runner)
    return asdict(record)


def _truth(record: Record, case: Case, path: Path) -> Truth | None:
    """What the runtime shows; it may run a file that it cannot show the insides of."""
    feeds = case.values()
    try:
        run(load(str(path), optimise=True), feeds)
    except Exception as error:
        record.cannot = str(error)[:300]
        return None
    record.runs = True
    try:
        truth = look(path, feeds)
    except Exception as error:
        record.cannot = f"its insides cannot be seen: {str(error)[:300]}"
        return None
    record.macs = sum(count or 0 for count in truth.macs.values())
    return truth


def _compare(record: Record, written: Network, truth: Truth | None) -> None:
    record.unread = sorted(set(written.unread.values()))
    if truth is None or any(0 in size for size in truth.fed):
        return  # what is fed nothing is read as if it were fed one
    seen: set[str] = set()
    for layer in written.layers:
        found = layer.outputs[0] if layer.outputs else ""
        seen.update(layer.outputs)
        theirs = tuple(truth.shapes.get(name, ()) for name in layer.outputs)
        if found in truth.shapes and layer.op.outputs[: len(theirs)] != theirs:
            record.sizes.append((layer.op.kind, layer.op.outputs, theirs))
        count = truth.macs.get(found)
        if count is not None and count != layer.op.macs:
            record.counts.append((layer.op.kind, layer.op.macs, count))
    named = len(written.unread)
    left = [name for name in truth.macs if name not in seen]
    contracting = [name for name in left if truth.macs[name]]
    if len(contracting) > named:
        record.missing = sorted(truth.kinds[name] for name in contracting)


def _anticipate(record: Record, written: Network, lowered: Network, runner: OrtRunner) -> None:
    foreseen = record.step("anticipate", lambda: anticipate(written, runner.device))
    if foreseen is None or lowered.unread:
        return
    theirs, ours = Counter(lowered.ops), Counter(foreseen.ops)
    only = [("-", theirs - ours), ("+", ours - theirs)]
    record.differs = [
        f"{sign}{op.label} {op.implementation}" for sign, ops in only for op in ops.elements()
    ]
    record.anticipated = not record.differs
