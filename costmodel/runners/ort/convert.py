"""The network that a runner of another element type than float32 really runs."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnx import version_converter

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.inputs import real_inputs
from costmodel.runners.ort.quantise import is_quantised, quantise
from costmodel.runners.ort.session import is_from_runtime, write_basic

#: Element types that a float network can be run in.
DTYPES = ("float32", "float16", "int8")
#: What a conversion does, as it stands among a device's options; part of its identity.
RECIPES = {
    "float16": "weights and activations, but for what has no float16 form",
    "int8": "QDQ, uint8 activations, int8 weights per channel",
    "int8 symmetric": "QDQ, int8 activations without zero points, int8 weights per channel",
}
#: Operator set that older networks are brought to, so that one network has one form. Integer
#: kernels need 10, scales per channel 13.
_OPSET = 17


def convert(model: onnx.ModelProto, dtype: str, name: str, *, symmetric: bool) -> onnx.ModelProto:
    """The network in ``dtype``; one that is quantised already is int8 as it stands.

    Args:
        model: all input sizes bound.
        dtype: one of ``DTYPES``.
        name: of the network, for messages.
        symmetric: for int8: signed activations without a zero point.

    Raises:
        ModelFormatError: if the network cannot be loaded or converted.
    """
    if dtype == "float32" or (dtype == "int8" and is_quantised(model)):
        return model
    try:
        folded = _folded(model)
        if dtype == "float16":
            return _halved(folded)
        folded = _renewed(folded)
        quantise(folded, symmetric=symmetric)
    except Exception as error:
        if not is_from_runtime(error) and not isinstance(error, _CONVERSION):
            raise
        message = f"{name}: this network cannot be converted to {dtype}: {error}"
        raise ModelFormatError(message) from error
    return folded


#: What onnx and the runtime's converters raise for models that they do not understand.
_CONVERSION = (
    onnx.shape_inference.InferenceError,
    version_converter.ConvertError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants and normalisations folded, as anyone does before a conversion.

    Weights that the file lets its user replace become constants.
    """
    with TemporaryDirectory(prefix="costmodel-") as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "folded.onnx"
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        fed_by_user = real_inputs(model.graph)
        del fixed.graph.input[:]
        fixed.graph.input.extend(fed_by_user)
        fixed.ir_version = max(fixed.ir_version, 8)  # older ones list weights among the inputs
        source.write_bytes(fixed.SerializeToString())
        fed = write_basic(source, target)
        folded = onnx.load(str(target))
    kept = [item for item in folded.graph.input if item.name in fed]
    del folded.graph.input[:]
    folded.graph.input.extend(kept)
    return folded


def _renewed(folded: onnx.ModelProto) -> onnx.ModelProto:
    """The network in an operator set with scales per channel, and the types of its tensors."""
    versions = [o.version for o in folded.opset_import if o.domain in {"", "ai.onnx"}]
    if max(versions, default=_OPSET) < _OPSET:
        folded = version_converter.convert_version(folded, _OPSET)
    return onnx.shape_inference.infer_shapes(folded)


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network as the runtime's own tool makes it float16, inputs and outputs too."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that become zero or infinite: none matters here
        return convert_float_to_float16(model)
