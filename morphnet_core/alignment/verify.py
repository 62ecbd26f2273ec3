"""Runs two networks side by side and says how far their results are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.inputs import bind_inputs
from costmodel.sizes import Sizes

Array = NDArray[np.generic]
#: Largest difference of two results of one function, relative to the result's largest value: sums
#: of float32 taken in another order differ by less.
TOLERANCE = 1e-5
#: The same for the narrower element types.
TOLERANCES: Mapping[str, float] = {"float16": 1e-2, "bfloat16": 5e-2}
#: Differences are also accepted up to so many times what rounding makes of the unchanged network,
#: but never beyond ``MOST``: exponentials and differences of near values magnify it.
OWN_ROUNDING, MOST = 4.0, 1e-3
#: Random inputs that are tried.
DRAWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far results are apart, relative to the largest value of the same result.

    Attributes:
        difference: of two networks on the same inputs; a multiple of what the element type allows,
            times ``TOLERANCE``; infinite where sizes, whole numbers or values that are not finite
            differ.
        variation: of the first network on different inputs; where it is not far above the
            tolerance, a small difference says little.
    """

    difference: float
    variation: float

    @property
    def telling(self) -> bool:
        """Whether the network's results depend on its inputs enough to be compared."""
        return self.variation > 100 * TOLERANCE


def agreement(
    path: Path,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    sizes: Sizes,
    *,
    seed: int = 0,
) -> Agreement:
    """Run both by ONNX Runtime on the same random inputs and compare all that they return.

    Args:
        path: whose they are, for messages.
        before: the first; open dimensions allowed.
        after: the second.
        sizes: of open dimensions.
        seed: of the inputs.

    Raises:
        ModelFormatError: if one cannot be run, or the first returns nothing finite to compare.
    """
    sessions = [_session(path, item, sizes) for item in (before, after)]
    rng = np.random.default_rng(seed)
    worst, drawn = 0.0, []
    for _ in range(DRAWS):
        feed = _feed(sessions[0], rng)
        first, second = (_run(path, session, feed) for session in sessions)
        worst = max(worst, _apart(path, first, second))
        drawn.append(first)
    return Agreement(difference=worst, variation=_apart(path, *drawn[:2]))


def allowed_difference(path: Path, model: onnx.ModelProto, sizes: Sizes) -> float:
    """The difference up to which results are those of one function, rounded differently.

    What rounding makes of the unchanged network is seen in two ways: the runtime's optimisation
    sums in another order, and inputs a last digit away show what the network makes of such a
    digit.

    Args:
        path: whose it is, for messages.
        model: the unchanged network.
        sizes: of open dimensions.
    """
    session, plain = (_session(path, model, sizes, optimise=on) for on in (True, False))
    rng = np.random.default_rng(0)
    feed = _feed(session, rng)
    found = _run(path, session, feed)
    others = (_run(path, plain, feed), _run(path, session, _nudged(feed, rng)))
    own = max(_apart(path, found, other) for other in others)
    return min(MOST, max(TOLERANCE, OWN_ROUNDING * own))


def _nudged(feed: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The same numbers, each of a float type by its last digit more or less."""
    nudged = dict(feed)
    for name, value in feed.items():
        if np.issubdtype(value.dtype, np.floating):
            towards = rng.choice([-np.inf, np.inf], value.shape).astype(value.dtype)
            nudged[name] = np.nextafter(value, towards)
    return nudged


def _apart(path: Path, first: Sequence[Array], second: Sequence[Array]) -> float:
    return max(_difference(path, a, b) for a, b in zip(first, second, strict=True))


def _session(path: Path, model: onnx.ModelProto, sizes: Sizes, *, optimise: bool = True) -> Any:
    from costmodel.runners.ort.bound import session_options
    from costmodel.runners.ort.session import make_session, refused_as

    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    bind_inputs(path, bound.graph, sizes)
    try:
        source = bound.SerializeToString()
    except ValueError as error:
        message = (
            f"{path} is too large to be run from one file ({error}). Widths can be changed of "
            "models of up to 2 GiB."
        )
        raise ModelFormatError(message) from error
    with refused_as(f"{path}: ONNX Runtime cannot load this network"):
        return make_session(source, session_options(1, optimise=optimise))


def _feed(session: Any, rng: np.random.Generator) -> dict[str, Array]:
    """Normal numbers for every float input; what else is fed stays a valid index."""
    from costmodel.runners.ort.session import random_feed

    feed: dict[str, Array] = {}
    for name, value in random_feed(session).items():
        is_float = np.issubdtype(value.dtype, np.floating)
        drawn = rng.standard_normal(value.shape, dtype=np.float32) if is_float else value
        feed[name] = drawn.astype(value.dtype, copy=False)
    return feed


def _run(path: Path, session: Any, feed: Mapping[str, Array]) -> Sequence[Array]:
    from costmodel.runners.ort.session import refused_as

    with refused_as(f"{path}: ONNX Runtime cannot run this network"):
        results: Sequence[Array] = session.run(None, dict(feed))
    if not all(isinstance(item, np.ndarray) for item in results):
        message = (
            f"{path} returns something else than tensors, which cannot be compared here. Give the "
            "part of it that returns tensors."
        )
        raise ModelFormatError(message)
    return results


def _difference(path: Path, a: Array, b: Array) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if not np.issubdtype(a.dtype, np.floating):
        return 0.0 if np.array_equal(a, b) else float("inf")
    first, second = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(first)
    if a.size and not finite.any():
        message = (
            f"{path} returns no finite number for normal random inputs, so nothing can be "
            "compared. Give its weights real values."
        )
        raise ModelFormatError(message)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(second[finite]).all():
        return float("inf")
    scale = float(np.abs(first[finite]).max(initial=0.0))
    apart = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
    if apart == 0.0:
        return 0.0
    allowed = TOLERANCES.get(str(a.dtype), TOLERANCE)
    return apart / scale * (TOLERANCE / allowed) if scale > 0 else float("inf")
