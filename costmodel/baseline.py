"""Baseline: times of networks at an earlier hour, and whether one has become slower since.

Two hours of one machine differ, and so do two processes on it. So a change is held against how
much changed that nobody touched: rows of the table that ``compare`` times beside the networks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Annotated, NamedTuple

import msgspec

from costmodel.errors import DISTRIBUTION, InvalidInputError
from costmodel.schemas import refuse_later

#: Fewest witnesses by which a slower machine is told from a slower network.
MIN_WITNESSES = 3
#: Chance that any of the networks is called slower where none is.
FALSE_ALARMS = 0.01
#: How much slower a network may become, if nobody says so.
MAX_REGRESSION = 0.05
#: Of its rounds, the quieter share tells how long a network takes: a busy neighbour only ever adds.
_QUIET_SHARE = 0.5
#: Part of every standard error: rounds that happen to agree tell of no more care than this.
_LEAST_NOISE = 0.005
#: A witness further out than so many deviations counts as one that is just so far out.
_FAR = 2.5
#: Brings a median of absolute deviations to a standard deviation.
_MAD = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What something takes, by its rounds.

    Attributes:
        ms: the time.
        noise: standard error of its logarithm.
    """

    ms: Annotated[float, msgspec.Meta(gt=0, le=1e12)]
    noise: Annotated[float, msgspec.Meta(ge=0, le=1e3)]

    @classmethod
    def of(cls, rounds_ms: Sequence[float]) -> Level:
        """The mean of the quieter half of the rounds, and its error by a jackknife over them."""
        return cls(ms=quiet_level(rounds_ms), noise=_standard_error(rounds_ms))


class _Line(msgspec.Struct, frozen=True):
    """What is read of one network in the output of ``compare --json``."""

    model: str
    measured_on: str
    rounds_ms: tuple[float, ...] = ()
    witnesses: dict[str, Level] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What was timed in one run of ``compare``.

    Attributes:
        device: label of the device.
        networks: by name, the time of every round in ms.
        witnesses: by the digest of a row of the table, what it took.
    """

    device: str
    networks: Mapping[str, Sequence[float]]
    witnesses: Mapping[str, Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How one network's time has changed since the baseline.

    Attributes:
        before_ms: its time then.
        now_ms: its time now.
        drift: what the witnesses' times were multiplied by meanwhile; 1.1 is a slower machine.
        slowdown: what the network alone has become slower by, as a share: ``now / before / drift
            - 1``.
        noise: standard error of that share.
        statistic: the slowdown's logarithm over its standard error.
        critical: what the statistic must be above to be more than noise.
        limit: the slowdown that is allowed.
        witnesses: how many the drift and the noise were told by.
    """

    before_ms: float
    now_ms: float
    drift: float
    slowdown: float
    noise: float
    statistic: float
    critical: float
    limit: float
    witnesses: int

    @property
    def slower(self) -> bool:
        """Whether it is slower by more than is allowed, and by more than noise explains."""
        return self.slowdown > self.limit and self.statistic > self.critical

    def to_json(self) -> dict[str, object]:
        """The change as plain values."""
        return {**asdict(self), "slower": self.slower}


def quiet_level(rounds_ms: Sequence[float]) -> float:
    """What a network takes, in ms: the mean of the quieter half of its rounds.

    Unlike the least of them it does not hang on one lucky process, and unlike their median it does
    not follow a neighbour that was busy in a third of them.

    >>> quiet_level([2.0, 9.0, 1.0, 3.0])
    1.5
    """
    quiet = sorted(rounds_ms)[: max(1, math.ceil(_QUIET_SHARE * len(rounds_ms)))]
    return fmean(quiet)


