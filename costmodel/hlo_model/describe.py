"""Says in an Op's fields what a group of HLO instructions is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from costmodel.hlo_model.module import Array, Instruction, whole_text
from costmodel.hlo_model.recipe import DTYPES, Node, Recipe
from costmodel.hlo_model.windows import numbers, window_of
from costmodel.op import POOL_KINDS, Attribute, Op, Shape

#: Attribute that holds the group's recipe: all that is needed to rebuild it.
RECIPE = "hlo"
#: Several convolutions or products that were compiled into one kernel.
SUBGRAPH = "subgraph"


def implementation_of(item: Instruction) -> str:
    """The runtime's name of the kernel: ``convolution``, ``loop:fusion``, ``ynn:fusion`` ...

    >>> from costmodel.hlo_model.module import Instruction
    >>> plain = Instruction(name="c", opcode="convolution", arrays=(), operands=())
    >>> implementation_of(plain)
    'convolution'
    """
    if item.opcode == "custom-call":
        return item.target or item.opcode
    if item.opcode != "fusion":
        return item.opcode
    kind = item.attributes.get("kind", "kLoop").removeprefix("k").lower()
    config = item.attributes.get("backend_config", "")
    try:
        found = json.loads(config).get("fusion_config", {}).get("kind", "") if config else ""
    except (AttributeError, ValueError):
        found = ""
    library = re.sub(r"^__|_fusion$", "", str(found))
    return f"{library or kind}:fusion"


def op_of(recipe: Recipe, implementation: str, kinds: Sequence[str], layout: str) -> Op:
    """The executed Op of one group.

    Args:
        recipe: what it computes.
        implementation: the runtime's name of the kernel.
        kinds: of the layers that its instructions come from, in the network's order.
        layout: of the program's images, ``nhwc`` or ``nchw``.

    Raises:
        InvalidInputError: if the text that the recipe was made of is not as XLA prints it.
    """
    with whole_text():
        return _op_of(recipe, implementation, kinds, layout)


def _op_of(recipe: Recipe, implementation: str, kinds: Sequence[str], layout: str) -> Op:
    data = [node.array for node in recipe.operands if node.opcode == "d"]
    weights = [node.array for node in recipe.operands if node.opcode == "w"]
    results = [recipe.nodes[root].array for root in recipe.roots]
    first = (*data, *results)[0]
    types = tuple(_dtype(array) for array in data)
    fields: dict[str, Any] = {
        "inputs": tuple(array.dims for array in data),
        "outputs": tuple(array.dims for array in results),
        "weights": tuple(array.dims for array in weights),
        "dtype": _dtype(first),
        "input_dtypes": types if set(types) - {_dtype(first)} else (),
        "layout": layout,
    }
    attributes: dict[str, Attribute] = {RECIPE: str(recipe)}
    kind = _main(recipe, kinds, fields, attributes)
    return Op(
        kind=kind,
        implementation=implementation,
        epilogue=_epilogue(kind, kinds),
        attributes=tuple(sorted(attributes.items())),
        **fields,
    )


def _dtype(array: Array) -> str:
    return DTYPES.get(array.dtype, array.dtype)


def _main(
    recipe: Recipe,
    kinds: Sequence[str],
    fields: dict[str, Any],
    attributes: dict[str, Attribute],
) -> str:
    """The group's kind; fills in the fields that go with it."""
    heavy = [node for node in recipe.nodes if node.opcode in {"convolution", "dot"}]
    if len(heavy) > 1:
        return SUBGRAPH
    if heavy and heavy[0].opcode == "convolution":
        return _convolution(recipe, heavy[0], fields)
    if heavy:
        return _product(recipe, heavy[0], fields, attributes)
    windows = [node for node in recipe.nodes if node.opcode == "reduce-window"]
    pools = [kind for kind in kinds if kind in POOL_KINDS and not kind.startswith("global")]
    if windows and pools and len(windows[0].array.dims) > 2:
        _pool(windows[0], fields, attributes)
        return pools[-1]
    if kinds:
        name = kinds[_last(kinds)]
        # What is left of a layer whose product runs in another kernel.
        return "bias" if name in {"conv", "conv_transpose", "gemm", "matmul"} else name
    root = recipe.nodes[recipe.roots[0]].opcode
    return "copy" if root in {"d", "w"} else root.replace("-", "_")


