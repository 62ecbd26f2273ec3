"""Closed forms: MorphNet's bilinear prices of FLOPs, size, activations and bytes.

The original (Gordon et al., MorphNet, CVPR 2018, and its ``resource_function.py``) charges an
operation with ``a_i, a_o`` alive input and output channels and regularisation sums ``r_i, r_o``
``c * (a_i * r_o + a_o * r_i)``; alive counts carry no gradient, so the price of one channel is
``c * a`` of the other side. Summed over the operations that a group touches this is one price per
group. A depthwise convolution costs ``c * a_o`` and is charged ``c * (r_i + r_o)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from costmodel.network import Layer
from costmodel.op import Op
from morphnet_core.pricing.terms import Amounts, Terms
from morphnet_core.pricing.wiring import Floats, Kernels, Rows, Widths, Wiring


class ClosedForm:
    """A count of a network for any widths, and what it charges each group.

    Args:
        wiring: of the network.
        layers: what is counted.
        amounts: what one layer counts, or why it cannot be counted.
    """

    def __init__(
        self, wiring: Wiring, layers: Iterable[Layer], amounts: Callable[[Op], Amounts | str]
    ) -> None:
        self._wiring = wiring
        self.unpriced: dict[str, str] = {}
        terms = Terms(full=wiring.full.tensors)
        for layer in layers:
            found = amounts(layer.op)
            if isinstance(found, str):
                self.unpriced[layer.name] = found
                continue
            rows = [row_of(wiring, name) for name in layer.inputs]
            output = row_of(wiring, layer.outputs[0]) if layer.outputs else wiring.nothing
            terms.add(layer.op, found, rows, output)
        self._constant = terms.constant
        products = np.array(terms.products, dtype=float).reshape(-1, 3)
        self._products = products[:, 0], products[:, 1].astype(int), products[:, 2].astype(int)
        self._singles = _columns(terms.singles)
        self._echoes = _columns(terms.echoes)

    def total(self, widths: Widths) -> float:
        """The count at these widths."""
        share, first, second = self._products
        wide = widths.tensors
        return float(
            self._constant
            + (share * wide[first] * wide[second]).sum()
            + (self._singles[0] * wide[self._singles[1]]).sum()
        )

    @property
    def kernels(self) -> Kernels:
        """Every term as a product of two widths; a single one is times the width of nothing."""
        share, first, second = self._products
        alone, rows = self._singles
        factors = np.concatenate([share, alone])
        return Kernels(
            rows=(
                np.concatenate([first, rows]),
                np.concatenate([second, np.full(len(rows), self._wiring.nothing)]),
            ),
            look_up=lambda kernel, inputs, outputs: factors[kernel] * inputs * outputs,
            constant=float(self._constant),
        )

    def prices(self, widths: Widths) -> Floats:
        """``(groups,)`` charge per unit, the widths of the other sides held."""
        share, first, second = self._products
        wide = widths.tensors
        slopes = np.zeros(len(wide))
        np.add.at(slopes, second, share * wide[first])
        np.add.at(slopes, first, share * wide[second])
        for amounts, rows in (self._singles, self._echoes):
            np.add.at(slopes, rows, amounts)
        return np.asarray(self._wiring.shares.T @ slopes)


def _columns(pairs: Iterable[tuple[float, int]]) -> tuple[Floats, Rows]:
    found = np.array(list(pairs), dtype=float).reshape(-1, 2)
    return found[:, 0], found[:, 1].astype(int)


def row_of(wiring: Wiring, tensor: str) -> int:
    """Row of a tensor of an executed network; helpers are named after the one they come from."""
    while wiring.row(tensor) == wiring.nothing and "/" in tensor:
        tensor = tensor.rpartition("/")[0]
    return wiring.row(tensor)
