"""What both command lines are: exit codes, and one message instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from costmodel import __version__
from costmodel.cli.output import tell_decisions
from costmodel.errors import CostModelError, missing_extra
from costmodel.limits import Limits, limited, parse_limits
from costmodel.sizes import OpenSizesError, as_options

#: Exit codes.
FINDING, BAD_INPUT, INTERRUPTED, NO_READER = 1, 2, 130, 141

#: Set to see where an unexpected error came from.
TRACEBACK = "COSTMODEL_TRACEBACK"


class Verbs(TyperGroup):
    """Runs a verb and turns what it raises into a message and an exit code."""

    #: Verbs in the order in which they are used.
    order: ClassVar[tuple[str, ...]]

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order in which they are used."""
        return sorted(super().list_commands(ctx), key=self.order.index)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        words = [ctx.command_path, *_verb(ctx), *ctx.args]
        tell_decisions()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _stop("Interrupted.", INTERRUPTED)
        except BrokenPipeError:
            # Who reads our output has seen enough; the interpreter must not complain at its end.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(NO_READER) from None
        except OpenSizesError as error:
            command = shlex.join([*words[0].split(), *words[1:], *as_options(error.proposed)])
            _stop(
                f"Error: {error}\nReady to run, with sizes to your liking:\n  {command}", BAD_INPUT
            )
        except CostModelError as error:
            _stop(f"Error: {error}", BAD_INPUT)
        except MemoryError:
            _stop("Error: there is not enough memory for this.", BAD_INPUT)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _stop(f"Error: {where}{error.strerror or error}.", BAD_INPUT)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get(TRACEBACK) or _is_usage_error(error):
                raise
            _stop(_unforeseen(error, f"{ctx.command_path} {ctx.invoked_subcommand}"), BAD_INPUT)


def _verb(context: Any) -> Sequence[str]:
    """The verb as it was typed; Click 8.2 warns of the name that it had before."""
    name = "_protected_args" if hasattr(context, "_protected_args") else "protected_args"
    found: Sequence[str] = getattr(context, name, ())
    return found


def _unforeseen(error: Exception, verb: str) -> str:
    """What to say of an error that nobody raised on purpose."""
    if isinstance(error, ImportError) and (told := missing_extra(error, verb)):
        return f"Error: {told}"
    return (
        f"Error: this is a fault of costmodel, not of yours: {type(error).__name__}: {error}\n"
        f"Please report it with the output of the same command under {TRACEBACK}=1."
    )


def _is_usage_error(error: Exception) -> bool:
    """Whether typer itself will show the error, with the verb's usage (also with exit code 2)."""
    return hasattr(error, "exit_code") and hasattr(error, "show")


def _stop(message: str, code: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(code) from None


def examples(*lines: str) -> str:
    """An epilog that keeps its line breaks."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def application(name: str, about: str, order: tuple[str, ...], *lines: str) -> typer.Typer:
    """A command without verbs; they are added to it.

    Args:
        name: what people type.
        about: what the command is for.
        order: verbs in the order in which they are used.
        *lines: examples.
    """

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {__version__}")
            raise typer.Exit

    made = typer.Typer(
        cls=type("OrderedVerbs", (Verbs,), {"order": order}),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog=examples(*lines),
    )

    @made.callback(
        help=f"{about}\n\nExit codes: 0 fine, 1 a finding, 2 bad input, 130 interrupted."
    )
    def root(
        context: typer.Context,
        limit: list[str] | None = typer.Option(
            None,
            "--limit",
            metavar="NAME=N",
            help="Raise, or lower, how much a file may have that is read: "
            f"{', '.join(item.name for item in fields(Limits))}. Before the verb; repeatable.",
        ),
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version."
        ),
    ) -> None:
        del version
        if limit:
            context.with_resource(limited(**parse_limits(limit)))

    return made


def run(command: typer.Typer, name: str, arguments: Sequence[str] | None) -> None:
    """Run a command and exit.

    Args:
        command: with its verbs.
        name: what people type.
        arguments: instead of the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a traceback.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    command(args=None if arguments is None else list(arguments), prog_name=name)


app = application(
    "costmodel",
    "Latency cost models: profile a device, predict networks, hold them against the clock.",
    (
        *(
            "devices",
            "profile",
            "fleet",
            "import",
            "solve",
            "show",
            "check",
            "score",
            "predict",
            "compare",
        ),
        *("explain", "report", "doctor"),
    ),
    "costmodel profile --models net.onnx --budget 10m --out cpu.jsonl",
    "costmodel import phone.csv --set device=Phone --set runtime=tflite-gpu --out phone.jsonl",
    "costmodel predict net.onnx --table cpu.jsonl",
    "costmodel compare net.onnx other.onnx --table cpu.jsonl --max-error 0.1",
    "costmodel report cpu.jsonl --html table.html",
)
