"""Opens an ONNX file and refuses, with one clear message, what nothing later could work with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import onnx

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.limits import in_time, limits
from costmodel.onnx_model.functions import inline_functions
from costmodel.onnx_model.order import sort_nodes
from costmodel.onnx_model.tensors import MAX_BYTES, check_tensors, fill_sparse, load_external
from costmodel.onnx_model.walk import STANDARD, all_bodies, all_tensors, check_size

#: Oldest operator set whose rules the reader knows; older ones are converted by onnx itself.
MIN_OPSET = 7
#: onnx counts versions of all operator sets in 32 bits.
_NEWEST_OF_OTHERS = 2**31 - 1
#: What an equation may consist of; an ellipsis is three points.
_EQUATION = re.compile(rb"([A-Za-z,]|\s|\.\.\.|->)*")


def open_model(path: Path) -> onnx.ModelProto:
    """Parse ``path``, bring in external data and model-local functions, and check it is a graph.

    Args:
        path: ONNX file.

    Returns:
        The model with its nodes in an order in which they can run.

    Raises:
        ModelFormatError: naming the file, what is wrong with it and what to do; a ``LimitError``
            for more than ``costmodel.limits`` lets a file have.
    """
    with in_time(path):
        return _opened(path)


def _opened(path: Path) -> onnx.ModelProto:
    model = _parse(path)
    check_size(path, model)
    _check_names(path, model)
    _name_standard_domain(model)
    _check_opsets(path, model)
    check_tensors(path, model)
    load_external(path, model)
    fill_sparse(path, model)
    _check_nodes(path, model)
    model = inline_functions(path, model)
    sort_nodes(path, model.graph)
    return model


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model held in memory; weights beyond what one file may hold go beside it.

    Raises:
        ModelFormatError: if it cannot be written.
    """
    try:
        if model.ByteSize() < MAX_BYTES:
            write_lines(path, [model.SerializeToString()])
            return
        copy = onnx.ModelProto()
        copy.CopyFrom(model)  # saving moves the weights out of what it is given
        onnx.save(copy, str(path), save_as_external_data=True, location=f"{path.name}.data")
    except InvalidInputError as error:
        message = f"The model {model.graph.name!r}: {error}"
        raise ModelFormatError(message) from error
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
    limits().require("bytes", size, path)
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


def _check_names(path: Path, model: onnx.ModelProto) -> None:
    """Damaged names come back from the parser as bytes."""
    broken = next((name for name in _names(model) if not isinstance(name, str)), None)
    if broken is not None:
        message = f"{path}: the name {broken!r} is not text; the file is damaged."
        raise ModelFormatError(message)


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Every name that means something."""
    yield from (item.domain for item in model.opset_import)
    for pair in model.metadata_props:
        yield from (pair.key, pair.value)
    for body in all_bodies(model):
        yield body.name
        for item in body.value_info:
            yield from _value_names(item)
        if isinstance(body, onnx.GraphProto):
            for item in (*body.input, *body.output):
                yield from _value_names(item)
        else:
            yield from (body.domain, body.overload, *body.input, *body.output, *body.attribute)
            yield from (item.domain for item in body.opset_import)
            yield from (item.name for item in body.attribute_proto)
        for node in body.node:
            yield from (node.name, node.op_type, node.domain, node.overload)
            yield from (*node.input, *node.output)
            for attribute in node.attribute:
                yield from (attribute.name, attribute.ref_attr_name)
    for tensor in all_tensors(model):
        yield tensor.name
        for fact in tensor.external_data:
            yield from (fact.key, fact.value)


def _value_names(item: onnx.ValueInfoProto) -> Iterator[str | bytes]:
    yield item.name
    yield from (dim.dim_param for dim in item.type.tensor_type.shape.dim)


def _name_standard_domain(model: onnx.ModelProto) -> None:
    """Leave one of the two names of the standard operators."""
    for imports in (model.opset_import, *(item.opset_import for item in model.functions)):
        for item in imports:
            if item.domain in STANDARD:
                item.domain = ""
    for body in all_bodies(model):
        if isinstance(body, onnx.FunctionProto) and body.domain in STANDARD:
            body.domain = ""
        for node in body.node:
            if node.domain in STANDARD and node.domain:
                node.domain = ""


def _check_opsets(path: Path, model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not model.opset_import:
        message = f"{path} names no operator set (opset_import is empty); export it again."
        raise ModelFormatError(message)
    for version in (item.version for item in model.opset_import if not item.domain):
        if not MIN_OPSET <= version <= newest:
            message = (
                f"{path} uses operator set {version}; {MIN_OPSET} to {newest} can be read by the "
                f"installed onnx {onnx.__version__}. Convert it with onnx.version_converter or "
                "install a newer onnx."
            )
            raise ModelFormatError(message)
    functions = (item.opset_import for item in model.functions)
    for item in chain(model.opset_import, *functions):
        if not 0 <= item.version <= _NEWEST_OF_OTHERS:
            message = f"{path} uses version {item.version} of {item.domain!r}, which cannot be."
            raise ModelFormatError(message)


def _check_equation(path: Path, node: onnx.NodeProto) -> None:
    """Refuse an Einsum of other characters: ONNX's own inference may never end at one."""
    for attribute in node.attribute:
        if attribute.name == "equation" and not _EQUATION.fullmatch(attribute.s):
            message = (
                f"{path}: the equation of {node.name or 'an Einsum'!r} is none: "
                f"{attribute.s[:40]!r}. The file is damaged; fetch or export it again."
            )
            raise ModelFormatError(message)


def _check_nodes(path: Path, model: onnx.ModelProto) -> None:
    for body in all_bodies(model):
        for index, node in enumerate(body.node):
            if not node.op_type or not any(node.output):
                message = (
                    f"{path}: node {index} ({node.name!r}) has no operator type or no output. The "
                    "file is damaged; fetch or export it again."
                )
                raise ModelFormatError(message)
            if node.op_type == "Einsum" and node.domain in STANDARD:
                _check_equation(path, node)
