"""What XLA executes on a CPU for a channels-last float32 program (observed on jaxlib 0.10.2, x86).

The compiler's way in short: convolutions, products, window reductions and concatenations are
kernels of their own, and everything between them is computed where it is read, again for each
reader. So a chain of residual blocks is recomputed from its convolutions' results at every block.
Only what is expensive (exponentials, quotients, reductions) and read twice, or repeated by a
broadcast, is stored once. Biases never join a convolution: they start the kernel behind it.
Held against ``XlaRunner(fusions="separate").lower`` by tests/costmodel/anticipation/test_xla.py.

On a GPU, cuDNN takes the bias and an activation into its convolutions and XLA joins kernels side by
side; on a TPU one fusion holds a convolution and all that follows it. Neither has rules here.
"""

from __future__ import annotations

from dataclasses import replace

from costmodel.anticipation.xla_layers import NoRuleError, Tensor, stored_shape
from costmodel.anticipation.xla_moves import RULES
from costmodel.anticipation.xla_values import Value, Values, recipe_of_kernel
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.hlo_model.describe import op_of
from costmodel.network import Layer, Network

#: Readers of an input that is not stored as an image: it is channels last as written.
_IMAGE_READERS = frozenset({"transpose"})


def execute_xla(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that XLA's CPU compiler runs for a network as written.

    A layer without a rule is kept as written, as a kernel between others; its price is then a
    prediction from its sizes, if there is one.

    Args:
        network: from a reader.
        device: a CPU with ``fusions`` of ``separate``, as ``XlaRunner`` names it.

    Raises:
        InvalidInputError: for a device whose compiler works otherwise.
    """
    options = dict(device.options)
    known = device.provider in {"", "cpu"} and options.get("fusions", "separate") == "separate"
    if not known or options.get("layout", "nhwc") != "nhwc" or device.dtype != "float32":
        message = (
            f"There are no rules for what XLA executes on {device.label} (provider "
            f"{device.provider!r}, options {options}): only for float32 on a CPU with "
            "fusions='separate' and layout='nhwc'. Predict on that device, where XLA "
            "is asked itself."
        )
        raise InvalidInputError(message)
    return _Walk(network).layers()


class _Walk:
    """One network on its way to kernels."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._values = Values("f32")
        self._tensors: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._kinds = {layer.name: layer.op.kind for layer in network.layers}
        self._place = {layer.name: i for i, layer in enumerate(network.layers)}
        self._unknown: dict[int, Layer] = {}

    def layers(self) -> tuple[Layer, ...]:
        """The executed layers in an order in which they can run."""
        for name, shape in self._network.inputs.items():
            last = len(shape) > 3 and not self._is_plain(name)
            value = self._values.fed("d", stored_shape(shape, last=last))
            self._names[id(value)] = name
            self._tensors[name] = Tensor(value=value, last=last)
        for layer in self._network.layers:
            self._add(layer)
        outputs = [self._tensors[n].value for n in self._network.outputs if n in self._tensors]
        self._values.prune(outputs)
        self._values.settle(outputs)
        return tuple(self._kernel(value) for value in self._values.kernels())

    def _is_plain(self, name: str) -> bool:
        readers = [layer for layer in self._network.layers if name in layer.inputs]
        return any(layer.op.kind in _IMAGE_READERS for layer in readers)

    def _add(self, layer: Layer) -> None:
        self._values.layer = layer.name
        rule = RULES.get(layer.op.kind)
        read = [self._tensors[name] for name in layer.inputs if name in self._tensors]
        try:
            if rule is None or len(read) < len(layer.inputs):
                raise NoRuleError
            results = [rule(self._values, layer.op, read)]
        except NoRuleError:
            results = self._as_written(layer, read)
        self._tensors.update(zip(layer.outputs, results, strict=False))

    def _as_written(self, layer: Layer, read: list[Tensor]) -> list[Tensor]:
        """A kernel of a kind that the rules know nothing of."""
        last = any(tensor.last for tensor in read)
        results = []
        for shape in layer.op.outputs:
            wide = last and len(shape) > 2
            value = self._values.add(
                "concatenate", *(t.value for t in read), dims=stored_shape(shape, last=wide)
            )
            self._unknown[id(value)] = layer
            results.append(Tensor(value=value, last=wide))
        return results

    def _kernel(self, value: Value) -> Layer:
        recipe, read, covers = recipe_of_kernel(value)
        covers = tuple(sorted(covers, key=self._place.__getitem__))
        name = f"{covers[-1] if covers else value.opcode}/{len(self._names)}"
        self._names[id(value)] = name
        unknown = self._unknown.get(id(value))
        if unknown is not None:
            op = replace(unknown.op, layout="nhwc")
        else:
            op = op_of(recipe, value.kernel, [self._kinds[c] for c in covers], "nhwc")
        inputs = tuple(n for item in read if (n := self._name_of(item)))
        return Layer(name=name, op=op, inputs=inputs, outputs=(name,), covers=covers)

    def _name_of(self, value: Value) -> str:
        while value.free and id(value) not in self._names:
            value = value.args[0]
        return self._names.get(id(value), "")
