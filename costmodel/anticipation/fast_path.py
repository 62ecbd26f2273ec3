"""Which executed kernels a runtime would run faster at other widths of their channels, and why.

The reasons are those of the rules that foresee the kernels, asked of a network as it was executed.
"""

from __future__ import annotations

from costmodel.anticipation.ort import PROVIDERS
from costmodel.anticipation.ort_blocked import conv_misfit
from costmodel.device import Device
from costmodel.instruction_sets import find_instruction_set
from costmodel.kinds import POOL_KINDS
from costmodel.layouts import block_of
from costmodel.op import Op

#: Element type of the kernels that have a blocked layout.
_FLOAT = "float32"


def blocked_layout(device: Device | None) -> int:
    """Channels per block of the layout in which a device's fast kernels work; 1 where unknown.

    >>> blocked_layout(Device(name="cpu", runtime="onnxruntime", isa="avx512"))
    16
    """
    if device is None or device.runtime != "onnxruntime":
        return 1
    if device.dtype != _FLOAT or device.provider not in PROVIDERS:
        return 1
    return find_instruction_set(device.isa).block


def off_fast_path(op: Op, device: Device | None) -> str:
    """Why an executed kernel is not the fast one; empty where it is, or where nobody knows.

    Only channels are given as reasons: what has no fast kernel at any width is not off its path.

    Args:
        op: as executed, in the layout that the runtime chose.
        device: whose runtime executed it.

    >>> from costmodel.op import conv_op
    >>> odd = conv_op(in_channels=27, out_channels=27, size=(8, 8), kernel=(3, 3), groups=27)
    >>> off_fast_path(odd, Device(name="cpu", runtime="onnxruntime", isa="avx512"))
    'its 27 channels are no multiple of 4'
    """
    block = blocked_layout(device)
    if block == 1 or op.dtype != _FLOAT or block_of(op.layout) > 1 or op.layout != "nchw":
        return ""
    if not op.outputs or len(op.outputs[0]) != 4:
        return ""
    if op.kind == "conv" and op.weights and len(op.weights[0]) == 4:
        return conv_misfit(op, block)
    if op.kind in POOL_KINDS and op.in_channels % block:
        return f"its {op.in_channels} channels do not fill blocks of {block}"
    if op.kind == "concat" and op.attribute("axis") == 1:
        odd = [shape[1] for shape in op.inputs if shape[1] % block]
        if odd and len(op.inputs) > 1:
            return f"it joins {odd[0]} channels, which do not fill blocks of {block}"
    return ""
