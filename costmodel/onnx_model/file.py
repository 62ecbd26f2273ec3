"""Opens an ONNX file and refuses, with one clear message, what nothing later could work with.

Sizes are checked from the file's own claims before anything of that size is made, so a small file
that claims two gigabytes costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

import onnx

from costmodel.errors import ModelFormatError

#: Protocol buffers cannot hold more; larger models keep their weights outside the file.
MAX_BYTES = 2**31 - 1
#: Oldest operator set whose rules the reader knows; older ones are converted by onnx itself.
MIN_OPSET = 7
#: Operator domains whose nodes may appear; the second pair are ONNX Runtime's own.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})


def open_model(path: Path) -> onnx.ModelProto:
    """Parse ``path``, bring in external data and model-local functions, and check it is a graph.

    Args:
        path: ONNX file.

    Returns:
        The model with its nodes in an order in which they can run.

    Raises:
        ModelFormatError: naming the file, what is wrong with it and what to do.
    """
    model = _parse(path)
    _check_opsets(path, model)
    _check_names(path, model.graph)
    _check_tensors(path, model)
    _load_external(path, model)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            message = f"{path}: its model-local functions cannot be inlined ({error})."
            raise ModelFormatError(message) from error
    _check_nodes(path, model.graph.node)
    _sort_nodes(path, model.graph)
    return model


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model held in memory; weights beyond what one file may hold go beside it.

    Raises:
        ModelFormatError: if it cannot be written.
    """
    try:
        if model.ByteSize() < MAX_BYTES:
            onnx.save(model, str(path))
            return
        copy = onnx.ModelProto()
        copy.CopyFrom(model)  # saving moves the weights out of what it is given
        onnx.save(copy, str(path), save_as_external_data=True, location=f"{path.name}.data")
    except (OSError, ValueError) as error:
        message = f"The model {model.graph.name!r} cannot be written to {path}: {error}."
        raise ModelFormatError(message) from error


def _parse(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
    except OSError as error:
        message = f"{path} cannot be opened ({error.strerror}). Give the path of an ONNX file."
        raise ModelFormatError(message) from error
    if not path.is_file():
        message = f"{path} is not a file. Give the path of an ONNX file."
        raise ModelFormatError(message)
    if size > MAX_BYTES:
        message = (
            f"{path} has {size:,} bytes, more than an ONNX file can hold ({MAX_BYTES:,}). "
            "Save its weights as external data: onnx.save(model, path, save_as_external_data=True)."
        )
        raise ModelFormatError(message)
    try:
        model = onnx.load(path, load_external_data=False, format="protobuf")
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror})."
        raise ModelFormatError(message) from error
    except Exception as error:  # protobuf and onnx each have their own
        message = (
            f"{path} ({size:,} bytes) is not an ONNX file, or it is truncated. "
            "Expected the binary protocol buffer that onnx.save writes; fetch or export it again."
        )
        raise ModelFormatError(message) from error
    if not model.graph.node or not model.graph.output:
        message = (
            f"{path} ({size:,} bytes) holds no ONNX graph: it has {len(model.graph.node)} nodes "
            f"and {len(model.graph.output)} outputs. It is empty, truncated, or not an ONNX file."
        )
        raise ModelFormatError(message)
    return model


