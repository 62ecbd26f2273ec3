"""A profile that ONNX Runtime wrote, held against a prediction: where do the two part?

Only shares are compared: a run that is being profiled is slower, and short kernels more so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import fsum, isfinite, nan
from pathlib import Path
from statistics import median
from typing import Any

from costmodel.errors import MISFORMED, InvalidInputError
from costmodel.figures import percent
from costmodel.kinds import kind_of
from costmodel.limits import read_whole
from costmodel.plain_json import plain_json
from costmodel.prediction import Prediction, finite
from costmodel.viewers.kernels import Kernel, kernels_of, total

_SUFFIX = "_kernel_time"
#: Bytes of a profile: the runtime keeps a million events, of a few hundred bytes each.
_LARGEST = 2**30
#: More microseconds than any trace has.
_MOST_US = 1e15
#: Nodes that run a graph inside.
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_MAKE_ONE = (
    "Expected what ONNX Runtime writes where SessionOptions.enable_profiling is set: run the "
    "session a few times, then call session.end_profiling(), which returns the file's name."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one kernel of a profile took.

    Attributes:
        name: the node's name in the runtime's own graph.
        op_type: its operator.
        outputs: sizes of what it writes.
        ms: median over the runs, the first left out where there are others.
    """

    name: str
    op_type: str
    outputs: tuple[tuple[int, ...], ...]
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrtProfile:
    """A profile.

    Attributes:
        path: its file.
        runs: how often the network ran in it.
        kernels: in the order of execution; what graphs inside a node do counts for the node.
    """

    path: Path
    runs: int
    kernels: tuple[Spent, ...]

    @property
    def total_ms(self) -> float:
        """Time of all kernels of one run, as slow as profiling makes it."""
        return fsum(item.ms for item in self.kernels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """One kernel in the profile and in the prediction.

    Attributes:
        name: of the layer; of the runtime's node where the prediction has no such kernel.
        work: the kernel in words.
        profiled: its share of the profile's time; 0 where the profile has no such kernel.
        predicted: its share of the predicted time; 0 where the prediction has no such kernel, NaN
            where it has no price.
        profiled_ms: its time in the profile.
        predicted_ms: its price.
    """

    name: str
    work: str
    profiled: float
    predicted: float
    profiled_ms: float
    predicted_ms: float

    @property
    def difference(self) -> float:
        """Predicted less profiled share; NaN without a price."""
        return self.predicted - self.profiled


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileComparison:
    """A prediction beside a profile of the same network.

    Attributes:
        prediction: what was predicted.
        profile: what ONNX Runtime wrote.
        kernels: those of both, those that part most first.
        matched: share of the profile's time in kernels that the prediction has, too.
    """

    prediction: Prediction
    profile: OrtProfile
    kernels: tuple[Parting, ...]
    matched: float

    def __str__(self) -> str:
        """One line: how much of the time is spent elsewhere than predicted."""
        return (
            f"{self.prediction.model}: {percent(self.moved)} of the time is spent in other kernels "
            f"than predicted ({percent(self.matched)} of the profile found in the prediction)"
        )

    @property
    def moved(self) -> float:
        """Share of the time that the profile spends on other kernels than the prediction does."""
        return sum(max(0.0, -item.difference) for item in self.kernels if isfinite(item.difference))

    def to_json(self) -> dict[str, object]:
        """The comparison as plain values; NaN becomes None."""
        return {
            "model": self.prediction.model,
            "profile": str(self.profile.path),
            "runs": self.profile.runs,
            "profiled_ms": self.profile.total_ms,
            "predicted_ms": self.prediction.predicted_ms,
            "moved_share": self.moved,
            "matched_share": self.matched,
            "kernels": [
                {
                    "name": item.name,
                    "work": item.work,
                    "profiled_share": item.profiled,
                    "predicted_share": finite(item.predicted),
                    "difference": finite(item.difference),
                    "profiled_ms": finite(item.profiled_ms),
                    "predicted_ms": finite(item.predicted_ms),
                }
                for item in self.kernels
            ],
        }


def compare_shares(prediction: Prediction, profile: OrtProfile) -> ProfileComparison:
    """Find the kernels of a profile among those of a prediction.

    A kernel is known by its kind and the sizes of what it writes; of several alike, the first in
    order is the first. Where the runtime's graph differs, the layer's name decides.

    Args:
        prediction: in milliseconds.
        profile: of a run of the same network.

    Raises:
        InvalidInputError: if no kernel of the profile is in the prediction.
    """
    ours = [kernel for kernel in kernels_of(prediction) if kernel.op is not None or kernel.covers]
    pairs = _pairs(ours, profile.kernels)
    # Exact sums, so that another order of the same kernels is no share above 1.
    found = fsum(spent.ms for kernel, spent in pairs if kernel is not None and spent is not None)
    if not found:
        message = (
            f"{profile.path}: no kernel of this profile is in {prediction.model!r}. It is of "
            "another network, or of other sizes: give --size as in the profiled run."
        )
        raise InvalidInputError(message)
    whole = total(kernel.predicted for kernel in ours)
    partings = [_parting(kernel, spent, whole, profile.total_ms) for kernel, spent in pairs]
    ranked = sorted(
        partings,
        key=lambda item: -abs(item.difference if isfinite(item.difference) else item.profiled),
    )
    return ProfileComparison(
        prediction=prediction,
        profile=profile,
        kernels=tuple(ranked),
        matched=found / profile.total_ms,
    )


def _parting(
    kernel: Kernel | None, spent: Spent | None, predicted_ms: float, profiled_ms: float
) -> Parting:
    if kernel is not None:
        work = kernel.op.label if kernel.op is not None else kernel.note
        name, price = kernel.name, kernel.predicted
    else:
        assert spent is not None
        sizes = " ".join("x".join(map(str, shape)) for shape in spent.outputs)
        name, work, price = spent.name, f"{kind_of(spent.op_type)} -> {sizes}", 0.0
    return Parting(
        name=name,
        work=work,
        profiled=spent.ms / profiled_ms if spent is not None else 0.0,
        predicted=price / predicted_ms if kernel is not None else 0.0,
        profiled_ms=spent.ms if spent is not None else nan,
        predicted_ms=price if kernel is not None else nan,
    )


def _pairs(
    ours: Sequence[Kernel], theirs: Sequence[Spent]
) -> list[tuple[Kernel | None, Spent | None]]:
    """Kernels that are the same; those of one side alone with None."""
    alike: dict[object, tuple[list[Kernel], list[Spent]]] = defaultdict(lambda: ([], []))
    for kernel in ours:
        alike[_key(kernel)][0].append(kernel)
    for spent in theirs:
        alike[kind_of(spent.op_type), spent.outputs][1].append(spent)
    found: list[tuple[Kernel | None, Spent | None]] = []
    alone: list[Kernel] = []
    strange: list[Spent] = []
    for kernels, spents in alike.values():
        for kernel, spent in zip_longest(kernels, spents):
            if kernel is not None and spent is not None:
                found.append((kernel, spent))
            elif spent is not None:
                strange.append(spent)
            else:
                alone.append(kernel)
    return found + _named_alike(alone, strange)


def _named_alike(
    alone: Sequence[Kernel], strange: Iterable[Spent]
) -> list[tuple[Kernel | None, Spent | None]]:
    """The same by names, of those that differ in work."""
    left = {name: kernel for kernel in reversed(alone) for name in kernel.layers}
    found: list[tuple[Kernel | None, Spent | None]] = []
    used: set[str] = set()
    for spent in strange:
        kernel = left.get(spent.name)
        if kernel is None or kernel.name in used:
            found.append((None, spent))
        else:
            used.add(kernel.name)
            found.append((kernel, spent))
    return found + [(kernel, None) for kernel in alone if kernel.name not in used]


def _key(kernel: Kernel) -> object:
    return kernel.name if kernel.op is None else (kernel.op.kind, kernel.op.outputs)


def read_ort_profile(path: Path) -> OrtProfile:
    """Read a profile that ONNX Runtime wrote.

    Args:
        path: the file, ``onnxruntime_profile__<time>.json`` unless it was given another name.

    Raises:
        InvalidInputError: if it is no such file, or was not ended.
    """
    nodes = [item for item in _events(path) if _is_kernel(item)]
    if not nodes:
        message = f"{path} has no kernel of a run in it. {_MAKE_ONE}"
        raise InvalidInputError(message)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for item in _outermost(nodes):
        key = item["name"], str(item["args"].get("node_index", ""))
        first.setdefault(key, item)
        times[key].append(item["dur"] * 1e-3)
    return OrtProfile(
        path=path,
        runs=max(map(len, times.values())),
        kernels=tuple(
            Spent(
                name=item["name"].removesuffix(_SUFFIX),
                op_type=str(item["args"].get("op_name", "")),
                outputs=_outputs(path, item),
                ms=median(times[key][1:] or times[key]),
            )
            for key, item in first.items()
        ),
    )


def _events(path: Path) -> list[Any]:
    try:
        found = plain_json(read_whole(path, _LARGEST).decode())
    except InvalidInputError:
        raise
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}). {_MAKE_ONE}"
        raise InvalidInputError(message) from error
    except ValueError as error:
        message = f"{path} is not a profile, or its session has not ended it ({error}). {_MAKE_ONE}"
        raise InvalidInputError(message) from error
    if isinstance(found, dict):  # as viewers save it
        found = found.get("traceEvents")
    if not isinstance(found, list):
        message = f"{path} is no list of events. {_MAKE_ONE}"
        raise InvalidInputError(message)
    return found


