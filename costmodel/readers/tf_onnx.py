"""Converts functions of TensorFlow to ONNX, and mends what the converter leaves wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx

from costmodel.errors import MissingDependencyError, ModelFormatError
from costmodel.streams import silenced

#: Operator set of converted files: what tf2onnx is tested most with, readable by every runtime.
OPSET = 17


def import_converter(what: str) -> tuple[Any, Any]:
    """TensorFlow and tf2onnx.

    Args:
        what: is about to be done, for the message.

    Raises:
        MissingDependencyError: if either is not installed.
    """
    try:
        with silenced():
            import tensorflow
            import tf2onnx
    except ImportError as error:
        raise MissingDependencyError(error.name or "tf2onnx", "keras", what) from error
    return tensorflow, tf2onnx


def convert_function(where: str, forward: Callable[..., Any], signature: Sequence[Any]) -> bytes:
    """ONNX bytes of a function of tensors.

    Args:
        where: the model, for messages.
        forward: takes the tensors in order.
        signature: a named ``tensorflow.TensorSpec`` of fixed size for each of them.

    Raises:
        ModelFormatError: if it cannot be converted; says why.
    """
    tensorflow, tf2onnx = import_converter("Converting to ONNX")
    try:
        with silenced(), _without_xla(tensorflow):
            traced = tensorflow.function(forward, input_signature=list(signature))
            proto, _ = tf2onnx.convert.from_function(traced, list(signature), opset=OPSET)
            fed = {item.name for item in signature}
            _bind_captures(proto.graph, traced.get_concrete_function(*signature), fed)
    except Exception as error:
        message = (
            f"{where}: this model cannot be converted to ONNX ({_said(error)}). Replace what is "
            "named there, or give the model as an ONNX file that something else has made of it."
        )
        raise ModelFormatError(message) from error
    _write_erfc(proto.graph)
    _write_groups(proto.graph)
    alien = sorted({n.op_type for n in proto.graph.node if not _is_standard(n)})
    if alien:
        message = (
            f"{where}: these TensorFlow operations have no ONNX form: {', '.join(alien)}. Build "
            "the model without them, or of its parts before and behind them."
        )
        raise ModelFormatError(message)
    return bytes(proto.SerializeToString())


def _said(error: Exception) -> str:
    """What an error says, without the Python lines that TensorFlow puts before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    traced = bool(lines) and lines[0].startswith("in user code")
    return (lines[-1] if traced else " ".join(lines)[:400]) or type(error).__name__


def _bind_captures(graph: Any, traced: Any, fed: set[str]) -> None:
    """Give arrays that the model holds, such as a Normalization's mean, their values.

    The converter knows variables only, and makes inputs of everything else that is captured.
    """
    values = {inner.name: outer for outer, inner in traced.graph.captures}
    own = [item for item in graph.input if item.name in fed]
    for item in graph.input:
        if item.name not in fed:
            value = onnx.numpy_helper.from_array(values[item.name].numpy(), item.name)
            graph.initializer.append(value)
    del graph.input[:]
    graph.input.extend(own)


def _is_standard(node: Any) -> bool:
    return bool(onnx.defs.has(node.op_type, "ai.onnx.ml" if "ml" in node.domain else ""))


def _write_erfc(graph: Any) -> None:
    """Write ``erfc(x)``, which Keras's GELU uses and ONNX lacks, as ``1 - erf(x)``."""
    nodes, one = [], "costmodel/one"
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        inner = f"{node.output[0]}/erf"
        nodes.append(onnx.helper.make_node("Erf", node.input, [inner], name=f"{node.name}/erf"))
        nodes.append(onnx.helper.make_node("Sub", [one, inner], node.output, name=node.name))
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.append(onnx.helper.make_tensor(one, onnx.TensorProto.FLOAT, [], [1.0]))


def _write_groups(graph: Any) -> None:
    """Say how many groups a convolution has, which tf2onnx forgets for those over volumes."""
    convolutions = [node for node in graph.node if node.op_type == "Conv" and _sides(node) == 3]
    if not convolutions:
        return  # inference copies all weights
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset)
    known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    second = {item.name: item.dims[1] for item in graph.initializer if len(item.dims) > 1}
    for item in (*known.input, *known.value_info):
        dims = item.type.tensor_type.shape.dim
        if len(dims) > 1:
            second[item.name] = dims[1].dim_value
    for node in convolutions:
        read, filters = (second.get(name, 0) for name in node.input[:2])
        told = [item for item in node.attribute if item.name == "group"]
        if 0 < filters < read and all(item.i == 1 for item in told):
            for item in told:
                node.attribute.remove(item)
            node.attribute.append(onnx.helper.make_attribute("group", read // filters))


def _sides(node: Any) -> int:
    """Over how many axes a window runs."""
    return next((len(item.ints) for item in node.attribute if item.name == "kernel_shape"), 0)


@contextlib.contextmanager
def _without_xla(tensorflow: Any) -> Iterator[None]:
    """Trace grouped convolutions as they are.

    Keras wraps them into an XLA call on TensorFlow, which tf2onnx cannot look into.
    """
    original = tensorflow.function

    def function(func: Any = None, *args: Any, jit_compile: Any = None, **kwargs: Any) -> Any:
        if jit_compile:
            return func if func is not None else (lambda inner: inner)
        return original(func, *args, **kwargs)

    tensorflow.function = function
    try:
        yield
    finally:
        tensorflow.function = original
