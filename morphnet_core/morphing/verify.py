"""Exported files: written, run, and held against the Keras model they came from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import CostModelError, InvalidInputError, MissingDependencyError

#: Largest difference, as a share of the largest output, that exporting may make.
SAME = 1e-3


def write_litert(model: Any, out: Path) -> Path:
    """Write a model for LiteRT.

    Args:
        model: a Keras model.
        out: file to write, ending in ``.tflite``.

    Returns:
        ``out``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        model.export(str(out), format="litert", verbose=False)
    return out


def same_outputs(model: Any, path: Path, x: NDArray[Any]) -> float:
    """Run an exported file beside the Keras model.

    Args:
        model: the Keras model.
        path: ``.onnx`` or ``.tflite``.
        x: one sample with its batch axis.

    Returns:
        Largest difference as a share of the largest output.

    Raises:
        CostModelError: if it is above ``SAME``.
        InvalidInputError: for another kind of file.
        MissingDependencyError: for a LiteRT file without LiteRT's package.
    """
    sample = np.asarray(x, dtype=np.float32)
    expected = np.asarray(model.predict(sample, verbose=0))
    if path.suffix == ".onnx":
        found = _run_onnx(path, sample)
    elif path.suffix == ".tflite":
        found = _run_litert(path, sample)
    else:
        message = f"{path} is neither an ONNX nor a LiteRT file."
        raise InvalidInputError(message)
    error = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not error <= SAME:
        message = (
            f"{path} computes something else than the Keras model: its outputs differ by "
            f"{error:.2g} of the largest. Expected at most {SAME:g}."
        )
        raise CostModelError(message)
    return error


def _run_onnx(path: Path, sample: NDArray[np.float32]) -> NDArray[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: sample})[0])


def _run_litert(path: Path, sample: NDArray[np.float32]) -> NDArray[Any]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        package, what = "ai_edge_litert", "Running an exported LiteRT file"
        raise MissingDependencyError(package, "litert", what) from error
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
