"""``compare_profile``: a prediction held against a profile that ONNX Runtime wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from costmodel.errors import InvalidInputError
from costmodel.uses.models import Model, as_list
from costmodel.uses.predicting import predict
from costmodel.uses.pricing import Terms, spelled_out
from costmodel.uses.tables import Table
from costmodel.viewers.ort_profile import ProfileComparison, compare_shares, read_ort_profile


@spelled_out
def compare_profile(
    model: Model | Sequence[Model],
    table: Table | None,
    profile: Path | str,
    **terms: Unpack[Terms],
) -> ProfileComparison:
    """Say where ONNX Runtime's own times of a network and the predicted ones part.

    Shares of the time are compared, kernel by kernel: a run that is being profiled is slower than
    others. Nothing is timed here.

    Args:
        model: the network that was profiled, as for ``predict``.
        table: as for ``predict``.
        profile: the file that ``InferenceSession.end_profiling()`` named.
        **terms: as for ``predict``: ``cost`` in milliseconds, ``sizes`` of the profiled run.

    Returns:
        Every kernel with both shares, those that part most first.

    Raises:
        InvalidInputError: for several networks, for a file that is no profile or is of another
            network, and as ``predict``.
        ModelFormatError: as ``predict``.
        TableFormatError: as ``predict``.
        MissingDependencyError: as ``predict``.

    >>> import costmodel as cm
    >>> found = cm.compare_profile(  # doctest: +SKIP
    ...     "net.onnx", "cpu.jsonl", "onnxruntime_profile_2026-11-30.json"
    ... )
    """
    models = as_list(model)
    if len(models) != 1:
        message = f"A profile is of one network: give that. Received: {len(models)}."
        raise InvalidInputError(message)
    read = read_ort_profile(Path(profile))  # a fit takes seconds: what is wrong is said before
    found = predict(models[0], table, **terms)
    if found.unit != "ms":
        message = (
            f"A profile holds times, and {found.cost!r} prices in {found.unit}. Give a table, or a "
            "cost model that prices in milliseconds."
        )
        raise InvalidInputError(message)
    return compare_shares(found, read)
