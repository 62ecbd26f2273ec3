"""Reads the text of an HLO module: computations, instructions, shapes, layouts, metadata.

The text is the one form of an optimised program that every version and platform of XLA prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from costmodel.errors import MISFORMED, InvalidInputError, first_line
from costmodel.op import Shape

#: Instructions that run no code: they name, group or reinterpret what is there.
FREE = frozenset(
    {"after-all", "bitcast", "constant", "get-tuple-element", "opt-barrier", "parameter"}
    | {"partition-id", "replica-id", "tuple"}
)
_HEADER = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT\s+)?%?([\w.\-]+) = ")
_ARRAY = re.compile(r"(\w+)\[([^\]]*)\](?:\{([\d,]*)[^}]*\})?")
_COMMENT = re.compile(r"/\*.*?\*/")
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_OPCODE = re.compile(r"([a-z][\w\-]*)\(")
_PAIRS = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Type, sizes and storage order of one array.

    Attributes:
        dtype: XLA's name, such as ``f32``.
        dims: sizes.
        order: axes from major to minor, as stored.
    """

    dtype: str
    dims: Shape
    order: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether it is stored row-major; axes of one element may be anywhere."""
        moving = [axis for axis in self.order if self.dims[axis] > 1]
        return moving == sorted(moving)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: unique in its module.
        opcode: such as ``convolution``.
        arrays: what it writes: several for a tuple.
        operands: names of what it reads.
        literal: text between the parentheses: a constant's value, a parameter's number.
        attributes: what follows, by name, as text.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    literal: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from; empty where XLA lost track."""
        found = _OP_NAME.search(self.attributes.get("metadata", ""))
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """The library function that a custom call names; empty for any other instruction."""
        return self.attributes.get("custom_call_target", "").strip('"')

    def settings(self, names: Sequence[str]) -> str:
        """Those of some attributes that it has, as recipes write them."""
        blanks = {"window": "_"}
        return ";".join(
            f"{name}={self.attributes[name].replace(' ', blanks.get(name, ''))}"
            for name in names
            if name in self.attributes
        )

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs: of a fusion, a call, a loop, a reduction."""
        names = []
        for key in ("calls", "to_apply", "condition", "body", "branch_computations"):
            text = self.attributes.get(key, "").strip("{}")
            names += [item.strip().lstrip("%") for item in text.split(",") if item.strip()]
        return tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """Instructions in an order in which they can run, by name, and the one it returns."""

    name: str
    instructions: Mapping[str, Instruction]
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """Computations by name, and the one that is run."""

    computations: Mapping[str, Computation]
    entry: Computation

    def executed(self) -> list[Instruction]:
        """Instructions of the entry computation that run code, in order."""
        return [item for item in self.entry.instructions.values() if item.opcode not in FREE]


def parse(text: str) -> Module:
    """The module that ``text`` prints.

    Raises:
        InvalidInputError: if it has no entry computation or a line cannot be read.
    """
    with whole_text():
        return _module(text)


@contextmanager
def whole_text() -> Iterator[None]:
    """What goes wrong inside is the fault of a text that XLA did not print.

    Raises:
        InvalidInputError: in place of what Python raises for such a text.
    """
    try:
        yield
    except InvalidInputError:
        raise
    except MISFORMED as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        message = f"This HLO text is not as XLA prints it ({what:.200})."
        raise InvalidInputError(message) from error


def _module(text: str) -> Module:
    computations: dict[str, Computation] = {}
    entry = ""
    for header, lines in _bodies(text):
        found = _HEADER.match(header)
        if found is None:
            continue
        instructions: dict[str, Instruction] = {}
        root = ""
        for line in lines:
            item, is_root = _instruction(line)
            instructions[item.name] = item
            root = item.name if is_root or not root else root
        name = found[2]
        root = root if any("ROOT " in line for line in lines) else next(reversed(instructions), "")
        computations[name] = Computation(name=name, instructions=instructions, root=root)
        entry = name if found[1] else entry
    if not entry:
        message = f"This HLO text has no ENTRY computation: {text[:120]!r}."
        raise InvalidInputError(message)
    return Module(computations=computations, entry=computations[entry])


def _bodies(text: str) -> Iterator[tuple[str, list[str]]]:
    """Header and instruction lines of each computation."""
    header = ""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("}") and header:
            yield header, lines
            header, lines = "", []
        elif header and _INSTRUCTION.match(line):
            lines.append(line)
        elif line.endswith("{") and "->" in line and not line.startswith((" ", "HloModule")):
            header, lines = line, []


def _instruction(line: str) -> tuple[Instruction, bool]:
    plain = _COMMENT.sub("", line)
    head = _INSTRUCTION.match(plain)
    if head is None:
        message = f"This line of HLO text is no instruction: {line[:200]!r}."
        raise InvalidInputError(message)
    rest = plain[head.end() :]
    size = _closing(rest, 0) + 1 if rest.startswith("(") else 0
    call = _OPCODE.search(rest, size)
    if call is None:
        message = f"This line of HLO text has no opcode: {line[:200]!r}."
        raise InvalidInputError(message)
    shape = rest[: call.start()]
    end = _closing(rest, call.end() - 1)
    inside = rest[call.end() : end]
    opcode = call[1]
    named = opcode not in {"constant", "parameter", "iota"}
    return (
        Instruction(
            name=head[2],
            opcode=opcode,
            arrays=tuple(_array(found) for found in _ARRAY.finditer(shape)),
            operands=tuple(_operand(item) for item in _split(inside)) if named else (),
            literal="" if named else inside.strip(),
            attributes=dict(_attribute(item) for item in _split(rest[end + 1 :])),
        ),
        bool(head[1]),
    )


def _array(found: re.Match[str]) -> Array:
    dims = tuple(int(d.strip().lstrip("<=")) for d in found[2].split(",") if d.strip())
    minor = [int(a) for a in (found[3] or "").split(",") if a.strip()]
    order = tuple(reversed(minor)) if len(minor) == len(dims) else tuple(range(len(dims)))
    return Array(dtype=found[1], dims=dims, order=order)


def _operand(text: str) -> str:
    return text.split()[-1].lstrip("%")


def _attribute(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _closing(text: str, start: int) -> int:
    """Position of the bracket that closes the one at ``start``."""
    stack: list[str] = []
    quoted = False
    position = start
    while position < len(text):
        letter = text[position]
        if letter == "\\" and quoted:
            position += 1
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in _PAIRS:
            stack.append(_PAIRS[letter])
        elif not quoted and stack and letter == stack[-1]:
            stack.pop()
            if not stack:
                return position
        position += 1
    message = f"A bracket is never closed in this HLO text: {text[:200]!r}."
    raise InvalidInputError(message)


def _split(text: str) -> list[str]:
    """``text`` cut at its outer commas."""
    items, start, position = [], 0, 0
    while position < len(text):
        letter = text[position]
        if letter in _PAIRS:
            position = _closing(text, position)
        elif letter == '"':
            position = _quote_end(text, position)
        elif letter == ",":
            items.append(text[start:position])
            start = position + 1
        position += 1
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]


def _quote_end(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] != '"':
        position += 2 if text[position] == "\\" else 1
    return position