def read_baseline(path: Path) -> Hour:
    """An earlier output of ``compare --json``.

    Args:
        path: the file.

    Raises:
        InvalidInputError: if it is none, was written before there were baselines, or names a
            network twice.
    """
    remedy = "Make one with: costmodel compare MODEL... --table T --save-baseline baseline.json"
    try:
        data = path.read_bytes()
        if why := refuse_later(msgspec.json.decode(data)):
            message = (
                f"The baseline {path}: {why}. Update it: pip install --upgrade {DISTRIBUTION}."
            )
            raise InvalidInputError(message)
        lines = msgspec.json.decode(data, type=list[_Line])
    except InvalidInputError:
        raise
    except OSError as error:
        message = f"The baseline {path} cannot be read: {error.strerror or error}. {remedy}"
        raise InvalidInputError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"The baseline {path} is no output of 'compare --json': {error}. {remedy}"
        raise InvalidInputError(message) from error
    timed = [line for line in lines if line.rounds_ms]
    if not timed:
        message = f"The baseline {path} has no network with 'rounds_ms'. {remedy}"
        raise InvalidInputError(message)
    twice = [name for name, count in Counter(line.model for line in timed).items() if count > 1]
    if twice:
        message = (
            f"The baseline {path} holds two networks of the name {twice[0]!r}. Give them different "
            "names: each is compared with the one of its name."
        )
        raise InvalidInputError(message)
    wrong = [line.model for line in timed if not all(0 < ms < math.inf for ms in line.rounds_ms)]
    if wrong:
        message = (
            f"The baseline {path}: 'rounds_ms' of {wrong[0]!r} holds what is no time. {remedy}"
        )
        raise InvalidInputError(message)
    return Hour(
        device=timed[0].measured_on,
        networks={line.model: line.rounds_ms for line in timed},
        witnesses=timed[0].witnesses,
    )


def require_device(baseline: Hour, label: str) -> None:
    """Refuse a baseline of another device.

    Args:
        baseline: read from a file.
        label: of the device that will time.

    Raises:
        InvalidInputError: says both.
    """
    if baseline.device != label:
        message = (
            f"The baseline was measured on {baseline.device!r}, and this is {label!r}. Times of "
            "two devices tell nothing of a change: measure a baseline here."
        )
        raise InvalidInputError(message)


def changes(before: Hour, now: Hour, limit: float = MAX_REGRESSION) -> dict[str, Change]:
    """Which networks have become slower, and whether that is more than noise.

    Of every network and witness, ``x = log(now / before)``, whose standard error ``e`` is told by
    how far its own rounds scatter (a jackknife over the rounds, both hours). The weighted mean
    ``x`` of the witnesses, with weights ``w = 1 / e^2``, is the drift of the machine, which is
    taken off: a machine that is 20 % slower in all it does is no alarm. What is left of a
    network's ``x`` is its slowdown.

    Two hours differ by more than rounds of one hour do, and by the more, the more the rounds do: a
    kernel that reads memory scatters within an hour, and is elsewhere in the next. So all errors
    are stretched by one factor, at least 1: the root of the mean of ``(x - drift)^2 / e^2`` over
    the witnesses, less one of them for the drift (Birge 1932; the scale factor of the Particle Data
    Group's averages; multiplicative heterogeneity in Thompson and Sharp 1999). The stretched root
    of ``e^2 + 1 / sum(w)`` is the slowdown's standard error. A witness that changed by itself must
    not move either: beyond ``_FAR`` robust deviations from the weighted median it is pulled in
    (one step of an M-estimate from there, Huber 1964).

    The slowdown's logarithm over its error is compared with Student's t of one degree of freedom
    less than witnesses, one-sided, at ``FALSE_ALARMS`` over the number of networks (Bonferroni's
    correction, so that many networks raise no more false alarms than one). A network is slower
    where that is beyond t *and* the slowdown beyond ``limit``: a difference that is certain but
    small is none that matters, and one that is large but uncertain is none that is known.

    Args:
        before: the baseline.
        now: the same networks, timed again.
        limit: slowdown that is allowed, as a share.

    Returns:
        By name, for the networks that both have. Where they share fewer than ``MIN_WITNESSES``
        witnesses, the other networks of both stand for them.

    Raises:
        InvalidInputError: if there are too few of these, too, or no network is in both.
    """
    common = [name for name in now.networks if name in before.networks]
    if not common:
        message = (
            f"The baseline holds {', '.join(sorted(before.networks))}, and none of these was timed "
            f"now ({', '.join(sorted(now.networks)) or 'nothing was'}): networks are known by name."
        )
        raise InvalidInputError(message)
    witnesses = [
        _Shift.of(before.witnesses[digest], level)
        for digest, level in now.witnesses.items()
        if digest in before.witnesses
    ]
    levels = {
        name: (Level.of(before.networks[name]), Level.of(now.networks[name])) for name in common
    }
    shifts = {name: _Shift.of(*pair) for name, pair in levels.items()}
    found = {}
    for name in common:
        beside = witnesses
        if len(beside) < MIN_WITNESSES:
            beside = [shift for other, shift in shifts.items() if other != name]
        if len(beside) < MIN_WITNESSES:
            message = (
                f"Only {len(beside)} things beside {name!r} were timed at both times, too few to "
                "tell a slower network from a slower machine. Compare with the table of this "
                f"device, whose rows are then timed again, or {MIN_WITNESSES + 1} networks at once."
            )
            raise InvalidInputError(message)
        found[name] = _change(levels[name], beside, limit, len(common))
    return found


