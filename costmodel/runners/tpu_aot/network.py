"""A whole network's executed Ops and estimate, from its compiled program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.tpu_aot.compiler import Compiled, compile_network
from costmodel.runners.tpu_aot.cycles import total_cycles, working
from costmodel.runners.tpu_aot.messages import Estimate
from costmodel.runners.tpu_aot.ops import IMPLEMENTATION, op_of
from costmodel.runners.tpu_aot.pieces import BIAS, Piece, cut, split_biases
from costmodel.runners.xla.optimised import buildable


def estimate_model(path: Path, sizes: Mapping[str, int], generation: str, dtype: str) -> Estimate:
    """Compile an ONNX file as it would be deployed and read what is executed.

    Args:
        path: ONNX file.
        sizes: values of named dynamic dimensions; the batch defaults to 1.
        generation: which TPU.
        dtype: element type of floats.

    Raises:
        ModelFormatError: if the file cannot be read, or the compiler rejects it.
    """
    written = read_onnx(path, sizes)
    kept, _, unread = buildable(written, dtype=dtype, layout="nhwc")
    if not kept.layers:
        message = f"{path}: no layer of this network can be built for XLA: {unread}."
        raise ModelFormatError(message)
    network = split_biases(kept)
    try:
        compiled = compile_network(network, generation, dtype)
    except UnsupportedOpError as error:
        message = f"{path}: {error}"
        raise ModelFormatError(message) from error
    return Estimate(
        cycles=total_cycles(compiled.module),
        kernels=len(working(compiled.module)),
        optimal_ms=compiled.optimal_ms,
        network=replace(_lowered(network, compiled, dtype), name=path.stem, unread=unread),
    )


def _lowered(network: Network, compiled: Compiled, dtype: str) -> Network:
    pieces = cut(network, compiled.program, compiled.module)
    total = sum(piece.cycles for piece in pieces) or 1
    layers = [_layer(i, piece, dtype, total) for i, piece in enumerate(pieces)]
    sizes = {name: shape for piece in pieces for name, shape in piece.inputs.items()}
    session = Op(kind=SESSION, implementation=IMPLEMENTATION, dtype=dtype)
    layers.append(Layer(name=SESSION, op=session, share=0.0))
    written = {name for layer in layers for name in layer.outputs}
    fed = {name: shape for name, shape in sizes.items() if name not in written}
    return Network(
        name=network.name,
        layers=tuple(layers),
        inputs=fed,
        outputs=tuple(name for name in network.outputs if name in written),
        source="lowered",
    )


def _layer(index: int, piece: Piece, dtype: str, total: int) -> Layer:
    covers = dict.fromkeys(layer.name.removesuffix(BIAS) for layer in piece.layers)
    # The layers that only turn an input into the program's order are not the network's own.
    covers = dict.fromkeys(name for name in covers if name not in piece.inputs)
    return Layer(
        name=f"{[*covers][-1]}/k{index}",
        op=op_of(piece, dtype),
        inputs=tuple(piece.inputs),
        outputs=piece.outputs,
        covers=tuple(covers),
        share=piece.cycles / total,
    )
