"""Probe: a tiny model part whose lowering shows which kernels a runtime executes for it.

The sampler never guesses kernels. It writes a layer as networks write it, and the runtime's own
lowering turns it into the Ops to measure: a convolution may become one kernel, or three with its
layout conversions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from costmodel.op import Shape

Padding = Literal["symmetric", "same", "valid"]
#: Between a probe's name and the name of its input.
SEPARATOR = "/"
#: Kinds of probes that multiply features by a matrix of weights.
_PRODUCTS = frozenset({"gemm", "matmul", "tokens_product"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One layer to look at; fields that a kind does not need keep their defaults.

    Attributes:
        name: unique within a design; the probe's graph inputs are called ``name/...``.
        kind: plain name of the layer as written: ``conv``, ``max_pool``, ``gemm`` ...
        batch: images at once.
        in_channels: channels (or features) read.
        out_channels: channels (or features) written.
        size: spatial input sizes; of tokens, how many there are.
        kernel: window sizes.
        stride: step of the window on every axis.
        dilation: spacing of the window's taps.
        groups: channel groups.
        padding: ``symmetric`` as PyTorch pads, ``same`` as TensorFlow does, or ``valid``.
        bias: whether a bias is added.
        activation: layer that follows, by plain name; empty for none.
        residual: whether a second tensor is added before the activation.
        overridable: whether weights are graph inputs too, as old exporters wrote them.
        variant: which form of the kind, e.g. ``blocked`` or ``channel``.
        parts: tensors joined or split.
    """

    name: str
    kind: str
    batch: int = 1
    in_channels: int = 1
    out_channels: int = 1
    size: Shape = (1, 1)
    kernel: Shape = (1, 1)
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Padding = "symmetric"
    bias: bool = True
    activation: str = ""
    residual: bool = False
    overridable: bool = False
    variant: str = ""
    parts: int = 1

    @property
    def shape(self) -> Shape:
        """Input shape, channels second."""
        return (self.batch, self.in_channels, *self.size)

    @property
    def pads(self) -> Shape:
        """Begin values, then end values, per spatial axis."""
        reach = tuple((k - 1) * self.dilation + 1 for k in self.kernel)
        if self.padding == "valid":
            return (0,) * (2 * len(reach))
        if self.padding == "symmetric":
            return tuple((r - 1) // 2 for r in reach) * 2
        total = tuple(
            max(0, (-(-s // self.stride) - 1) * self.stride + r - s)
            for s, r in zip(self.size, reach, strict=True)
        )
        return tuple(t // 2 for t in total) + tuple(t - t // 2 for t in total)

    @property
    def out_size(self) -> Shape:
        """Spatial output sizes of a windowed kind."""
        rank = len(self.size)
        pads = self.pads
        return tuple(
            (s + pads[i] + pads[rank + i] - (k - 1) * self.dilation - 1) // self.stride + 1
            for i, (s, k) in enumerate(zip(self.size, self.kernel, strict=True))
        )

    @property
    def macs(self) -> int:
        """Multiply-adds of a convolution or matrix product; 0 for the rest."""
        if self.kind in _PRODUCTS:
            return self.batch * self.in_channels * self.out_channels * prod(self.size)
        taps = self.in_channels // self.groups * prod(self.kernel)
        if self.kind == "conv":
            return self.batch * self.out_channels * prod(self.out_size) * taps
        if self.kind == "conv_transpose":
            return self.batch * self.out_channels * prod(self.size) * taps
        return 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of a convolution or matrix product, bias aside."""
        if self.kind in _PRODUCTS:
            return 4 * self.in_channels * self.out_channels
        if self.kind in {"conv", "conv_transpose"}:
            per_output = self.in_channels // self.groups * prod(self.kernel)
            return 4 * self.out_channels * per_output
        return 0

    @property
    def activation_bytes(self) -> int:
        """Bytes read and written, up to a small factor where a kind has several operands."""
        out = max(self.out_channels, self.in_channels) * prod(self.out_size)
        return 4 * self.batch * max(1, self.parts) * (self.in_channels * prod(self.size) + out)
