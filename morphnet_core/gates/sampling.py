"""The two relaxations of an on/off decision: logistic-sigmoid and hard concrete.

Everything works on log odds, ``log(p / (1 - p))``, one per channel, and on logistic noise: a
decision with probability ``p`` is exactly ``log_odds + noise > 0``.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

#: Uniform samples stay this far from 0 and 1, where their log odds would be infinite.
EDGE = 1e-6
#: Below this the relaxed gate is a step, and dividing by it would make NaN of 0 / 0.
LEAST_TEMPERATURE = 1e-6


def logistic_noise(size: int, seed: Any) -> Any:
    """Draw from the logistic distribution with mean 0 and scale 1.

    Args:
        size: how many.
        seed: a ``keras.random.SeedGenerator``, or an integer for always the same draw.

    Returns:
        float32 tensor of shape ``(size,)``.
    """
    uniform = keras.random.uniform(
        (size,), minval=EDGE, maxval=1.0 - EDGE, dtype="float32", seed=seed
    )
    return ops.log(uniform) - ops.log1p(-uniform)


def logistic_sigmoid(log_odds: Any, noise: Any, temperature: Any, *, straight_through: bool) -> Any:
    """Gates in (0, 1) that become a coin with the given odds as the temperature falls.

    Maddison et al., "The Concrete Distribution" (arXiv 1611.00712); used on channels by
    "Fine-Grained Stochastic Architecture Search" (arXiv 2006.09581).

    Args:
        log_odds: tensor of shape ``(channels,)``.
        noise: logistic noise of the same shape.
        temperature: positive number or scalar tensor.
        straight_through: give exactly 0 or 1, with the gradient of the relaxed gate.
    """
    logits = log_odds + noise
    soft = ops.sigmoid(logits / ops.maximum(temperature, LEAST_TEMPERATURE))
    if not straight_through:
        return soft
    hard = ops.cast(logits > 0.0, soft.dtype)
    return soft + ops.stop_gradient(hard - soft)


def hard_concrete(log_odds: Any, noise: Any, beta: float, low: float, high: float) -> Any:
    """Gates in [0, 1] that are exactly 0 or exactly 1 with probability above zero.

    Louizos et al., "Learning Sparse Neural Networks through L0 Regularization"
    (arXiv 1712.01312): a logistic-sigmoid gate of temperature ``beta`` is stretched to
    ``(low, high)`` and clipped.
    """
    stretched = ops.sigmoid((log_odds + noise) / beta) * (high - low) + low
    return ops.clip(stretched, 0.0, 1.0)


def hard_concrete_probability(log_odds: Any, beta: float, low: float, high: float) -> Any:
    """Probability that a hard-concrete gate is above zero: smooth, and no sample."""
    return ops.sigmoid(log_odds - beta * math.log(-low / high))


def hard_concrete_mean(log_odds: Any, low: float, high: float) -> Any:
    """The gate that is used at inference: the stretched sigmoid without noise, clipped."""
    return ops.clip(ops.sigmoid(log_odds) * (high - low) + low, 0.0, 1.0)
