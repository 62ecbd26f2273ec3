"""Opens a file of ``torch.export.save`` without trusting it.

PyTorch's own loader unpickles, and evaluates some of the text that it finds. It is therefore given
plain data only: arrays as raw bytes, and a graph whose operators, names and sizes were looked at.
What does not fit is refused by name.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from costmodel.errors import MISFORMED, ModelFormatError

#: How people come to a file that can be read.
AGAIN = (
    "Write the model with torch.export.save(torch.export.export(model.eval(), inputs), 'net.pt2')"
)
#: Parts of an archive that are kept.
_KEPT = re.compile(
    r"archive_format|archive_version|byteorder"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
)
_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"
#: Operators that a graph may call.
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|prim|higher_order|quantized_decomposed|onnx|onnx_symbolic"
    r"|torchvision)(\.[A-Za-z][A-Za-z0-9_]*|\._[A-Za-z0-9][A-Za-z0-9_]*){1,2}"
    r"|_operator\.[a-z]+_?|math\.[a-z]+|torch\.(_sym|sym)_[a-z0-9_]+"
)
_NAME = re.compile(r"[A-Za-z_]\w{0,200}", re.ASCII)
_PATH = re.compile(r"[\w.\-/ ]{0,500}", re.ASCII)
_TEXT = re.compile(r"[\w .,:;+*/()\[\]=<>-]{0,500}", re.ASCII)
#: Texts of a graph by their key.
_TEXTS = {
    **dict.fromkeys(("name", "as_name"), _NAME),
    **dict.fromkeys(("parameter_name", "buffer_name", "tensor_constant_name", "fqn"), _PATH),
    **dict.fromkeys(("as_string", "as_strings"), _TEXT),
    "target": _TARGET,
}
#: What a size may be computed by.
_FUNCTIONS = frozenset(
    {"Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "FloatPow"}
    | {"FloatTrueDiv", "Float", "FloorDiv", "FloorToInt", "Ge", "GreaterThan", "Gt", "Identity"}
    | {"IntTrueDiv", "Integer", "LShift", "Le", "LessThan", "Lt", "Max", "Min", "Mod", "Mul", "Ne"}
    | {"ModularIndexing", "Not", "Or", "Piecewise", "Pow", "PowByNatural", "PythonMod", "RShift"}
    | {"Rational", "RoundDecimal", "RoundToInt", "StrictGreaterThan", "StrictLessThan", "Symbol"}
    | {"ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where", "ceiling", "exp", "floor"}
    | {"log", "sqrt"}
)
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}|true|false|True|False|oo|int_oo|inf")
_EXPRESSION = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp,
    ast.operator, ast.unaryop, ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop, ast.Tuple,
)  # fmt: skip
#: Containers that inputs and outputs may be packed in.
_CONTAINERS = frozenset(
    {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None}
)
#: Bytes of a graph, and entries of an archive.
_MOST_BYTES, _MOST_ENTRIES = 1 << 29, 1_000_000
_LONGEST_EXPRESSION = 4096


def plain_parts(path: Path) -> dict[str, bytes]:
    """What is plain data of a file of ``torch.export.save``.

    Args:
        path: the ``.pt2`` file.

    Returns:
        Contents by name of the parts that PyTorch needs to load it, the inputs that it was made
        with left out.

    Raises:
        ModelFormatError: if the file is damaged, no such archive, or holds pickled objects or
            anything but a graph of known operators.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _parts(archive)
    except ModelFormatError as error:
        message = f"{path}: {error}."
        raise ModelFormatError(message) from error
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        message = f"{path} cannot be read as a file of torch.export.save ({error}). {AGAIN}."
        raise ModelFormatError(message) from error
    except (*MISFORMED, struct.error, zlib.error) as error:
        message = f"{path} is damaged ({type(error).__name__}: {error}). {AGAIN}."
        raise ModelFormatError(message) from error


def _parts(archive: zipfile.ZipFile) -> dict[str, bytes]:
    names: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist()[:_MOST_ENTRIES]:
        inner = PurePosixPath(*PurePosixPath(entry.filename).parts[1:])
        if names.setdefault(str(inner), entry) is not entry:
            message = f"it has two entries {str(inner)!r}. {AGAIN}"
            raise ModelFormatError(message)
    _require_program(names)
    for name, entry in names.items():
        if entry.compress_type != zipfile.ZIP_STORED:
            message = (
                f"its entry {name!r} is compressed, which torch.export.save never does. {AGAIN}"
            )
            raise ModelFormatError(message)
    for name in _CONFIGS:
        config = _json(archive, names[name])
        _check_config(config, name)
        _check_sizes(config, PurePosixPath(name).parent, names)
    graph = _json(archive, names[_GRAPH])
    _check_graph(graph)
    kept = {n: archive.read(e) for n, e in names.items() if _KEPT.fullmatch(n)}
    # The inputs it was made with are pickled, and nothing needs them.
    return {**kept, _GRAPH: json.dumps(graph).encode(), _SAMPLES: b""}


