"""Numbers for people: as many digits as they deserve, in every text that anybody reads."""

from __future__ import annotations

from math import ceil, isfinite, log10

#: Written where there is no number.
NOTHING = "-"
#: Digits of a number whose noise is not known: measured times repeat within a per cent or two.
DIGITS = 3
#: How well an accuracy or a loss repeats, as a share: told with four digits.
METRIC_NOISE = 1e-3
#: Fewest and most digits of one whose noise is.
_FEWEST, _MOST = 2, 4
#: Below this, a number is written with an exponent.
_TINY = 1e-6


def digits(value: float | None, noise: float | None = None) -> str:
    """A number with as many digits as mean something; whole parts are never rounded.

    Args:
        value: the number; None, NaN and infinities are ``NOTHING``.
        noise: how well it repeats, as a share, where that is known: the last digit is then about
            what the next measurement may change.

    >>> digits(0.0340991), digits(12.3456), digits(1234.56), digits(5.0), digits(None)
    ('0.0341', '12.3', '1235', '5.00', '-')
    >>> digits(12.3456, 0.002), digits(12.3456, 0.2), digits(9.999)
    ('12.35', '12', '10.0')
    """
    if value is None or not isfinite(value):
        return NOTHING
    if value == 0.0:
        return "0"
    count = DIGITS
    if noise is not None and isfinite(noise):
        count = min(max(_FEWEST, ceil(-log10(max(noise, 1e-9))) + 1), _MOST)
    rounded = f"{value:.{count - 1}e}"
    if abs(value) < _TINY:
        return rounded
    return f"{value:.{max(0, count - 1 - int(rounded.partition('e')[2]))}f}"


def ms(value: float | None, noise: float | None = None) -> str:
    """Milliseconds, without the unit; see ``digits``."""
    return digits(value, noise)


def quantity(value: float | None, unit: str, noise: float | None = None) -> str:
    """A number with its unit; counts get a prefix.

    >>> quantity(12.3456, "ms"), quantity(4.1e9, "flops"), quantity(900, "bytes")
    ('12.3 ms', '4.10 G flops', '900 bytes')
    """
    if value is None or not isfinite(value):
        return NOTHING
    if unit == "ms":
        return f"{digits(value, noise)} ms"
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{digits(value / size)} {prefix} {unit}"
    return f"{value:.0f} {unit}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A share.

    >>> percent(0.0312), percent(None)
    ('3.1 %', '-')
    """
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value * 100:.{decimals}f} %"


def signed_percent(value: float | None) -> str:
    """A relative error.

    >>> signed_percent(-0.0312)
    '-3.1 %'
    """
    if value is None or not isfinite(value):
        return NOTHING
    return f"{value * 100:+.1f} %"


def duration(seconds: float) -> str:
    """Time for people.

    >>> duration(42.4), duration(200), duration(float("inf"))
    ('42 s', '3 min 20 s', '?')
    """
    if not 0 <= seconds < 1e9:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


#: Heights of the columns of a sparkline.
_COLUMNS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float]) -> str:
    """Values as columns of a line of text, from zero to the greatest.

    >>> sparkline([1.0, 1.0, 2.0, 4.0])
    '▂▂▄█'
    """
    most = max(values, default=0.0)
    if most <= 0.0:
        return ""
    return "".join(_COLUMNS[min(max(ceil(8 * value / most) - 1, 0), 7)] for value in values)
