"""The installed LiteRT: its interpreter and the schema of its files."""

from __future__ import annotations

from typing import Any

from costmodel.errors import MissingDependencyError

try:
    from ai_edge_litert import __version__ as _version
    from ai_edge_litert import interpreter as _interpreter
    from ai_edge_litert import schema_py_generated as _schema
except ImportError as error:
    package = "ai_edge_litert"
    raise MissingDependencyError(
        package, "litert", "Reading or running TensorFlow Lite models"
    ) from error

# Neither module has types.
schema: Any = _schema
interpreter: Any = _interpreter
VERSION = str(_version)


def _numbers(names: Any) -> dict[str, int]:
    """The numbers of one of the schema's lists, without what Python itself puts into a class."""
    return {
        name: value
        for name, value in vars(names).items()
        if isinstance(value, int) and not name.startswith("_")
    }


#: Numbers of operators and options types by the schema's names, and back.
OPERATORS = _numbers(schema.BuiltinOperator)
OPERATOR_NAMES = {value: name for name, value in OPERATORS.items()}
OPTIONS = _numbers(schema.BuiltinOptions)
OPTIONS_NAMES = {value: name for name, value in OPTIONS.items()}
TYPES: dict[str, int] = {
    name: getattr(schema.TensorType, name.upper())
    for name in (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint32", "uint64", "bool"),
    )
}
TYPE_NAMES = {value: name for name, value in TYPES.items()}
#: Types that numpy has no name for, or that hold no numbers.
OTHER_TYPE_NAMES: dict[int, str] = {
    value: name.lower()
    for name, value in _numbers(schema.TensorType).items()
    if value not in TYPE_NAMES
}
