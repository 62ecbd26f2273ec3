"""Changes since a baseline: what is noise, what the machine's pace, and what a slower network."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from costmodel.baseline import Change, Hour, Level, changes, read_baseline, require_device
from costmodel.errors import InvalidInputError

DEVICE = "board, fake, float32, 1 thread"
ROUNDS = 12


def hour(draw: random.Random, networks: dict[str, float], *, pace: float = 1.0) -> Hour:
    """Networks and 13 witnesses timed in one hour.

    Every thing has 1 % of luck of its own in an hour, and each round is disturbed by 2 % on
    average.
    """

    def level(truth: float) -> float:
        return truth * pace * math.exp(draw.gauss(0.0, 0.01))

    def rounds(truth: float) -> list[float]:
        own = level(truth)
        return [own * (1.0 + draw.expovariate(50.0)) for _ in range(ROUNDS)]

    return Hour(
        device=DEVICE,
        networks={name: rounds(truth) for name, truth in networks.items()},
        witnesses={f"w{number}": Level.of(rounds(1.0 + number)) for number in range(13)},
    )


def steady(*times_ms: float) -> dict[str, Level]:
    """Witnesses whose rounds do not scatter."""
    return {f"w{place}": Level(ms=ms, noise=0.0) for place, ms in enumerate(times_ms)}


def found_slower(seed: int, factor: float, *, pace: float = 1.0) -> list[str]:
    draw = random.Random(seed)
    before = hour(draw, {"a": 3.0, "b": 5.0})
    now = hour(draw, {"a": 3.0 * factor, "b": 5.0}, pace=pace)
    return [name for name, change in changes(before, now).items() if change.slower]


@pytest.mark.parametrize("pace", [1.0, 1.3, 0.8])
def test_a_slower_network_is_told_from_noise_and_from_a_slower_machine(pace: float) -> None:
    unchanged = [found_slower(seed, 1.0, pace=pace) for seed in range(100)]
    assert sum(map(len, unchanged)) <= 2
    tenth = [found_slower(seed, 1.1, pace=pace) for seed in range(100)]
    assert sum(slower == ["a"] for slower in tenth) >= 95


def test_what_is_certain_but_small_is_no_alarm() -> None:
    before = Hour(device=DEVICE, networks={"a": [2.0] * 9}, witnesses=steady(*[1.0] * 9))
    now = Hour(device=DEVICE, networks={"a": [2.06] * 9}, witnesses=before.witnesses)
    (change,) = changes(before, now).values()
    assert change.slowdown == pytest.approx(0.03)
    assert change.statistic > change.critical
    assert not change.slower
    (strict,) = changes(before, now, limit=0.02).values()
    assert strict.slower
    assert strict.to_json()["slower"] is True


def test_what_is_large_but_uncertain_is_no_alarm() -> None:
    scattered = steady(*(1.0 + 0.3 * (number % 3) for number in range(9)))
    before = Hour(device=DEVICE, networks={"a": [2.0] * 9}, witnesses=steady(*[1.0] * 9))
    now = Hour(device=DEVICE, networks={"a": [3.0] * 9}, witnesses=scattered)
    (change,) = changes(before, now).values()
    assert (change.slowdown > change.limit, change.slower) == (True, False)


def test_witnesses_whose_own_rounds_scatter_hardly_count() -> None:
    calm = steady(*[1.0] * 9)
    wild = {f"x{place}": Level(ms=1.0 + 0.1 * place, noise=0.3) for place in range(9)}
    before = Hour(device=DEVICE, networks={"a": [2.0] * 9}, witnesses=calm | steady_as(wild))
    now = Hour(device=DEVICE, networks={"a": [2.2] * 9}, witnesses=calm | wild)
    (change,) = changes(before, now).values()
    assert (change.witnesses, change.slower) == (18, True)
    assert change.drift == pytest.approx(1.0, abs=1e-3)
    assert change.noise < 0.01


def test_a_witness_that_changed_by_itself_moves_nothing() -> None:
    calm = steady(*[1.0] * 9)
    before = Hour(device=DEVICE, networks={"a": [2.0] * 9}, witnesses=calm)
    one = Hour(
        device=DEVICE, networks={"a": [2.2] * 9}, witnesses=calm | {"w3": Level(ms=2.0, noise=0.0)}
    )
    (change,) = changes(before, one).values()
    assert change.slower
    assert change.drift == pytest.approx(1.0, abs=0.005)


def test_errors_are_as_much_larger_as_those_of_witnesses_turn_out_to_be() -> None:
    """Hours apart, each thing is four of its standard errors off."""
    draw = random.Random(3)
    truths = {f"w{number}": 0.002 * (1 + number) for number in range(9)}
    before = {name: Level(ms=1.0, noise=noise) for name, noise in truths.items()}
    now = {
        name: Level(ms=math.exp(draw.gauss(0.0, 4.0 * noise)), noise=noise)
        for name, noise in truths.items()
    }
    rounds = [2.0 * math.exp(0.02 * draw.gauss(0.0, 1.0)) for _ in range(12)]
    (change,) = changes(
        Hour(device=DEVICE, networks={"a": rounds}, witnesses=before),
        Hour(device=DEVICE, networks={"a": rounds}, witnesses=now),
    ).values()
    own = math.hypot(Level.of(rounds).noise, Level.of(rounds).noise, 0.005)
    assert 1.5 * own < change.noise < 4.0 * own


def steady_as(wild: dict[str, Level]) -> dict[str, Level]:
    return {name: Level(ms=1.0, noise=0.3) for name in wild}


def test_without_witnesses_the_other_networks_stand_for_them() -> None:
    draw = random.Random(1)
    truth = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    before, now = hour(draw, truth), hour(draw, truth | {"b": 3.0}, pace=1.5)
    found = changes(
        Hour(device=DEVICE, networks=before.networks, witnesses={}),
        Hour(device=DEVICE, networks=now.networks, witnesses=now.witnesses),
    )
    assert {name: change.witnesses for name, change in found.items()} == dict.fromkeys(truth, 3)
    assert found["b"].drift == pytest.approx(1.5, rel=0.1)
    few = Hour(device=DEVICE, networks={"a": before.networks["a"]}, witnesses={})
    with pytest.raises(InvalidInputError, match="a slower network from a slower machine"):
        changes(few, now)


def test_networks_that_only_one_hour_has_are_not_judged() -> None:
    draw = random.Random(2)
    before, now = hour(draw, {"a": 1.0, "old": 1.0}), hour(draw, {"a": 1.0, "new": 1.0})
    assert set(changes(before, now)) == {"a"}
    with pytest.raises(InvalidInputError, match=r"holds old.*now \(new\)"):
        changes(
            Hour(device=DEVICE, networks={"old": [1.0]}, witnesses={}),
            Hour(device=DEVICE, networks={"new": [1.0]}, witnesses={}),
        )


def line(**more: object) -> dict[str, object]:
    return {"model": "a", "measured_on": DEVICE, "rounds_ms": [1.0, 1.1], **more}


def test_a_baseline_is_read_from_the_output_of_compare(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    told = {"w": {"ms": 2.0, "noise": 0.01}}
    lines = [line(witnesses=told), line(model="untimed", rounds_ms=[])]
    path.write_text(json.dumps(lines))
    found = read_baseline(path)
    level = Level(ms=2.0, noise=0.01)
    assert found == Hour(device=DEVICE, networks={"a": (1.0, 1.1)}, witnesses={"w": level})
    require_device(found, DEVICE)
    with pytest.raises(InvalidInputError, match=r"measured on 'board.*this is 'another"):
        require_device(found, "another")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no output of"),
        ('{"model": "a"}', "no output of"),
        (json.dumps([{"model": "a"}]), "measured_on"),
        (json.dumps([line(rounds_ms=[])]), "no network with 'rounds_ms'"),
        (json.dumps([line(), line()]), "two networks of the name 'a'"),
        (json.dumps([line(rounds_ms=[0.0])]), "rounds_ms"),
        # Quotients of such numbers would be more than a number holds.
        (json.dumps([line(rounds_ms=[1e-300])]), "rounds_ms"),
        (json.dumps([line(rounds_ms=[1e300])]), "rounds_ms"),
        (json.dumps([line(witnesses={"w": {"ms": 1e-300, "noise": 0.0}})]), "witnesses"),
        (json.dumps([line(witnesses={"w": {"ms": -1.0, "noise": 0.0}})]), "witnesses"),
    ],
)
def test_a_file_that_is_no_baseline_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"old\.json") as error:
        read_baseline(path)
    assert says in str(error.value)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_baseline(tmp_path / "absent.json")


def test_a_change_is_slower_only_beyond_both_limits() -> None:
    def change(slowdown: float, statistic: float) -> Change:
        return Change(
            before_ms=1.0, now_ms=1.0, drift=1.0, slowdown=slowdown, noise=0.01,
            statistic=statistic, critical=3.0, limit=0.05, witnesses=13,
        )  # fmt: skip

    told = {(s, t): change(s, t).slower for s in (0.04, 0.06) for t in (2.0, 4.0)}
    assert [key for key, slower in told.items() if slower] == [(0.06, 4.0)]
