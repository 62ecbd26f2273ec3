"""Turns an activation function of Keras, by name, into the Ops that carry it out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costmodel.op import Attribute, Op, Shape

#: What an Op reads: an operand of the layer by position, or an earlier step by its suffix.
Ref = int | str
#: Activation functions that are one operator everywhere; ``silu`` and the like are two.
_ACTIVATIONS = {
    "elu": "elu", "exponential": "exp", "gelu": "gelu", "log_softmax": "log_softmax",
    "relu": "relu", "selu": "selu", "sigmoid": "sigmoid", "softmax": "softmax",
    "softplus": "softplus", "softsign": "softsign", "tanh": "tanh", "mish": "mish",
    "celu": "celu", "log_sigmoid": "log_sigmoid", "hard_tanh": "hard_tanh",
    "tanh_shrink": "tanh_shrink", "soft_shrink": "soft_shrink", "hard_shrink": "hard_shrink",
    "squareplus": "squareplus",
}  # fmt: skip
#: Activations that multiply a value by a function of itself.
_GATED = {"silu": "sigmoid", "swish": "sigmoid", "hard_silu": "hard_sigmoid",
          "hard_swish": "hard_sigmoid"}  # fmt: skip
#: Whose functions are known by their names.
_LIBRARIES = frozenset({"jax", "keras", "tensorflow", "tf_keras", "torch"})
_LEAK = float(np.float32(0.2))
#: Attributes of a Softmax as an exported file has them.
SOFTMAX: tuple[tuple[str, Attribute], ...] = (("axis", -1), ("since", 13))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One of the Ops that a layer carries out.

    Attributes:
        op: its work.
        suffix: what is added to the layer's name; empty for its main work.
        reads: one reference per input of ``op``.
        frozen: why its channels must stay as they are; empty where they may be followed.
    """

    op: Op
    suffix: str = ""
    reads: tuple[Ref, ...] = (0,)
    frozen: str = ""


class UnreadableError(Exception):
    """A layer that has no rule; its text becomes the reason in ``Network.unread``."""


def activation(function: Any, size: Shape, read: Ref) -> list[Step]:
    """The steps of an activation function given as an argument; none for ``linear``."""
    name = function_name(function)
    return [] if name == "linear" else activation_steps(name, size, read, f"/{name}")


def function_name(function: Any) -> str:
    """Name of an activation function; ``linear`` for none. One's own are named with their module.

    Somebody's own ``relu`` need not be everybody's.
    """
    if function is None:
        return "linear"
    name = str(getattr(function, "__name__", type(function).__name__))
    module = str(getattr(function, "__module__", ""))
    return name if module.partition(".")[0] in _LIBRARIES else f"{module}.{name}"


def activation_steps(name: str, size: Shape, read: Ref, suffix: str) -> list[Step]:
    """The steps of a named function on the tensor ``read``, called ``suffix``."""
    if name in _GATED:
        product = Op(kind="mul", inputs=(size, size), outputs=(size,))
        gate = activation_steps(_GATED[name], size, read, f"{suffix}/gate")
        return [*gate, Step(op=product, suffix=suffix, reads=(read, gate[-1].suffix))]
    if name == "hard_sigmoid":
        return _hard_sigmoid(size, read, suffix)
    if name == "leaky_relu":  # as a function, Keras gives it this slope
        leaky = Op(kind=name, inputs=(size,), outputs=(size,), attributes=(("alpha", _LEAK),))
        return [Step(op=leaky, suffix=suffix, reads=(read,))]
    if name == "relu6":
        return [Step(op=clip_op(size, 6.0), suffix=suffix, reads=(read,))]
    if name not in _ACTIVATIONS:
        message = f"there is no rule for the activation {name!r}"
        raise UnreadableError(message)
    # As an argument or a layer of its own, a softmax runs over the channels.
    more = softmax_attributes((1,), len(size)) if name.endswith("softmax") else ()
    op = Op(kind=_ACTIVATIONS[name], inputs=(size,), outputs=(size,), attributes=more)
    return [Step(op=op, suffix=suffix, reads=(read,))]


def softmax_attributes(axes: tuple[int, ...], rank: int) -> tuple[tuple[str, Attribute], ...]:
    """Attributes of a softmax over one neutral axis.

    Raises:
        UnreadableError: if it runs over several.
    """
    if len(axes) != 1:
        message = "a softmax over several axes"
        raise UnreadableError(message)
    return SOFTMAX if axes[0] == rank - 1 else (("axis", axes[0]), ("since", 13))


def _hard_sigmoid(size: Shape, read: Ref, suffix: str) -> list[Step]:
    """Keras computes it as ``relu6(x + 3) / 6``, and so do exported files."""
    shift = Op(kind="add", inputs=(size,), outputs=(size,), weights=((),))
    return [
        Step(op=shift, suffix=f"{suffix}/shift", reads=(read,)),
        Step(op=clip_op(size, 6.0), suffix=f"{suffix}/clip", reads=(f"{suffix}/shift",)),
        Step(op=replace(shift, kind="mul"), suffix=suffix, reads=(f"{suffix}/clip",)),
    ]


def clip_op(size: Shape, top: float) -> Op:
    """Values limited to 0 and ``top``."""
    return Op(
        kind="clip",
        inputs=(size,),
        outputs=(size,),
        attributes=(("since", 13),),
        constants=((0.0,), (top,)),
        constant_dtypes=("float32", "float32"),
    )
