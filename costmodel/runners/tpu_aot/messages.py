"""What a runner and its compiling processes say to each other and keep on disk, as JSON."""

from __future__ import annotations

import msgspec

from costmodel.errors import (
    CostModelError,
    InvalidInputError,
    ModelFormatError,
    UnsupportedOpError,
)
from costmodel.network import Network
from costmodel.op import Op


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What the compiler says about an Op or a whole network.

    Attributes:
        cycles: sum of ``estimated_cycles`` over what is executed.
        kernels: executed instructions behind the sum.
        optimal_ms: XLA's roofline (``optimal_seconds``) in ms; None where it was not asked for or
            has no value.
        network: of a whole network, its executed Ops.
    """

    cycles: int
    kernels: int
    optimal_ms: float | None = None
    network: Network | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One program to compile: an Op, or a model file with sizes.

    Attributes:
        op: the Op; None for a model.
        model: path of an ONNX file; empty for an Op.
        sizes: named dimensions of the model.
        alone: compile the Op on its own and not as inside a network, for XLA's roofline of it.
    """

    op: Op | None = None
    model: str = ""
    sizes: dict[str, int] = {}
    alone: bool = False


_ERRORS = {
    error.__name__: error for error in (InvalidInputError, ModelFormatError, UnsupportedOpError)
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no estimate.

    Attributes:
        error: name of the error, or of the one it is a kind of.
        message: its text.
    """

    error: str
    message: str

    @classmethod
    def of(cls, error: CostModelError) -> Refusal:
        """The refusal that tells of ``error``."""
        names = (kind.__name__ for kind in type(error).__mro__)
        known = next((name for name in names if name in _ERRORS), CostModelError.__name__)
        return cls(error=known, message=str(error))

    def as_error(self) -> CostModelError:
        """The error again, to be raised."""
        return _ERRORS.get(self.error, CostModelError)(self.message)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a request: one of the two."""

    estimate: Estimate | None = None
    refusal: Refusal | None = None
