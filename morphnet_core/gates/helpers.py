"""The original's functions that put a gate behind something: for models gated by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from morphnet_core.gates.layers import LogisticSigmoidGating


def logistic_sigmoid_gating(activation: Any, axis: int = -1, **settings: Any) -> Any:
    """Gate the channels of a tensor.

    Args:
        activation: tensor of shape ``(batch, ..., channels)``, or another order given by ``axis``.
        axis: the channel axis.
        **settings: arguments of ``LogisticSigmoidGating``.

    Returns:
        The gated tensor, of the same shape.
    """
    return LogisticSigmoidGating(axis=axis, **settings)(activation)


def add_gating_to_fn(
    fn: Callable[..., Any],
    gating_fn: Callable[..., Any] = logistic_sigmoid_gating,
    axis: int = -1,
    **settings: Any,
) -> Callable[..., Any]:
    """``fn`` with a gate behind it.

    Args:
        fn: a layer or function that returns a tensor.
        gating_fn: puts the gate.
        axis: the channel axis of what ``fn`` returns.
        **settings: arguments of ``gating_fn``.

    Returns:
        A function of the same arguments as ``fn``.
    """

    def gated(*args: Any, **kwargs: Any) -> Any:
        return gating_fn(fn(*args, **kwargs), axis=axis, **settings)

    return gated


def gated_batch_norm(axis: int = -1, **settings: Any) -> Callable[..., Any]:
    """A batch normalisation with a gate behind it.

    Each call of what is returned makes a layer of its own, as in the original.

    Args:
        axis: the channel axis.
        **settings: arguments of ``LogisticSigmoidGating``.
    """
    return add_gating_to_fn(
        lambda tensor: keras.layers.BatchNormalization(axis=axis)(tensor), axis=axis, **settings
    )


def gated_relu_activation(axis: int = -1, **settings: Any) -> Callable[..., Any]:
    """A ReLU with a gate behind it.

    Args:
        axis: the channel axis.
        **settings: arguments of ``LogisticSigmoidGating``.
    """
    return add_gating_to_fn(lambda tensor: keras.layers.ReLU()(tensor), axis=axis, **settings)