def _last(kinds: Sequence[str]) -> int:
    """Place of the layer that names a group: its last one that computes by itself here."""
    own = [i for i, kind in enumerate(kinds) if kind not in {"conv", "conv_transpose", "gemm"}]
    return (own or [len(kinds) - 1])[-1]


def _convolution(recipe: Recipe, node: Node, fields: dict[str, Any]) -> str:
    left, right, result = re.split(r"_|->", node.setting("dim_labels"))
    window = window_of(node.settings, len(left) - 2)
    half = len(window.size)
    kernel = recipe.nodes[node.args[1]]
    transposed = set(window.base_dilation) != {1}
    letters = ("i", "o") if transposed else ("o", "i")
    place = [right.index(c) for c in (*letters, *map(str, range(half)))]
    filters = tuple(kernel.array.dims[p] for p in place)
    named = [array for array in fields["weights"] if array != kernel.array.dims]
    same = [array for array in fields["weights"] if array == kernel.array.dims][1:]
    if kernel.opcode == "w":
        fields["weights"] = (filters, *same, *named)
    image = recipe.nodes[node.args[0]].array.dims
    fields["inputs"] = _first(fields["inputs"], image, left, fields["layout"])
    fields["outputs"] = _first(fields["outputs"], node.array.dims, result, fields["layout"])
    fields.update(
        stride=window.base_dilation if transposed else window.stride,
        pads=tuple(p[0] for p in window.pads) + tuple(p[1] for p in window.pads),
        dilation=window.dilation,
        groups=int(node.setting("feature_group_count", "1")),
    )
    return "conv_transpose" if transposed else "conv"


def _first(shapes: tuple[Shape, ...], image: Shape, labels: str, layout: str) -> tuple[Shape, ...]:
    """``shapes`` with the convolution's image in front, its axes as ``layout`` has them."""
    space = "".join(sorted(c for c in labels if c.isdigit()))
    wanted = f"b{space}f" if layout == "nhwc" else f"bf{space}"
    turned = tuple(image[labels.index(c)] for c in wanted)
    rest = list(shapes)
    if image in rest:
        rest.remove(image)
    elif rest:  # the image is made inside the kernel, the convolution's work is what counts
        rest = rest[1:]
    return (turned, *rest)


def _product(
    recipe: Recipe, node: Node, fields: dict[str, Any], attributes: dict[str, Attribute]
) -> str:
    batched = bool(numbers(node.setting("lhs_batch_dims")))
    sides = [recipe.nodes[a] for a in node.args]
    contract = [numbers(node.setting(f"{s}_contracting_dims")) for s in ("lhs", "rhs")]
    weighted = any(side.opcode == "w" for side in sides)
    left = 1 if sides[0].opcode == "w" and sides[1].opcode != "w" else 0
    shape, axis = sides[left].array.dims, contract[left]
    others = list(fields["inputs"])
    if shape in others:
        others.remove(shape)
    fields["inputs"] = (shape, *others)
    fields["outputs"] = (node.array.dims, *fields["outputs"][1:])
    attributes["transA"] = int(len(shape) > 1 and axis == (len(shape) - 2,))
    return "gemm" if weighted and not batched else "matmul"


def _pool(node: Node, fields: dict[str, Any], attributes: dict[str, Attribute]) -> None:
    rank = len(node.array.dims)
    window = window_of(node.settings, rank)
    space = range(1, rank - 1) if fields["layout"] == "nhwc" else range(2, rank)
    attributes["kernel_shape"] = tuple(window.size[a] for a in space)
    fields["stride"] = tuple(window.stride[a] for a in space)
    pads = [window.pads[a] for a in space]
    fields["pads"] = tuple(p[0] for p in pads) + tuple(p[1] for p in pads)
    fields["dilation"] = tuple(window.dilation[a] for a in space)


def _epilogue(kind: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """Kinds of the other layers in the group; the bias of a product elsewhere is ``bias``."""
    heavy = {"conv", "conv_transpose", "gemm", "matmul", SUBGRAPH}
    main = _last(kinds) if kinds and kind not in heavy else -1
    skipped = kind not in heavy
    names = []
    for place, layer in enumerate(kinds):
        if place == main:
            continue
        if layer not in heavy:
            names.append(layer)
        elif skipped:
            names.append("bias")
        else:
            skipped = True
    return tuple(names)


def recipe_text(op: Op) -> str:
    """The recipe that an Op holds; empty where it has none."""
    return op.attribute(RECIPE, "")
