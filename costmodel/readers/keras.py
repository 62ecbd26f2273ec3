"""Reads a Keras model as a Network of layers as written, or exports it to ONNX.

Imports Keras once it is asked for a model, and TensorFlow to export one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError, MissingDependencyError, ModelFormatError
from costmodel.network import Layer, Network, Opaque
from costmodel.op import Shape
from costmodel.readers.formats import Format, Opened, Request, no_signatures
from costmodel.readers.keras_activations import UnreadableError
from costmodel.readers.keras_call import Call
from costmodel.readers.keras_classes import require_no_code, why_not_loaded
from costmodel.readers.keras_copy import cloned, in_float32
from costmodel.readers.keras_graph import with_graph
from costmodel.readers.keras_ops import layer_steps
from costmodel.readers.keras_own import overridden
from costmodel.readers.tf_onnx import convert_function, import_converter
from costmodel.sizes import BATCH, InputShape, Sizes, bind_shapes
from costmodel.streams import silenced as _silence

#: Endings of Keras' model files.
SUFFIXES = (".keras", ".h5", ".hdf5")


def export_onnx(model: Any, out: Path, sizes: Sizes | None = None) -> Path:
    """Convert a Keras model to ONNX with fixed sizes.

    The ONNX model takes and returns what the Keras model does, channels last included; it is
    written beside ``out`` first and moved there whole.

    Args:
        model: a Keras model, or the path of its ``.keras`` or ``.h5`` file, which is never trusted
            to run code of its own (Lambda layers).
        out: ONNX file to write.
        sizes: values of open dimensions, e.g. ``{"image:1": 224}``, as for
            ``costmodel.sizes.bind_shapes``; the batch is 1 by default.

    Returns:
        ``out``.

    Raises:
        MissingDependencyError: if Keras, TensorFlow or tf2onnx is not installed.
        ModelFormatError: if the file cannot be loaded, sized, or converted.
        InvalidInputError: if Keras runs on another backend than TensorFlow, or ``out`` cannot be
            written.
    """
    backend = _import().backend.backend()
    if backend != "tensorflow":
        message = (
            f"Keras runs on the backend {backend!r} here, and only TensorFlow's models can be "
            "converted to ONNX. Save the model as a .keras file and export it in a process "
            "started with KERAS_BACKEND=tensorflow."
        )
        raise InvalidInputError(message)
    where = str(model) if isinstance(model, str | Path) else f"The Keras model {model.name!r}"
    model = in_float32(as_keras(model, sizes=sizes))
    shapes = bind_shapes(where, input_shapes(model), sizes or {})
    data = _convert(where, model, shapes)
    write_lines(Path(out), [data])
    return Path(out)


def as_keras(model: Any, x: Any = None, sizes: Sizes | None = None) -> Any:
    """A Keras model with a graph of layers, loaded if it is the path of a file.

    Args:
        model: a Keras model, or the path of its file.
        x: inputs with their batch axis, for models that do not know the sizes of theirs.
        sizes: instead of ``x``, the whole shape of the only input.

    Raises:
        MissingDependencyError: if Keras is not installed.
        ModelFormatError: if the file cannot be loaded, or the model has no graph; says why.
    """
    shapes = [value for value in (sizes or {}).values() if not isinstance(value, int)]
    if x is None and len(shapes) == 1:
        x = np.broadcast_to(np.float32(0.0), tuple(shapes[0]))
    return with_graph(load_keras(Path(model)) if isinstance(model, str | Path) else model, x)


def read_keras(model: Any, sizes: Sizes | None = None) -> Network:
    """Read a Keras model as a network of layers as written.

    Sizes are stored channels first whatever order the model uses. A layer that does several things
    becomes several: ``conv`` and ``conv/relu``, ``sep`` and ``sep/pointwise``. Layers of nested
    models are called ``<model>/<layer>``.

    Args:
        model: a functional or sequential Keras model, or the path of its file.
        sizes: as for ``export_onnx``.

    Returns:
        A network with ``source == "written"``; layers without a rule are in ``unread``.

    Raises:
        MissingDependencyError: if Keras is not installed.
        ModelFormatError: if the file cannot be loaded, or the model has no graph of layers.
    """
    functional = _functional(load_keras(Path(model)) if isinstance(model, str | Path) else model)
    where = str(model) if isinstance(model, str | Path) else f"The Keras model {model.name!r}"
    shapes = bind_shapes(where, input_shapes(functional), sizes or {})
    plain = [tuple(size or 1 for size in item.shape) for item in functional.inputs]
    if plain != list(shapes.values()) or any(None in i.shape[1:] for i in functional.inputs):
        with _silence():
            functional, _ = cloned(functional, shapes=shapes)
    return _Walk(functional, channels_last=_channels_last(functional)).network()


def _import() -> Any:
    """Keras, imported without its libraries' chatter."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on stderr otherwise
    try:
        with _silence():
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow  # noqa: F401 - Keras may be imported without, then fail in use
    except ImportError as error:
        package = error.name or "keras"
        raise MissingDependencyError(package, "keras", "Reading a Keras model") from error
    return keras


