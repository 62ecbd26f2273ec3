"""JSON of others as plain values that arithmetic and UTF-8 can hold, or one error."""

from __future__ import annotations

import json
import re
from typing import Any

#: Half of a character that JSON writes in two.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
#: Digits of whole numbers that stay whole: no count here has more.
_DIGITS = 18


def plain_json(text: str, **options: Any) -> Any:
    r"""What a JSON text holds.

    Args:
        text: JSON.
        **options: of ``json.loads``.

    Raises:
        ValueError: if it is no JSON, is nested too deeply, or holds half a character, which no
            file can keep. Whole numbers too long for any count become floats, so that none is too
            long for a float.

    >>> plain_json('[1, 1.5, "a"]'), plain_json("1" + "0" * 400)
    ([1, 1.5, 'a'], inf)
    >>> plain_json(r'"\ud800"')
    Traceback (most recent call last):
    ...
    ValueError: it holds half a character ('\ud800')
    """
    try:
        found = json.loads(text, parse_int=_whole, **options)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        message = "it is nested too deeply"
        raise ValueError(message) from None
    except UnicodeEncodeError as error:
        message = f"it holds half a character ({error.object[error.start : error.end]!r})"
        raise ValueError(message) from None
    return found


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)
