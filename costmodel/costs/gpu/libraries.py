"""Amounts and features of libraries that choose among algorithms: cuDNN, MIOpen.

Which one they take is not known beforehand, so every algorithm that a convolution could take has
its own amounts: matrix products by tiles (waves of tiles over the compute units, after NeuSight,
Lee et al. 2025), Winograd's transformed tiles (Lavin and Gray 2016), Fourier tiles.
"""

from __future__ import annotations

import re

import numpy as np

from costmodel.costs.gpu.sizes import Floats, Sizes, ceil_div

#: Tiles of a matrix product's output, rows by columns.
_TILES = ((128, 128), (128, 64), (64, 64), (32, 128), (32, 32), (256, 64), (256, 128), (64, 32))
#: Elements of the shared axis that a tile takes at once.
_SHARED = 16
#: Outputs along the side of a Winograd tile of a 3x3 window.
_WINOGRAD = (2, 4)
#: Side of a tile of a Fourier transformation.
_FOURIER = 32
#: Compute units of GPUs whose name does not say: NVIDIA's white papers. A K80 is two of them.
_UNITS = (("1080 ti", 28), ("k80", 13), ("m60", 16), ("v100", 80), ("p100", 56), ("t4", 40))
#: Compute units of a GPU that is not known.
_SOME_UNITS = 32


def units_of(gpu: str) -> int:
    """Compute units of a GPU, by its name.

    >>> units_of("AMD MI50/Radeon VII (gfx906, 60 CU)"), units_of("NVIDIA K80")
    (60, 13)
    """
    said = re.search(r"(\d+) CU\b", gpu)
    if said:
        return int(said.group(1))
    name = gpu.lower()
    return next((units for part, units in _UNITS if part in name), _SOME_UNITS)


def library_columns(
    sizes: Sizes, units: int
) -> tuple[dict[str, Floats], dict[str, Floats], list[str]]:
    """Columns of Ops on a GPU with a library that chooses.

    Terms: ``depth`` elements of the shared axis; ``im2col`` those of such a buffer; per tile size
    ``tiled`` multiply-adds of whole tiles, ``waves`` and ``turned`` those of whole waves of tiles,
    of the product and of its transpose, ``turns`` waves alone; ``products_N`` and ``moved_N`` of
    Winograd tiles; ``spectra`` of Fourier tiles, and the elements transformed.

    Args:
        sizes: of the Ops.
        units: compute units of the GPU.

    Returns:
        Terms, features, and one form for all convolutions: which algorithm runs is not known, and
        laws of a form each, of so many terms, fit their rows better and others worse.
    """
    depth = sizes.channels / sizes.groups * np.where(sizes.is_conv > 0, sizes.taps, 1.0)
    shared = ceil_div(depth, _SHARED) * _SHARED
    filters = sizes.filters / sizes.groups
    terms: dict[str, Floats] = {"depth": shared}
    fills: dict[str, Floats] = {}
    for rows, columns in _TILES:
        tiles = ceil_div(sizes.pixels, rows) * ceil_div(filters, columns) * sizes.groups
        turned = ceil_div(sizes.pixels, columns) * ceil_div(filters, rows) * sizes.groups
        amount = rows * columns * shared
        waves = ceil_div(tiles, units)
        name = f"{rows}x{columns}"
        terms |= {
            f"tiled_{name}": tiles * amount,
            f"waves_{name}": waves * amount,
            f"turned_{name}": ceil_div(turned, units) * amount,
            f"turns_{name}": waves,
        }
        fills |= {
            f"fill_{name}": tiles / units / np.maximum(waves, 1.0),
            f"padded_{name}": tiles * amount / np.maximum(sizes.work, 1.0),
        }
    terms |= _other_algorithms(sizes)
    forms = np.where(sizes.is_conv > 0, "any", "").tolist()
    terms["copied"] = sizes.lopsided * sizes.inputs
    terms |= sizes.folded_terms()
    return terms, _features(sizes, depth, terms, fills), forms


def _other_algorithms(sizes: Sizes) -> dict[str, Floats]:
    """Amounts of what may be done instead of a matrix product."""
    spatial = (sizes.is_conv > 0) & (sizes.taps > 1)
    once = spatial & (sizes.stride == 1) & (sizes.dilation == 1) & (sizes.groups == 1)
    small = once & (sizes.taps == 9)
    terms = {
        "im2col": np.where(
            (sizes.is_conv > 0) & ((sizes.taps > 1) | (sizes.stride > 1)),
            sizes.pixels * sizes.taps * sizes.channels,
            0.0,
        )
    }
    for side in _WINOGRAD:
        tiles = sizes.batch * ceil_div(sizes.height, side) * ceil_div(sizes.width, side)
        products = tiles * (side + 2) ** 2 * sizes.channels * sizes.filters
        terms[f"products_{side}"] = np.where(small, products, 0.0)
        terms[f"moved_{side}"] = np.where(once, tiles * (sizes.channels + sizes.filters), 0.0)
    inner = np.maximum(_FOURIER - sizes.window + 1.0, 1.0)
    spectra = sizes.batch * ceil_div(sizes.height, inner) * ceil_div(sizes.width, inner)
    terms["spectra"] = np.where(once, spectra * sizes.channels * sizes.filters, 0.0)
    terms["spectra_in"] = np.where(once, spectra * sizes.channels, 0.0)
    terms["spectra_out"] = np.where(once, spectra * sizes.filters, 0.0)
    return terms


def _features(
    sizes: Sizes, depth: Floats, terms: dict[str, Floats], fills: dict[str, Floats]
) -> dict[str, Floats]:
    return {
        **sizes.log_columns(
            0.5, before={"batch": sizes.batch}, after={"reduction": depth, **terms}
        ),
        **fills,
        "channels % 4": sizes.channels % 4,
        "channels % 8": sizes.channels % 8,
        "filters % 4": sizes.filters % 4,
        "filters % 8": sizes.filters % 8,
        "filters % 32": sizes.filters % 32,
        "filters % 64": sizes.filters % 64,
        "reduction % 8": depth % 8,
        "reduction % 32": depth % 32,
        "dilation": sizes.dilation,
        "window": sizes.window,
        "pad": sizes.pad,
        "lopsided": sizes.lopsided,
        "bias": sizes.bias,
        "cheap": sizes.cheap,
        "costly": sizes.costly,
    }
