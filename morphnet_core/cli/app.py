"""The typer application of ``morphnet``; exit codes and messages are those of ``costmodel``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from costmodel import __version__
from costmodel.cli.app import Verbs as CostModelVerbs
from costmodel.cli.app import examples

#: Verbs in the order in which they are used; verbs that are not named come after, by name.
ORDER = ("train", "shrink", "expand", "align")


class Verbs(CostModelVerbs):
    """Runs a verb and turns what it raises into a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order in which they are used."""

        def place(verb: str) -> tuple[int, str]:
            return ORDER.index(verb) if verb in ORDER else len(ORDER), verb

        return sorted(TyperGroup.list_commands(self, ctx), key=place)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "morphnet train net.keras --data cifar.py --table cpu.jsonl --target-ms 5 --out fast",
        "morphnet align pruned.onnx --table cpu.jsonl --out fast.onnx",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"morphnet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """MorphNet: networks in the widths that a device is fast with.

    Exit codes: 0 fine, 1 a finding, 2 bad input, 130 interrupted.
    """
    del version