def _is_kernel(item: Any) -> bool:
    """Whether an event is a kernel's time; what else a trace holds is nobody's mistake."""
    return (
        isinstance(item, dict)
        and item.get("cat") == "Node"
        and isinstance(item.get("name"), str)
        and item["name"].endswith(_SUFFIX)
        and isinstance(item.get("args"), dict)
        and all(_is_time(item.get(key)) for key in ("ts", "dur"))
    )


def _is_time(value: Any) -> bool:
    """Whether this is a number of microseconds: none is negative or lasts 30 years."""
    return isinstance(value, int | float) and 0 <= value < _MOST_US


def _outermost(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Kernels that run in no other: those of a graph inside a node last as long as that at most."""
    found: list[Mapping[str, Any]] = []
    ends: dict[object, float] = {}

    def outer_first(item: Mapping[str, Any]) -> tuple[float, float, bool]:
        return item["ts"], -item["dur"], str(item["args"].get("op_name")) not in _CONTROL_FLOW

    for item in sorted(nodes, key=outer_first):
        thread = str(item.get("pid")), str(item.get("tid"))
        end = item["ts"] + item["dur"]
        if end > ends.get(thread, -1.0) or item["ts"] >= ends[thread]:
            found.append(item)
            ends[thread] = end
    return found


def _outputs(path: Path, item: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    try:
        entries = item["args"].get("output_type_shape") or ()
        return tuple(tuple(map(int, shape)) for entry in entries for shape in entry.values())
    except MISFORMED as error:
        message = (
            f"{path}: the event {item['name']!r} has sizes that cannot be read ({error}). "
            "Write the profile again, with the ONNX Runtime that is installed."
        )
        raise InvalidInputError(message) from error
