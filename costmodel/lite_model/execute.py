"""What LiteRT executes for a model: an Op per kernel, with what XNNPACK folds (2.3, x86 and ARM).

Held against the installed runtime by tests/costmodel/runners/litert. Inside a stretch of operators
that XNNPACK takes over it folds a PAD with zeros into the convolution that alone reads it and a
bounded activation into the kernel before it, and a RESHAPE only renames memory. Outside, every
operator is a kernel.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace

import numpy as np

from costmodel.errors import ModelFormatError
from costmodel.lite_model.graph import ACTIVATION_NUMBERS, VALID, LiteModel, LiteOperator
from costmodel.lite_model.kernels import kernel_op
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op

#: Operators that only rename memory inside the delegate.
RENAMES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
#: Activations as operators of their own, and the number of the option that fuses them.
_CLAMPS = {
    "RELU": ACTIVATION_NUMBERS["relu"],
    "RELU6": ACTIVATION_NUMBERS["relu6"],
    "RELU_N1_TO_1": ACTIVATION_NUMBERS["relu_n1_to_1"],
}
#: Operators that XNNPACK can clamp on the way out.
_CLAMPED = frozenset(
    {"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED"}
    | {"MAX_POOL_2D", "MUL", "SUB", "TRANSPOSE_CONV"}
)
_PADDED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})


@dataclass(slots=True, eq=False)
class _Kernel:
    """One executed kernel while it is being decided."""

    operator: LiteOperator
    reads: list[int]
    writes: list[int]
    covers: list[str]
    delegated: bool
    pads: tuple[int, ...] = ()
    renamed: dict[int, int] = field(default_factory=dict)


def execute(model: LiteModel, delegated: Set[int]) -> tuple[Layer, ...]:
    """The kernels that run, in order.

    Args:
        model: as the file has it.
        delegated: positions of the operators that XNNPACK takes over.
    """
    kernels = [
        _Kernel(
            operator=item,
            reads=list(item.inputs),
            writes=list(item.outputs),
            covers=list(item.covers),
            delegated=index in delegated,
        )
        for index, item in enumerate(model.operators)
    ]
    model = known_constants(model)
    kernels = _Folding(model, kernels).run()
    layers = [_layer(model, kernel, index) for index, kernel in enumerate(kernels)]
    return tuple(layers)


def executed_network(model: LiteModel, name: str, delegated: Set[int], source: str) -> Network:
    """The executed Ops of a model.

    Args:
        model: as the file has it.
        name: the network's name.
        delegated: positions of the operators that XNNPACK takes over.
        source: of the network: whether the runtime was asked for these or a rule.

    Raises:
        ModelFormatError: if an operator's options do not fit its tensors.
    """
    try:
        layers = execute(model, delegated)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        message = f"{name}: an operator's options do not fit its tensors ({error})."
        raise ModelFormatError(message) from error
    return Network(
        name=name,
        layers=(*layers, session_layer(model)),
        inputs={model.tensors[i].name: model.tensors[i].shape for i in model.inputs},
        outputs=tuple(model.tensors[i].name for i in model.outputs),
        source=source,
    )


def known_constants(model: LiteModel) -> LiteModel:
    """The model with floats that are computed from constants alone as constants.

    Weights that a file stores in fewer bits are made when it is loaded, and never again.
    """
    tensors = list(model.tensors)
    for operator in model.operators:
        if all(i < 0 or tensors[i].constant for i in operator.inputs):
            for index in operator.outputs:
                made = tensors[index]
                if made.dtype in {"float32", "float16"} and operator.inputs and not made.special:
                    tensors[index] = replace(made, constant=True)
    return replace(model, tensors=tuple(tensors))


def session_layer(model: LiteModel) -> Layer:
    """The fixed cost of one run, which depends on how many tensors cross the border."""
    op = Op(kind=SESSION, inputs=((1,),) * len(model.inputs), outputs=((1,),) * len(model.outputs))
    return Layer(name=SESSION, op=op)


class _Folding:
    """Folds what the delegate folds."""

    def __init__(self, model: LiteModel, kernels: list[_Kernel]) -> None:
        self.model = model
        self.kernels = kernels
        self.returned = set(model.outputs)
        self.producer: dict[int, _Kernel] = {}
        self.readers: dict[int, list[_Kernel]] = {}
        for kernel in kernels:
            for tensor in kernel.writes:
                self.producer[tensor] = kernel
            for tensor in kernel.reads:
                self.readers.setdefault(tensor, []).append(kernel)

    def run(self) -> list[_Kernel]:
        """Kernels that are left."""
        gone: set[int] = set()
        for kernel in self.kernels:
            if self._is_constant(kernel) or (
                kernel.delegated
                and (self._fold_pad(kernel) or self._fold_clamp(kernel) or self._rename(kernel))
            ):
                gone.add(id(kernel))
        return [kernel for kernel in self.kernels if id(kernel) not in gone]

    def _is_constant(self, kernel: _Kernel) -> bool:
        """Whether it only works on constants: done once, when the model is loaded."""
        tensors = self.model.tensors
        return all(index < 0 or tensors[index].constant for index in kernel.reads)

    def _sole_reader(self, tensor: int) -> _Kernel | None:
        readers = self.readers.get(tensor, [])
        alone = len(readers) == 1 and tensor not in self.returned
        return readers[0] if alone and readers[0].delegated else None

    def _fold_pad(self, kernel: _Kernel) -> bool:
        """A PAD goes into the unpadded convolution that alone reads it."""
        if kernel.operator.code != "PAD":
            return False
        later = self._sole_reader(kernel.writes[0])
        amounts = self.model.tensors[kernel.reads[1]].values
        if (
            later is None
            or later.operator.code not in _PADDED
            or later.reads[0] != kernel.writes[0]
        ):
            return False
        if dict(later.operator.options).get("padding") != VALID or amounts is None:
            return False
        pads = np.asarray(amounts).astype(int)
        if pads.shape != (4, 2) or pads[[0, 3]].any() or (pads < 0).any():
            return False
        later.pads = (*map(int, pads[1:3, 0]), *map(int, pads[1:3, 1]))
        later.reads[0] = kernel.reads[0]
        later.covers = kernel.covers + later.covers
        return True

    def _fold_clamp(self, kernel: _Kernel) -> bool:
        """A bounded activation goes into the kernel that writes only for it."""
        if kernel.operator.code not in _CLAMPS:
            return False
        before = self.producer.get(kernel.reads[0])
        if before is None or not before.delegated or before.operator.activation:
            return False
        if before.operator.code not in _CLAMPED or self._sole_reader(kernel.reads[0]) is not kernel:
            return False
        options = dict(before.operator.options)
        options["fused_activation_function"] = _CLAMPS[kernel.operator.code]
        before.operator = replace(before.operator, options=tuple(sorted(options.items())))
        before.writes = list(kernel.writes)
        before.covers += kernel.covers
        self.producer[kernel.writes[0]] = before
        return True

    def _rename(self, kernel: _Kernel) -> bool:
        """A RESHAPE between kernels of the delegate costs nothing."""
        if kernel.operator.code not in RENAMES or kernel.writes[0] in self.returned:
            return False
        target = kernel.writes[0]
        source = kernel.renamed.get(kernel.reads[0], kernel.reads[0])
        before, after = self.producer.get(source), self.readers.get(target, [])
        if before is None or not before.delegated or not all(k.delegated for k in after):
            return False
        if self._sole_reader(kernel.reads[0]) is not kernel or not after:
            return False
        for later in after:
            later.renamed[target] = source
            later.covers = kernel.covers + later.covers if later is after[0] else later.covers
        return True


def _layer(model: LiteModel, kernel: _Kernel, index: int) -> Layer:
    tensors = model.tensors
    op = kernel_op(
        model,
        replace(kernel.operator, inputs=tuple(kernel.reads), outputs=tuple(kernel.writes)),
        pads=kernel.pads,
        delegated=kernel.delegated,
    )
    reads = [kernel.renamed.get(i, i) for i in kernel.reads if i >= 0 and not tensors[i].constant]
    title = kernel.covers[-1] if kernel.covers else kernel.operator.code
    return Layer(
        name=f"{title}/n{index}",
        op=op,
        inputs=tuple(tensors[i].name for i in reads),
        outputs=tuple(tensors[i].name for i in kernel.writes),
        covers=tuple(kernel.covers),
    )
