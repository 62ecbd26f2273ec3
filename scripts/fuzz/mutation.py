"""Damages what a reader reads: bytes, JSON, lines of text, and protocol buffers field by field.

A changed bit of a protocol buffer or of JSON mostly makes a file that is refused at its first look.
These changes leave the form whole, so that what comes after it is reached.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

#: A file's content and a source of chance in, another content out.
Mutation = Callable[[bytes, random.Random], bytes]

#: Numbers that arithmetic and limits stumble over.
NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 100_000),
    *(2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, -(2**63), 2**64, 10**30, -(10**400)),
)
REALS = (0.0, -0.0, 1.5, -1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *("", " ", "x", "name", "NaN", "inf", "1e999", "-1", "0", "../x", "/etc/passwd", "a/b", "\0"),
    *(
        "\ud800",
        "é" * 40,
        "x" * 5000,
        "1" * 5000,
        "[" * 2000,
        "%s%n",
        "{0}",
        "null",
        "\r\n",
        "\ufeff",
    ),
)
#: Changes of one input at most.
_MOST = 4
_LONGEST = 1 << 15


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, double, move and overwrite parts of ``data``."""
    found = bytearray(data or b"\0")
    for _ in range(chance.randint(1, _MOST)):
        at = chance.randrange(len(found) + 1)
        end = min(len(found), at + chance.choice((1, 1, 2, 4, 8, 64, 1024)))
        way = chance.randrange(6)
        if way == 0 and at < len(found):
            found[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            del found[at:end]
        elif way == 2:
            found[at:at] = found[at:end]
        elif way == 3:
            number = chance.choice(NUMBERS) % 2**64
            found[at:end] = number.to_bytes(8, "little")[: max(1, end - at)]
        elif way == 4:
            found[at:at] = chance.choice(TEXTS).encode("utf-8", "surrogatepass")
        else:
            other = chance.randrange(len(found) + 1)
            found[at:end] = found[other : other + end - at]
        if not found:
            found = bytearray(b"\0")
    return bytes(found[:_LONGEST])


def mutate_lines(data: bytes, chance: random.Random) -> bytes:
    """Change cells, words and the order of lines; now and then bytes."""
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(chance.randint(1, _MOST)):
        at = chance.randrange(len(lines))
        way = chance.randrange(5)
        if way == 0 and len(lines) > 1:
            del lines[at]
        elif way == 1:
            lines.insert(at, chance.choice(lines))
        elif way == 2:
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = _changed_line(lines[at], chance)
    text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass" if chance.random() < 0.5 else "replace")[:_LONGEST]


def _changed_line(line: str, chance: random.Random) -> str:
    """A line with another word between two marks."""
    marks = [mark for mark in ',;\t:= "(){}[]' if mark in line]
    if not marks:
        return chance.choice(TEXTS)
    mark = chance.choice(marks)
    words = line.split(mark)
    at = chance.randrange(len(words))
    words[at] = chance.choice(
        (chance.choice(TEXTS), str(chance.choice(NUMBERS)), str(chance.choice(REALS)), words[0])
    )
    return mark.join(words)


def mutate_json(data: bytes, chance: random.Random) -> bytes:
    """Change values, keys and lists inside one JSON value, or inside a line of several."""
    if chance.random() < 0.15:
        return mutate_lines(data, chance)
    try:
        return _dumped(_changed_value(json.loads(data), chance))
    except (ValueError, RecursionError):
        pass
    lines = data.split(b"\n")
    for _ in range(chance.randint(1, _MOST)):
        at = chance.randrange(len(lines))
        try:
            lines[at] = _dumped(_changed_value(json.loads(lines[at]), chance))
        except (ValueError, RecursionError):
            lines[at] = mutate_bytes(lines[at], chance)
    if chance.random() < 0.2:
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return b"\n".join(lines)[:_LONGEST]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _changed_value(value: Any, chance: random.Random) -> Any:
    """``value`` with a few of its parts changed."""
    holder: list[Any] = [value]
    for _ in range(chance.randint(1, _MOST)):
        places = list(_places(holder))
        inside, key = chance.choice(places)
        way = chance.randrange(8)
        if way == 0 and inside is not holder:
            del inside[key]
        elif way == 1 and isinstance(inside, dict):
            inside[chance.choice(TEXTS)] = inside[key]
        elif way == 2 and isinstance(inside, list):
            inside.insert(key, inside[key])
        elif way == 3:
            other, place = chance.choice(places)
            inside[key] = json.loads(json.dumps(other[place]))
        else:
            inside[key] = _other_value(inside[key], chance)
    return holder[0] if holder else None


def _places(holder: list[Any]) -> Sequence[tuple[Any, Any]]:
    """Every container with every key or place in it."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [holder]
    while waiting and len(found) < 20_000:
        inside = waiting.pop()
        items = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for key, value in items:
            found.append((inside, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def _other_value(value: Any, chance: random.Random) -> Any:
    same: list[Any] = []
    if isinstance(value, str):
        same = [*TEXTS, value + value, value[:1]]
    elif isinstance(value, int | float):
        same = [*NUMBERS, *REALS, -value]
    if same and chance.random() < 0.6:
        return chance.choice(same)
    nested: Any = chance.choice(NUMBERS)
    for _ in range(chance.choice((1, 2, 40))):
        nested = [nested] if chance.random() < 0.5 else {"x": nested}
    others: Sequence[Any] = (
        None,
        True,
        [],
        {},
        "",
        nested,
        chance.choice(NUMBERS),
        chance.choice(REALS),
    )
    return chance.choice((*others, chance.choice(TEXTS)))


def mutate_model(data: bytes, chance: random.Random) -> bytes:
    """Change fields of an ONNX model through the protocol buffer's own interface."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        if not model.graph.node or chance.random() < 0.1:
            return mutate_bytes(data, chance)
        for _ in range(chance.randint(1, _MOST)):
            _change_message(model, chance, _names_in(model))
        return bytes(model.SerializeToString()[:_LONGEST])
    except (DecodeError, ValueError, TypeError, OverflowError, RecursionError):
        return mutate_bytes(data, chance)


def _names_in(model: onnx.ModelProto) -> list[str]:
    """Names of tensors and operators, which stand for each other in a changed model."""
    names = [*TEXTS, "Conv", "Reshape", "Loop", "If", "Concat", "Gather", "Einsum", "Constant"]
    for node in model.graph.node[:200]:
        names += [node.op_type, node.name, node.domain, *node.input, *node.output]
    names += [item.name for item in model.graph.initializer[:200]]
    names += [item.domain for item in model.functions]
    damaged: list[Any] = names  # some of which come back as bytes
    return [name for name in damaged if isinstance(name, str)]


def _change_message(message: Message, chance: random.Random, names: Sequence[str]) -> None:
    """Change one field of ``message``, or of a message in it."""
    present = [field for field, _ in message.ListFields()]
    deeper = [field for field in present if field.message_type is not None]
    if deeper and chance.random() < 0.8:
        field = chance.choice(deeper)
        found = getattr(message, field.name)
        if not field.is_repeated:
            _change_message(found, chance, names)
        elif chance.random() < 0.7:
            _change_message(chance.choice(list(found)), chance, names)
        else:
            _change_list(found, chance)
        return
    absent = chance.random() < 0.2 or not present
    field = chance.choice(message.DESCRIPTOR.fields if absent else present)
    if field.message_type is not None:
        inside = getattr(message, field.name)
        if absent and field.is_repeated:
            inside.add()
        elif absent:
            inside.SetInParent()
        else:
            message.ClearField(field.name)
    elif chance.random() < 0.15:
        message.ClearField(field.name)
    elif field.is_repeated:
        _change_scalars(getattr(message, field.name), field, chance, names)
    else:
        setattr(message, field.name, _scalar(field, chance, names))


def _change_list(found: Any, chance: random.Random) -> None:
    """Leave out, double or move one of several messages."""
    at = chance.randrange(len(found))
    way = chance.randrange(3)
    if way == 0:
        del found[at]
    elif way == 1:
        found.add().CopyFrom(found[at])
    else:
        found[at].CopyFrom(chance.choice(list(found)))


def _change_scalars(
    found: Any, field: FieldDescriptor, chance: random.Random, names: Sequence[str]
) -> None:
    way = chance.randrange(4)
    if len(found) and way == 0:
        del found[chance.randrange(len(found))]
    elif len(found) and way < 3:
        found[chance.randrange(len(found))] = _scalar(field, chance, names)
    else:
        found.append(_scalar(field, chance, names))


def _scalar(field: FieldDescriptor, chance: random.Random, names: Sequence[str]) -> Any:
    """A value that the field can hold."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.randbytes(chance.choice((0, 1, 4, 8, 100)))
        return chance.choice(names).encode("utf-8", "replace").decode()
    if kind in {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}:
        return chance.choice(REALS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.randrange(25)
    bits = 32 if "32" in _KINDS.get(kind, "") else 64
    number = chance.choice(NUMBERS) if chance.random() < 0.7 else chance.randrange(-4, 40)
    if "U" in _KINDS.get(kind, ""):
        return number % 2**bits
    return (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


_KINDS = {
    FieldDescriptor.CPPTYPE_INT32: "INT32",
    FieldDescriptor.CPPTYPE_UINT32: "UINT32",
    FieldDescriptor.CPPTYPE_INT64: "INT64",
    FieldDescriptor.CPPTYPE_UINT64: "UINT64",
}
