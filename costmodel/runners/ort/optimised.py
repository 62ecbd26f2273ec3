"""Asks ONNX Runtime which kernels it executes for a model, from its own optimised graph."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from costmodel.errors import CostModelError, InvalidInputError, ModelFormatError
from costmodel.network import Layer, Network, session_op
from costmodel.onnx_model.nodes import SMALL, Tensor
from costmodel.op import SESSION
from costmodel.runners.ort.bound import DTYPES, session_options
from costmodel.runners.ort.covers import find_covers, in_written_order, name_nodes
from costmodel.runners.ort.handed import session_of, weights_beside
from costmodel.runners.ort.operands import executed_op, with_provider
from costmodel.runners.ort.providers import CPU, CPU_NAME, Setup
from costmodel.runners.ort.session import (
    is_from_runtime,
    make_session,
    random_feed,
    refused_as,
    run_within,
    write_basic,
)

#: Runs made to learn each kernel's share of time; the least time of each counts.
_RUNS = 3
_SUFFIX = "_kernel_time"
#: Longest that one of them may take, in seconds: a loop in a model need not end.
_PATIENCE_S = 120.0
#: Nodes that run a graph inside: their kernels are not Ops of this network.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


class Executor(Protocol):
    """Loads and runs a model that is being lowered: the runtime here, or one on another device."""

    def optimise(self, model: onnx.ModelProto, target: Path) -> Collection[str]:
        """Write the optimised graph, weights beside it; returns the names of its inputs."""
        ...

    def profile(self, path: Path, runs: int) -> tuple[Sequence[Any], Mapping[str, Tensor]]:
        """Run an optimised graph as it is; returns the runtime's trace events and the inputs."""
        ...


class LocalExecutor:
    """The runtime in this process.

    Args:
        threads: intra-op threads of the sessions.
        setup: the provider.
    """

    def __init__(self, threads: int, setup: Setup = CPU) -> None:
        self._threads = threads
        self._setup = setup

    def optimise(self, model: onnx.ModelProto, target: Path) -> Collection[str]:
        """Write the optimised graph, weights beside it; returns the names of its inputs."""
        if self._setup.provider.whole_graph:
            # What it compiles cannot be written down: the graph that it is given takes its place.
            return write_basic(write_source(model, target), target)
        options = session_options(self._threads, optimise=True)
        options.optimized_model_filepath = str(target)
        weights_beside(options, f"{target.name}.weights")
        session = session_of(model, options, self._setup)
        return {item.name for item in session.get_inputs()}

    def profile(self, path: Path, runs: int) -> tuple[Sequence[Any], Mapping[str, Tensor]]:
        """Run an optimised graph as it is; returns the runtime's trace events and the inputs."""
        whole = self._setup.provider.whole_graph
        events, feed = self._profile(path, runs, CPU if whole else self._setup)
        if whole:
            ran, _ = self._profile(path, runs, self._setup)
            events = _without_times(events, ran, self._setup.provider.name)
        return events, {k: Tensor(shape=v.shape, dtype=str(v.dtype)) for k, v in feed.items()}

    def _profile(
        self, path: Path, runs: int, setup: Setup
    ) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.generic]]]:
        options = session_options(self._threads, optimise=False)
        options.enable_profiling = True
        options.profile_file_prefix = str(path.with_name("profile"))
        session = make_session(str(path), options, setup)
        feed = random_feed(session)
        for _ in range(runs):
            run_within(session, feed, _PATIENCE_S)
        return json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")), feed


def _without_times(
    sizes: list[dict[str, Any]], ran: list[dict[str, Any]], provider: str
) -> list[dict[str, Any]]:
    """Trace of a graph that a provider compiles: sizes from the CPU, none of its times.

    Args:
        sizes: events of the CPU, which runs every node by itself.
        ran: events of the provider; a node that it did not take has one of its own.
        provider: its name.
    """
    left = {item["name"] for item in ran if item.get("args", {}).get("provider") == CPU_NAME}
    return [
        {**item, "dur": 0, "args": {**item["args"], "provider": provider}}
        if item.get("cat") == "Node" and "args" in item and item["name"] not in left
        else {**item, "dur": 0}
        for item in sizes
    ]


