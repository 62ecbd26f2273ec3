"""Records: what verbs write with ``--json``, and ``morphnet train`` into its folder, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from costmodel.errors import DISTRIBUTION, InvalidInputError
from costmodel.limits import read_whole
from costmodel.op import Op
from costmodel.plain_json import plain_json
from costmodel.schemas import refuse_later

#: What ``morphnet train`` leaves in its folder for the page.
MORPH_FILE = "morph.json"


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of a prediction; see ``prediction.PricedLayer``."""

    name: str
    kernel: Op
    predicted_ms: float
    interval_ms: tuple[float, float]
    basis: str
    share: float | None = None
    note: str = ""
    covers: tuple[str, ...] = ()


class UnpricedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One layer without a price; see ``prediction.Unpriced``."""

    name: str
    reason: str
    share: float | None = None
    op: str = ""


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What ``Prediction.to_json`` writes, in milliseconds; see ``prediction.Prediction``."""

    model: str
    predicted_ms: float | None
    interval_ms: tuple[float, float] | None
    cost: str
    source: str
    ops: tuple[LayerRecord, ...]
    unpriced: tuple[UnpricedRecord, ...]
    device: str | None = None
    provenance: str | None = None
    uncalibrated_ms: float | None = None
    calibration: str | None = None
    scaled: bool = False
    priced_share: float | None = None
    parts_ms: dict[str, float] | None = None


class ComparisonRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What ``Comparison.to_json`` writes; see ``comparison.Comparison``."""

    model: str
    predicted_ms: float | None
    interval_ms: tuple[float, float] | None
    measured_ms: float | None
    error: float | None
    repeatability: float | None
    in_interval: bool | None
    status: str
    reason: str
    measured_on: str
    cost: str
    source: str
    unpriced: tuple[str, ...] = ()
    predicted_for: str | None = None
    median_ms: float | None = None
    error_at_pace: float | None = None
    priced_share: float | None = None
    uncalibrated_ms: float | None = None
    parts_ms: dict[str, float] | None = None
    rounds: int = 0


class MorphRound(msgspec.Struct, frozen=True, kw_only=True):
    """One network that a morph built and timed; ``measured_ms`` is None without a device."""

    predicted: float
    measured_ms: float | None = None


class MorphRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What ``morphnet train`` writes of its course.

    Attributes:
        network: the seed's name.
        unit: of target, seed, predictions and layers.
        device: whose prices they are; empty for counts.
        target: what was wanted.
        seed: what the seed costs, by the clock where there is one.
        predicted: the result by its prices.
        measured_ms: the result by the clock; None without one.
        hit: whether the clock agrees with the target; None where nothing was timed.
        rounds: networks built and timed, in order.
        groups: by group, channels in the seed and now.
        layers: by layer as written, what it costs in the seed and now, in execution order; empty
            for a cost in closed form.
        metrics: of the trained network on validation data.
        seconds: wall time by step.
    """

    network: str
    unit: str
    target: float
    seed: float
    predicted: float
    measured_ms: float | None
    hit: bool | None
    rounds: tuple[MorphRound, ...]
    groups: dict[str, tuple[int, int]]
    device: str = ""
    layers: dict[str, tuple[float, float]] = {}
    metrics: dict[str, float | None] = {}
    seconds: dict[str, float] = {}


#: What one file may hold.
Record = PredictionRecord | tuple[ComparisonRecord, ...] | MorphRecord
_Any = TypeVar("_Any")


def read_record(path: Path) -> Record:
    """What a file of ``--json``, or the folder of a morph, holds.

    Args:
        path: the file or folder.

    Raises:
        InvalidInputError: naming file and field, if it is none of these.
    """
    if path.is_dir():
        return _read_morph(path)
    content = _load(path)
    _require_known(path, content)
    if isinstance(content, list):
        if not content:
            raise _error(path, "it is an empty list", "give what 'costmodel compare --json' wrote")
        return _convert(path, content, tuple[ComparisonRecord, ...], "costmodel compare --json")
    if isinstance(content, dict) and "ops" in content:
        return read_prediction(content, str(path))
    if isinstance(content, dict) and {"target", "groups", "rounds"} <= content.keys():
        return _convert(path, content, MorphRecord, "morphnet train --out FOLDER")
    kind = type(content).__name__
    keys = f" with {', '.join(map(repr, list(content)[:4]))}" if isinstance(content, dict) else ""
    raise _error(
        path,
        f"it holds a {kind}{keys}",
        "give a table, what 'costmodel predict --json' or 'compare --json' wrote, or the folder "
        "of 'morphnet train'",
    )


def read_prediction(content: dict[str, Any], where: str) -> PredictionRecord:
    """A prediction from its JSON form.

    Raises:
        InvalidInputError: naming ``where`` and the field, if it is none, or one of a count.
    """
    unit = content.get("unit", "ms")
    if unit != "ms":
        what = f"it is a prediction in {unit!r}"
        raise _error(where, what, "a page shows ms; predict with --table")
    return _convert(where, content, PredictionRecord, "costmodel predict --json")


def read_comparisons(content: list[dict[str, Any]], where: str) -> tuple[ComparisonRecord, ...]:
    """Comparisons from their JSON form.

    Raises:
        InvalidInputError: naming ``where`` and the field.
    """
    return _convert(where, content, tuple[ComparisonRecord, ...], "costmodel compare --json")


def _read_morph(folder: Path) -> MorphRecord:
    path = folder / MORPH_FILE
    if not path.is_file():
        raise _error(
            folder,
            f"this folder has no {MORPH_FILE}",
            "give the --out of a 'morphnet train' that has ended; earlier versions wrote none",
        )
    content = _load(path)
    _require_known(path, content)
    return _convert(path, content, MorphRecord, "morphnet train --out FOLDER")


def _require_known(path: Path, content: object) -> None:
    """Refuse what a later version wrote, by its version."""
    if why := refuse_later(content):
        raise _error(path, why, f"update it: pip install --upgrade {DISTRIBUTION}")


def _load(path: Path) -> Any:
    try:
        data = read_whole(path)
    except OSError as error:
        what = f"it cannot be read ({error.strerror})"
        raise _error(path, what, "give a file that is there") from error
    try:
        return plain_json(data.decode("utf-8"))
    except ValueError as error:
        remedy = "give a table, or what a verb wrote with --json"
        raise _error(path, f"it is no JSON: {error}", remedy) from error


def _convert(where: object, content: Any, kind: type[_Any], writer: str) -> _Any:
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, InvalidInputError) as error:
        remedy = f"write it again with this version: {writer}"
        raise _error(where, str(error), remedy) from error


def _error(where: object, what: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {what}; {remedy}.")
