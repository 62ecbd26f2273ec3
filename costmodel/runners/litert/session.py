"""Interpreters and timing, the same for single Ops and whole models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from costmodel.errors import ModelFormatError
from costmodel.isolated import DiedError, isolated
from costmodel.lite_model.graph import LiteModel
from costmodel.lite_model.package import interpreter
from costmodel.lite_model.write import write_model
from costmodel.op import Shape
from costmodel.runners.workload import RunsWorkload

#: Inputs of a model that are filled with numbers at most, in bytes.
MAX_INPUT_BYTES = 1 << 31
_DELEGATE = "DELEGATE"


def make_interpreter(content: bytes, threads: int, *, apart: bool = False) -> Any:
    """An interpreter with XNNPACK, its memory planned and its weights packed.

    Args:
        content: of a ``.tflite`` file.
        threads: of one kernel.
        apart: whether the delegate takes every operator by itself, to see which it takes.

    Raises:
        ModelFormatError: with the runtime's own words, if it cannot run the model.
    """
    try:
        made = interpreter.Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_disable_delegate_node_fusion=apart,
        )
        made.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        message = f"LiteRT cannot load this model: {error}"
        raise ModelFormatError(message) from error
    return made


def taken_over(details: Sequence[Mapping[str, Any]], model: LiteModel) -> frozenset[int]:
    """Positions of the operators that XNNPACK runs, as an interpreter made with ``apart`` lists."""
    written = {
        tuple(int(i) for i in item["outputs"]) for item in details if item["op_name"] == _DELEGATE
    }
    listed = [item["op_name"] for item in details if item["op_name"] != _DELEGATE]
    expected = [operator.code for operator in model.operators]
    if listed != expected:
        message = f"LiteRT lists other operators than the model has: {listed} against {expected}."
        raise ModelFormatError(message)
    return frozenset(index for index, item in enumerate(model.operators) if item.outputs in written)


def delegated_operators(model: LiteModel) -> frozenset[int]:
    """Positions of the operators that the installed XNNPACK takes over.

    Raises:
        ModelFormatError: if LiteRT cannot load the model.
    """
    made = make_interpreter(write_model(model), 1, apart=True)
    return taken_over(made._get_ops_details(), model)


def delegated_in_file(model: LiteModel) -> frozenset[int]:
    """The same of a model that came from a file, which may bring the runtime down.

    Raises:
        ModelFormatError: if LiteRT cannot load or run the model.
    """
    with TemporaryDirectory(prefix="costmodel-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(write_model(model))
        try:
            details = isolated(f"{__name__}:try_file", str(path))
        except DiedError as error:
            message = f"LiteRT cannot run this model: {error}"
            raise ModelFormatError(message) from error
    return taken_over(details, model)


def try_file(path: str) -> list[dict[str, Any]]:
    """Run a model once; what ``taken_over`` wants to know of it."""
    content = Path(path).read_bytes()
    made = make_interpreter(content, 1)
    fill_inputs(made)
    made.invoke()
    details = make_interpreter(content, 1, apart=True)._get_ops_details()
    return [
        {"op_name": item["op_name"], "outputs": [int(i) for i in item["outputs"]]}
        for item in details
    ]


def fill_inputs(made: Any) -> None:
    """Give every input arbitrary values: normal numbers, or zeros where they may be positions."""
    rng = np.random.default_rng(0)
    for item in made.get_input_details():
        dtype, shape = np.dtype(item["dtype"]), tuple(int(n) for n in item["shape"])
        if int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > MAX_INPUT_BYTES:
            message = f"Input {item['name']!r} of size {shape} is over {MAX_INPUT_BYTES >> 30} GiB."
            raise ModelFormatError(message)
        if dtype.kind == "f":
            values = rng.standard_normal(shape, dtype=np.float32).astype(dtype)
        elif dtype in (np.int8, np.uint8):
            values = rng.integers(0, 127, shape).astype(dtype)
        else:
            values = np.zeros(shape, dtype=dtype)
        made.set_tensor(item["index"], values)


class InvokeWorkload(RunsWorkload):
    """One interpreter with resident inputs; a ``Workload``.

    Args:
        made: from ``make_interpreter``; its inputs are filled here.
        kernels: executions of the Op in one run.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``kernels``.
    """

    def __init__(self, made: Any, *, kernels: float = 1, overhead_ms: float = 0.0) -> None:
        super().__init__(kernels=kernels, overhead_ms=overhead_ms)
        fill_inputs(made)
        self._made: Any = made

    def _time(self, count: int) -> float:
        """The wrapper of ``invoke`` costs 1 us of its own."""
        run = self._made._interpreter.Invoke
        start = perf_counter()
        for _ in range(count):
            run()
        return (perf_counter() - start) * 1e3

    def output_shapes(self) -> tuple[Shape, ...]:
        """Sizes of what the last run wrote."""
        return tuple(tuple(int(n) for n in i["shape"]) for i in self._made.get_output_details())

    def _release(self) -> None:
        """Drop the interpreter and its threads."""
        self._made = None
