"""How each kind of probe is written as ONNX nodes, the way networks write it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from costmodel.op import Shape
from costmodel.sampling.graph import GraphWriter
from costmodel.sampling.probe import SEPARATOR, Probe
from costmodel.sampling.token_layers import BUILDERS as TOKEN_BUILDERS
from costmodel.sampling.token_layers import Builder, Outputs, gelu

#: Name of the inputs of parts that only bring a probe into the layout it would have in a network.
SCAFFOLD = "scaffold"
#: Channels that a scaffold convolution reads: cheap, yet enough to be blocked.
_SCAFFOLD_CHANNELS = 16

#: ONNX kernel and attributes of layers that work on each element alone.
_UNARY: Mapping[str, tuple[str, dict[str, object]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "exp": ("Exp", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.1}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
}


def _feed(writer: GraphWriter, probe: Probe, shape: Shape | None = None, role: str = "x") -> str:
    return writer.feed(f"{probe.name}{SEPARATOR}{role}", shape or probe.shape)


def activate(writer: GraphWriter, tensor: str, activation: str) -> str:
    """Add the activation layer of a plain name; none for the empty name."""
    if not activation:
        return tensor
    if activation == "clip":
        return writer.node("Clip", tensor, writer.scalar(0.0), writer.scalar(6.0))
    if activation == "swish":
        return writer.node("Mul", tensor, writer.node("Sigmoid", tensor))
    if activation == "gelu":
        return gelu(writer, tensor)
    kernel, attributes = _UNARY[activation]
    return writer.node(kernel, tensor, **attributes)


def _unary(writer: GraphWriter, probe: Probe) -> Outputs:
    return (activate(writer, _feed(writer, probe), probe.kind),)


def _conv(writer: GraphWriter, probe: Probe) -> Outputs:
    weight = (probe.out_channels, probe.in_channels // probe.groups, *probe.kernel)
    make = writer.overridable if probe.overridable else writer.weight
    operands = [_feed(writer, probe), make(weight)]
    if probe.bias:
        operands.append(make((probe.out_channels,)))
    out = writer.node(
        "Conv",
        *operands,
        kernel_shape=probe.kernel,
        strides=(probe.stride,) * 2,
        dilations=(probe.dilation,) * 2,
        pads=probe.pads,
        group=probe.groups,
    )
    if probe.residual:
        out = writer.node("Add", out, _shortcut(writer, probe))
    return (activate(writer, out, probe.activation),)


def _shortcut(writer: GraphWriter, probe: Probe) -> str:
    """The other operand of a residual sum, as networks have it: an activated convolution's output.

    The activation keeps a runtime from folding the sum into this one rather than the probe's.
    """
    shape = (probe.batch, _SCAFFOLD_CHANNELS, *probe.out_size)
    source = _feed(writer, probe, shape, SCAFFOLD)
    return writer.node("Relu", _pointwise(writer, source, _SCAFFOLD_CHANNELS, probe.out_channels))


def _pointwise(writer: GraphWriter, source: str, channels: int, out_channels: int) -> str:
    """A 1x1 convolution with a bias, as stands around a probe that needs its neighbours."""
    operands = writer.weight((out_channels, channels, 1, 1)), writer.weight((out_channels,))
    return writer.node("Conv", source, *operands, kernel_shape=(1, 1))


def _conv_transpose(writer: GraphWriter, probe: Probe) -> Outputs:
    weight = writer.weight((probe.in_channels, probe.out_channels, *probe.kernel))
    bias = writer.weight((probe.out_channels,))
    out = writer.node(
        "ConvTranspose",
        _feed(writer, probe),
        weight,
        bias,
        kernel_shape=probe.kernel,
        strides=(probe.stride,) * 2,
        pads=tuple((k - probe.stride) // 2 for k in probe.kernel) * 2,
    )
    return (out,)


def _pool(kernel: str) -> Builder:
    def build(writer: GraphWriter, probe: Probe) -> Outputs:
        attributes: dict[str, object] = {
            "kernel_shape": probe.kernel,
            "strides": (probe.stride,) * 2,
            "pads": probe.pads,
        }
        if probe.variant.endswith("count_pads"):
            attributes["count_include_pad"] = 1
        return (_read_on(writer, probe, writer.node(kernel, _source(writer, probe), **attributes)),)

    return build


def _read_on(writer: GraphWriter, probe: Probe, name: str) -> str:
    """A result, behind a blocked source read by a convolution.

    A layout that nothing behind a kernel wants would be undone before it.
    """
    if not probe.variant.startswith("blocked"):
        return name
    return _pointwise(writer, name, probe.in_channels, _SCAFFOLD_CHANNELS)


def _plain(kernel: str, **attributes: object) -> Builder:
    def build(writer: GraphWriter, probe: Probe) -> Outputs:
        return (_read_on(writer, probe, writer.node(kernel, _source(writer, probe), **attributes)),)

    return build


def _gemm(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe, (probe.batch, probe.in_channels))
    shape = (probe.out_channels, probe.in_channels)
    transposed = probe.variant != "plain"  # PyTorch's Linear keeps (out, in)
    weight = writer.weight(shape if transposed else shape[::-1])
    bias = writer.weight((probe.out_channels,))
    out = writer.node("Gemm", source, weight, bias, transB=int(transposed))
    return (activate(writer, out, probe.activation),)


def _matmul(writer: GraphWriter, probe: Probe) -> Outputs:
    places = prod(probe.size)
    rows = (probe.batch, places) if places > 1 else (probe.batch,)
    source = _feed(writer, probe, (*rows, probe.in_channels))
    return (writer.node("MatMul", source, writer.weight((probe.in_channels, probe.out_channels))),)


def _concat(writer: GraphWriter, probe: Probe) -> Outputs:
    inputs = []
    for part in range(probe.parts):
        # Inception joins unequal branches, DenseNet one thin one to a thick one.
        channels = probe.in_channels if part == 0 else probe.out_channels
        inputs.append(_feed(writer, probe, (probe.batch, channels, *probe.size), f"{part}"))
    return (writer.node("Concat", *inputs, axis=1),)


def _sum(writer: GraphWriter, probe: Probe) -> Outputs:
    inputs = [_feed(writer, probe, role=f"{part}") for part in range(probe.parts)]
    return (writer.node("Sum", *inputs),)


def _binary(kernel: str) -> Builder:
    def build(writer: GraphWriter, probe: Probe) -> Outputs:
        if probe.variant == "colours":  # an image as it comes, made to numbers that networks like
            image = _feed(writer, probe, (probe.batch, *probe.size, 3))
            return (writer.node(kernel, image, writer.positive((3,))),)
        source = _feed(writer, probe)
        channels = (probe.batch, probe.in_channels)
        match probe.variant:
            case "gate":  # squeeze and excite
                other = _feed(writer, probe, (*channels, 1, 1), "y")
            case "spatial":  # spatial attention
                other = _feed(writer, probe, (probe.batch, 1, *probe.size), "y")
            case "channel":  # a scale or bias that no convolution took in
                other = writer.positive((probe.in_channels, 1, 1))
            case "scalar":
                other = writer.positive((1,))
            case _:
                other = _feed(writer, probe, role="y")
        return (writer.node(kernel, source, other),)

    return build


def _prelu(writer: GraphWriter, probe: Probe) -> Outputs:
    slope = writer.positive((probe.in_channels, 1, 1))
    return (writer.node("PRelu", _feed(writer, probe), slope),)


def _softmax(writer: GraphWriter, probe: Probe) -> Outputs:
    rows = () if probe.variant != "boxes" else (probe.out_channels,)
    shape = (probe.batch, *rows, probe.in_channels)
    return (writer.node("Softmax", _feed(writer, probe, shape), axis=-1),)


def _lrn(writer: GraphWriter, probe: Probe) -> Outputs:
    return (writer.node("LRN", _feed(writer, probe), size=5, alpha=1e-4, beta=0.75, bias=1.0),)


def _blocked(writer: GraphWriter, probe: Probe) -> str:
    """A tensor in the layout that a network would have here: behind a 1x1 convolution."""
    source = _feed(writer, probe, (probe.batch, _SCAFFOLD_CHANNELS, *probe.size))
    return writer.node("Relu", _pointwise(writer, source, _SCAFFOLD_CHANNELS, probe.in_channels))


def _source(writer: GraphWriter, probe: Probe) -> str:
    return _blocked(writer, probe) if probe.variant.startswith("blocked") else _feed(writer, probe)


def _resize(writer: GraphWriter, probe: Probe) -> Outputs:
    linear = probe.variant.endswith("linear")
    attributes: dict[str, object] = {
        "mode": "linear" if linear else "nearest",
        "coordinate_transformation_mode": "half_pixel" if linear else "asymmetric",
    }
    if not linear:
        attributes["nearest_mode"] = "floor"
    scale = float(probe.stride)
    scales = writer.floats((1.0, 1.0, scale, scale))
    return (writer.node("Resize", _source(writer, probe), "", scales, **attributes),)


def _batch_norm(writer: GraphWriter, probe: Probe) -> Outputs:
    channels = (probe.in_channels,)
    weight, positive = writer.weight(channels), writer.positive(channels)
    source = _source(writer, probe)
    out = writer.node("BatchNormalization", source, positive, weight, weight, positive)
    return (activate(writer, out, probe.activation),)


def _instance_norm(writer: GraphWriter, probe: Probe) -> Outputs:
    channels = (probe.in_channels,)
    operands = writer.positive(channels), writer.weight(channels)
    return (writer.node("InstanceNormalization", _feed(writer, probe), *operands),)


def _layer_norm(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe, (probe.batch, *probe.size, probe.in_channels))
    operands = writer.positive((probe.in_channels,)), writer.weight((probe.in_channels,))
    return (writer.node("LayerNormalization", source, *operands, axis=-1),)


def _transpose(writer: GraphWriter, probe: Probe) -> Outputs:
    match probe.variant:
        case "shuffle":
            shape = (probe.batch, probe.groups, probe.in_channels // probe.groups, *probe.size)
            return (writer.node("Transpose", _feed(writer, probe, shape), perm=(0, 2, 1, 3, 4)),)
        case "to_nchw":
            shape = (probe.batch, *probe.size, probe.in_channels)
            return (writer.node("Transpose", _feed(writer, probe, shape), perm=(0, 3, 1, 2)),)
        case _:
            return (writer.node("Transpose", _feed(writer, probe), perm=(0, 2, 3, 1)),)


def _reshape(writer: GraphWriter, probe: Probe) -> Outputs:
    batch, channels, size = probe.batch, probe.in_channels, probe.size
    match probe.variant:
        case "shuffle":
            source = _feed(writer, probe)
            target = (batch, probe.groups, channels // probe.groups, *size)
        case "boxes":  # detection heads: each place holds some boxes of a few numbers
            source = _feed(writer, probe, (batch, *size, channels))
            target = (batch, -1, channels // probe.groups)
        case _:
            source, target = _feed(writer, probe), (batch, -1)
    return (writer.node("Reshape", source, writer.integers(target)),)


def _squeeze(writer: GraphWriter, probe: Probe) -> Outputs:
    return (writer.node("Squeeze", _feed(writer, probe), writer.integers((2, 3))),)


def _unsqueeze(writer: GraphWriter, probe: Probe) -> Outputs:
    source = _feed(writer, probe, (probe.batch, probe.in_channels))
    return (writer.node("Unsqueeze", source, writer.integers((2, 3))),)


def _slice(writer: GraphWriter, probe: Probe) -> Outputs:
    channels = probe.variant == "channels"
    ends = (max(1, probe.in_channels // 2),) if channels else probe.size
    axes = (1,) if channels else (2, 3)
    steps = (1,) if channels else (2, 2)  # the free shortcut of CIFAR ResNets
    operands = [writer.integers(v) for v in ((0,) * len(axes), ends, axes, steps)]
    return (writer.node("Slice", _feed(writer, probe), *operands),)


def _pad(writer: GraphWriter, probe: Probe) -> Outputs:
    half = max(1, probe.in_channels // 2)
    edges = (0, half, 0, 0) * 2 if probe.variant == "channels" else (0, 0, 1, 1) * 2
    return (writer.node("Pad", _feed(writer, probe), writer.integers(edges)),)


def _split(writer: GraphWriter, probe: Probe) -> Outputs:
    share, rest = divmod(probe.in_channels, probe.parts)
    sizes = writer.integers((share + rest, *(share,) * (probe.parts - 1)))
    return writer.nodes("Split", _feed(writer, probe), sizes, outputs=probe.parts, axis=1)


#: Builder of each kind of probe; returns the tensors that become graph outputs.
BUILDERS: Mapping[str, Builder] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool("MaxPool"),
    "average_pool": _pool("AveragePool"),
    "global_average_pool": _plain("GlobalAveragePool"),
    "global_max_pool": _plain("GlobalMaxPool"),
    "gemm": _gemm,
    "matmul": _matmul,
    "concat": _concat,
    "add": _binary("Add"),
    "sub": _binary("Sub"),
    "mul": _binary("Mul"),
    "div": _binary("Div"),
    "sum": _sum,
    **dict.fromkeys((*_UNARY, "clip"), _unary),
    "prelu": _prelu,
    "softmax": _softmax,
    "lrn": _lrn,
    "resize": _resize,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "reduce_mean": _plain("ReduceMean", axes=(2, 3), keepdims=1),
    "depth_to_space": _plain("DepthToSpace", blocksize=2, mode="CRD"),
    "transpose": _transpose,
    "reshape": _reshape,
    "flatten": _plain("Flatten", axis=1),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "slice": _slice,
    "pad": _pad,
    "split": _split,
    **TOKEN_BUILDERS,
}
