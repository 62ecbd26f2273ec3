"""``overlay``, ``annotate``, ``trace``: numbers where people look, on graphs and in traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from costmodel.onnx_model.naming import NamedModel, named_model
from costmodel.sizes import Sizes
from costmodel.uses.models import Model, as_list, model_files, require_onnx
from costmodel.viewers.kernels import Result, prediction_of
from costmodel.viewers.model_explorer import model_properties, node_data, node_properties
from costmodel.viewers.placing import Placed, place
from costmodel.viewers.trace import trace_events

_NO_SIZES: Sizes = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Files of node data for Model Explorer, and the model that they are about.

    Attributes:
        model: an ONNX file whose nodes have the names that the files use: the model itself where it
            names every node, else a copy.
        files: the error, measured, per GMAC, as far as there are any, and last the predicted
            numbers: the viewer shows first what it loads last.
        share: part of the predicted time that is on nodes of the graph, 0 to 1.
        lost: kernels that no node stands for.
    """

    model: Path
    files: tuple[Path, ...]
    share: float
    lost: tuple[str, ...]

    def __str__(self) -> str:
        """What to type."""
        data = ",".join(map(str, self.files))
        return (
            f"model-explorer {self.model} --extensions=model_explorer_onnx --node_data_paths={data}"
        )


def overlay(
    found: Result,
    model: Model,
    out: Path | str,
    *,
    sizes: Sizes = _NO_SIZES,
    example: Any = None,
    signature: str = "",
    shown: Path | None = None,
) -> Overlay:
    """Write node data for Google's Model Explorer: what each node of the graph takes.

    A kernel that carries out several nodes is shown on the one that it is about, and the others say
    which that is. Nodes without a name, or with another's, get one in a copy of the model beside
    ``out``, which is annotated, too; so do those of a model that is no ONNX file.

    Args:
        found: what was predicted, or predicted and measured.
        model: the model that it was predicted for, as for ``predict``.
        out: file of the predicted numbers, ``F.json``; the others lie beside it, such as
            ``F.measured.json``.
        sizes: as for ``predict``, where the model is no ONNX file.
        example: as for ``predict``.
        signature: as for ``predict``.
        shown: what ``annotate`` wrote for the same model: no further copy is needed then.

    Returns:
        The files; printed, it is the command that shows them.

    Raises:
        InvalidInputError: if a file cannot be written, or ``out`` has another ending.
        ModelFormatError: if the model cannot be read, or has no ONNX form.

    >>> import onnx, tempfile
    >>> from costmodel.uses.predicting import predict
    >>> relu = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = overlay(predict(relu, cost="flops"), relu, f"{folder}/tiny.json")
    ...     sorted(path.name for path in Path(folder).iterdir()), made.share
    (['tiny.json', 'tiny.named.onnx'], 1.0)
    """
    out = with_ending(out, ".json")
    with model_files([model], sizes, example=example, signature=signature) as ((path,), _):
        graph = _graph(path)
        placed = place(found, graph)
        if shown is None and _is_own(model, path) and not graph.renamed:
            shown = path
        if shown is None:
            shown = _annotated(found, graph, placed, out.with_suffix(".named.onnx"))
    files = []
    for suffix, data in node_data(found, placed, graph.graph_name).items():
        file = out.with_suffix(f".{suffix}.json") if suffix else out
        write_lines(file, [json.dumps(data, indent=1, allow_nan=False).encode()])
        files.append(file)
    return Overlay(
        model=shown,
        files=tuple(files),
        share=placed.share,
        lost=tuple(item.name for item in placed.lost),
    )


def annotate(
    found: Result,
    model: Model,
    out: Path | str,
    *,
    sizes: Sizes = _NO_SIZES,
    example: Any = None,
    signature: str = "",
) -> Path:
    """Write a copy of a model whose nodes say what they take, as ``metadata_props``.

    Keys begin with ``costmodel.``: ``predicted_ms``, ``low_ms``, ``high_ms``, ``measured_ms``,
    ``error``, ``ms_per_gmac``, ``kernels``, ``covers``, ``price``, ``note``; a node that another's
    kernel carries out says ``in``. The model itself has the totals. Its function is the same.

    Args:
        found: what was predicted, or predicted and measured.
        model: the model that it was predicted for, as for ``predict``.
        out: the copy, ``F.onnx``.
        sizes: as for ``overlay``.
        example: as for ``predict``.
        signature: as for ``predict``.

    Returns:
        The copy.

    Raises:
        InvalidInputError: if ``out`` has another ending.
        ModelFormatError: if the model cannot be read, has no ONNX form, or cannot be written.

    >>> import onnx, tempfile
    >>> from costmodel.uses.predicting import predict
    >>> relu = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     copy = annotate(predict(relu, cost="flops"), relu, f"{folder}/tiny.onnx")
    ...     onnx.load(copy).graph.node[0].metadata_props[0].key
    'costmodel.predicted_flops'
    """
    out = with_ending(out, ".onnx")
    with model_files([model], sizes, example=example, signature=signature) as ((path,), _):
        graph = _graph(path)
        return _annotated(found, graph, place(found, graph), out)


def trace(found: Result | Sequence[Result], out: Path | str) -> Path:
    """Write a trace in the form of ONNX Runtime's own profile: what runs when, and how long.

    Each network is a process with the threads ``predicted`` and, where it was measured,
    ``measured``. ``chrome://tracing``, Perfetto and tools that read the runtime's profiles open it.

    Args:
        found: what was predicted, or predicted and measured, of one network or several.
        out: the file, ``F.json``.

    Returns:
        The file.

    Raises:
        InvalidInputError: if it cannot be written, or something was not priced in milliseconds.

    >>> import onnx, tempfile
    >>> from costmodel.uses.predicting import predict
    >>> relu = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> found = predict(relu, cost="roofline:v100")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trace(found, f"{folder}/tiny.json").name
    'tiny.json'
    """
    out = with_ending(out, ".json")
    items = as_list(found)
    for item in items:
        prediction = prediction_of(item)
        if prediction.unit != "ms":
            message = (
                f"A trace shows times, and {prediction.model!r} was priced in {prediction.unit}. "
                "Give a table, or a cost model that prices in milliseconds."
            )
            raise InvalidInputError(message)
    lines = [json.dumps(event, allow_nan=False) for event in trace_events(items)]
    write_lines(out, [b"[\n", ",\n".join(lines).encode(), b"\n]\n"])
    return out


def with_ending(out: Path | str, ending: str) -> Path:
    """A path that has an ending.

    Raises:
        InvalidInputError: if it has not.
    """
    out = Path(out)
    if out.suffix.lower() != ending:
        message = f"{out} must be a file that ends in {ending}."
        raise InvalidInputError(message)
    return out


def _graph(path: Path) -> NamedModel:
    require_onnx(path, "showing what nodes take")
    return named_model(path)


def _annotated(found: Result, graph: NamedModel, placed: Placed, out: Path) -> Path:
    graph.annotate(node_properties(found, placed), model_properties(found, placed))
    return graph.save(out)


def _is_own(model: Model, path: Path) -> bool:
    """Whether the file is the user's, and stays."""
    return isinstance(model, str | Path) and Path(model) == path