def lower(
    model: onnx.ModelProto,
    name: str,
    threads: int,
    block: int,
    executor: Executor | None = None,
    *,
    written: onnx.ModelProto | None = None,
    provider: str = CPU_NAME,
) -> Network:
    """The executed Ops of a model whose input sizes are all bound.

    Args:
        model: what is to be run; nameless nodes get names.
        name: the network's name.
        threads: intra-op threads of the sessions.
        block: channel block of the NCHWc layout on the device.
        executor: who loads and runs it; None for the runtime in this process.
        written: as the user wrote it, where ``model`` is a conversion of that.
        provider: who is expected to run every kernel; one that another runs is marked with it.

    Raises:
        ModelFormatError: if the runtime cannot load or run the model.
    """
    name_nodes(model.graph)
    executor = executor or LocalExecutor(threads)
    with TemporaryDirectory(prefix="costmodel-") as folder:
        executed = _optimised(model, name, executor, Path(folder))
        covers = _in_order((written or model).graph, executed.graph)
        seen = _run_profiled(executed, name, executor, Path(folder))
    return _network(executed, covers, seen, name=name, block=block, provider=provider)


def write_source(model: onnx.ModelProto, target: Path) -> Path:
    """Write a model that is to be optimised into the folder of ``target``."""
    source = target.with_name("model.onnx")
    source.write_bytes(model.SerializeToString())
    return source


def _optimised(
    model: onnx.ModelProto, name: str, executor: Executor, folder: Path
) -> onnx.ModelProto:
    """The graph after all optimisations."""
    target = folder / "optimised.onnx"
    try:
        fed = executor.optimise(model, target)
        executed = onnx.load(str(target), load_external_data=False)
    except CostModelError:
        raise
    except ValueError as error:
        message = (
            f"{name}: the model is larger than 2 GB with its weights ({error}). Give a part of the "
            "network, or one whose weights take fewer bytes."
        )
        raise ModelFormatError(message) from error
    except Exception as error:
        if not is_from_runtime(error):
            raise
        _require_room(model, folder)
        message = f"{name}: ONNX Runtime cannot load this model: {error}"
        raise ModelFormatError(message) from error
    # Optimised files of old models list folded-away constants as inputs.
    kept = [item for item in executed.graph.input if item.name in fed]
    del executed.graph.input[:]
    executed.graph.input.extend(kept)
    executed.ir_version = max(executed.ir_version, 8)
    return executed


def _require_room(model: onnx.ModelProto, folder: Path) -> None:
    """Write as much as the runtime had to: it does not say why it could not.

    Raises:
        InvalidInputError: naming what is in the way, such as a full disk or a quota.
    """
    probe = folder / "room"
    try:
        probe.write_bytes(bytes(model.ByteSize()))
        probe.unlink()
    except OSError as error:
        message = (
            f"{folder.parent} cannot take the graph that ONNX Runtime writes down: "
            f"{error.strerror or error}. Free some space there, or set TMPDIR to a roomier folder."
        )
        raise InvalidInputError(message) from error


