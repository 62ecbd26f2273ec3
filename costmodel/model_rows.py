"""Rows of whole networks: a table keeps their times under an Op that lists what they execute."""

from __future__ import annotations

from costmodel.errors import InvalidInputError
from costmodel.op import MODEL, Op


def model_op(name: str, file_digest: str, ops: tuple[Op, ...]) -> Op:
    """The row under which a whole network's own time is kept in a table.

    Args:
        name: the network's name.
        file_digest: digest of the model file and its bound sizes.
        ops: the Ops its runtime executes; kept as ``digest*count`` pairs.
    """
    counts: dict[str, int] = {}
    for op in ops:
        counts[op.digest] = counts.get(op.digest, 0) + 1
    listing = " ".join(f"{digest}*{count}" for digest, count in sorted(counts.items()))
    return Op(kind=MODEL, implementation=file_digest, attributes=(("name", name), ("ops", listing)))


def model_op_counts(op: Op) -> dict[str, int]:
    """How often each Op, by digest, runs in the network of a ``model`` row.

    Raises:
        InvalidInputError: if the row's listing is not one of ``digest*count`` pairs.

    >>> add = Op(kind="add", inputs=((1, 8),), outputs=((1, 8),))
    >>> model_op_counts(model_op("m", "0", (add, add))) == {add.digest: 2}
    True
    """
    listing = op.attribute("ops", "")
    pairs = [item.partition("*") for item in listing.split()]
    if not all(count.isascii() and count.isdigit() and len(count) < 10 for _, _, count in pairs):
        message = f"A model row lists its Ops as 'digest*count' pairs. Received: {listing[:80]!r}."
        raise InvalidInputError(message)
    return {digest: int(count) for digest, _, count in pairs}
