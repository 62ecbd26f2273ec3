"""Whatever a network is made of: cutting dead channels out equals zeroing them where they are read.

Networks are drawn at random and computed with numpy, so that nothing but the groups decides. No
layer has a bias: what reads nothing then writes zeros, which is what leaving it out amounts to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.network import Layer, Network
from costmodel.op import Op
from morphnet_core.groups import NOBODY, cascade, find_groups, resize

SIDE = 2
IMAGE = (1, 3, SIDE, SIDE)


class Drawing:
    """A network drawn layer by layer on tensors of one spatial size."""

    def __init__(self, draw):
        self.draw = draw
        self.layers = []
        self.sizes = {"image": IMAGE}

    def pick(self, *, channels=0):
        names = [n for n, size in self.sizes.items() if not channels or size[1] == channels]
        return self.draw(st.sampled_from(names[-4:]))

    def add(self, kind, inputs, *outputs, origin="", call=0, **fields):
        name = f"{kind}{len(self.layers)}"
        names = (name,) if len(outputs) == 1 else tuple(f"{name}:{i}" for i in range(len(outputs)))
        op = Op(kind=kind, inputs=tuple(self.sizes[n] for n in inputs), outputs=outputs, **fields)
        self.layers.append(
            Layer(name=name, op=op, inputs=inputs, outputs=names, origin=origin or name, call=call)
        )
        self.sizes.update(zip(names, outputs, strict=True))
        return names[0]

    def conv(self, name, *, origin="", call=0, out=0, groups=1):
        channels = self.sizes[name][1]
        out = out or self.draw(st.sampled_from([2, 4, 6]))
        weights = ((out, channels // groups, 1, 1),)
        size = (1, out, SIDE, SIDE)
        fields = {"weights": weights, "groups": groups, "origin": origin, "call": call}
        return self.add("conv", (name,), size, **fields)

    def step(self):
        step = self.draw(st.sampled_from([n for n in dir(self) if n.startswith("draw_")]))
        getattr(self, step)()

    def draw_conv(self):
        self.conv(self.pick())

    def draw_grouped(self):
        name = self.pick()
        if self.sizes[name][1] % 2 == 0:
            self.conv(name, groups=2)

    def draw_depthwise(self):
        name = self.pick()
        channels = self.sizes[name][1]
        if 1 < channels < 9:
            self.conv(name, groups=channels, out=channels * self.draw(st.sampled_from([1, 2])))

    def draw_shared(self):
        first, other = self.pick(), self.pick()
        if self.sizes[first] == self.sizes[other]:
            made = self.conv(first)
            self.conv(other, origin=made, call=1, out=self.sizes[made][1])

    def draw_scale(self):
        name = self.pick()
        size = self.sizes[name]
        self.add("batch_norm", (name,), size, weights=((size[1],),))

    def draw_join(self):
        name = self.pick()
        size = self.sizes[name]
        kind = self.draw(st.sampled_from(["add", "mul"]))
        self.add(kind, (name, self.pick(channels=size[1])), size)

    def draw_gate(self):
        name = self.pick()
        channels = self.sizes[name][1]
        pooled = self.add("global_average_pool", (name,), (1, channels, 1, 1))
        weights = ((channels, channels, 1, 1),)
        gate = self.add("conv", (pooled,), (1, channels, 1, 1), weights=weights)
        size = self.sizes[name]
        del self.sizes[pooled], self.sizes[gate]
        op = Op(kind="mul", inputs=(size, (1, channels, 1, 1)), outputs=(size,))
        title = f"mul{len(self.layers)}"
        self.layers.append(Layer(name=title, op=op, inputs=(name, gate), outputs=(title,)))
        self.sizes[title] = size

    def draw_concat(self):
        first, other = self.pick(), self.pick()
        total = self.sizes[first][1] + self.sizes[other][1]
        if total <= 16:
            size = (1, total, SIDE, SIDE)
            self.add("concat", (first, other), size, attributes=(("axis", 1),))

    def draw_slice(self):
        name = self.pick()
        channels = self.sizes[name][1]
        start = self.draw(st.integers(0, channels - 1))
        end = self.draw(st.integers(start + 1, channels))
        size = (1, end - start, SIDE, SIDE)
        self.add("slice", (name,), size, constants=((start,), (end,), (1,), (1,)))

    def draw_split(self):
        name = self.pick()
        channels = self.sizes[name][1]
        if channels % 2 == 0:
            size = (1, channels // 2, SIDE, SIDE)
            self.add("split", (name,), size, size, attributes=(("axis", 1),))

    def draw_pad(self):
        name = self.pick()
        channels = self.sizes[name][1]
        if channels <= 8:
            size = (1, channels + 3, SIDE, SIDE)
            self.add("pad", (name,), size, constants=((0, 1, 0, 0, 0, 2, 0, 0),))

    def draw_shuffle(self):
        name = self.pick()
        channels = self.sizes[name][1]
        if channels % 2 == 0:
            size, half = self.sizes[name], channels // 2
            split = (1, half, SIDE, SIDE, 2)  # channels last: (side, side, 2, half)
            made = self.add("reshape", (name,), split, constants=(split,))
            turned = (1, 2, SIDE, SIDE, half)
            mixed = self.add("transpose", (made,), turned, attributes=(("perm", (0, 4, 2, 3, 1)),))
            self.add("reshape", (mixed,), size, constants=(size,))
            del self.sizes[made], self.sizes[mixed]

    def network(self):
        last = self.conv(self.pick())
        channels = self.sizes[last][1]
        flat = (1, channels * SIDE * SIDE)
        joined = self.add("reshape", (last,), flat, constants=(flat,))
        self.add("matmul", (joined,), (1, 3), weights=((flat[1], 3),))
        layers = tuple(self.layers)
        head = layers[-1].name
        return Network(
            name="drawn",
            layers=layers,
            inputs={"image": IMAGE},
            outputs=(head,),
            channels_last=True,
        )


@st.composite
def networks(draw):
    drawing = Drawing(draw)
    drawing.conv("image")
    for _ in range(draw(st.integers(2, 9))):
        drawing.step()
    return drawing.network()


def turned(value):
    return np.moveaxis(value, 1, -1)


def reshape(value, size):
    return np.moveaxis(turned(value).reshape((size[0], *size[2:], size[1])), -1, 1)


def conv(value, weight, groups):
    parts = np.split(value, groups, axis=1)
    filters = np.split(weight, groups)
    done = [np.einsum("bi...,oi->bo...", p, w) for p, w in zip(parts, filters, strict=True)]
    return np.concatenate(done, axis=1)


def pad(value, pads):
    return np.pad(value, list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True)))


def join(op, values, _):
    # An operand that became a weight is one that has become zero.
    first, second = list(values) + [np.zeros(shape) for shape in op.weights]
    return [first + second if op.kind == "add" else first * second]


def concat(op, values, _):
    zeros, rest = iter([np.zeros(shape) for shape in op.weights]), iter(values)
    letters = op.operands or "d" * len(values) + "w" * len(op.weights)
    return [np.concatenate([next(rest if x == "d" else zeros) for x in letters], axis=1)]


def cut(op, values, _):
    (start,), (end,), *_ = op.constants
    return [values[0][:, start:end]]


def split(op, values, _):
    ends = np.cumsum([size[1] for size in op.outputs])
    return np.split(values[0], ends[:-1], axis=1)


COMPUTE = {
    "add": join,
    "batch_norm": lambda _, values, weight: [values[0] * weight[:, None, None]],
    "concat": concat,
    "conv": lambda op, values, weight: [conv(values[0], weight, op.groups)],
    "global_average_pool": lambda _, values, __: [values[0].mean(axis=(2, 3), keepdims=True)],
    "matmul": lambda _, values, weight: [values[0] @ weight],
    "mul": join,
    "pad": lambda op, values, _: [pad(values[0], op.constants[0])],
    "reshape": lambda op, values, _: [reshape(values[0], op.outputs[0])],
    "slice": cut,
    "split": split,
    "transpose": lambda op, values, _: [np.transpose(values[0], dict(op.attributes)["perm"])],
}


def weights_of(network):
    """One matrix or vector per layer, the same in all its calls."""
    random = np.random.default_rng(0)
    found = {}
    for layer in network.layers:
        if layer.op.weights and layer.origin not in found:
            shape = layer.op.weights[0]
            found[layer.origin] = random.uniform(0.5, 1.5, shape[:2]) * random.choice(
                [-1, 1], shape[:2]
            )
    return found


def compute(network, weights, image, mask=None):
    """The network's output, with what ``mask`` says zeroed at every read."""
    values = {"image": image}
    for layer in network.layers:
        read = [values[n] if mask is None else values[n] * mask(n) for n in layer.inputs]
        made = COMPUTE[layer.op.kind](layer.op, read, weights.get(layer.origin))
        for size, value in zip(layer.op.outputs, made, strict=True):
            assert value.shape == size, layer
        values.update(zip(layer.outputs, made, strict=True))
    return values[network.outputs[0]]


