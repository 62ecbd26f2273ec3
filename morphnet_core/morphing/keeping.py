"""What training has made stays on disk until everything that follows it has succeeded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from costmodel.durable import written_whole


def save_keras(model: Any, path: Path) -> None:
    """Write a Keras model whole, or leave the old file as it is.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    with written_whole(path, path.suffix) as temporary:
        model.save(temporary)


class Kept:
    """Keeps the latest trained model; says where it is if what follows fails.

    Used as a context: when the body fails, or is interrupted, the model is on disk and the error
    says where.

    Args:
        folder: where files are written; None to write one, to a folder of its own, only when it is
            needed.
        say: who is told.
    """

    def __init__(self, folder: Path | None, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._latest: tuple[str, Any] | None = None
        self._spare: Path | None = None
        self._written: Path | None = None

    def keep(self, name: str, model: Any, *, spare: bool) -> None:
        """Remember a trained model; write it if there is a folder.

        Args:
            name: of its file.
            model: a Keras model.
            spare: whether the file goes when the whole has succeeded.
        """
        before, self._latest = self._spare, (name, model)
        self._written = None
        if self._folder is not None:
            path = self._folder / name
            save_keras(model, path)
            self._written = path
        self._spare = self._written if spare else None
        if before is not None:
            before.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            if self._spare is not None:
                self._spare.unlink(missing_ok=True)
        elif self._latest is not None:
            self._tell(error, *self._latest)

    def _tell(self, error: BaseException, name: str, model: Any) -> None:
        path = self._written or Path(tempfile.mkdtemp(prefix="morphnet-")) / name
        if self._written is None:
            try:
                model.save(path)
            except Exception:  # the error that is under way says more
                return
        message = f"What had been trained is kept in {path}."
        error.add_note(message)
        self._say(message)
