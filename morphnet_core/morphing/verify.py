"""Exported files: written, run, and held against the Keras model they came from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.durable import written_whole
from costmodel.errors import CostModelError, InvalidInputError, MissingDependencyError
from costmodel.readers.keras import packed
from costmodel.readers.keras_copy import in_float32
from morphnet_core.data import fed
from morphnet_core.data.nested import leaves
from morphnet_core.gates.insert import functional

#: Largest difference, as a share of the largest value of an output, that exporting may make.
SAME = 1e-3
#: First version of Keras that exports for LiteRT.
_LITERT_SINCE = (3, 13)
#: Values of an output below this are taken for rounding.
_LEAST = 1e-6


def write_litert(model: Any, out: Path) -> Path:
    """Write a model for LiteRT, in float32.

    Its inputs are called as the model's, its outputs ``output_0``, ``output_1``, ... in order.

    Args:
        model: a Keras model.
        out: file to write, ending in ``.tflite``.

    Returns:
        ``out``.

    Raises:
        InvalidInputError: if the installed Keras cannot export for LiteRT.
    """
    if tuple(map(int, keras.__version__.split(".")[:2])) < _LITERT_SINCE:
        since = ".".join(map(str, _LITERT_SINCE))
        message = (
            f"Keras {keras.__version__} does not export for LiteRT, {since} does: pip install "
            f"'keras>={since}', or export ONNX only."
        )
        raise InvalidInputError(message)
    model = in_float32(model)
    graph = functional(model)
    if graph.input is not graph.inputs[0] or graph.output is not graph.outputs[0]:
        # The converter takes no structures in structures.
        model = keras.Model(graph.inputs, graph.outputs, name=model.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        with written_whole(out, out.suffix) as temporary:
            model.export(str(temporary), format="litert", verbose=False)
    return out


def same_outputs(model: Any, path: Path, x: Any) -> dict[str, float]:
    """Run an exported file beside the Keras model and compare all that they return.

    A model that computes in 16 bits is held against itself in float32, as it is exported.

    Args:
        model: the Keras model.
        path: ``.onnx`` or ``.tflite``.
        x: samples with their batch axis, in a structure that the model takes.

    Returns:
        By output, largest difference as a share of its largest value.

    Raises:
        CostModelError: if one is above ``SAME``; names it.
        InvalidInputError: for another kind of file, or samples that the model does not take.
        MissingDependencyError: for a LiteRT file without LiteRT's package.
    """
    feed = fed(model, x)
    if path.suffix == ".onnx":
        found = _run_onnx(path, feed)
    elif path.suffix == ".tflite":
        found = _run_litert(path, feed)
    else:
        message = f"{path} is neither an ONNX nor a LiteRT file."
        raise InvalidInputError(message)
    whole = in_float32(model)
    returned = keras.tree.flatten(whole(packed(whole, list(feed.values())), training=False))
    expected = [np.asarray(keras.ops.convert_to_numpy(item)) for item in returned]
    names = output_names(model)
    if len(found) != len(expected):
        message = (
            f"{path} returns {len(found)} tensors where the Keras model returns {len(expected)}: "
            f"{', '.join(names)}. The Keras model is right; please report this network."
        )
        raise CostModelError(message)
    errors = {
        name: _difference(one, two) for name, one, two in zip(names, found, expected, strict=True)
    }
    for name, error in errors.items():
        if not error <= SAME:
            message = (
                f"{path} computes something else than the Keras model: its output {name!r} differs "
                f"by {error:.2g} of its largest value, where {SAME:g} is allowed. The Keras model "
                "is right; please report this network."
            )
            raise CostModelError(message)
    return errors


def output_names(model: Any) -> list[str]:
    """What to call each output: its key where the model returns a dictionary, else its layer."""
    graph = functional(model)
    names: list[str] = []
    for path, tensor in leaves(graph.output):
        own = path if any(part.isidentifier() for part in path.split("/")) else ""
        name = own or tensor._keras_history.operation.name
        names.append(name if name not in names else f"{name} ({len(names)})")
    return names


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference as a share of the largest value; infinities and gaps must agree."""
    if found.shape != expected.shape:
        return float("inf")
    one, two = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(one) & np.isfinite(two)
    if not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    return float(np.abs(one - two)[finite].max() / max(np.abs(two[finite]).max(), _LEAST))


def _run_onnx(path: Path, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, _named([item.name for item in session.get_inputs()], feed))
    return [np.asarray(item) for item in found]


def _run_litert(path: Path, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        package, what = "ai_edge_litert", "Running an exported LiteRT file"
        raise MissingDependencyError(package, "litert", what) from error
    run = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    found = run(**_named(list(run.get_input_details()), feed))
    return [np.asarray(found[name]) for name in sorted(found, key=_place)]


def _named(read: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a file reads: it may lack inputs that nothing uses, or call all of them otherwise."""
    if set(read) <= set(feed):
        return {name: feed[name] for name in read}
    return dict(zip(read, feed.values(), strict=True))


def _place(output: str) -> tuple[int, str]:
    digits = output.rpartition("_")[2]
    return (int(digits) if digits.isdecimal() else 0, output)
