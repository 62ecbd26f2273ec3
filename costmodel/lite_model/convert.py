"""Makes a TensorFlow Lite model of a network as written, as TensorFlow's converter deploys it.

Tensors become channels last and stay so: a Transpose that the exporter wrote only relabels axes,
and costs an operator where kernels really want another order. Normalisation goes into the weights
before it, an activation into the kernel before it, and padding that TensorFlow has no word for
becomes a PAD. Weights have no values: none changes a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.lite_model.graph import ACTIVATION_NUMBERS, LiteBuilder, LiteModel, LiteTensor, Scale
from costmodel.lite_model.scales import (
    ACTIVATION,
    CHANNEL_AXIS,
    bias_scale,
    output_scale,
    weight_scale,
)
from costmodel.lite_model.share import drop_unread, share_equal, split_pads
from costmodel.lite_model.stored import (
    Axes,
    Tail,
    Value,
    channels_last,
    clamp_of,
    permutation,
    permuted,
    plain,
)
from costmodel.network import Layer, Network
from costmodel.op import Attribute, Shape

DTYPES = ("float32", "int8")
#: Operators without an 8-bit kernel: a quantised model computes them in floating point.
_FLOAT_ONLY = frozenset(
    {"CEIL", "COS", "FLOOR", "LOCAL_RESPONSE_NORMALIZATION", "POW", "ROUND", "SIN", "SQUARE"}
)
#: Kinds whose inputs are maps with channels in axis 1, which a deployed model holds last.
_SPATIAL = frozenset(
    {"average_pool", "batch_norm", "conv", "conv_transpose", "depth_to_space", "instance_norm"}
    | {"global_average_pool", "global_max_pool", "lrn", "max_pool", "resize", "space_to_depth"}
)
#: Kinds that say that the model keeps another order than channels first.
_ORDERED = frozenset({"transpose", "matmul", "reshape", "layer_norm", "gather"})


class Converter:
    """The model under construction; rules by kind are functions of it and a layer.

    Args:
        network: layers as written.
        dtype: ``float32`` or ``int8``.
        rules: by kind of layer.
    """

    def __init__(
        self, network: Network, dtype: str, rules: Mapping[str, Callable[[Converter, Layer], None]]
    ) -> None:
        if dtype not in DTYPES:
            message = f"dtype must be one of {', '.join(DTYPES)}. Received: {dtype!r}."
            raise InvalidInputError(message)
        network, self._stands_for = share_equal(drop_unread(network))
        self.network = network = split_pads(network)
        self.quantised = dtype == "int8"
        self.rules = rules
        self.builder = LiteBuilder()
        self.values: dict[str, Value] = {}
        self.shapes: dict[str, Shape] = dict(network.inputs)
        self.returned = set(network.outputs)
        self.readers: dict[str, list[Layer]] = {}
        self.done: set[str] = set()
        self._arranged: dict[tuple[int, Axes], int] = {}
        for layer in network.layers:
            self.shapes.update(zip(layer.outputs, layer.op.outputs, strict=False))
            for name in layer.inputs:
                self.readers.setdefault(name, []).append(layer)

    def run(self) -> LiteModel:
        """The whole model.

        Raises:
            ModelFormatError: naming the layer that has no counterpart.
        """
        fed = [self._feed(name, shape) for name, shape in self.network.inputs.items()]
        for layer in self.network.layers:
            if layer.name in self.done:
                continue
            rule = self.rules.get(layer.op.kind)
            if rule is None:
                raise self.refusal(
                    layer, "has no counterpart in TensorFlow Lite that is known here"
                )
            try:
                rule(self, layer)
            except (IndexError, KeyError, TypeError, ValueError) as error:
                if isinstance(error, ModelFormatError):
                    raise
                raise self.refusal(layer, f"cannot be converted ({error})") from error
        returned = [self._give(name) for name in self.network.outputs if name in self.values]
        return self.builder.model(self.network.name, fed, returned)

    def refusal(self, layer: Layer, why: str) -> ModelFormatError:
        """The error for a layer that cannot be converted."""
        message = f"{self.network.name}: layer {layer.name!r} ({layer.op.kind}) {why}."
        return ModelFormatError(message)

    # Tensors

    def _feed(self, name: str, shape: Shape) -> int:
        axes = channels_last(len(shape)) if self._is_map(name) else plain(len(shape))
        stored = permuted(shape, axes)
        index = self.builder.tensor(LiteTensor(name=name, shape=stored))
        inner = index
        if self.quantised and (name in self.readers or name in self.returned):
            inner = self.activation(f"{name}/int8", stored)
            self.builder.operator("QUANTIZE", [index], [inner])
        self.values[name] = Value(index=inner, axes=axes)
        return index

    def _is_map(self, name: str) -> bool:
        """Whether an input is a map with channels in axis 1: what reads it first decides."""
        if self.network.channels_last:
            return True
        names, seen = [name], set()
        while names:
            current = names.pop(0)
            for layer in self.readers.get(current, ()):
                if layer.op.kind in _SPATIAL:
                    return True
                if layer.op.kind in _ORDERED:
                    return False
                fresh = [item for item in layer.outputs if item not in seen]
                seen.update(fresh)
                names += fresh
        return False

    def _give(self, name: str) -> int:
        index = self.values[name].index
        tensor = self.builder.tensors[index]
        if tensor.dtype != "int8":
            return index
        target = self.builder.tensor(LiteTensor(name=name, shape=tensor.shape))
        self.builder.tensors[index] = replace(tensor, name=f"{name}/int8")
        self.builder.operator("DEQUANTIZE", [index], [target])
        return target

    def activation(
        self, name: str, shape: Shape, *, scale: Scale | None = None, dtype: str = ""
    ) -> int:
        """A new activation tensor, quantised where the model is unless ``dtype`` says otherwise."""
        dtype = dtype or ("int8" if self.quantised else "float32")
        given = (scale or ACTIVATION) if dtype == "int8" else None
        return self.builder.tensor(LiteTensor(name=name, shape=shape, dtype=dtype, scale=given))

    def weight(self, name: str, shape: Shape, code: str = "") -> int:
        """A new constant; with ``code``, the weights of such an operator, scaled per channel."""
        if not self.quantised:
            return self.builder.tensor(LiteTensor(name=name, shape=shape, constant=True))
        scale = ACTIVATION
        if code in CHANNEL_AXIS:
            axis = CHANNEL_AXIS[code]
            scale = weight_scale(shape[axis], axis)
        return self.builder.tensor(
            LiteTensor(name=name, shape=shape, dtype="int8", scale=scale, constant=True)
        )

    def bias(self, name: str, data: int, weight: int, channels: int) -> int:
        """A new bias of a kernel that multiplies ``data`` and ``weight``."""
        tensor = LiteTensor(name=name, shape=(channels,), constant=True)
        if self.quantised:
            scales = [self.builder.tensors[i].scale or ACTIVATION for i in (data, weight)]
            tensor = replace(tensor, dtype="int32", scale=bias_scale(*scales))
        return self.builder.tensor(tensor)

    def shape_of(self, index: int) -> Shape:
        """Sizes of a tensor as stored."""
        return self.builder.tensors[index].shape

    # Wiring

    def value(self, layer: Layer, position: int = 0) -> Value:
        """What a layer reads."""
        return self.values[layer.inputs[position]]

    def arranged(self, value: Value, axes: Axes) -> int:
        """The tensor with its axes stored in another order, by an operator if need be."""
        if value.axes == axes:
            return value.index
        key = (value.index, axes)
        if key not in self._arranged:
            order = [value.axes.index(axis) for axis in axes]
            tensor = self.builder.tensors[value.index]
            shape = tuple(tensor.shape[i] for i in order)
            self._arranged[key] = index = self.activation(
                f"{tensor.name}/{''.join(map(str, axes))}",
                shape,
                scale=tensor.scale,
                dtype=tensor.dtype,
            )
            moved = [i for i in order if tensor.shape[i] != 1]
            if moved == sorted(moved):
                target = self.builder.constant(shape)
                self.builder.operator("RESHAPE", [value.index, target], [index])
            else:
                target = self.builder.constant(order)
                self.builder.operator("TRANSPOSE", [value.index, target], [index])
        return self._arranged[key]

    def emit(
        self,
        code: str,
        reads: Iterable[int],
        shape: Shape,
        *,
        name: str,
        covers: Iterable[str] = (),
        scaled: int = 1,
        **options: Attribute,
    ) -> int:
        """Add an operator with one output and return that.

        Args:
            code: TensorFlow Lite's name.
            reads: positions of tensors.
            shape: of the output as stored.
            name: of the output.
            covers: layers carried out.
            scaled: how many of ``reads``, from the first, have a scale that matters.
            options: of the operator.
        """
        reads = list(reads)
        if self.quantised and code in _FLOAT_ONLY:
            return self._in_float(code, reads, shape, name=name, covers=covers, **options)
        scales = [self.builder.tensors[i].scale for i in reads[:scaled]]
        dtype = self.builder.tensors[reads[0]].dtype
        kept = dtype if dtype not in {"float32", "int8"} else ""
        target = self.activation(name, shape, scale=output_scale(code, scales), dtype=kept)
        self.operator(code, reads, [target], covers=covers, **options)
        return target

    def carry_out(
        self, layer: Layer, code: str, reads: Iterable[int], axes: Axes, **options: Any
    ) -> None:
        """Add the operator that writes a layer's result.

        Args:
            layer: what is carried out.
            code: TensorFlow Lite's name.
            reads: positions of tensors.
            axes: order in which the result is stored.
            options: of ``emit``.
        """
        name, shape = layer.outputs[0], permuted(layer.op.outputs[0], axes)
        index = self.emit(code, reads, shape, name=name, covers=[layer.name], **options)
        self.put(name, index, axes)

    def operator(
        self,
        code: str,
        reads: Iterable[int],
        writes: Iterable[int],
        *,
        covers: Iterable[str] = (),
        **options: Attribute,
    ) -> None:
        """Add an operator as it is."""
        covers = list(covers)
        covers += [twin for name in covers for twin in self._stands_for.get(name, ())]
        self.builder.operator(code, reads, writes, covers=covers, **options)

    def _in_float(
        self,
        code: str,
        reads: list[int],
        shape: Shape,
        *,
        name: str,
        covers: Iterable[str],
        **options: Attribute,
    ) -> int:
        """An operator without an 8-bit kernel, between conversions."""
        inner = []
        for index in reads:
            tensor = self.builder.tensors[index]
            if tensor.dtype != "int8":
                inner.append(index)
            elif tensor.constant:
                free = replace(tensor, dtype="float32", scale=None, name=f"{tensor.name}/float")
                inner.append(self.builder.tensor(free))
            else:
                made = self.activation(f"{name}/in{index}", tensor.shape, dtype="float32")
                self.builder.operator("DEQUANTIZE", [index], [made])
                inner.append(made)
        written = self.activation(f"{name}/float", shape, dtype="float32")
        self.operator(code, inner, [written], covers=covers, **options)
        target = self.activation(name, shape)
        self.builder.operator("QUANTIZE", [written], [target])
        return target

    def put(self, name: str, index: int, axes: Axes) -> None:
        """Note that the tensor ``index`` is what the network as written calls ``name``."""
        self.values[name] = Value(index=index, axes=axes)

    def sole_reader(self, layer: Layer) -> Layer | None:
        """The one layer that reads what ``layer`` writes; ``None`` if something else does too."""
        name = layer.outputs[0]
        readers = self.readers.get(name, [])
        others = any(self.readers.get(item) or item in self.returned for item in layer.outputs[1:])
        if len(readers) != 1 or name in self.returned or others:
            return None
        return readers[0] if readers[0].inputs.count(name) == 1 else None

    def absorb(self, layer: Layer) -> None:
        """Mark a layer as carried out by an earlier operator."""
        self.done.add(layer.name)

    def reader_of(self, tail: Tail) -> tuple[Layer | None, list[Layer], Axes]:
        """The one layer that reads what an operator writes, past Transposes that only relabel it.

        Returns:
            The reader, the Transposes before it, and the order of axes in which it reads.
        """
        passed: list[Layer] = []
        order = tail.order
        later = self.sole_reader(tail.layer)
        while later is not None and later.op.kind == "transpose":
            passed.append(later)
            order = tuple(order[axis] for axis in permutation(later.op))
            later = self.sole_reader(later)
        return later, passed, order

    def extend(self, tail: Tail, taken: Iterable[Layer], order: Axes) -> None:
        """Let the operator carry out further layers."""
        for layer in taken:
            self.absorb(layer)
            tail.covers.append(layer.name)
            tail.layer = layer
        tail.order = order

    def fused(self, tail: Tail) -> int:
        """Number of the activation that alone reads what an operator writes, taken into it."""
        later, passed, order = self.reader_of(tail)
        kind = clamp_of(later.op) if later is not None else ""
        if later is None or not kind:
            return 0
        self.extend(tail, [*passed, later], order)
        return ACTIVATION_NUMBERS[kind]

    def finish(self, tail: Tail, index: int, axes: Axes) -> None:
        """Note what an operator wrote.

        Args:
            tail: what it carries out.
            index: position of the tensor.
            axes: per stored axis, the axis of what the operator's first layer writes.
        """
        self.put(tail.name, index, tuple(tail.order.index(axis) for axis in axes))
