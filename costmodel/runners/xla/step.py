"""What a layer's builder is given, and the registry of builders by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.op import Constant, Op, Shape
from costmodel.runners.xla.view import View, channels_last, simple

Arrange = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A constant operand that the program takes as an argument.

    Attributes:
        shape: sizes as written.
        take: makes it an argument, rearranged once before the program runs.
    """

    shape: Shape
    take: Callable[[Arrange], Any]

    def view(self, rank: int, order: Sequence[int]) -> View:
        """The weight broadcast to ``rank`` axes and stored in ``order``."""
        shape = (1,) * (rank - len(self.shape)) + tuple(self.shape)
        return simple(self.take(lambda w: w.reshape(shape).transpose(order)), order)


Operand = View | Weight | Constant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer about to be built.

    Attributes:
        op: its work.
        operands: in the operator's own order: tensors, weights, small constants by value, or
            ``None`` where one is absent.
        last: whether images are stored channels last.
        dtype: element type of the program's floats.
    """

    op: Op
    operands: Sequence[Operand]
    last: bool
    dtype: str

    @property
    def x(self) -> View:
        """The first operand."""
        return self.view(0)

    def get(self, index: int) -> Operand:
        """An operand; ``None`` where there are fewer."""
        return self.operands[index] if index < len(self.operands) else None

    def view(self, index: int) -> View:
        """A tensor operand.

        Raises:
            UnsupportedOpError: if it is no tensor.
        """
        operand = self.get(index)
        if isinstance(operand, Weight):
            return operand.view(len(operand.shape), tuple(range(len(operand.shape))))
        if not isinstance(operand, View):
            message = f"{self.op.label}: operand {index} is no tensor, and this kind needs one."
            raise UnsupportedOpError(message)
        return operand

    def constant(self, index: int) -> Constant | None:
        """Values of a small constant operand; ``None`` where it is absent.

        Raises:
            UnsupportedOpError: if the operand is computed, or too large to be kept by value.
        """
        operand = self.get(index)
        if isinstance(operand, View | Weight):
            message = f"{self.op.label}: operand {index} must be a small constant and is computed."
            raise UnsupportedOpError(message)
        return operand

    @property
    def order(self) -> tuple[int, ...]:
        """Storage order that windows work on."""
        rank = self.x.rank
        return channels_last(rank) if self.last else tuple(range(rank))

    def images(self, index: int = 0) -> Any:
        """A tensor operand stored as windows want it."""
        return self.view(index).stored(self.order)

    def made(self, array: Any) -> View:
        """A result that is stored as windows want it."""
        rank = array.ndim
        return simple(array, channels_last(rank) if self.last else range(rank))

    @property
    def window_letters(self) -> tuple[str, str, str]:
        """Names of the axes of input, filter and output of a convolution."""
        space = "DHW"[-(self.x.rank - 2) :]
        image = f"N{space}C" if self.last else f"NC{space}"
        return image, f"{space}IO", image

    def number(self, value: float) -> Any:
        """A scalar of the program's float type."""
        return jnp.asarray(np.asarray(value, dtype=np.float32), dtype=self.dtype)


Builder = Callable[[Step], Sequence[View]]
BUILDERS: dict[str, Builder] = {}


def builds(*kinds: str) -> Callable[[Builder], Builder]:
    """Register a builder for some kinds."""

    def register(builder: Builder) -> Builder:
        BUILDERS.update(dict.fromkeys(kinds, builder))
        return builder

    return register