def _check_opsets(path: Path, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    versions = {item.domain: item.version for item in model.opset_import}
    version = versions.get("", versions.get("ai.onnx"))
    if version is None and not versions:
        message = f"{path} names no operator set (opset_import is empty); export it again."
        raise ModelFormatError(message)
    if version is not None and not MIN_OPSET <= version <= newest:
        message = (
            f"{path} uses operator set {version}; {MIN_OPSET} to {newest} can be read by the "
            f"installed onnx {onnx.__version__}. Convert it with onnx.version_converter or install "
            "a newer onnx."
        )
        raise ModelFormatError(message)


def _check_names(path: Path, graph: onnx.GraphProto) -> None:
    """Damaged names come back from the parser as bytes."""
    names = [item.name for item in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [item.name for item in node.attribute]
    broken = [name for name in names if not isinstance(name, str)]
    if broken:
        message = f"{path}: the name {broken[0]!r} is not text; the file is damaged."
        raise ModelFormatError(message)


def _check_tensors(path: Path, model: onnx.ModelProto) -> None:
    """Compare what each stored tensor claims to be with the bytes that are there."""
    total = 0
    for tensor in _tensors(model.graph.initializer, model.graph.node):
        if any(size < 0 for size in tensor.dims):
            message = f"{path}: tensor {tensor.name!r} has a negative size {tuple(tensor.dims)}."
            raise ModelFormatError(message)
        bits = _element_bits(path, tensor)
        claimed = prod(tensor.dims) * bits // 8
        total += claimed
        if total > MAX_BYTES:
            message = (
                f"{path}: its tensors up to {tensor.name!r} {tuple(tensor.dims)} claim "
                f"{total:,} bytes, more than the {MAX_BYTES:,} that one model can hold here."
            )
            raise ModelFormatError(message)
        stored = len(tensor.raw_data)
        if stored and stored != -(-prod(tensor.dims) * bits // 8):
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} needs {claimed:,} bytes but "
                f"{stored:,} are stored. The file is damaged; fetch or export it again."
            )
            raise ModelFormatError(message)
        if not stored and claimed and not _has_data(tensor):
            message = (
                f"{path}: tensor {tensor.name!r} {tuple(tensor.dims)} has no values stored. "
                "The file is damaged or was saved without its weights; export it again."
            )
            raise ModelFormatError(message)


def _tensors(
    initializers: Iterable[onnx.TensorProto], nodes: Iterable[onnx.NodeProto]
) -> Iterable[onnx.TensorProto]:
    yield from initializers
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _element_bits(path: Path, tensor: onnx.TensorProto) -> int:
    four_bit = {onnx.TensorProto.UINT4, onnx.TensorProto.INT4, onnx.TensorProto.FLOAT4E2M1}
    if tensor.data_type in four_bit:
        return 4
    if tensor.data_type == onnx.TensorProto.STRING:
        return 8
    try:
        return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError) as error:
        message = f"{path}: tensor {tensor.name!r} has the unknown element type {tensor.data_type}."
        raise ModelFormatError(message) from error


def _has_data(tensor: onnx.TensorProto) -> bool:
    return bool(
        tensor.data_location == onnx.TensorProto.EXTERNAL
        or tensor.float_data
        or tensor.int32_data
        or tensor.int64_data
        or tensor.double_data
        or tensor.uint64_data
        or tensor.string_data
    )


def _load_external(path: Path, model: onnx.ModelProto) -> None:
    """Bring weights stored beside the file into the model."""
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return
    for tensor in outside:
        location = {item.key: item.value for item in tensor.external_data}.get("location", "")
        if not (path.parent / location).is_file() or not location:
            message = (
                f"{path}: the weights of {tensor.name!r} are in the file {location!r} beside it, "
                f"which is missing. Put it into {path.parent}, or export without external data."
            )
            raise ModelFormatError(message)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        message = f"{path}: its external data cannot be read ({error})."
        raise ModelFormatError(message) from error


def _check_nodes(path: Path, nodes: Sequence[onnx.NodeProto]) -> None:
    for index, node in enumerate(nodes):
        if not node.op_type or not any(node.output):
            message = f"{path}: node {index} ({node.name!r}) has no operator type or no output."
            raise ModelFormatError(message)
        if node.domain not in DOMAINS:
            message = (
                f"{path}: node {node.name or index!r} is {node.op_type!r} of the custom domain "
                f"{node.domain!r}, whose work is unknown. Export the model with standard ONNX "
                f"operators; known domains: {', '.join(sorted(DOMAINS - {''}))}."
            )
            raise ModelFormatError(message)


def _sort_nodes(path: Path, graph: onnx.GraphProto) -> None:
    """Put the nodes in an order in which they can run, or say why there is none."""
    known = {item.name for item in graph.input} | {item.name for item in graph.initializer}
    known |= {item.values.name for item in graph.sparse_initializer} | {""}
    writers: set[str] = set()
    for name in (name for node in graph.node for name in node.output if name):
        if name in writers or name in known:
            message = f"{path}: tensor {name!r} is written twice; the file is damaged."
            raise ModelFormatError(message)
        writers.add(name)
    waiting, ordered = list(graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if known.issuperset(node_reads(node)):
                ordered.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ModelFormatError(_stuck(path, later[0], known, writers))
        waiting = later
    lost = [item.name for item in graph.output if item.name not in known]
    if lost:
        message = f"{path}: its output {lost[0]!r} is written by no node."
        raise ModelFormatError(message)
    if ordered != list(graph.node):
        del graph.node[:]
        graph.node.extend(ordered)


def _stuck(path: Path, node: onnx.NodeProto, known: set[str], writers: set[str]) -> str:
    missing = next(name for name in node_reads(node) if name not in known)
    why = "the nodes form a cycle" if missing in writers else "nothing writes that tensor"
    return f"{path}: node {node.name!r} ({node.op_type}) reads {missing!r}, but {why}."


def node_reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """Tensors that ``node`` needs, those its subgraphs take from outside included."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {item.name for item in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                names.extend(name for name in node_reads(inner) if name not in own)
                own.update(inner.output)
    return tuple(dict.fromkeys(names))