def _require_program(names: dict[str, zipfile.ZipInfo]) -> None:
    if any(name.startswith(("code/", "constants.pkl")) for name in names):
        message = f"it is a TorchScript archive. {AGAIN}"
        raise ModelFormatError(message)
    if any(name.startswith("data/aotinductor/") for name in names) and _GRAPH not in names:
        message = "it holds compiled code of AOTInductor only. Save the exported program"
        raise ModelFormatError(message)
    missing = [name for name in (_GRAPH, *_CONFIGS) if name not in names]
    if missing:
        message = (
            f"it lacks {missing[0]!r}: it is no file of torch.export.save, or of an older PyTorch. "
            f"{AGAIN}"
        )
        raise ModelFormatError(message)


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> dict[str, Any]:
    if entry.file_size > _MOST_BYTES:
        message = f"its graph has {entry.file_size >> 20} MiB"
        raise ModelFormatError(message)
    found = json.loads(archive.read(entry))
    if not isinstance(found, dict):
        message = f"its entry {entry.filename!r} is not what it should be"
        raise ModelFormatError(message)
    return found


def _check_config(config: dict[str, Any], name: str) -> None:
    """Arrays must be stored as bytes."""
    for title, item in config["config"].items():
        if item["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", item["path_name"]):
            message = (
                f"its {'weight' if 'weights' in name else 'constant'} {title!r} is a pickled "
                "object, which is never loaded. Export a model of plain tensors"
            )
            raise ModelFormatError(message)
        _require(_PATH, title, "weight")
    _check_values(config)


def _check_sizes(
    config: dict[str, Any], folder: PurePosixPath, names: dict[str, zipfile.ZipInfo]
) -> None:
    """An array of which nothing is stored must be empty: PyTorch would make room for it."""
    for title, item in config["config"].items():
        stored = names[str(folder / item["path_name"])].file_size
        sizes = [size["as_int"] for size in (item["tensor_meta"] or {}).get("sizes", ())]
        if not stored and 0 not in sizes:
            message = f"its weight {title!r} of size {sizes} holds no bytes"
            raise ModelFormatError(message)


def _check_graph(program: dict[str, Any]) -> None:
    """Look at everything that PyTorch would look up, evaluate or write into code; drop the rest."""
    program["guards_code"] = []
    module = program["graph_module"]
    module["treespec_namedtuple_fields"] = {}
    for name in program["range_constraints"]:
        _check_expression(name)
    _check_values(module)
    for call in module["module_call_graph"]:
        signature = call.get("signature") or {}
        for name in signature.get("forward_arg_names") or ():
            _require(_NAME, name, "name")
        for part in ("in_spec", "out_spec"):
            if signature.get(part):
                _check_containers(json.loads(signature[part]))


def _check_values(module: dict[str, Any]) -> None:
    for key, value, holder in _walk(module):
        if key == "metadata":
            holder[key] = {}
        elif key == "expr_str":
            _check_expression(value)
        elif key in {"as_custom_obj", "as_operator"}:
            message = f"it holds an object of a class of its own ({str(value)[:80]})"
            raise ModelFormatError(message)
        elif key in _TEXTS:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and text:
                    _require(_TEXTS[key], text, key.removeprefix("as_"))


def _walk(value: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every key of every dictionary, with its value; what is done to a holder is followed."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            for key in list(current):
                yield key, current[key], current
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _check_containers(spec: Any) -> None:
    for key, value, _ in _walk(spec):
        if key == "type" and value not in _CONTAINERS:
            message = (
                f"its inputs or outputs are packed in a {value}. Export a model that takes and "
                "returns tensors, tuples, lists or dictionaries"
            )
            raise ModelFormatError(message)


def _require(pattern: re.Pattern[str], value: Any, what: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        message = f"its {what} {str(value)[:80]!r} is none that PyTorch writes"
        raise ModelFormatError(message)


def _check_expression(text: Any) -> None:
    """A size: numbers, symbols, and functions of them."""
    if not isinstance(text, str) or len(text) > _LONGEST_EXPRESSION:
        message = "it has a size that is no expression"
        raise ModelFormatError(message)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, MemoryError) as error:
        message = f"its size {text[:80]!r} is no expression"
        raise ModelFormatError(message) from error
    for node in ast.walk(tree):
        if not isinstance(node, _EXPRESSION) or not _is_plain(node):
            message = f"its size {text[:80]!r} is none that PyTorch writes"
            raise ModelFormatError(message)


def _is_plain(node: ast.AST) -> bool:
    """Whether a part of an expression names nothing but sizes and functions of them."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or bool(_SYMBOL.fullmatch(node.value))
    return True
