"""How probes of tokens are written as ONNX nodes, the way exporters write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import TensorProto

from costmodel.op import Shape
from costmodel.sampling.graph import GraphWriter
from costmodel.sampling.probe import SEPARATOR, Probe

Outputs = tuple[str, ...]
Builder = Callable[[GraphWriter, Probe], Outputs]


def _feed(writer: GraphWriter, probe: Probe, shape: Shape | None = None, role: str = "x") -> str:
    plain = (probe.batch, *probe.size, probe.in_channels)
    return writer.feed(f"{probe.name}{SEPARATOR}{role}", shape or plain)


def gelu(writer: GraphWriter, tensor: str) -> str:
    """The exact Gelu, written out as exporters do (Hendrycks and Gimpel 2016); runtimes fuse it."""
    inner = writer.node("Div", tensor, writer.scalar(2.0**0.5))
    inner = writer.node("Add", writer.node("Erf", inner), writer.scalar(1.0))
    return writer.node("Mul", writer.node("Mul", tensor, inner), writer.scalar(0.5))


def _product(writer: GraphWriter, probe: Probe) -> Outputs:
    weight = writer.weight((probe.in_channels, probe.out_channels))
    return (writer.node("MatMul", _feed(writer, probe), weight),)


def _attention_product(writer: GraphWriter, probe: Probe) -> Outputs:
    (count,) = probe.size
    lead = (probe.batch, probe.groups)
    if probe.variant == "scores":
        shapes = (*lead, count, probe.in_channels), (*lead, probe.in_channels, count)
    else:
        shapes = (*lead, count, count), (*lead, count, probe.in_channels)
    left, right = (
        _feed(writer, probe, shape, role) for shape, role in zip(shapes, "xy", strict=True)
    )
    return (writer.node("MatMul", left, right),)


def _einsum(writer: GraphWriter, probe: Probe) -> Outputs:
    """The same products as some exporters write them: keys are not transposed before."""
    (count,) = probe.size
    lead = (probe.batch, probe.groups, count)
    scores = probe.variant == "scores"
    left = _feed(writer, probe, (*lead, probe.in_channels if scores else count))
    right = _feed(writer, probe, (*lead, probe.in_channels), "y")
    equation = "bhid,bhjd->bhij" if scores else "bhij,bhjd->bhid"
    return (writer.node("Einsum", left, right, equation=equation),)


def _attention_softmax(writer: GraphWriter, probe: Probe) -> Outputs:
    (count,) = probe.size
    source = _feed(writer, probe, (probe.batch, probe.groups, count, count))
    return (writer.node("Softmax", source, axis=-1),)


def _norm(writer: GraphWriter, probe: Probe) -> Outputs:
    width = (probe.in_channels,)
    source = _feed(writer, probe)
    if probe.variant == "root":
        square = writer.node("Pow", source, writer.scalar(2.0))
        mean = writer.node("ReduceMean", square, axes=(-1,), keepdims=1)
        root = writer.node("Sqrt", writer.node("Add", mean, writer.scalar(1e-6)))
        out = writer.node("Div", source, root)
        return (writer.node("Mul", out, writer.positive(width)),)
    if probe.variant == "skip":
        source = writer.node("Add", source, _feed(writer, probe, role="y"))
    operands = writer.positive(width), writer.weight(width)
    return (writer.node("LayerNormalization", source, *operands, axis=-1),)


def _activation(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe)
    if probe.variant == "gelu":
        return (gelu(writer, source),)
    inner = source
    if probe.variant == "quick":
        inner = writer.node("Mul", source, writer.scalar(1.702))
    return (writer.node("Mul", source, writer.node("Sigmoid", inner)),)


def _transpose(writer: GraphWriter, probe: Probe) -> Outputs:
    (count,), width = probe.size, probe.in_channels
    heads = next(n for n in (8, 6, 4, 3, 2, 1) if width % n == 0)
    if probe.variant in {"heads", "back"}:
        outer = (count, heads) if probe.variant == "heads" else (heads, count)
        source = _feed(writer, probe, (probe.batch, *outer, width // heads))
        return (writer.node("Transpose", source, perm=(0, 2, 1, 3)),)
    if probe.variant == "windows":  # a map cut into windows, as Liu et al. 2021 (Swin)
        side = max(1, round((count / 49) ** 0.5))
        source = _feed(writer, probe, (probe.batch, side, 7, side, 7, width))
        return (writer.node("Transpose", source, perm=(0, 1, 3, 2, 4, 5)),)
    if probe.variant in {"grid", "ungrid"}:  # the same with channels second, or brought there
        side = max(1, round((count / 49) ** 0.5))
        shape = (width, side, 7, side, 7) if probe.variant == "grid" else (side, side, 7, 7, width)
        perm = (0, 2, 4, 3, 5, 1) if probe.variant == "grid" else (0, 5, 1, 3, 2, 4)
        source = _feed(writer, probe, (probe.batch, *shape))
        return (writer.node("Transpose", source, perm=perm),)
    return (writer.node("Transpose", _feed(writer, probe), perm=(0, 2, 1)),)


def _add(writer: GraphWriter, probe: Probe) -> Outputs:
    if probe.variant == "bias":
        return (writer.node("Add", _feed(writer, probe), writer.weight((probe.in_channels,))),)
    return (writer.node("Add", _feed(writer, probe), _feed(writer, probe, role="y")),)


def _split(writer: GraphWriter, probe: Probe) -> Outputs:
    source, half = _feed(writer, probe), probe.in_channels // 2
    match probe.variant:
        case "split":
            sizes = writer.integers((half, probe.in_channels - half))
            return writer.nodes("Split", source, sizes, outputs=2, axis=-1)
        case "slice":
            operands = [writer.integers((n,)) for n in (0, max(1, half), -1, 1)]
            return (writer.node("Slice", source, *operands),)
        case "pad":
            return (writer.node("Pad", source, writer.integers((0, 0, 0, 0, 1, 0))),)
        case _:
            return (writer.node("Concat", source, _feed(writer, probe, role="y"), axis=-1),)


_REDUCTIONS = {"sum": "ReduceSum", "max": "ReduceMax", "l2": "ReduceL2", "arg_max": "ArgMax"}


def _reduce(writer: GraphWriter, probe: Probe) -> Outputs:
    if probe.variant == "mean_channels":
        shape = (probe.batch, probe.in_channels, *probe.size)
        return (writer.node("ReduceMean", _feed(writer, probe, shape), axes=(1,), keepdims=1),)
    source = _feed(writer, probe)
    match probe.variant:
        case "mean":
            return (writer.node("ReduceMean", source, axes=(-1,), keepdims=1),)
        case "mean_tokens":
            return (writer.node("ReduceMean", source, axes=(1,), keepdims=0),)
        case "sum":
            return (writer.node("ReduceSum", source, writer.integers((-1,)), keepdims=1),)
        case "arg_max":
            return (writer.node("ArgMax", source, axis=-1, keepdims=0),)
        case variant:
            return (writer.node(_REDUCTIONS[variant], source, axes=(-1,), keepdims=1),)


def _math(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe)
    match probe.variant:
        case "mish":  # Misra 2019
            gate = writer.node("Tanh", writer.node("Softplus", source))
            return (writer.node("Mul", source, gate),)
        case "pow":
            return (writer.node("Pow", source, writer.scalar(2.0)),)
        case "max" | "min" as which:
            return (writer.node(which.capitalize(), source, _feed(writer, probe, role="y")),)
        case name:
            return (writer.node(name.capitalize(), source),)


def _erf(writer: GraphWriter, probe: Probe) -> Outputs:
    return (writer.node("Erf", _feed(writer, probe)),)


def _logic(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe)
    if probe.variant == "cast":
        return (writer.node("Cast", source, to=TensorProto.INT64),)
    if probe.variant in {"equal", "greater"}:
        other = _feed(writer, probe, role="y")
        return (writer.node(probe.variant.capitalize(), source, other),)
    positive = writer.node("Greater", source, writer.scalar(0.0))
    if probe.variant == "not":
        return (writer.node("Not", positive),)
    return (writer.node("Where", positive, source, _feed(writer, probe, role="y")),)


def _copy(writer: GraphWriter, probe: Probe) -> Outputs:
    (count,), width = probe.size, probe.in_channels
    match probe.variant:
        case "expand" | "expand_inner" as which:
            small = (1, width) if which == "expand" else (count, 1)
            source = _feed(writer, probe, (probe.batch, *small))
            shape = writer.integers((probe.batch, count, width))
            return (writer.node("Expand", source, shape),)
        case "tile":
            source = _feed(writer, probe, (probe.batch, max(1, count // 2), width))
            return (writer.node("Tile", source, writer.integers((1, 2, 1))),)
        case _:
            side = 2 * max(1, round(count**0.5 / 2))
            source = _feed(writer, probe, (probe.batch, width, side, side))
            return (writer.node("SpaceToDepth", source, blocksize=2),)


def _gather(writer: GraphWriter, probe: Probe) -> Outputs:
    if probe.variant == "one":
        zero = writer.index(0)
        return (writer.node("Gather", _feed(writer, probe), zero, axis=1),)
    table = writer.weight((probe.out_channels, probe.in_channels))
    ids = writer.feed(
        f"{probe.name}{SEPARATOR}x", (probe.batch, *probe.size), dtype=TensorProto.INT64
    )
    return (writer.node("Gather", table, ids, axis=0),)


def _top_k(writer: GraphWriter, probe: Probe) -> Outputs:
    count = writer.integers((min(100, probe.in_channels),))
    return writer.nodes("TopK", _feed(writer, probe), count, outputs=2, axis=-1)


def _recurrent(kernel: str, gates: int) -> Builder:
    def build(writer: GraphWriter, probe: Probe) -> Outputs:
        ways = 2 if probe.variant == "both" else 1
        hidden, into = probe.out_channels, probe.in_channels
        source = _feed(writer, probe, (*probe.size, probe.batch, into))
        operands = (
            writer.weight((ways, gates * hidden, into)),
            writer.weight((ways, gates * hidden, hidden)),
            writer.weight((ways, 2 * gates * hidden)),
        )
        direction = "bidirectional" if ways > 1 else "forward"
        return (writer.node(kernel, source, *operands, hidden_size=hidden, direction=direction),)

    return build


#: Builder of each kind of probe; returns the tensors that become graph outputs.
BUILDERS: Mapping[str, Builder] = {
    "tokens_product": _product,
    "attention_product": _attention_product,
    "einsum": _einsum,
    "attention_softmax": _attention_softmax,
    "tokens_norm": _norm,
    "tokens_activation": _activation,
    "tokens_transpose": _transpose,
    "tokens_add": _add,
    "tokens_split": _split,
    "reduce": _reduce,
    "math": _math,
    "erf": _erf,
    "logic": _logic,
    "copy": _copy,
    "gather": _gather,
    "top_k": _top_k,
    "lstm": _recurrent("LSTM", 4),
    "gru": _recurrent("GRU", 3),
}
