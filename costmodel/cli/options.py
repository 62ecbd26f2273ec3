"""Options that verbs share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from costmodel.errors import InvalidInputError
from costmodel.registry import Option

Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout; all else to stderr.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Write markdown instead of text.")]
TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="Table file, or the name of a shipped profile.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX, .keras or .h5 file.")]
Models = Annotated[
    list[Path], typer.Argument(metavar="MODEL...", help="ONNX, .keras or .h5 files.")
]
TableOption = Annotated[
    str | None,
    typer.Option("--table", "-t", metavar="T", help="Table file, or a shipped profile's name."),
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--size", metavar="NAME=N", help="Bind a dynamic dimension; repeatable."),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE",
        help="Python file or module to run first: Keras layers of your own are defined there. "
        "Repeatable.",
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
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="F.png", help="Also draw it: .png, .svg or .pdf.")
]
PredictOnly = Annotated[
    bool, typer.Option("--predict-only", help="Time nothing, even with the device at hand.")
]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=2, max=1000, help="Most visits to a timed network; default: 12."),
]
NoCalibration = Annotated[
    bool,
    typer.Option("--no-calibration", help="Take the plain sum, also if the table has networks."),
]


def parse_sizes(items: Sequence[str] | None) -> dict[str, int]:
    """Named sizes of ``--size``.

    Raises:
        InvalidInputError: for what is not ``NAME=N`` with a whole number from 1 up, or a name given
            two different sizes.

    >>> parse_sizes(["height=320", "width=240"])
    {'height': 320, 'width': 240}
    """
    sizes: dict[str, int] = {}
    for item in items or ():
        name, _, number = item.rpartition("=")
        if not name or not number.isdecimal() or not 1 <= int(number) < 2**31:
            message = f"--size {item!r} is not NAME=N with a whole number N from 1 to 2^31 - 1."
            raise InvalidInputError(message)
        if sizes.get(name, int(number)) != int(number):
            message = f"--size {name!r} is given twice, as {sizes[name]} and {number}."
            raise InvalidInputError(message)
        sizes[name] = int(number)
    return sizes


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
