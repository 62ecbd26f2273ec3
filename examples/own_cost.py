"""A cost model of one's own: weights that are read from flash, the rest at a rate of arithmetic.

Wherever a cost is expected it can be given. Its tests subclass
``costmodel.testing.CostModelContract``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np

import costmodel as cm
import morphnet_core as mc
from costmodel.op import MODEL, Op
from costmodel.protocols import Prices, Unit

layers = keras.layers


@dataclass(frozen=True)
class Flash:
    bytes_per_ms: float = 4e4
    macs_per_ms: float = 5e4
    unit: ClassVar[Unit] = "ms"
    name: ClassVar[str] = "flash"
    device: ClassVar[None] = None  # these are nobody's measurements

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([self._ms(op) for op in ops], dtype=np.float64)
        reasons = {i: "it is a whole network" for i, op in enumerate(ops) if op.kind == MODEL}
        values[list(reasons)] = np.nan  # never zero for what it cannot price
        return Prices(values=values, low=values, high=values, reasons=reasons)

    def _ms(self, op: Op) -> float:
        elements = op.num_input_elements + op.num_output_elements
        moved = 4 * op.num_weights / self.bytes_per_ms
        return 0.01 + moved + op.macs / self.macs_per_ms + elements / 1e5


if __name__ == "__main__":
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(24, 3, name="conv1"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="logits"),
        ]
    )
    print(cm.predict(model, cost=Flash()))
    print(mc.CostRegularizer(model, Flash()).report())
