"""From relative static estimates to times, where a real device has shown some.

``measured = scale * estimate + per_op * kernels + offset``. On thousands of networks timed on
Cloud TPU v2 the compiler's cycles had to be stretched by about 1.12 and needed some 0.6 ms for each
block of layers besides, at a batch of 64: small kernels look too quick. The law is linear in the
kernels, so that each Op is calibrated by itself and the ``session`` takes the offset: Ops still add
up to their network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from costmodel.durable import write_lines
from costmodel.errors import DISTRIBUTION, InvalidInputError

#: Points from which the offset, and the cost of each kernel, can be told apart from the scale.
OFFSET_POINTS, PER_OP_POINTS = 3, 5
#: Points that a scale of 1 and no costs count for: so much speaks for it beforehand.
_PRIOR_POINTS = 0.1

#: Version of the file; the first ones did not say theirs.
FORMAT = 1

_Scale = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
_Cost = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]


class _Version(msgspec.Struct):
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network or kernel that was timed on a real device.

    Attributes:
        estimated_ms: what the runner says without calibration.
        kernels: executed Ops behind it; 1 for a kernel.
        measured_ms: what the device took.
    """

    estimated_ms: float
    kernels: int
    measured_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateCalibration:
    """How estimates of one device become times.

    Attributes:
        scale: factor on every estimate.
        per_op_ms: added to each kernel.
        offset_ms: added to each run of a network.
        points: how many timings are behind it.
        error: median relative error over these, each left out in turn; NaN with fewer than two.

    >>> law = EstimateCalibration(scale=1.1, per_op_ms=0.01, offset_ms=0.5)
    >>> round(law.apply(10.0, kernels=50), 3)
    12.0
    """

    scale: _Scale = 1.0
    per_op_ms: _Cost = 0.0
    offset_ms: _Cost = 0.0
    points: int = 0
    error: float | None = None

    def apply(self, estimated_ms: float, *, kernels: int = 1, runs: int = 1) -> float:
        """Calibrated time in ms.

        Args:
            estimated_ms: sum of the estimates.
            kernels: executed Ops in it.
            runs: runs of a network in it; 0 for a kernel alone.
        """
        return self.scale * estimated_ms + self.per_op_ms * kernels + self.offset_ms * runs

    @property
    def label(self) -> str:
        """The law in one word, for a device's identity."""
        return f"{self.scale:.6g}*t+{self.per_op_ms:.6g}/op+{self.offset_ms:.6g}"

    def save(self, path: Path) -> None:
        """Write it as JSON, for the runner's option ``calibration``.

        Raises:
            InvalidInputError: if it cannot be written.
        """
        text = msgspec.json.encode({"format": FORMAT, **asdict(self)})
        write_lines(path, [msgspec.json.format(text) + b"\n"])


def load_calibration(path: Path) -> EstimateCalibration:
    """Read what ``save`` wrote.

    Raises:
        InvalidInputError: if it cannot be read, a number is out of range, or a later version wrote
            it.
    """
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data, type=EstimateCalibration)
        version = msgspec.json.decode(data, type=_Version).format
    except OSError as error:
        message = f"The calibration {path} cannot be read: {error.strerror}."
        raise InvalidInputError(message) from error
    except ValueError as error:
        message = (
            f"{path} is not a calibration: {error}. Expected JSON with scale, per_op_ms and "
            "offset_ms, as EstimateCalibration.save writes it."
        )
        raise InvalidInputError(message) from error
    if version != FORMAT:
        message = (
            f"The calibration {path} has format {version}; this version reads {FORMAT}. Update it: "
            f"pip install --upgrade {DISTRIBUTION}."
        )
        raise InvalidInputError(message)
    return found


def calibrate(points: Sequence[Point]) -> EstimateCalibration:
    """Fit the law to timings by non-negative least squares on relative errors.

    One point gives a scale; an offset is told apart from ``OFFSET_POINTS`` on, a cost per kernel
    from ``PER_OP_POINTS`` on.

    Args:
        points: timings of one device; networks, best of different sizes.

    Raises:
        InvalidInputError: without points, or if a number is not positive and finite.
    """
    rows = np.array([[p.estimated_ms, p.kernels, 1.0, p.measured_ms] for p in points], dtype=float)
    if not len(rows) or not np.isfinite(rows).all() or (rows <= 0).any():
        message = (
            "A calibration needs at least one timing, all with a positive estimate, number of "
            f"kernels and measured time. Received: {list(points)[:3]}."
        )
        raise InvalidInputError(message)
    shares = rows[:, :3] / rows[:, 3:]
    law = _law(shares)
    errors = [
        abs(float(shares[i] @ _law(np.delete(shares, i, axis=0))) - 1.0)
        for i in range(len(shares))
        if len(shares) > 1
    ]
    return EstimateCalibration(
        scale=float(law[0]),
        per_op_ms=float(law[1]),
        offset_ms=float(law[2]),
        points=len(rows),
        error=float(np.median(errors)) if errors else None,
    )


def _law(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale, cost of a kernel and offset that bring ``shares @ law`` near 1."""
    count = len(shares)
    known = np.array([True, count >= PER_OP_POINTS, count >= OFFSET_POINTS])
    if count < OFFSET_POINTS:
        return np.array([1.0 / float(np.median(shares[:, 0])), 0.0, 0.0])
    # Imported here because SciPy takes a while to import, and most commands fit nothing.
    from scipy.optimize import nnls

    # A little weight on "the estimate is right" keeps the scale away from 0.
    size = np.sqrt(_PRIOR_POINTS) * np.abs(shares.mean(axis=0))
    left = np.vstack([shares, np.diag(size)[:1]])[:, known]
    right = np.append(np.ones(count), size[0])
    law = np.zeros(3)
    law[known] = nnls(left, right)[0]
    return law