@dataclass(frozen=True, slots=True)
class _Shift:
    """Logarithm of what something's time was multiplied by, and its standard error."""

    value: float
    noise: float

    @classmethod
    def of(cls, before: Level, now: Level) -> _Shift:
        noise = math.hypot(before.noise, now.noise, _LEAST_NOISE)
        return cls(math.log(now.ms / before.ms), noise)

    @property
    def weight(self) -> float:
        return 1.0 / self.noise**2


class _Drift(NamedTuple):
    """What the witnesses have in common, its standard error, and how much larger errors are."""

    value: float
    noise: float
    stretch: float

    @classmethod
    def of(cls, witnesses: Sequence[_Shift]) -> _Drift:
        weights = [item.weight for item in witnesses]
        middle = _median([item.value for item in witnesses], weights)
        pulls = [(item.value - middle) / item.noise for item in witnesses]
        most = _FAR * max(1.0, _MAD * median(map(abs, pulls)))
        value = middle + sum(
            weight * item.noise * _within(pull, most)
            for item, weight, pull in zip(witnesses, weights, pulls, strict=True)
        ) / sum(weights)
        squares = (_within((item.value - value) / item.noise, most) ** 2 for item in witnesses)
        stretch = math.sqrt(max(1.0, sum(squares) / (len(witnesses) - 1)))
        return cls(value, 1.0 / math.sqrt(sum(weights)), stretch)


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _change(
    levels: tuple[Level, Level], witnesses: Sequence[_Shift], limit: float, networks: int
) -> Change:
    from scipy.stats import t  # here, so that only who has a baseline pays for it

    before, now = levels
    own, drift = _Shift.of(before, now), _Drift.of(witnesses)
    noise = drift.stretch * math.hypot(own.noise, drift.noise)
    return Change(
        before_ms=before.ms,
        now_ms=now.ms,
        drift=math.exp(drift.value),
        slowdown=math.exp(own.value - drift.value) - 1.0,
        noise=noise,
        statistic=(own.value - drift.value) / noise,
        critical=float(t.ppf(1.0 - FALSE_ALARMS / networks, len(witnesses) - 1)),
        limit=limit,
        witnesses=len(witnesses),
    )


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Where half of the weight lies below, between the values around it.

    >>> _median([1.0, 2.0, 9.0, 4.0], [1.0] * 4), _median([1.0, 2.0, 9.0], [0.1, 0.1, 1.0])
    (3.0, 9.0)
    """
    half, below = sum(weights) / 2.0, 0.0
    ordered = sorted(zip(values, weights, strict=True))
    for place, (value, weight) in enumerate(ordered):
        below += weight
        if math.isclose(below, half):
            return (value + ordered[place + 1][0]) / 2.0
        if below > half:
            return value
    return ordered[-1][0]


def _standard_error(rounds_ms: Sequence[float]) -> float:
    """Of the logarithm of ``quiet_level``, by leaving out one round after the other."""
    count = len(rounds_ms)
    if count < 2:
        return 0.0
    logs = [
        math.log(quiet_level([*rounds_ms[:left], *rounds_ms[left + 1 :]])) for left in range(count)
    ]
    return stdev(logs) * (count - 1) / math.sqrt(count)
