"""Rules for Transposes, matrix products and parts of a transformer equal the runtime's graph."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from model_zoo.case import Draft
from rule_versions import follows

from costmodel.anticipation import anticipate
from costmodel.device import Device
from costmodel.readers.onnx import read_onnx
from costmodel.runners.ort.runner import OrtRunner

pytestmark = follows("onnxruntime")

RUNNER = OrtRunner()
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def differences(tmp_path, draft, *outputs, covered=True):
    path = draft.case("case", *outputs).save(tmp_path)
    written = read_onnx(path)
    foreseen = anticipate(written, RUNNER.device)
    foreseen.check()
    covers = Counter(name for layer in foreseen.layers for name in layer.covers)
    assert covers == Counter(layer.name for layer in written.layers) or not covered
    theirs, ours = Counter(RUNNER.lower(path, {}).ops), Counter(foreseen.ops)
    return list((theirs - ours).elements()), list((ours - theirs).elements())


def turn(d, x, *order):
    return d.node("Transpose", x, perm=list(order))


def image(d, kind="Exp"):
    return d.node(kind, d.feed(1, 3, 8, 8))


def rows(d, kind="Tanh", *shape):
    return d.node(kind, d.feed(*(shape or (1, 7, 8))))


def around(write):
    """A kernel between two Transposes that undo each other."""
    return lambda d: d.node("Tanh", turn(d, write(d, turn(d, image(d), *LAST)), *FIRST))


def shared(d):
    y = turn(d, image(d), *LAST)
    return turn(d, d.node("Add", y, d.weight(3)), *FIRST), d.node("Neg", y)


def silu(d, x):
    return d.node("Mul", x, d.node("Sigmoid", x))


TURNED = {
    "a bias": around(lambda d, x: d.node("Add", x, d.weight(3))),
    "a bias first": around(lambda d, x: d.node("Sub", d.weight(3), x)),
    "a number": around(lambda d, x: d.node("Mul", x, d.const(2.0))),
    "a number with an axis": around(lambda d, x: d.node("Mul", x, d.const([2.0]))),
    "a map of constants": around(lambda d, x: d.node("Mul", x, d.weight(8, 8, 3))),
    "two in a row": around(lambda d, x: d.node("Tanh", d.node("Erf", x))),
    "a clip": around(lambda d, x: d.node("Clip", x, d.const(0.0), d.const(6.0))),
    "slopes": around(lambda d, x: d.node("PRelu", x, d.weight(3))),
    "a gate": around(silu),
    "softmax": around(lambda d, x: d.node("Softmax", x, axis=3)),
    "another that is plain": around(lambda d, x: d.node("Add", x, d.feed(1, 8, 8, 3))),
    "another that is turned": around(
        lambda d, x: d.node("Max", x, turn(d, image(d, "Neg"), *LAST))
    ),
    "joined channels": around(
        lambda d, x: d.node("Concat", x, turn(d, image(d, "Neg"), *LAST), axis=3)
    ),
    "nothing behind": lambda d: d.node("Neg", turn(d, image(d), *LAST)),
    "two of them, nothing behind": lambda d: d.node(
        "Add", turn(d, image(d), *LAST), turn(d, image(d, "Neg"), *LAST)
    ),
    "another reader": shared,
    "a mean that keeps axes": lambda d: d.node("ReduceMean", turn(d, image(d), *LAST), axes=[1, 2]),
    "a mean that drops axes": lambda d: d.node(
        "ReduceMean", turn(d, image(d), *LAST), axes=[1, 2], keepdims=0
    ),
    "a sum over the last axis": lambda d: d.node(
        "ReduceSum", turn(d, image(d), *LAST), d.ints(3), keepdims=0
    ),
    "padding": around(lambda d, x: d.node("Pad", x, d.ints(0, 1, 1, 0, 0, 2, 2, 0))),
    "parts": lambda d: turn(
        d, d.node("Split", turn(d, image(d), *LAST), d.ints(4, 4), axis=1, writes=2), *FIRST
    ),
}


@pytest.mark.parametrize("case", TURNED)
def test_transposes_go_behind_what_does_not_care(tmp_path, case):
    draft = Draft(17)
    found = TURNED[case](draft)
    outputs = found if isinstance(found, tuple) else (found,)
    assert differences(tmp_path, draft, *outputs) == ([], [])


def fed_product(d, first=(5, 6), second=(6, 4)):
    return d.node("MatMul", d.feed(*first), d.feed(*second))


def stored_product(d, first=(5, 6)):
    return d.node("MatMul", d.feed(*first), d.weight(first[-1], 4))


def swapped(d, x):
    return turn(d, x, 1, 0)


def attention(d, scale):
    scores = d.node("MatMul", rows(d, "Sigmoid"), turn(d, rows(d), 0, 2, 1))
    return d.node("Softmax", scale(d, scores), axis=2)


def shared_factor(d):
    x = rows(d)
    y = turn(d, x, 0, 2, 1)
    return d.node("MatMul", d.node("Exp", x), y), d.node("Relu", y)


def shared_number(d):
    x = d.node("Mul", d.feed(1, 7, 8), d.const(0.5))
    return d.node("MatMul", x, d.weight(8, 4)), d.node("Tanh", x)


PRODUCTS = {
    "fed and fed, a bias": lambda d: d.node("Add", fed_product(d), d.weight(4)),
    "fed and fed, a fed bias": lambda d: d.node("Add", fed_product(d), d.feed(4)),
    "a bias first": lambda d: d.node("Add", d.weight(4), fed_product(d)),
    "three axes, a bias": lambda d: d.node("Add", fed_product(d, (2, 5, 6)), d.weight(4)),
    "stored first, a bias": lambda d: d.node(
        "Add", d.node("MatMul", d.weight(5, 6), d.feed(6, 4)), d.weight(4)
    ),
    "stored first, three axes": lambda d: d.node(
        "Add", d.node("MatMul", d.weight(5, 6), d.feed(2, 6, 4)), d.weight(4)
    ),
    "a fed map of biases": lambda d: d.node("Add", stored_product(d), d.feed(5, 4)),
    "a column of biases": lambda d: d.node("Add", stored_product(d), d.weight(5, 1)),
    "one number": lambda d: d.node("Add", stored_product(d), d.const(1.0)),
    "three of one input": lambda d: tuple(
        d.node("Add", d.node("MatMul", x, d.weight(8, 4)), d.weight(4)) for x in [rows(d)] * 3
    ),
    "a Gemm of a turned factor": lambda d: d.node(
        "Gemm", swapped(d, rows(d, "Exp", 6, 5)), d.weight(6, 4)
    ),
    "a Gemm of a second one": lambda d: d.node(
        "Gemm", rows(d, "Exp", 5, 6), swapped(d, d.feed(4, 6)), d.weight(4)
    ),
    "a turned Gemm": lambda d: swapped(d, d.node("Gemm", d.feed(5, 6), d.weight(6, 4))),
    "a turned Gemm with a bias": lambda d: swapped(
        d, d.node("Gemm", d.feed(5, 6), d.weight(6, 4), d.weight(4))
    ),
    "a Gemm and a Sum": lambda d: d.node(
        "Sum", d.node("Gemm", d.feed(5, 6), d.weight(6, 4)), d.weight(4)
    ),
    "a Gemm and a fed Sum": lambda d: d.node(
        "Sum", d.node("Gemm", d.feed(5, 6), d.weight(6, 4)), d.feed(5, 4)
    ),
    "a turned first factor": lambda d: d.node(
        "MatMul", turn(d, d.feed(1, 7, 8), 0, 2, 1), d.weight(7, 4)
    ),
    "a turned second factor": lambda d: d.node(
        "MatMul", d.weight(4, 5), swapped(d, rows(d, "Exp", 6, 5))
    ),
    "turned across the batch": lambda d: d.node(
        "MatMul", turn(d, rows(d, "Exp", 6, 2, 5), 1, 2, 0), d.feed(2, 6, 3)
    ),
    "heads": lambda d: d.node(
        "MatMul", turn(d, rows(d, "Exp", 1, 7, 2, 8), 0, 2, 1, 3),
        turn(d, rows(d, "Tanh", 1, 7, 2, 8), 0, 2, 3, 1)),
    "a turned factor with another reader": shared_factor,
    "scores that are multiplied": lambda d: attention(
        d, lambda d, x: d.node("Mul", x, d.const(0.3))
    ),
    "scores that are divided": lambda d: attention(d, lambda d, x: d.node("Div", x, d.const(0.3))),
    "a multiplied factor": lambda d: d.node(
        "MatMul", d.node("Mul", d.const([0.3]), d.feed(1, 7, 8)), d.weight(8, 4)
    ),
    "a multiplied factor with another reader": shared_number,
    "numbers everywhere": lambda d: d.node("Mul", d.node(
        "MatMul", d.node("Mul", d.feed(1, 7, 8), d.const(0.5)),
        d.node("Div", d.feed(1, 8, 7), d.const(4.0))), d.const(2.0)),
    "a number behind a bias": lambda d: d.node(
        "Mul", d.node("Add", stored_product(d), d.weight(4)), d.const(2.0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_take_in_transposes_sums_and_numbers(tmp_path, case):
    draft = Draft(17)
    found = PRODUCTS[case](draft)
    outputs = found if isinstance(found, tuple) else (found,)
    assert differences(tmp_path, draft, *outputs) == ([], [])


def normed(d, x, width=16, **more):
    return d.node("LayerNormalization", x, d.weight(width), d.weight(width), **more)


def gelu(d, x, half_first):
    error = d.node("Erf", d.node("Div", x, d.const(1.4142135)))
    plus, half = d.node("Add", error, d.const(1.0)), d.const(0.5)
    if half_first:
        return d.node("Mul", d.node("Mul", x, half), plus)
    return d.node("Mul", d.node("Mul", x, plus), half)


def biased_sum(d):
    x = d.feed(1, 7, 16)
    y = d.node("Add", d.node("Tanh", x), d.weight(16))
    return normed(d, d.node("Add", x, y), axis=-1)


def residual(d, *shape, **more):
    x = d.feed(*(shape or (1, 7, 16)))
    return normed(d, d.node("Add", x, d.node("Tanh", x)), **more)


def kept_sum(d):
    x = d.feed(1, 7, 16)
    total = d.node("Add", x, d.node("Tanh", x))
    return normed(d, total, axis=-1), d.node("Neg", total)


def no_offset(d):
    x = d.feed(1, 7, 16)
    return d.node("LayerNormalization", d.node("Add", x, d.node("Tanh", x)), d.weight(16), axis=-1)


PARTS = {
    "a sum": lambda d: residual(d, axis=-1),
    "a sum, the axis counted from the front": lambda d: residual(d, axis=2, epsilon=1e-3),
    "a sum over two axes": lambda d: normed(d, residual(d, axis=-1), axis=-1),
    "a sum of two axes": lambda d: residual(d, 7, 16, axis=-1),
    "a sum of four axes": lambda d: residual(d, 1, 2, 7, 16, axis=-1),
    "a sum with a bias": biased_sum,
    "a sum that is kept": kept_sum,
    "no offset": no_offset,
    "GELU": lambda d: d.node("Tanh", gelu(d, rows(d, "Exp"), half_first=False)),
    "GELU, half first": lambda d: d.node("Tanh", gelu(d, rows(d, "Exp"), half_first=True)),
    "GELU with a bias": lambda d: gelu(
        d, d.node("Add", rows(d, "Exp"), d.weight(8)), half_first=False
    ),
    "GELU behind a product with a bias": lambda d: gelu(
        d, d.node("Add", stored_product(d, (1, 7, 8)), d.weight(4)), half_first=False
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_of_a_transformer_are_one_kernel(tmp_path, case):
    draft = Draft(17)
    found = PARTS[case](draft)
    outputs = found if isinstance(found, tuple) else (found,)
    assert differences(tmp_path, draft, *outputs) == ([], [])


def test_an_upsample_of_operator_set_7_stays_plain(tmp_path):
    draft = Draft(7)
    x = draft.conv(draft.feed(1, 3, 5, 5), 3, 8)
    y = draft.node("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")
    assert differences(tmp_path, draft, draft.conv(y, 8, 2)) == ([], [])


class Orders:
    """A random graph of what Transposes may pass, three or four axes, one batch or two."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.draft = Draft(17, seed)
        rank = self.random.choice([3, 4])
        shape = (self.random.choice([1, 2]), *self.random.sample([2, 3, 4, 5], rank - 1))
        self.live = [(self.draft.node("Exp", self.draft.feed(*shape)), shape)]
        for _ in range(self.random.randint(3, 9)):
            name, shape = self.random.choice(self.live[-2:])
            step = self.random.choice(
                [self.turn, self.turn, self.act, self.scale, self.join, self.join]
            )
            step(name, shape)

    def turn(self, name, shape):
        order = [0, *self.random.sample(range(1, len(shape)), len(shape) - 1)]
        if order != sorted(order):
            self.live.append((turn(self.draft, name, *order), tuple(shape[i] for i in order)))

    def act(self, name, shape):
        kind = self.random.choice(["Tanh", "Neg", "Sigmoid", "Sqrt"])
        self.live.append((self.draft.node(kind, name), shape))

    def scale(self, name, shape):
        sizes = self.random.choice(
            [(), shape[-1:], shape[1:], (shape[1], *(1,) * (len(shape) - 2))]
        )
        self.live.append((self.draft.node("Add", name, self.draft.weight(*sizes)), shape))

    def join(self, name, shape):
        other = self.random.choice([t for t in self.live if t[1] == shape])[0]
        self.live.append((self.draft.node("Sub", name, other), shape))

    def outputs(self):
        read = {name for node in self.draft.nodes for name in node.input}
        return [name for name, _ in self.live if name not in read]


#: Graphs in which the runtime leaves a Transpose elsewhere: several readers each gain by moving it,
#: and which of them it asks first is not modelled; of seed 98 it executes one difference more.
OTHERWISE = frozenset({75, 96, 98})


@pytest.mark.parametrize("start", range(0, 100, 25))
def test_random_orders_are_anticipated_exactly(tmp_path, start):
    wrong = set()
    for seed in range(start, start + 25):
        net = Orders(seed)
        if differences(tmp_path, net.draft, *net.outputs(), covered=False) != ([], []):
            wrong.add(seed)
    assert wrong == OTHERWISE & set(range(start, start + 25))


def test_other_runtimes_do_not_see_what_only_these_rules_ask(tmp_path):
    draft = Draft(17)
    y = draft.node("Mul", draft.conv(draft.feed(1, 3, 8, 8), 3, 4), draft.const(2.0))
    written = read_onnx(draft.case("case", y).save(tmp_path))
    assert any("number" in dict(op.attributes) for op in written.ops)
    for runtime in ("litert", "onnxruntime", "openvino", "xla"):
        foreseen = anticipate(written, Device(name="board", runtime=runtime, isa="avx2"))
        assert not any("number" in dict(op.attributes) for op in foreseen.ops)
