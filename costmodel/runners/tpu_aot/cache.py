"""Estimates kept on disk: one JSON file each, so that compilation is never repeated."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.op import Op, encode_op
from costmodel.runners.tpu_aot.messages import Answer, Estimate, Refusal

#: Changes when the same Op is compiled in another way than before.
RECIPE = 1


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file's content: for whom the answer is, in plain words, and the answer."""

    compiler: str
    generation: str
    dtype: str
    what: str
    answer: Answer


_DECODER = msgspec.json.Decoder(_Entry)


def default_folder() -> Path:
    """Where estimates are kept unless told otherwise: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "costmodel" / "tpu-aot"


class Cache:
    """Answers by what was asked, for one compiler, generation and element type."""

    def __init__(self, folder: Path, compiler: str, generation: str, dtype: str) -> None:
        """Name the place; nothing is read or written yet.

        Args:
            folder: of all caches.
            compiler: name and version; another one's answers are never used.
            generation: which TPU.
            dtype: element type of floats.
        """
        self._compiler, self._generation, self._dtype = compiler, generation, dtype
        key = f"{RECIPE} {compiler} {generation} {dtype}".encode()
        self.folder = folder / hashlib.blake2b(key, digest_size=8).hexdigest()

    def get(self, what: str) -> Estimate | None:
        """The estimate kept for ``what``; None where there is none.

        Raises:
            UnsupportedOpError: if it was rejected.
        """
        try:
            entry = _DECODER.decode(self._path(what).read_bytes())
        except (OSError, ValueError):  # absent, or not whole: to be made again
            return None
        if (entry.what, entry.compiler, entry.generation, entry.dtype) != (
            what, self._compiler, self._generation, self._dtype,
        ):  # fmt: skip
            return None
        if entry.answer.refusal is not None:
            raise entry.answer.refusal.as_error()
        return entry.answer.estimate

    def put(self, what: str, found: Estimate | UnsupportedOpError) -> None:
        """Keep an answer; a folder that cannot be written to keeps none.

        Args:
            what: what was asked.
            found: the estimate, or why there is none.
        """
        if isinstance(found, Estimate):
            answer = Answer(estimate=found)
        else:
            answer = Answer(refusal=Refusal.of(found))
        entry = _Entry(
            compiler=self._compiler,
            generation=self._generation,
            dtype=self._dtype,
            what=what,
            answer=answer,
        )
        try:
            write_lines(self._path(what), [msgspec.json.encode(entry)])
        except InvalidInputError:
            return

    def _path(self, what: str) -> Path:
        name = hashlib.blake2b(what.encode(), digest_size=8).hexdigest()
        return self.folder / name[:2] / f"{name}.json"


def op_key(op: Op, *, alone: bool = False) -> str:
    """What an Op's estimate is kept under."""
    return ("alone " if alone else "") + encode_op(op).decode()
