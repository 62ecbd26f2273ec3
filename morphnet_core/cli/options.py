"""Options that verbs on Keras models share, and what they mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costmodel.cli.files import reads
from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from costmodel.protocols import CostModel
    from costmodel.report import Sheet
    from morphnet_core.alignment.alignment import GroupWidth
    from morphnet_core.pricing import Count

KerasModel = Annotated[
    Path,
    typer.Argument(metavar="MODEL", callback=reads, help="Keras model: a .keras or .h5 file."),
]
DataFile = Annotated[
    Path,
    typer.Option(
        "--data",
        "-d",
        metavar="DATA.py",
        help="Python file with load(), which returns (x, y) or (x, y, x_val, y_val) or datasets, "
        "and, if wanted, compiled(model, steps). It is run, before the model is opened, and "
        "may do anything that you may: name only a file that you trust.",
    ),
]
TargetMs = Annotated[
    float | None,
    typer.Option("--target-ms", min=0.0, metavar="MS", help="Milliseconds that it may take."),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="T", help="Instead: a share such as 50%, or in the cost's unit."
    ),
]
Grow = Annotated[
    float,
    typer.Option("--grow", min=1.0, max=16.0, help="Widest that a group may get, times its size."),
]
RemoveBlocks = Annotated[
    bool,
    typer.Option(
        "--remove-blocks",
        help="Let whole branches go, such as that of a residual block, where validation "
        "samples say that this loses less than narrower layers.",
    ),
]
Resolutions = Annotated[
    list[int] | None,
    typer.Option(
        "--resolution",
        min=1,
        metavar="H",
        help="Height in pixels that images may have; repeatable. The one at which the network, cut "
        "to the budget, has the least loss is taken; load() gives images of the full size.",
    ),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait",
        help="Refuse at once, rather than wait, where another profiler holds the device.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of fresh weights and of shuffling.")]


def open_model(path: Path, imports: Sequence[str | Path] | None = None) -> Any:
    """Load a Keras model.

    Args:
        path: of its file.
        imports: Python files and modules to run before, which define what it is made of.

    Raises:
        InvalidInputError: for any other file; says which verb takes ONNX files.
        ModelFormatError: if it cannot be loaded.
    """
    from costmodel.readers.keras import SUFFIXES, load_keras

    if path.suffix.lower() not in SUFFIXES:
        message = (
            f"{path} is no Keras model: expected a name that ends in {', '.join(SUFFIXES)}. "
            "ONNX files have no layers to train: 'morphnet plan' and 'morphnet align' take them."
        )
        raise InvalidInputError(message)
    from costmodel.uses.user_code import import_first

    import_first(imports)
    return load_keras(path)


def one_target(target_ms: float | None, target: str | None) -> float | str:
    """The budget: milliseconds, a share such as ``50%``, or a number in the cost's unit.

    Raises:
        InvalidInputError: unless there is exactly one, and it is a number above 0 or a share.
    """
    if (target_ms is None) == (target is None):
        message = "Give either --target-ms MS or --target T, e.g. --target-ms 5 or --target 50%."
        raise InvalidInputError(message)
    text = target if target is not None else str(target_ms)
    share = text.strip().endswith("%")
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        message = f"The target {text!r} is neither a number above 0 nor a share such as 50%."
        raise InvalidInputError(message)
    return text.strip() if share else number


def check_out(out: Path, suffix: str | None = None) -> None:
    """Refuse what could not be written, before any work is done for it.

    Args:
        out: file or, without ``suffix``, folder to write.
        suffix: that a file must have.

    Raises:
        InvalidInputError: says which.
    """
    if suffix is None:
        if out.exists() and not out.is_dir():
            message = f"--out {out} is a file. Give a folder; it is made if it is not there."
            raise InvalidInputError(message)
        return
    if out.suffix.lower() != suffix or out.is_dir():
        message = f"--out {out} must be a file whose name ends in {suffix}."
        raise InvalidInputError(message)
    if not out.parent.is_dir():
        message = f"--out {out}: there is no folder {out.parent}."
        raise InvalidInputError(message)


def prices_of(
    table: str | None, cost: str, target_ms: float | None, donors: Sequence[str] = ()
) -> Count | CostModel:
    """What ``--table``, ``--cost`` and ``--donor`` ask for; a count is the original MorphNet's.

    Args:
        table: that was given.
        cost: that was given.
        target_ms: milliseconds that were asked for; None if it was another target.
        donors: that were given.

    Raises:
        InvalidInputError: for an unknown name, a table that is missing or holds too little, donors
            of what needs none, or milliseconds of a cost that does not count them.
    """
    from costmodel.uses.tables import cost_of, open_table
    from morphnet_core.pricing import COUNTS

    found = cost_of(cost, open_table(table) if table else None, donors)
    if target_ms is not None and found.unit != "ms":
        message = (
            f"--target-ms needs prices in milliseconds, but {cost} does not count these. Give "
            "--table, or --target 50%."
        )
        raise InvalidInputError(message)
    return COUNTS.get(cost, found)


def widths_sheet(widths: Mapping[str, Sequence[int]], of: str = "groups") -> Sheet:
    """Channels of the groups that change.

    Args:
        widths: by group, channels before and after.
        of: what they are of, several of them.
    """
    from costmodel.report import Sheet

    changed = [(name, before, after) for name, (before, after) in widths.items() if before != after]
    return Sheet(
        title=f"Channels of {len(changed)} of {len(widths)} {of}",
        columns=(of.removesuffix("s"), "before", "after"),
        rows=tuple((name, str(before), str(after)) for name, before, after in changed),
        align="lrr",
    )


def frozen_sheet(groups: Sequence[GroupWidth]) -> Sheet:
    """The groups whose channels cannot change, and why."""
    from costmodel.report import Sheet

    frozen = [group for group in groups if group.frozen]
    return Sheet(
        title="Groups that cannot change",
        columns=("group", "channels", "why"),
        rows=tuple((group.name, str(group.before), group.frozen) for group in frozen),
        align="lrl",
    )
