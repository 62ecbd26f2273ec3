"""Weight values of rebuilt Ops: views of a few shared pools, so that making them costs no time."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from costmodel.errors import UnsupportedOpError
from costmodel.op import Op, Shape
from costmodel.runners.ort.bound import aligned, weight_cut

#: Values in the pool that weights are cut from; larger than any last-level cache we know.
POOL_SIZE = 24 << 20
#: Spread of the weights: He-normal (He et al. 2015) for 800 inputs, the middle of real layers. One
#: spread for all lets every weight be a view; times depend on it only where denormals would arise.
WEIGHT_SCALE = 0.05
#: Most of an integer pool's absolute values; biases of integer kernels are larger, but only added.
_MOST = 127


@cache
def pool() -> NDArray[np.float32]:
    """Numbers that every weight is cut from: drawing or copying them would outlast the timing."""
    values = np.random.default_rng(7).standard_normal(POOL_SIZE, dtype=np.float32)
    values *= WEIGHT_SCALE
    pooled: NDArray[np.float32] = aligned(values)
    return pooled


@cache
def positive_pool() -> NDArray[np.float32]:
    """Values for vectors: biases, scales and variances are positive, so that each is valid."""
    values: NDArray[np.float32] = aligned(np.abs(pool()[: 1 << 20]) + np.float32(0.5))
    return values


@cache
def _other_pool(dtype: str, rank: int) -> NDArray[np.generic]:
    """Values of another element type than float32, for weights of ``rank`` axes, at most two."""
    kind = np.dtype(dtype)
    source: NDArray[np.generic]
    if kind.kind == "f":
        source = pool()[: POOL_SIZE // 2] if rank > 1 else positive_pool()
    else:
        low = 0 if kind.kind == "u" else -_MOST
        drawn = np.random.default_rng(7).integers(
            low, _MOST, POOL_SIZE, dtype=np.int8, endpoint=True
        )
        source = drawn if kind.itemsize == 1 else drawn[: POOL_SIZE // 4]
    values: NDArray[np.generic] = aligned(source.astype(kind))
    return values


def weight_view(shape: Shape, dtype: str, offset: int) -> tuple[NDArray[np.generic], int]:
    """Values of one weight, and where the next one starts.

    Args:
        shape: its sizes.
        dtype: its element type.
        offset: where in the pool it may start.
    """
    source: NDArray[np.generic] = pool() if len(shape) > 1 else positive_pool()
    if dtype != "float32":
        source = _other_pool(dtype, min(len(shape), 2))
    return weight_cut(source, shape, offset)


def weight_dtypes(op: Op) -> tuple[str, ...]:
    """Element type of each of ``op.weights``: that of the Op unless an attribute says otherwise."""
    stated = tuple(op.attribute(WEIGHT_DTYPES, "").split())
    return stated or (FLOAT_OF.get(op.dtype, "float32"),) * len(op.weights)


#: Attribute of Ops whose weights are not of the Op's own float type: a word for each.
WEIGHT_DTYPES = "weight_dtypes"
#: Float type of an Op's weights by the Op's element type; float32 for all others.
FLOAT_OF = {"float16": "float16", "float64": "float64"}
#: Attribute of Ops that write another element type than they read.
OUTPUT_DTYPE = "output_dtype"


def output_dtype(op: Op) -> str:
    """Element type of what an integer kernel writes; of others that of the Op."""
    return op.attribute(OUTPUT_DTYPE, op.dtype)


def element_of(dtype: str) -> int:
    """ONNX's number of an element type.

    Raises:
        UnsupportedOpError: for one that no tensor can be made of.
    """
    if dtype not in _ELEMENT:
        message = f"Element type {dtype!r} cannot be rebuilt. Known: {', '.join(sorted(_ELEMENT))}."
        raise UnsupportedOpError(message)
    return int(_ELEMENT[dtype])


_ELEMENT = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
}
