"""What a network is trained on: arrays in any structure that Keras takes, or batches."""

from __future__ import annotations

from morphnet_core.data.data import Data
from morphnet_core.data.fed import fed
from morphnet_core.data.nested import Batch

__all__ = ["Batch", "Data", "fed"]
