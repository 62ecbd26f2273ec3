"""Stochastic gates on channels: sampling, Keras layers, insertion into a model, folding away."""

from __future__ import annotations

from morphnet_core.gates.fold import fold_gates
from morphnet_core.gates.helpers import (
    add_gating_to_fn,
    gated_batch_norm,
    gated_relu_activation,
    logistic_sigmoid_gating,
)
from morphnet_core.gates.insert import insert_gates
from morphnet_core.gates.layers import ChannelGate, HardConcreteGating, LogisticSigmoidGating
from morphnet_core.gates.shared import ApplyGates, SharedGates

__all__ = [
    "ApplyGates",
    "ChannelGate",
    "HardConcreteGating",
    "LogisticSigmoidGating",
    "SharedGates",
    "add_gating_to_fn",
    "fold_gates",
    "gated_batch_norm",
    "gated_relu_activation",
    "insert_gates",
    "logistic_sigmoid_gating",
]