def sliced(grouping, weights, alive):
    """Weights of the resized network."""
    found = {}
    for layer in grouping.network.layers:
        weight = weights.get(layer.origin)
        if weight is None:
            continue
        rows = grouping.kept(layer.inputs[0], alive)
        columns = grouping.kept(layer.outputs[0], alive)
        if layer.op.kind == "batch_norm":
            found[layer.origin] = weight[columns]
        elif layer.op.kind == "matmul":
            found[layer.origin] = weight[rows]
        else:
            width = layer.op.weights[0][1]
            kept = weight[columns]
            depthwise = layer.op.groups > 1 and width == 1
            found[layer.origin] = kept if depthwise else kept[:, rows[rows < width]]
    return found


fast = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def drawn_alive(data, grouping):
    share = data.draw(st.sampled_from([0.9, 0.5, 0.15]))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = random.random(grouping.num_units)
    return grouping.allowed(scores < share, order=-scores)


@settings(fast, max_examples=200)
@given(network=networks(), data=st.data())
def test_cutting_equals_masking(network, data):
    grouping = find_groups(network)
    alive = cascade(grouping, drawn_alive(data, grouping))
    alive = grouping.allowed(alive)
    small = resize(grouping, alive)
    small.check()

    def mask(name):
        units = grouping.units[name]
        flags = ((units == NOBODY) | alive[units]).astype(float)
        view = [1] * len(grouping.sizes[name])
        view[grouping.axes[name]] = len(units)
        return flags.reshape(view)

    image = np.random.default_rng(1).standard_normal(IMAGE)
    weights = weights_of(network)
    expected = compute(network, weights, image, mask)
    found = compute(small, sliced(grouping, weights, alive), image)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-9)


