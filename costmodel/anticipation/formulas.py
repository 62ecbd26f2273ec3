"""Normalisations as the formulas that exported files hold, where no runtime has a kernel for them.

Keras writes the formulas of its normalisations out, so that a file exported from it holds their
means, differences and products; ONNX's GroupNormalization is a function of such kernels as well,
and ONNX Runtime executes one by one what either says. Seen with trained scales and offsets. Not
modelled: where the runtime puts Transposes between them, and kernels that work on sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from costmodel.network import Layer, Network
from costmodel.op import Attribute, Op, Shape

_NONE: Mapping[str, Attribute] = {}
_MEAN: Mapping[str, Attribute] = {"keepdims": 1, "since": 13}
#: Version of GroupNormalization since which it has a scale per channel.
_PER_CHANNEL = 21
_SUM: Mapping[str, Attribute] = {"keepdims": 1, "noop_with_empty_axes": 1, "since": 13}


class _Kernels:
    """Kernels that take the place of one layer, each reading tensors by name."""

    def __init__(self, layer: Layer) -> None:
        self.source = layer.inputs[0]
        self.made: list[Layer] = []
        self._layer = layer
        self._sizes: dict[str, Shape] = {self.source: layer.op.inputs[0]}

    def add(
        self,
        kind: str,
        *reads: str,
        size: Shape = (),
        weights: tuple[Shape, ...] = (),
        constants: tuple[Shape, ...] = (),
        settings: Mapping[str, Attribute] = _NONE,
    ) -> str:
        """One kernel; ``size`` is what it writes where that is not what it reads first."""
        op = Op(
            kind=kind,
            inputs=tuple(self._sizes[name] for name in reads),
            outputs=(size or self._sizes[reads[0]],),
            weights=weights,
            constants=constants,
            dtype=self._layer.op.dtype,
            attributes=tuple(sorted(settings.items())),
        )
        name = f"{self._layer.name}/{kind}{len(self.made)}"
        self._sizes[name] = op.outputs[0]
        covers = (self._layer.name,)
        self.made.append(Layer(name=name, op=op, inputs=reads, outputs=(name,), covers=covers))
        return name

    def layers(self) -> list[Layer]:
        """The kernels in order; the last one writes what the layer wrote, under its name."""
        last = replace(self.made[-1], name=self._layer.name, outputs=self._layer.outputs)
        return [*self.made[:-1], last]


def write_out(network: Network) -> Network:
    """A network as written, with every normalisation that no kernel carries out as its formula."""
    layers: list[Layer] = []
    for layer in network.layers:
        rule = _RULES.get(layer.op.kind)
        if rule is None or not _is_formula(layer):
            layers.append(layer)
            continue
        kernels = _Kernels(layer)
        rule(kernels, layer.op)
        layers += kernels.layers()
    return network if len(layers) == len(network.layers) else replace(network, layers=tuple(layers))


def _is_formula(layer: Layer) -> bool:
    """Whether it was written by Keras, whose axes are several; or is a function of ONNX."""
    op = layer.op
    if len(layer.inputs) != 1 or len(op.inputs) != 1:
        return False
    return op.kind == "group_norm" or isinstance(op.attribute("axes"), tuple)


def _along(op: Op) -> tuple[tuple[int, ...], Shape, tuple[Shape, ...]]:
    """Axes of the statistics, their sizes, and the parameters as they are broadcast."""
    size = op.inputs[0]
    given = op.attribute("axes")
    axes = tuple(int(axis) for axis in given) if isinstance(given, tuple) else (1,)
    shared = tuple(1 if axis in axes else length for axis, length in enumerate(size))
    kept = tuple(length if axis in axes else 1 for axis, length in enumerate(size))
    return axes, shared, (kept,) * len(op.weights)


def _rms_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, weights = _along(op)
    source = kernels.source
    square = kernels.add("mul", source, source)
    mean = kernels.add("reduce_mean", square, size=shared, settings={**_MEAN, "axes": axes})
    factor = _one_over(kernels, mean)
    if weights:
        factor = kernels.add("mul", factor, size=op.inputs[0], weights=weights[:1])
    kernels.add("mul", source, factor)


def _unit_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, _ = _along(op)
    source = kernels.source
    square = kernels.add("mul", source, source)
    total = kernels.add("reduce_sum", square, size=shared, constants=(axes,), settings=_SUM)
    root = kernels.add("reciprocal", kernels.add("sqrt", total))
    kernels.add("mul", source, kernels.add("min", root, weights=((1,) * len(shared),)))


def _layer_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, weights = _along(op)
    source, size = kernels.source, op.inputs[0]
    mean, factor = _statistics(kernels, source, axes, shared)
    if weights:
        factor = kernels.add("mul", factor, size=size, weights=weights[:1])
    less = kernels.add("mul", kernels.add("neg", mean), factor, size=size if weights else shared)
    if len(weights) > 1:
        less = kernels.add("add", less, size=size, weights=weights[1:])
    kernels.add("add", kernels.add("mul", source, factor), less)


def _group_norm(kernels: _Kernels, op: Op) -> None:
    """By groups of channels, as Keras writes it out."""
    if op.attribute("since", 0):
        _group_function(kernels, op)
        return
    size, groups = op.inputs[0], op.attribute("num_groups", 1)
    groups = size[1] if groups == -1 else groups
    apart = (size[0], groups, size[1] // groups, *size[2:])
    axes = tuple(range(2, len(apart)))
    shared = (*apart[:2], *(1 for _ in apart[2:]))
    split = kernels.add("reshape", kernels.source, size=apart, constants=(apart,))
    mean, factor = _statistics(kernels, split, axes, shared)
    per_channel = (1, *apart[1:3], *(1 for _ in apart[3:]))
    wide = (size[0], *per_channel[1:])
    if op.weights:
        factor = kernels.add("mul", factor, size=wide, weights=(per_channel,))
    less = kernels.add("mul", kernels.add("neg", mean), factor, size=wide if op.weights else shared)
    if len(op.weights) > 1:
        less = kernels.add("add", less, size=wide, weights=(per_channel,))
    moved = kernels.add("add", kernels.add("mul", split, factor), less)
    kernels.add("reshape", moved, size=size, constants=(size,))


def _group_function(kernels: _Kernels, op: Op) -> None:
    """ONNX's function; one scale and offset per group, or since version 21 per channel."""
    size, groups = op.inputs[0], op.attribute("num_groups", 1)
    split = (*size[:1], groups, size[1] // groups, *size[2:])
    rows, since = (size[0], groups, prod(size[1:]) // groups), op.attribute("since", 18)
    shared, mean = (size[0], groups, 1), {"noop_with_empty_axes": 0, "keepdims": 1, "since": 18}
    source = kernels.source
    if since >= _PER_CHANNEL:
        source = kernels.add("cast", source, settings=_cast(op))
    apart = kernels.add("reshape", source, size=split, constants=(split,))
    apart = kernels.add("reshape", apart, size=rows, constants=((0, 0, -1),))
    square = kernels.add("mul", apart, apart)
    means = [
        kernels.add("reduce_mean", item, size=shared, constants=((2,),), settings=mean)
        for item in (apart, square)
    ]
    variance = kernels.add("sub", means[1], kernels.add("mul", means[0], means[0]))
    root = kernels.add("sqrt", kernels.add("add", variance, weights=((1,),)))
    done = kernels.add("div", kernels.add("sub", apart, means[0]), root)
    scaled: Shape = rows
    if since >= _PER_CHANNEL:
        scaled = (*size[:2], prod(size[2:]))
        done = kernels.add("reshape", done, size=size, constants=(size,))
        done = kernels.add("reshape", done, size=scaled, constants=((0, 0, -1),))
        done = kernels.add("cast", done, settings=_cast(op))
    done = kernels.add("mul", done, weights=((1, scaled[1], 1),))
    done = kernels.add("add", done, weights=((1, scaled[1], 1),))
    kernels.add("reshape", done, size=size, constants=(size,))


def _cast(op: Op) -> dict[str, Attribute]:
    """Attributes of the Casts that the function of version 21 has around its statistics."""
    return {"saturate": 1, "since": _PER_CHANNEL, "to": 1 if op.dtype == "float32" else 10}


def _statistics(
    kernels: _Kernels, source: str, axes: tuple[int, ...], shared: Shape
) -> tuple[str, str]:
    """The mean and one over the deviation."""
    mean = kernels.add("reduce_mean", source, size=shared, settings={**_MEAN, "axes": axes})
    difference = kernels.add("sub", source, mean)
    square = kernels.add("mul", difference, difference)
    variance = kernels.add("reduce_mean", square, size=shared, settings={**_MEAN, "axes": axes})
    return mean, _one_over(kernels, variance)


def _one_over(kernels: _Kernels, variance: str) -> str:
    """One over the root of a variance that is kept off zero."""
    safe = kernels.add("add", variance, weights=((),))
    return kernels.add("reciprocal", kernels.add("sqrt", safe))


_RULES: Mapping[str, Callable[[_Kernels, Op], None]] = {
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "unit_norm": _unit_norm,
}
