"""The sizes of many Ops as columns, in the words that rules of GPU runtimes use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.op import Op

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]

#: What is folded into a kernel: activations that cost next to nothing, those that cost an
#: exponential or a division, and operators that read another tensor.
_CHEAP = frozenset({"relu", "relu6", "clip", "leakyrelu", "leaky_relu", "prelu"})
_READS = frozenset({"add", "sum", "mul", "sub", "div", "minimum", "maximum", "min", "max"})
#: Channels of one texel: phones' GPUs keep four to a vector ("slices").
SLICE = 4


def ceil_div(amount: Floats, step: Floats | int) -> Floats:
    """How many steps cover an amount."""
    return np.asarray(np.ceil(amount / np.maximum(step, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of many Ops; every array has one entry per Op.

    Attributes:
        batch: images at once.
        height: rows of the output.
        width: columns of the output.
        rows_in: rows of the input.
        channels: input channels.
        filters: output channels.
        taps: elements of the window.
        window: its larger side.
        stride: of the window.
        dilation: of the window.
        groups: channel groups.
        pad: rows and columns that padding adds.
        lopsided: 1 where it adds more on one side than on the other, so that some libraries copy
            the input.
        inputs: elements read, weights aside.
        outputs: elements written.
        weights: constant elements.
        work: multiply-adds, or elements touched by kinds without any.
        is_conv: 1 for convolutions.
        itemsize: bytes of an element.
        bias: 1 where a bias is added.
        cheap: activations folded in that cost next to nothing.
        costly: those that cost an exponential or a division.
        reads: operators folded in that read another tensor.
        names: the runtime's kernel of each Op.
    """

    batch: Floats
    height: Floats
    width: Floats
    rows_in: Floats
    channels: Floats
    filters: Floats
    taps: Floats
    window: Floats
    stride: Floats
    dilation: Floats
    groups: Floats
    pad: Floats
    lopsided: Floats
    inputs: Floats
    outputs: Floats
    weights: Floats
    work: Floats
    is_conv: Floats
    itemsize: Floats
    bias: Floats
    cheap: Floats
    costly: Floats
    reads: Floats
    names: NDArray[np.str_] = field(compare=False)

    @classmethod
    def of(cls, ops: Sequence[Op], raw: Columns) -> Sizes:
        """Of Ops whose plain sizes are known.

        Args:
            ops: any Ops.
            raw: their plain sizes by name, as the regression's table reads them.
        """
        # A product's rows are all in its height and width.
        is_matrix = (raw["product"] > 0) & (raw["window"] == 0)
        folded = np.array([_folded(op) for op in ops], dtype=np.float64).reshape(len(ops), 4)
        return cls(
            batch=np.where(is_matrix, 1.0, np.maximum(raw["batch"], 1.0)),
            height=raw["hout"],
            width=raw["wout"],
            rows_in=raw["hin"],
            channels=raw["cin"],
            filters=raw["cout"],
            taps=raw["kh"] * raw["kw"],
            window=np.maximum(raw["kh"], raw["kw"]),
            stride=np.maximum(raw["stride"], 1.0),
            dilation=np.maximum(raw["dilation"], 1.0),
            groups=np.maximum(raw["groups"], 1.0),
            pad=raw["top"] + raw["bottom"] + raw["left"] + raw["right"],
            lopsided=1.0 * ((raw["top"] != raw["bottom"]) | (raw["left"] != raw["right"])),
            inputs=raw["inputs"],
            outputs=raw["outputs"],
            weights=raw["weights"],
            work=raw["work"],
            is_conv=raw["window"],
            itemsize=raw["itemsize"],
            bias=folded[:, 0],
            cheap=folded[:, 1],
            costly=folded[:, 2],
            reads=folded[:, 3],
            names=np.array([op.implementation for op in ops], dtype=np.str_),
        )

    @property
    def pixels(self) -> Floats:
        """Positions of the output, of all images."""
        return self.batch * self.height * self.width

    @property
    def slices_in(self) -> Floats:
        """Vectors of four input channels that one output channel reads."""
        return ceil_div(self.channels / self.groups, SLICE)

    @property
    def slices_out(self) -> Floats:
        """Vectors of four output channels."""
        return ceil_div(self.filters, SLICE)

    def is_named(self, part: str) -> NDArray[np.bool_]:
        """Whether a kernel's name holds some text."""
        return np.asarray(np.char.find(self.names, part) >= 0)

    def log_columns(
        self, least: float, *, before: Columns | None = None, after: Columns
    ) -> dict[str, Floats]:
        """Features ``log NAME``: binary logarithms of what every rule looks at, and of more.

        Args:
            least: what is less counts as this, so that none is minus infinity.
            before: further amounts, in front of those of the Ops.
            after: those behind them.
        """
        amounts = {
            **(before or {}),
            "rows_in": self.rows_in,
            "channels": self.channels,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "weights": self.weights,
            "work": self.work,
            "pixels": self.pixels,
            **after,
        }
        return {f"log {name}": np.log2(np.maximum(part, least)) for name, part in amounts.items()}

    def folded_terms(self) -> dict[str, Floats]:
        """What a folded operator adds: elements that it calculates or reads."""
        return {
            "bias": self.bias * self.outputs,
            "cheap": self.cheap * self.outputs,
            "costly": self.costly * self.outputs,
            "reads": self.reads * self.outputs,
        }


def _folded(op: Op) -> tuple[int, int, int, int]:
    cheap = reads = 0
    for item in op.epilogue:
        cheap += item in _CHEAP
        reads += item in _READS
    return len(op.weights) > 1, cheap, len(op.epilogue) - cheap - reads, reads
