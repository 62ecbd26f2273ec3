"""Which column of somebody's file is which: by its name, by its unit, or as the user says."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from costmodel.errors import InvalidInputError
from costmodel.tidy.units import UNITS_MS, TimeName, read_time_name

#: Fields as users name them, with the names that columns have for them. Case, spaces, dots and
#: dashes do not matter. ``k`` and ``s`` alone are left to the user: they mean several things.
_NAMES: Mapping[str, str] = {
    "op": "op op_type op_name kind operator operation layer_type kernel_type node_type type",
    "batch": "batch n bs batch_size batchsize num_batch",
    "height": "height h hw in_height input_height in_h input_h hin h_in ih inputh input_size "
    "in_size image_height image_size size resolution matsize feature_size",
    "width": "width w in_width input_width in_w input_w win w_in iw inputw image_width",
    "in_channels": "in_channels cin c_in ic ci in_ch in_c inc input_channels channels "
    "input_channel channels_in in_channel inchannels in_features input_features c ch channel "
    "num_channels",
    "out_channels": "out_channels cout c_out oc co out_ch out_c outc output_channels filters "
    "output_channel channels_out out_channel outchannels num_filters out_features units "
    "output_features",
    "kernel": "kernel kernel_size kernelsize ks kernel_h kh kernel_height filter_size filter_h "
    "filter_height kernel_shape window",
    "kernel_w": "kernel_w kw kernel_width filter_w filter_width",
    "stride": "stride strides stride_h sh stride_height",
    "stride_w": "stride_w sw stride_width",
    "pad": "pad pads pad_h ph padding_h padding_size pad_size",
    "pad_w": "pad_w pw padding_w",
    "padding": "padding pad_mode padding_mode auto_pad pad_type padding_type",
    "dilation": "dilation dilations dilation_h dilation_rate",
    "dilation_w": "dilation_w",
    "groups": "groups group num_groups n_groups g group_count feature_group_count",
    "out_size": "out_size out_height out_h oh output_h output_height h_out hout output_size",
    "out_width": "out_width out_w ow output_w output_width w_out wout",
    "input_shape": "input_shape in_shape input_shapes input_dims ishape",
    "output_shape": "output_shape out_shape output_shapes output_dims oshape",
    "bias": "bias use_bias has_bias with_bias",
    "activation": "activation act activation_fct activation_function fused_activation epilogue",
    "implementation": "implementation kernel_name",
    "parts": "parts num_inputs n_inputs",
    "dtype": "dtype data_type datatype precision element_type",
    "layout": "layout data_format data_layout format",
    "model": "model model_name network network_name net model_file",
    "device": "device device_name hardware platform processor gpu_name board phone accelerator",
    "runtime": "runtime framework backend library engine",
    "runtime_version": "runtime_version framework_version library_version backend_version",
    "provider": "provider execution_provider ep delegate",
    "threads": "threads num_threads n_threads nthreads thread_count",
    "op_json": "op_json",
}
_FIELD_OF = {name: key for key, names in _NAMES.items() for name in names.split()}
#: Time fields, and what one is in milliseconds.
TIMES_MS = {f"latency_{unit}": UNITS_MS[unit] for unit in ("ns", "us", "ms", "s")}
DEVIATIONS_MS = {f"deviation_{unit}": UNITS_MS[unit] for unit in ("ns", "us", "ms", "s")}
#: Every name that a user may map or set.
FIELDS = (*_NAMES, *TIMES_MS, *DEVIATIONS_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user says about a file.

    Attributes:
        columns: by field, the column that holds it.
        constants: by field, the one value that all rows have.
        source: who measured it.
        licence: of the numbers.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        """Refuse fields that there are not, and those said twice."""
        for name in (*self.columns, *self.constants):
            if name not in FIELDS:
                near = difflib.get_close_matches(name, FIELDS, 3)
                hint = (
                    f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(FIELDS)}."
                )
                message = f"There is no field {name!r} to map or set. {hint}"
                raise InvalidInputError(message)
        twice = sorted(set(self.columns) & set(self.constants))
        if twice:
            message = f"The field {twice[0]!r} is both mapped to a column and set to one value."
            raise InvalidInputError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Columns of a file by field.

    Attributes:
        columns: the column of each field, times apart.
        constants: the value of each field that all rows share.
        latency: column of times, and milliseconds in one of its unit.
        deviation: the same of their standard deviations; None without any.
        unused: columns that nothing is made of.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    latency: tuple[str, float]
    deviation: tuple[str, float] | None
    unused: tuple[str, ...]


def match_columns(header: Sequence[str], asked: Asked) -> Matched:
    """Find the columns of a file.

    Args:
        header: their names in order.
        asked: what the user says, which goes before what names say.

    Raises:
        InvalidInputError: for a doubled or missing column, two columns for one field, or times of
            which nobody says the unit; says how to mend it.

    >>> found = match_columns(["kind", "cin", "cout", "time_us"], Asked())
    >>> found.columns["in_channels"], found.latency
    ('cin', ('time_us', 0.001))
    """
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if doubled:
        message = f"column {doubled[0]!r} is there twice. Rename or delete one of them."
        raise InvalidInputError(message)
    for name, column in asked.columns.items():
        if column not in header:
            near = difflib.get_close_matches(column, header, 2)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else _listing(header)
            message = f"column {column!r} is missing, which was to be {name}. {hint}"
            raise InvalidInputError(message)
    taken = set(asked.columns.values())
    free = [name for name in header if name not in taken]
    times = {name: said for name in free if (said := read_time_name(name)) is not None}
    latency = _asked_time(asked.columns, TIMES_MS) or _time(times, header)
    deviation = _asked_time(asked.columns, DEVIATIONS_MS) or _deviation(times, latency)
    columns = {
        name: column
        for name, column in asked.columns.items()
        if name not in TIMES_MS and name not in DEVIATIONS_MS
    }
    claims: dict[str, list[str]] = {}
    for column in free:
        name = _FIELD_OF.get(_plain(column), "")
        if name and column not in times and name not in columns and name not in asked.constants:
            claims.setdefault(name, []).append(column)
    for name, claiming in claims.items():
        exact = [column for column in claiming if column == name]
        if len(claiming) > 1 and not exact:
            message = (
                f"columns {' and '.join(map(repr, claiming))} both look like {name}. Say which is "
                f"meant: --map {name}={claiming[0]}."
            )
            raise InvalidInputError(message)
        columns[name] = (exact or claiming)[0]
    used = {*columns.values(), latency[0], *(deviation or ())[:1]}
    return Matched(
        columns=columns,
        constants=asked.constants,
        latency=latency,
        deviation=deviation,
        unused=tuple(name for name in header if name not in used),
    )


def _asked_time(columns: Mapping[str, str], units: Mapping[str, float]) -> tuple[str, float] | None:
    found = [(columns[name], unit) for name, unit in units.items() if name in columns]
    if len(found) > 1:
        message = f"columns {found[0][0]!r} and {found[1][0]!r} cannot both be the time of a row."
        raise InvalidInputError(message)
    return found[0] if found else None


def _time(times: Mapping[str, TimeName], header: Sequence[str]) -> tuple[str, float]:
    middles = {name: said for name, said in times.items() if said.statistic == "middle"}
    chosen = middles or {k: v for k, v in times.items() if v.statistic == "extreme"}
    if not chosen:
        message = (
            "no column's name says that it holds times. Say which one does, and its unit: "
            f"--map latency_ms=COLUMN (or latency_us, latency_ns, latency_s). {_listing(header)}"
        )
        raise InvalidInputError(message)
    best = max(said.rank for said in chosen.values())
    names = [name for name, said in chosen.items() if said.rank == best]
    if len(names) > 1:
        message = (
            f"columns {' and '.join(map(repr, names))} may each be the time of a row. Say which: "
            f"--map latency_ms={names[0]}."
        )
        raise InvalidInputError(message)
    unit = chosen[names[0]].unit_ms
    if unit is None:
        message = (
            f"column {names[0]!r} does not say its unit. Say it: --map latency_ms={names[0]} (or "
            "latency_us, latency_ns, latency_s)."
        )
        raise InvalidInputError(message)
    return names[0], unit


def _deviation(
    times: Mapping[str, TimeName], latency: tuple[str, float]
) -> tuple[str, float] | None:
    for name, said in times.items():
        if said.statistic == "deviation":
            return name, latency[1] if said.unit_ms is None else said.unit_ms
    return None


def _plain(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _listing(header: Iterable[str]) -> str:
    names = list(header)
    more = ", ..." if len(names) > 30 else ""
    return f"Columns: {', '.join(map(str, names[:30]))}{more}."
