"""Options that verbs share, and what their texts mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from costmodel.cli.files import reads, writes
from costmodel.errors import InvalidInputError
from costmodel.registry import Option
from costmodel.sizes import MOST, Sizes

#: One shape as tools of the runtimes take it: ``x:1x3x8x8``, ``x[1,3,8,8]``, or without a name.
_SHAPE = re.compile(
    r"(?:(.+?)(?::(?=[\dx]+(?:,|$))|(?=\[)))?(?:\[([\d,]+)\]|([\dx]+))(?:,|$)", re.ASCII
)

Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout; all else to stderr.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Write markdown instead of text.")]
TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE", callback=reads, help="Table file, or the name of a shipped profile."
    ),
]
#: Formats of models, for helps.
FORMATS = ".onnx, .keras, .h5, .tflite, .pt2 (torch.export.save), or a SavedModel's folder"
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", callback=reads, help=f"The network: {FORMATS}.")
]
Signature = Annotated[
    str,
    typer.Option(
        "--signature",
        metavar="NAME",
        help="Which entry of a SavedModel or .tflite file that has several.",
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        "--table",
        "-t",
        metavar="T",
        callback=reads,
        help="Table file, or a shipped profile's name.",
    ),
]
SizeOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--size",
        metavar="NAME=N",
        help="Size of an open dimension, by its name, by INPUT:AXIS, or 'batch'; repeatable.",
    ),
]
ShapeOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="[INPUT:]1x3x320x320",
        help="All sizes of an input, whose name may be left out if it is the only one; repeatable.",
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Python file or module to run first: Keras layers of your own are defined there. It "
        "may do anything that you may: name only what you trust. Repeatable.",
    ),
]
RunnerName = Annotated[
    str | None,
    typer.Option("--runner", metavar="R", help="Runner; default: the one the table came from."),
]
RunnerOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--runner-option",
        metavar="NAME=VALUE",
        help="Further option of the runner; repeatable. For ort: provider=cuda, dtype=int8, "
        "option.NAME=VALUE for the provider's own.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Threads of one kernel.")
]
Cost = Annotated[
    str,
    typer.Option(
        "--cost",
        metavar="C",
        help="regression, lookup, flops, params, activations, bytes or roofline:DATASHEET.",
    ),
]
Donors = Annotated[
    list[str] | None,
    typer.Option(
        "--donor",
        metavar="T",
        callback=reads,
        help="Table of another device, to start from where this one has few rows; repeatable.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="F.png", callback=writes, help="Also draw it: .png, .svg or .pdf."
    ),
]
Parquet = Annotated[
    Path | None,
    typer.Option(
        "--parquet",
        metavar="F.parquet",
        callback=writes,
        help="Also write it as a tidy frame.",
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="F.json",
        callback=writes,
        help="Also write node data for Model Explorer: what each node of the graph takes.",
    ),
]
Annotate = Annotated[
    Path | None,
    typer.Option(
        "--annotate",
        metavar="F.onnx",
        callback=writes,
        help="Also write a copy of the model whose nodes say what they take (metadata_props).",
    ),
]
Trace = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="F.json",
        callback=writes,
        help="Also write a trace that chrome://tracing and Perfetto open.",
    ),
]
PredictOnly = Annotated[
    bool, typer.Option("--predict-only", help="Time nothing, even with the device at hand.")
]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=2, max=1000, help="Most visits to what is timed; default: 12."),
]
NoCalibration = Annotated[
    bool,
    typer.Option("--no-calibration", help="Take the plain sum, also if the table has networks."),
]


def parse_sizes(items: Sequence[str] | None, shapes: Sequence[str] | None = None) -> Sizes:
    """Sizes of ``--size`` and ``--shape``, as the uses take them.

    Args:
        items: texts ``NAME=N``.
        shapes: texts ``NAME:1x3x320x320``, ``NAME[1,3,320,320]``, or without the name; several of
            them may be one text with commas between.

    Raises:
        InvalidInputError: for other texts, numbers that are not whole ones from 1 up, or a name
            given two different values.

    >>> parse_sizes(["height=320", "width=240"], ["image:1x3x320x320"])
    {'height': 320, 'width': 240, 'image': (1, 3, 320, 320)}
    """
    sizes: dict[str, int | tuple[int, ...]] = {}

    def put(option: str, name: str, value: int | tuple[int, ...]) -> None:
        if sizes.setdefault(name, value) != value:
            message = f"{option} {name!r} is given twice, as {sizes[name]} and {value}."
            raise InvalidInputError(message)

    for item in items or ():
        name, _, number = item.rpartition("=")
        if not name or not _is_size(number):
            message = f"--size {item!r} is not NAME=N with a whole number N from 1 to 2^31 - 1."
            raise InvalidInputError(message)
        put("--size", name, int(number))
    for item in shapes or ():
        for name, shape in _shapes(item):
            put("--shape", name, shape)
    return sizes


def _shapes(item: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of one ``--shape``."""
    at = 0
    while at < len(item) or not item:
        found = _SHAPE.match(item, at)
        numbers = re.split("[,x]", found[2] or found[3]) if found else []
        if found is None or not all(map(_is_size, numbers)):
            message = (
                f"--shape {item!r} is not INPUT:1x3x320x320 with whole numbers from 1 to 2^31 - 1, "
                "where INPUT: may be left out for the only input."
            )
            raise InvalidInputError(message)
        yield found[1] or "", tuple(map(int, numbers))
        at = found.end()


def _is_size(text: str) -> bool:
    return text.isdecimal() and text.isascii() and 1 <= int(text[:10]) <= MOST and len(text) < 11


def parse_share(option: str, text: str) -> float:
    """A share that may be given in per cent.

    Args:
        option: whose text it is, for the message.
        text: such as ``5%`` or ``0.05``.

    Raises:
        InvalidInputError: for other texts, and for what is not from 0 to below 1000 %.

    >>> parse_share("--max-regression", "5%"), parse_share("--max-regression", "0.05")
    (0.05, 0.05)
    """
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100.0 if number != text.strip() else 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 10.0:
        message = f"{option} {text!r} is no share such as 5% or 0.05."
        raise InvalidInputError(message)
    return share


def parse_runner_options(
    items: Sequence[str] | None, threads: int | None = None
) -> dict[str, Option]:
    """Options of a runner from ``--runner-option NAME=VALUE`` and ``--threads``.

    Raises:
        InvalidInputError: for what is not ``NAME=VALUE``.

    >>> parse_runner_options(["noise=0.5", "realtime=true"], 2)
    {'noise': 0.5, 'realtime': True, 'threads': 2}
    """
    found: dict[str, Option] = {}
    for item in items or ():
        name, equals, value = item.partition("=")
        if not name or not equals:
            message = f"--runner-option {item!r} is not NAME=VALUE."
            raise InvalidInputError(message)
        found[name] = _value(value)
    return found if threads is None else found | {"threads": threads}


def _value(text: str) -> Option:
    words: Mapping[str, bool] = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
