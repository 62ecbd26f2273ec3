"""Counts as sums of terms ``c * a_in * a_out`` and ``c * a``: exact for any widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from costmodel.costs.counts import Activations, Bytes, Flops, Params
from costmodel.op import CONV_KINDS, DTYPE_BYTES, MATMUL_KINDS, Op
from costmodel.protocols import CostModel
from morphnet_core.pricing.wiring import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What one layer counts at its present sizes, by what it grows with.

    Attributes:
        kernel: grows with input and output channels, or, of a depthwise convolution, with its
            channels alone.
        inputs: grows with the channels of each input.
        output: grows with output channels.
        fixed: does not grow with channels.
        twice: whether the original charges the layer's channels once as input and once as output
            although they count once (its rule for depthwise convolutions).
    """

    kernel: float = 0.0
    inputs: tuple[float, ...] = ()
    output: float = 0.0
    fixed: float = 0.0
    twice: bool = False


def is_weighted(op: Op) -> bool:
    """Whether the layer is one that the original counts: a convolution or a product by weights."""
    return (op.kind in CONV_KINDS or op.kind in MATMUL_KINDS) and bool(op.weights)


def mixes_channels(op: Op) -> bool:
    """Whether the layer's work grows with the product of its input and output channels."""
    return is_weighted(op) and not op.is_depthwise


def morphnet_flops(op: Op) -> Amounts:
    """FLOPs as the original counts them: two per multiply-add of convolutions and products."""
    if is_weighted(op):
        return Amounts(kernel=2.0 * op.macs, twice=op.is_depthwise)
    return Amounts(fixed=2.0 * op.macs)


def morphnet_params(op: Op) -> Amounts:
    """Model size as the original counts it: kernels alone, neither biases nor normalisations."""
    if not is_weighted(op):
        return Amounts()
    return Amounts(kernel=float(prod(op.weights[0])), twice=op.is_depthwise)


def morphnet_activations(op: Op) -> Amounts:
    """Activations as the original counts them: output channels, whatever their spatial size."""
    return Amounts(output=float(op.out_channels)) if is_weighted(op) else Amounts()


def _whole_flops(op: Op, value: float) -> Amounts:
    if is_weighted(op):
        return Amounts(kernel=value)
    return Amounts(fixed=value) if op.macs else Amounts(output=value)


def _whole_params(op: Op, value: float) -> Amounts:
    if not is_weighted(op):
        return Amounts(output=value)
    kernel = float(prod(op.weights[0]))
    return Amounts(kernel=kernel, output=value - kernel)


def _whole_activations(_: Op, value: float) -> Amounts:
    return Amounts(output=value)


def _whole_bytes(op: Op, value: float) -> Amounts:
    dtypes = op.input_types
    read = tuple(
        prod(size) * DTYPE_BYTES[dtype] for size, dtype in zip(op.inputs, dtypes, strict=True)
    )
    kernel = prod(op.weights[0]) * DTYPE_BYTES[op.dtype] if is_weighted(op) else 0.0
    return Amounts(kernel=kernel, inputs=read, output=value - sum(read) - kernel)


_WHOLE: Mapping[type, Callable[[Op, float], Amounts]] = {
    Flops: _whole_flops,
    Params: _whole_params,
    Activations: _whole_activations,
    Bytes: _whole_bytes,
}


def is_count(cost: object) -> bool:
    """Whether ``cost`` is a count of ``costmodel.costs.counts``, whose form is known exactly."""
    return type(cost) in _WHOLE


@dataclass(slots=True)
class Terms:
    """Everything that a network counts, by row of the tensors that it grows with.

    Attributes:
        full: width of each tensor at the sizes that are counted.
        products: ``(coefficient, row of the input, row of the output)``.
        singles: ``(coefficient, row)``.
        echoes: ``(coefficient, row)`` charged in prices but not counted.
        constant: grows with no channels.
    """

    full: Floats
    products: list[tuple[float, int, int]] = field(default_factory=list)
    singles: list[tuple[float, int]] = field(default_factory=list)
    echoes: list[tuple[float, int]] = field(default_factory=list)
    constant: float = 0.0

    def add(self, op: Op, amounts: Amounts, inputs: Sequence[int], output: int) -> None:
        """Take in one layer.

        Args:
            op: its work.
            amounts: what it counts.
            inputs: rows of the tensors it reads.
            output: row of the tensor it writes.
        """
        self.constant += amounts.fixed
        if amounts.kernel and mixes_channels(op) and inputs:
            share = amounts.kernel / (self.full[inputs[0]] * self.full[output])
            self.products.append((share, inputs[0], output))
        elif amounts.kernel:
            self._grows(self.singles, amounts.kernel, output)
            if amounts.twice and inputs:
                # Per unit of the output's: the depthwise rule multiplies both sums by one factor.
                self.echoes.append((amounts.kernel / self.full[output], inputs[0]))
        self._grows(self.singles, amounts.output, output)
        for amount, row in zip(amounts.inputs, inputs, strict=False):
            self._grows(self.singles, amount, row)

    def _grows(self, terms: list[tuple[float, int]], amount: float, row: int) -> None:
        if amount:
            terms.append((amount / self.full[row], row))


def whole(cost: CostModel, op: Op) -> Amounts | str:
    """Amounts of one layer under a count, or why it has none."""
    prices = cost.price([op])
    reason = prices.reasons.get(0)
    return reason or _WHOLE[type(cost)](op, float(prices.values[0]))
