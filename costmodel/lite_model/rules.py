"""All rules of conversion, and the one call that applies them."""

from __future__ import annotations

from costmodel.lite_model import convert_maths, convert_norms, convert_shapes, convert_windows
from costmodel.lite_model.convert import Converter
from costmodel.lite_model.graph import LiteModel
from costmodel.network import Network

RULES = {
    **convert_windows.RULES,
    **convert_maths.RULES,
    **convert_norms.RULES,
    **convert_shapes.RULES,
}


def convert_network(network: Network, dtype: str = "float32") -> LiteModel:
    """The TensorFlow Lite model that a network as written is deployed as.

    Args:
        network: from a reader.
        dtype: ``float32``, or ``int8`` for 8-bit activations and weights throughout, with a
            QUANTIZE and a DEQUANTIZE at the border.

    Raises:
        ModelFormatError: naming the layer that has no counterpart.
        InvalidInputError: for another dtype.
    """
    return Converter(network, dtype, RULES).run()
