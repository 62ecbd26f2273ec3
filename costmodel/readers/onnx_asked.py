"""Asks ONNX Runtime for sizes that nothing here can infer.

First for those that its own inference finds, for which it needs no weights; then for those that two
runs on unlike inputs agree on, so that sizes which depend on values are never taken for fixed. Both
happen in a process of their own, which may crash or hang.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from costmodel.onnx_model.nodes import Tensor
from costmodel.timing.mishaps import die_with_parent

#: Longest that the runtime may take, in seconds, and largest model that is run, in bytes.
_PATIENCE_S = 60.0
_MOST_BYTES = 256 << 20
#: Largest input that is made, in bytes.
_MOST_FED = 256 << 20
_SKELETON, _MODEL, _NAMES = "skeleton.onnx", "model.onnx", "names.json"
#: numpy's names of element types, where they differ from the runtime's.
_DTYPES = {"float": "float32", "double": "float64", "string": "object"}
#: Values of the inputs of two runs.
_FILLS = (0, 1)


def ask_runtime(
    model: onnx.ModelProto, skeleton: onnx.ModelProto, names: Collection[str]
) -> dict[str, Tensor]:
    """Sizes and types of some tensors, as far as ONNX Runtime knows them.

    Args:
        model: all inputs of fixed size.
        skeleton: the same without weights, and with standard nodes for some that the runtime here
            may have no kernel for.
        names: the tensors.
    """
    with tempfile.TemporaryDirectory(prefix="costmodel-") as name:
        folder = Path(name)
        try:
            (folder / _SKELETON).write_bytes(_asking(skeleton, names).SerializeToString())
            if model.ByteSize() <= _MOST_BYTES:
                (folder / _MODEL).write_bytes(_asking(model, names).SerializeToString())
            (folder / _NAMES).write_text(json.dumps(sorted(names)))
            # -P: a file in the user's folder must not shadow a module of ours.
            command = [sys.executable, "-P", "-m", __name__, str(folder)]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S
            )
            told = [json.loads(line) for line in done.stdout.splitlines()]
        except (OSError, ValueError, subprocess.SubprocessError):
            # What the runtime cannot tell either stays unknown, and is named with its layer.
            return {}
    return {name: Tensor(shape=tuple(shape), dtype=dtype) for name, dtype, shape in told}


def _asking(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """The model with more outputs."""
    asking = onnx.ModelProto()
    asking.CopyFrom(model)
    there = {item.name for item in asking.graph.output}
    asking.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in sorted(names) if name not in there
    )
    return asking


def main(folder: Path) -> None:
    """Write one JSON line ``[name, type, sizes]`` for each tensor that is known."""
    import onnxruntime

    die_with_parent()  # a loop in the model need not end
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def session(name: str) -> Any:
        path = str(folder / name)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    names = json.loads((folder / _NAMES).read_text())
    known: set[str] = set()
    for find, file in ((_inferred, _SKELETON), (_run, _MODEL)):
        left = [name for name in names if name not in known]
        if not left or not (folder / file).is_file():
            continue
        try:
            for name, dtype, shape in find(session(file), left):
                known.add(name)
                sys.stdout.write(json.dumps([name, dtype, shape]) + "\n")
        except Exception as error:
            sys.stderr.write(f"{file}: {error}\n")


_Found = Iterator[tuple[str, str, list[int]]]


def _inferred(session: Any, names: Iterable[str]) -> _Found:
    """What the runtime's own inference says."""
    for item in session.get_outputs():
        if item.name in names and item.shape and all(type(n) is int for n in item.shape):
            yield item.name, _dtype(item.type), item.shape


def _run(session: Any, names: Iterable[str]) -> _Found:
    """Sizes in which two runs agree."""
    kinds = {item.name: item.type for item in session.get_outputs()}
    wanted = [name for name in names if kinds[name].startswith("tensor(")]
    feeds = [{item.name: _filled(item, fill) for item in session.get_inputs()} for fill in _FILLS]
    first, second = (session.run(wanted, feed) for feed in feeds)
    for name, a, b in zip(wanted, first, second, strict=True):
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
            yield name, _dtype(kinds[name]), list(a.shape)


def _filled(item: Any, fill: int) -> NDArray[Any]:
    dtype = _dtype(item.type)
    if prod(item.shape) * np.dtype(dtype).itemsize > _MOST_FED:
        message = f"the input {item.name!r} of size {item.shape} is too large"
        raise ValueError(message)
    if dtype == "object":
        return np.full(item.shape, str(fill), dtype=object)
    if dtype.startswith("float") and fill:
        rng = np.random.default_rng(fill)
        return np.asarray(rng.standard_normal(item.shape)).astype(dtype)
    return np.full(item.shape, fill, dtype=dtype)


def _dtype(kind: str) -> str:
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
