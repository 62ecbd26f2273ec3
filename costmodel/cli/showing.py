"""``--overlay``, ``--annotate`` and ``--trace`` of the verbs that predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.cli.output import note
from costmodel.errors import InvalidInputError
from costmodel.figures import percent

if TYPE_CHECKING:
    from costmodel.uses.pricing import Terms
    from costmodel.uses.showing import Overlay
    from costmodel.viewers.kernels import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Files to write beside the result, as far as they are asked for.

    Attributes:
        overlay: where node data goes.
        annotate: where the annotated copy goes.
        trace: where the trace goes.
    """

    overlay: Path | None
    annotate: Path | None
    trace: Path | None

    def __bool__(self) -> bool:
        return any((self.overlay, self.annotate, self.trace))

    @contextmanager
    def files_of(self, models: Sequence[Path], terms: Terms) -> Iterator[tuple[list[Path], Terms]]:
        """Models and terms as a use takes them; exported once for what is shown, too.

        Args:
            models: as given.
            terms: as given.

        Raises:
            InvalidInputError: for files of another ending, or another number of models than one
                where a graph is to be shown.
        """
        if not self:
            yield list(models), terms
            return
        from costmodel.uses import showing

        for path, ending in (
            (self.overlay, ".json"),
            (self.annotate, ".onnx"),
            (self.trace, ".json"),
        ):
            if path is not None:
                showing.with_ending(path, ending)  # before minutes of work
        if not self.overlay and not self.annotate:
            yield list(models), terms
            return
        if len(models) != 1:
            message = (
                "--overlay and --annotate show one graph: give one network at a time. "
                f"Received: {len(models)}."
            )
            raise InvalidInputError(message)
        from costmodel.uses.models import model_files

        sizes, signature = terms.get("sizes") or {}, terms.get("signature", "")
        with model_files(models, sizes, signature=signature) as (files, left):
            yield files, {**terms, "sizes": left, "signature": ""}

    def write(self, found: Sequence[Result], models: Sequence[Path], files: Sequence[Path]) -> None:
        """Write what was asked for, and say what to do with it.

        Args:
            found: what was predicted, or predicted and measured.
            models: as given.
            files: those of ``files_of``.
        """
        if not self:
            return  # without the seconds that importing what shows takes
        from costmodel.uses import showing

        if self.trace is not None:
            made = showing.trace(found, self.trace)
            note(f"Wrote {made}: open it in chrome://tracing or Perfetto.")
        copy = self.annotate
        if copy is None and self.overlay is not None and list(files) != list(models):
            copy = self.overlay.with_suffix(".named.onnx")  # the exported file will be gone
        if copy is not None:
            note(f"Wrote {showing.annotate(found[0], files[0], copy)}.")
        if self.overlay is not None:
            _tell(showing.overlay(found[0], files[0], self.overlay, shown=copy))


def _tell(made: Overlay) -> None:
    """Say what to do with node data, and what is not in it."""
    note(f"Wrote {', '.join(map(str, made.files))}. To see them:\n  {made}")
    if made.lost:
        listed = ", ".join(made.lost[:3]) + (" ..." if len(made.lost) > 3 else "")
        note(
            f"{percent(made.share)} of the predicted time is on nodes of the graph; no node stands "
            f"for {len(made.lost)} kernels: {listed}."
        )