def load_keras(path: Path) -> Any:
    """Load a ``.keras`` or ``.h5`` file, without compiling it or running code that it holds.

    Keras runs code of Lambda layers if ``keras.config.enable_unsafe_deserialization()`` was called.

    Raises:
        MissingDependencyError: if Keras is not installed.
        ModelFormatError: if the file cannot be loaded; says why.
    """
    keras = _import()
    if not path.is_file():
        message = f"{path} is not a file. Give the path of a .keras or .h5 model."
        raise ModelFormatError(message)
    _require_network(path)
    try:
        with _silence():
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelFormatError(why_not_loaded(path, error)) from error


def _require_network(path: Path) -> None:
    """Refuse a file of weights alone."""
    import h5py  # Keras needs it, too

    if not h5py.is_hdf5(path):
        return
    with h5py.File(path, "r") as file:
        if "model_config" in file.attrs:
            require_no_code(path, file.attrs["model_config"])
            return
    message = (
        f"{path} holds weights without the network that they belong to. Build the model in Python, "
        "call model.load_weights(...) with this file, and save it whole: model.save('net.keras')."
    )
    raise ModelFormatError(message)


def input_shapes(model: Any) -> list[InputShape]:
    """What a Keras model says of the sizes of its inputs; the first dimension is the batch."""
    return [
        InputShape(
            name=item.name,
            dims=tuple(
                (BATCH if not axis else "") if n is None else n for axis, n in enumerate(item.shape)
            ),
        )
        for item in model.inputs
    ]


