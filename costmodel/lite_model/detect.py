"""Tells TensorFlow Lite files from others, without the package that reads them."""

from __future__ import annotations

from pathlib import Path

#: Ending of TensorFlow Lite's own files.
SUFFIX = ".tflite"
#: What stands at byte 4 of each of them, whatever its name.
MARK = b"TFL3"


def is_lite(path: Path) -> bool:
    """Whether a file is TensorFlow Lite's, by its ending or else by the mark in it."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == MARK
    except OSError:
        return False