def _in_order(written: onnx.GraphProto, executed: onnx.GraphProto) -> dict[str, tuple[str, ...]]:
    """Sort executed nodes and name them by position; return the layers that each carries out."""
    covers = find_covers(written, executed)
    order = in_written_order(written, executed, covers)
    nodes = [executed.node[i] for i in order]
    del executed.node[:]
    executed.node.extend(nodes)
    for index, node in enumerate(executed.node):
        node.name = f"n{index}"
    return {f"n{index}": covers[i] for index, i in enumerate(order) if i in covers}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What profiled runs show.

    Attributes:
        tensors: shape and type of every tensor.
        times: least milliseconds of every node.
        homes: provider of every node.
    """

    tensors: Mapping[str, Tensor]
    times: Mapping[str, float]
    homes: Mapping[str, str]


def _run_profiled(executed: onnx.ModelProto, name: str, executor: Executor, folder: Path) -> _Seen:
    """What a few profiled runs show."""
    path = folder / "executed.onnx"
    onnx.save(executed, str(path))
    with refused_as(f"{name}: ONNX Runtime loads this model but cannot run it"):
        events, feed = executor.profile(path, _RUNS)
    tensors = dict(feed)
    for constant in executed.graph.initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(constant.data_type)
        tensors[constant.name] = Tensor(shape=tuple(constant.dims), dtype=str(dtype))
    for sparse in executed.graph.sparse_initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(sparse.values.data_type)
        tensors[sparse.values.name] = Tensor(shape=tuple(sparse.dims), dtype=str(dtype))
    outputs = {node.name: [o for o in node.output if o] for node in executed.graph.node}
    # A graph that a provider compiles has its sizes from the CPU, which computes them in float32.
    halves = {
        item.name
        for item in (*executed.graph.value_info, *executed.graph.output)
        if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    times: dict[str, float] = {}
    homes: dict[str, str] = {}
    for event in events:
        node = event["name"].removesuffix(_SUFFIX)
        if event.get("cat") != "Node" or node == event["name"] or node not in outputs:
            continue
        times[node] = min(times.get(node, float("inf")), event["dur"] * 1e-3)
        homes[node] = event["args"].get("provider", "")
        for output, entry in zip(outputs[node], event["args"]["output_type_shape"], strict=False):
            tensors[output] = _tensor(entry, half=output in halves)
    return _Seen(tensors=tensors, times=times, homes=homes)


def _tensor(entry: Mapping[str, list[int]], *, half: bool) -> Tensor:
    ((dtype, shape),) = entry.items()
    return Tensor(shape=tuple(shape), dtype="float16" if half else DTYPES.get(dtype, dtype))


def _network(
    executed: onnx.ModelProto,
    covers: Mapping[str, tuple[str, ...]],
    seen: _Seen,
    *,
    name: str,
    block: int,
    provider: str,
) -> Network:
    graph, tensors = executed.graph, seen.tensors
    constants = {
        item.name: numpy_helper.to_array(item) if prod(item.dims) <= SMALL else None
        for item in graph.initializer
    }
    constants |= {item.values.name: None for item in graph.sparse_initializer}
    opset = max(
        (o.version for o in executed.opset_import if o.domain in {"", "ai.onnx"}), default=1
    )
    # A provider that compiles whole graphs shows no times of nodes.
    total = sum(seen.times.values()) or float("nan")
    layers: list[Layer] = []
    unread: dict[str, str] = {}
    shares: dict[str, float] = {}
    for node in graph.node:
        title = covers.get(node.name, (f"{node.op_type}_{node.name[1:]}",))[-1]
        title = title if title not in unread else f"{title}_{node.name[1:]}"
        share = seen.times.get(node.name, 0.0) / total
        reason = _unreadable(node, tensors)
        if reason:
            unread[title] = reason
            shares[title] = share
            continue
        op = executed_op(node, tensors, constants, opset=opset, block=block)
        op = with_provider(op, seen.homes.get(node.name, ""), provider)
        layers.append(
            Layer(
                name=f"{title}/{node.name}",
                op=op,
                inputs=tuple(i for i in node.input if i and i not in constants),
                outputs=tuple(o for o in node.output if o),
                covers=covers.get(node.name, ()),
                share=share,
            )
        )
    inputs = {item.name: tensors[item.name].shape for item in graph.input}
    outputs = tuple(item.name for item in graph.output)
    layers.append(Layer(name=SESSION, op=session_op(len(inputs), len(outputs)), share=0.0))
    return Network(
        name=name,
        layers=tuple(layers),
        inputs=inputs,
        outputs=outputs,
        unread=unread,
        unread_shares=shares,
        source="lowered",
    )


def _unreadable(node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> str:
    """Why a node cannot become an Op; empty when it can."""
    if node.op_type in CONTROL_FLOW:
        return f"{node.op_type} runs a graph inside, whose work depends on its data"
    names = [n for n in (*node.input, *node.output) if n]
    missing = [n for n in names if n not in tensors]
    if missing:
        return f"{node.op_type}: the size of {missing[0]!r} is not known, or it never ran"
    if any(tensors[n].dtype in {"object", "str"} for n in names):
        return f"{node.op_type} works on text"
    return ""


def runtime_version() -> str:
    """Version of the installed runtime."""
    return str(onnxruntime.__version__)