def _convert(where: str, model: Any, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """ONNX bytes of a loaded model; what it returns in Keras' order, whatever the structure."""
    keras = _import()
    tensorflow, _ = import_converter("Exporting a Keras model")
    signature = [
        tensorflow.TensorSpec(shapes[item.name], item.dtype, name=item.name)
        for item in model.inputs
    ]

    def forward(*tensors: Any) -> Any:
        return keras.tree.flatten(model(packed(model, tensors), training=False))

    return convert_function(where, forward, signature)


def packed(model: Any, tensors: Sequence[Any]) -> Any:
    """Tensors, one for each input in order, in the structure that a model is called with."""
    structure = _functional(model).input
    if len(tensors) == 1 and not isinstance(structure, Mapping | list | tuple):
        return tensors[0]
    return _import().tree.pack_sequence_as(structure, list(tensors))


def graph_of(model: Any) -> Any:
    """The graph of layers that a functional or built sequential model computes.

    Args:
        model: a model, or anything that a model calls.

    Returns:
        A functional model, the given one unless sequential; None for a layer, a model without a
        graph, and one whose class computes something else than its graph.
    """
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth") or {"call", "__call__"} & set(overridden(model)):
        return None
    return graph


def _functional(model: Any) -> Any:
    """The graph of layers of a functional or sequential model."""
    graph = graph_of(model)
    if graph is None and hasattr(model, "_nodes_by_depth"):
        message = (
            f"The Keras model {model.name!r} is of a class, {type(model).__name__}, whose call() "
            "computes something else than its graph of layers. Move that into layers of the graph, "
            "or export it to ONNX and read that."
        )
        raise ModelFormatError(message)
    if graph is None:
        message = (
            f"The Keras model {getattr(model, 'name', model)!r} ({type(model).__name__}) has no "
            "graph of layers: only functional models and built sequential ones have. Rebuild it "
            "with the functional API, or export it to ONNX and read that."
        )
        raise ModelFormatError(message)
    return graph


def _channels_last(model: Any) -> bool:
    """Which order most of a model's layers work in; Flatten takes any."""
    orders = Counter(
        getattr(layer, "data_format", None)
        for layer in model._flatten_layers()
        if type(layer).__name__ != "Flatten"
    )
    return orders["channels_first"] <= orders["channels_last"]


class _Walk:
    """One pass over a functional model's calls, nested models entered."""

    def __init__(self, model: Any, *, channels_last: bool) -> None:
        self._model = model
        self._last = channels_last
        self._layers: list[Layer] = []
        self._opaque: dict[str, Opaque] = {}
        self._calls: dict[str, int] = {}
        self._names: set[str] = set()
        #: Tensor name in the network by identity of the Keras tensor.
        self._tensors: dict[int, str] = {}

    def network(self) -> Network:
        """The network of the whole model."""
        inputs = {item.name: self._neutral(item.shape) for item in self._model.inputs}
        self._tensors.update({id(item): item.name for item in self._model.inputs})
        self._visit(self._model, "")
        outputs = tuple(self._tensors[id(item)] for item in self._model.outputs)
        return Network(
            name=self._model.name,
            layers=tuple(self._layers),
            inputs=inputs,
            outputs=outputs,
            unread={name: layer.reason for name, layer in self._opaque.items()},
            opaque=self._opaque,
            channels_last=self._last,
        )

    def _visit(self, model: Any, prefix: str) -> None:
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    self._call(node, prefix)

    def _call(self, node: Any, prefix: str) -> None:
        """Add the layers of one call of one Keras layer."""
        operation = node.operation
        read = list(node.arguments.keras_tensors)
        inner = graph_of(operation)
        if inner is not None:
            for outer, own in zip(read, inner.inputs, strict=True):
                self._tensors[id(own)] = self._tensors[id(outer)]
            self._visit(inner, f"{prefix}{operation.name}/")
            for outer, own in zip(node.outputs, inner.outputs, strict=True):
                self._tensors[id(outer)] = self._tensors[id(own)]
            return
        origin = f"{prefix}{operation.name}"
        title = self._unique(origin)
        names = [self._tensors[id(item)] for item in read]
        call = Call(
            layer=operation,
            inputs=tuple(self._neutral(item.shape) for item in read),
            outputs=tuple(self._neutral(item.shape) for item in node.outputs),
            arguments=tuple(node.arguments.args),
            settings=dict(node.arguments.kwargs),
            channels_last=self._last,
        )
        try:
            results = self._add(title, origin, names, call)
        except UnreadableError as reason:
            results = tuple(f"{title}:{index}" for index in range(len(call.outputs)))
            self._opaque[title] = Opaque(
                inputs=tuple(names),
                outputs=results,
                sizes=call.outputs,
                reason=str(reason),
                origin=origin,
            )
        self._calls[origin] = self._calls.get(origin, 0) + 1
        self._tensors.update(
            {id(item): name for item, name in zip(node.outputs, results, strict=True)}
        )

    def _add(self, title: str, origin: str, names: Sequence[str], call: Call) -> tuple[str, ...]:
        """Append the Ops of one layer; the names of the tensors the last one writes."""
        steps = layer_steps(call)
        written: tuple[str, ...] = ()
        for step in steps:
            operands = tuple(
                f"{title}{ref}" if isinstance(ref, str) else names[ref] for ref in step.reads
            )
            name = f"{title}{step.suffix}"
            count = len(step.op.outputs)
            written = (name,) if count == 1 else tuple(f"{name}:{i}" for i in range(count))
            self._layers.append(
                Layer(
                    name=name,
                    op=step.op,
                    inputs=operands,
                    outputs=written,
                    origin=origin,
                    call=self._calls.get(origin, 0),
                    frozen=step.frozen,
                )
            )
            self._names.add(name)
        return written

    def _neutral(self, shape: Sequence[int | None]) -> Shape:
        """Batch bound to 1 where open, channels moved to axis 1."""
        sizes = [1 if size is None else int(size) for size in shape]
        if self._last and len(sizes) > 2:
            return (sizes[0], sizes[-1], *sizes[1:-1])
        return tuple(sizes)

    def _unique(self, name: str) -> str:
        title, count = name, 1
        while title in self._names or title in self._opaque:
            count += 1
            title = f"{name}_{count}"
        return title


def _owns(model: Any) -> bool:
    if isinstance(model, Path):
        return model.suffix.lower() in SUFFIXES
    return hasattr(model, "get_config") and hasattr(model, "layers")


def _open(model: Any, request: Request) -> Opened:
    """The model, loaded, to be converted by tf2onnx once its sizes are known."""
    named = isinstance(model, Path)
    where = str(model) if named else f"The Keras model {model.name!r}"
    no_signatures(where, request)
    loaded = as_keras(model, sizes=request.sizes)

    def write(out: Path, shapes: Mapping[str, Shape]) -> Path:
        return export_onnx(loaded, out.with_name(f"{out.name}.onnx"), shapes)

    return Opened(
        name=model.stem if named else str(model.name),
        inputs=input_shapes(loaded),
        write=write,
        where=where,
    )


FORMAT = Format(title="a Keras model (.keras, .h5)", owns=_owns, open=_open)