@fast
@given(network=networks())
def test_units_fit_their_tensors(network):
    grouping = find_groups(network)
    assert list(grouping.units) == list(grouping.axes) == list(grouping.sizes)
    for name, units in grouping.units.items():
        assert len(units) == grouping.sizes[name][grouping.axes[name]]
        assert units.max(initial=-1) < grouping.num_units
        assert grouping.width(name, grouping.counts(grouping.full())) == len(units)
    for layer in network.layers:
        if layer.op.kind in {"add", "mul"}:
            first, second = (grouping.units[name] for name in layer.inputs)
            assert (first == second).all()
    edges = [group.start for group in grouping.groups]
    sizes = [group.size for group in grouping.groups]
    assert edges == [0, *np.cumsum(sizes)[:-1].tolist()]
    assert sum(sizes) == grouping.num_units
    assert len({group.name for group in grouping.groups}) == len(sizes)


@fast
@given(network=networks(), data=st.data())
def test_every_unit_of_a_group_costs_the_same(network, data):
    grouping = find_groups(network)
    alive = drawn_alive(data, grouping)
    counts = grouping.counts(alive)
    for name in grouping.units:
        assert len(grouping.kept(name, alive)) == grouping.width(name, counts)


@fast
@given(network=networks())
def test_whole_and_doubled_networks(network):
    grouping = find_groups(network)
    assert resize(grouping, grouping.full()) == network
    counts = [group.size * (1 if group.frozen else 2) for group in grouping.groups]
    wide = resize(grouping, counts)
    wide.check()
    weights = {
        layer.origin: np.ones(layer.op.weights[0][:2]) for layer in wide.layers if layer.op.weights
    }
    assert compute(wide, weights, np.ones(IMAGE)).shape == (1, 3)


@fast
@given(network=networks(), data=st.data())
def test_cascade_is_a_closure(network, data):
    grouping = find_groups(network)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = random.random(grouping.num_units)
    more, less = (cascade(grouping, scores < share) for share in (0.6, 0.2))
    assert (cascade(grouping, more) == more).all()
    assert (less <= more).all()
    frozen = [group for group in grouping.groups if group.frozen]
    assert all(less[group.units].all() for group in frozen)
    assert (cascade(grouping, grouping.full()) <= grouping.full()).all()


@fast
@given(network=networks(), data=st.data())
def test_allowed_widths_are_allowed(network, data):
    minimum, multiple = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    grouping = find_groups(network, minimum=minimum, multiple=multiple)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    alive = random.random(grouping.num_units) < data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    allowed = grouping.allowed(alive)
    assert (allowed >= alive).all()
    assert (grouping.allowed(allowed) == allowed).all()
    for group in grouping.groups:
        count = int(allowed[group.units].sum())
        assert count == group.size or (count % multiple == 0 and not group.frozen)
        assert count == 0 or count >= min(minimum, group.size)
    resize(grouping, allowed).check()


@fast
@given(network=networks())
def test_the_same_network_has_the_same_groups(network):
    first, second = find_groups(network), find_groups(replace(network))
    assert first.groups == second.groups
    for name, units in first.units.items():
        assert (units == second.units[name]).all()
        assert first.members[name] == second.members[name]
