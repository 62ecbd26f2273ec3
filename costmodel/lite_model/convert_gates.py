"""Gates that exporters write as several layers and TensorFlow Lite has as one operator."""

from __future__ import annotations

from costmodel.lite_model.convert import Converter
from costmodel.lite_model.stored import clamp_of, elements
from costmodel.network import Layer

_SUM, _FACTOR = frozenset({"add"}), frozenset({"div", "mul"})


def hard_swish(convert: Converter, layer: Layer) -> bool:
    """Convert ``x * relu6(x + 3) / 6``, in whatever order of factors, if ``layer`` begins it.

    The numbers are not looked at (a network holds none): nothing else is written so.

    Args:
        convert: the model under construction.
        layer: a sum, or a hard sigmoid.

    Returns:
        Whether it was one.
    """
    source, steps = layer.inputs[0], [layer]
    left = {"gate"}
    if layer.op.kind != "hard_sigmoid":
        clip = convert.sole_reader(layer)
        if not _is_scalar(layer, _SUM) or clip is None or clamp_of(clip.op) != "relu6":
            return False
        steps.append(clip)
        left.add("factor")
    while left:
        later = convert.sole_reader(steps[-1])
        part = "factor" if _is_scalar(later, _FACTOR) else "gate"
        if later is None or part not in left:
            return False
        if part == "gate" and (later.op.kind != "mul" or source not in later.inputs):
            return False
        left.discard(part)
        steps.append(later)
    data = convert.values[source]
    covers = [step.name for step in steps]
    for step in steps:
        convert.absorb(step)
    shape, name = convert.shape_of(data.index), steps[-1].outputs[0]
    index = convert.emit("HARD_SWISH", [data.index], shape, name=name, covers=covers)
    convert.put(name, index, data.axes)
    return True


def _is_scalar(layer: Layer | None, kinds: frozenset[str]) -> bool:
    """Whether a layer works on one tensor and one constant number."""
    if layer is None or layer.op.kind not in kinds or len(layer.op.inputs) != 1:
        return False
    return len(layer.op.weights) == 1 and elements(layer.op.weights[0]) == 1
