"""Unfinished: what a course has done so far, on disk, until it has done everything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from costmodel.durable import left_behind
from costmodel.errors import InvalidInputError
from costmodel.profiler.lock import hold
from morphnet_core.morphing.statefile import Arrays, Identity, State, read_state, write_state

#: Name of the folder in a course's output folder.
FOLDER = "unfinished"
#: Of its lock.
_LOCK = "lock"
#: Seconds between two saves of a training, at least; and as a multiple of what a save takes.
SAVE_EVERY_S, SAVE_SHARE = 20.0, 30.0


@dataclass(slots=True, kw_only=True)
class Section:
    """One stage of a course: what it was when it was last saved.

    Attributes:
        name: of the stage.
        path: its file; None where nothing is written.
        belongs: the course and the stage.
        every_s: seconds between two saves, at least.
        now: a clock in seconds.
        state: what was found on disk; empty values where there was none.
    """

    name: str
    path: Path | None
    belongs: Identity
    every_s: float = SAVE_EVERY_S
    now: Callable[[], float] = time.monotonic
    state: State = field(default_factory=State)
    _begin_s: float = 0.0
    _saved_s: float = 0.0
    _took_s: float = 0.0

    def __post_init__(self) -> None:
        """Read what is there.

        Raises:
            InvalidInputError: if that is damaged, or of another course; says what to do.
        """
        if self.path is not None and self.path.exists():
            self.state = read_state(self.path, self.belongs)
        self.begin()

    def begin(self) -> None:
        """Its time counts from now on."""
        self._begin_s = self._saved_s = self.now()

    @property
    def begun(self) -> bool:
        """Whether something of it was on disk."""
        return bool(self.state.values)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return bool(self.state.values.get("done"))

    @property
    def where(self) -> str:
        """How far a training had come."""
        values = self.state.values
        return f", epoch {values['epoch'] + 1}, step {values['step']}" if "epoch" in values else ""

    @property
    def seconds(self) -> float:
        """What it has taken so far, in all processes."""
        before = float(self.state.values.get("seconds", 0.0))
        return before if self.done else before + self.now() - self._begin_s

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        waited = self.now() - self._saved_s
        return self.path is not None and waited >= max(self.every_s, SAVE_SHARE * self._took_s)

    def save(
        self,
        values: Mapping[str, Any],
        arrays: Callable[[], Arrays] = dict,
        *,
        done: bool = False,
    ) -> None:
        """Put the present state in place of the one on disk.

        Args:
            values: plain ones.
            arrays: gathers them, by name.
            done: whether the stage is over.

        Raises:
            InvalidInputError: if it cannot be written; the old one is then still there.
        """
        seconds = self.seconds
        begin = self.now()
        state = State(values={**values, "done": done, "seconds": seconds}, arrays=arrays())
        if self.path is not None:
            try:
                write_state(self.path, self.belongs, state)
            except InvalidInputError as error:
                message = (
                    f"{error} What was saved before is kept: mend that (make room, say) and give "
                    "the same command again, which goes on from there."
                )
                raise InvalidInputError(message) from error
        if done:
            self.state = state
        self._saved_s = self.now()
        self._took_s = self._saved_s - begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """The folder of a course's state.

    Attributes:
        folder: it; None to keep nothing.
        every_s: seconds between two saves of a training, at least.
    """

    folder: Path | None
    every_s: float = SAVE_EVERY_S
    _sections: list[Section] = field(default_factory=list)

    @classmethod
    def of(cls, out: Path | None, every_s: float = SAVE_EVERY_S) -> Unfinished:
        """That of an output folder."""
        return cls(folder=None if out is None else out / FOLDER, every_s=every_s)

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return self.folder is not None and any(self.folder.glob("*.npz"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process works in the same folder while the body runs.

        What a killed process was writing is cleared away before, and everything after a body that
        comes to its end.

        Raises:
            LockedError: if one does; names it.
            InvalidInputError: if the folder cannot be made.
        """
        if self.folder is None:
            yield
            return
        made = not self.folder.parent.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = (
                f"The folder {self.folder} cannot be made: {error.strerror}. Give an --out in a "
                "folder that you may write to."
            )
            raise InvalidInputError(message) from error
        out = self.folder.parent
        why = "Two at once would overwrite each other's files."
        with hold(self.folder / _LOCK, f"the folder {out}", who="training", why=why):
            for path in left_behind(self.folder):
                with suppress(OSError):
                    path.unlink()
            try:
                yield
                self.forget()
            finally:
                if not self.begun:  # nothing to go on from
                    self.forget()
                    if made:
                        with suppress(OSError):  # it is no longer empty
                            out.rmdir()

    @contextmanager
    def told(self, say: Callable[[str], None]) -> Iterator[None]:
        """If the body fails, or is interrupted, the error says that the same command goes on."""
        try:
            yield
        except BaseException as error:
            if self._sections and self.begun:  # and not another command's
                message = f"What was done is saved in {self.folder}: the same command goes on."
                error.add_note(message)
                say(message)
            raise

    def section(self, name: str, belongs: Identity) -> Section:
        """The state of one stage.

        Raises:
            InvalidInputError: if what is there is damaged, or of another course.
        """
        path = None if self.folder is None else self.folder / f"{name}.npz"
        found = Section(name=name, path=path, belongs=belongs, every_s=self.every_s)
        self._sections.append(found)
        return found

    def forget(self) -> None:
        """Remove everything: the course is over."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
