"""Builds what is published, installs it into an empty environment, and does all that is promised.

    python scripts/try_wheel.py          # every example of every --help, README.md and docs/*.md
    python scripts/try_wheel.py --fast   # what takes seconds, with the packages of this Python

Everything happens in a folder outside the checkout. The sdist is built first and the wheel from it;
their metadata are checked as a publisher would. Small networks with the names that the examples
use are made on the spot. Budgets are shortened; nothing else of a command is changed. What cannot
be done here is listed in ``NOT_HERE`` with its reason, and said.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from documented import (
    FIRST,
    PROGRAMS,
    Example,
    help_examples,
    page_examples,
    section,
    shortened_snippet,
    verbs,
)
from installed import ROOT, Environment, build, install, profiles

KIT = Path(__file__).with_name("wheel_kit.py")
#: For a profile that a help text shows. A page's next examples need its table to be complete.
BUDGET = "12s"
#: Verbs that time, and can be told to do it only twice.
TIMERS = frozenset({"profile", "compare", "explain", "train", "shrink", "align", "plan"})
#: Options that name what a verb writes.
MAKERS = frozenset({"--out", "-o", "--plot", "--html", "--onnx", ">"})
#: What is asked for of a network's own latency where an example asks for milliseconds.
SHARE = {"train": 0.6, "shrink": 0.6, "expand": 1.5}
#: Programs of the system that pages use beside ours.
OTHERS = frozenset({"cp"})
#: Verbs whose exit code 1 is a finding, which chance or a short budget may bring about.
FINDERS = frozenset({"profile", "check", "compare", "explain", "align"})

#: Examples that cannot be run here: how to know them, and why. Each must exist.
NOT_HERE: Mapping[str, str] = {
    r"ssh://": "needs a board; tests/costmodel/remote run it against a server of their own",
    r"adb://": "needs a phone; tests/costmodel/remote run it against a stand-in for one",
    r"^scripts/": "is for a checkout; scripts/bench/fresh_clone.py runs it in one",
    r"^python scripts/": "is for a checkout, and takes Debian's packages or hours",
    r"^pytest ": "is for a checkout",
    r"^model-explorer ": "serves until it is stopped; tests/costmodel/viewers look at its page",
    r"^pip install ": "is how this environment was made, from the wheel",
}
#: The same for snippets of Python.
SNIPPETS_NOT_HERE: Mapping[str, str] = {
    r"(?m)^import torch$": "needs PyTorch; tests/costmodel/readers/test_torch.py does the same",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one example.

    Attributes:
        example: as documented.
        ran: the command as it was run, if it was.
        seconds: how long it took.
        problem: why it failed; empty if it did not.
        left_out: why it was not run; empty if it was.
    """

    example: Example
    ran: str = ""
    seconds: float = 0.0
    problem: str = ""
    left_out: str = ""

    def __str__(self) -> str:
        what = f"{self.example.source}: {self.example}"
        if self.left_out:
            return f"left out: {what}: {self.left_out}"
        if self.problem:
            return f"FAILED: {what}\n  {self.ran}\n  {self.problem}"
        return f"{self.seconds:6.1f} s  {what}"


def documented(environment: Environment, *, fast: bool) -> list[list[Example]]:
    """All examples, in groups each of which one reader would follow in one folder."""
    groups: list[list[Example]] = []
    for program in PROGRAMS:
        text = environment.run(f"{program} --help", environment.home).stdout
        groups += [[example] for example in help_examples(f"{program} --help", text)]
        for verb in verbs(text):
            source = f"{program} {verb} --help"
            found = help_examples(source, environment.run(source, environment.home).stdout)
            if not found:
                groups.append([Example(source, "command", f"{source}  # shows no example")])
            groups += [[example] for example in found]
    if fast:
        return [[example] for example in {group[0].text: group[0] for group in groups}.values()]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        name = page.relative_to(ROOT).as_posix()
        text = page.read_text(encoding="utf-8")
        if name == "README.md":  # its first steps begin with nothing
            first = section(text, FIRST)
            groups.append(page_examples(FIRST, f"\n{first}"))
            text = text.replace(first, "")
        groups.append(page_examples(name, text))
    return groups


def make_kit(environment: Environment, *, fast: bool) -> Path:
    """The files that examples of the help texts name, among them a table of this processor.

    Raises:
        RuntimeError: if one cannot be made.
    """
    kit = environment.home / "kit"
    kit.mkdir()
    samples = 16 if fast else 80  # so many convolutions that some can be held out
    profile = f"profile --threads 1 --samples {samples} --thinned 0 --rounds 2 --out cpu.jsonl"
    compare = "costmodel compare net.onnx other.onnx --table cpu.jsonl --rounds 2"
    commands: list[list[str] | str] = [
        [environment.python, "-I", str(KIT), "networks", *([] if fast else ["keras"])],
        ["costmodel", *profile.split(), "--models", "net.onnx", "other.onnx", "pruned.onnx"],
        [environment.python, "-I", str(KIT), "laptop"],
        "costmodel predict net.onnx --table cpu.jsonl --json > net.json",
        f"{compare} --save-baseline baseline.json --json > all.json",
        "costmodel profile --fleet fleet.toml",
    ]
    for command in commands:
        done = environment.run(command, kit)
        if done.returncode not in {0, 1}:
            message = f"{command}: {done.stderr}"
            raise RuntimeError(message)
    shutil.rmtree(kit / ".tmp")
    return kit


def follow(environment: Environment, group: Sequence[Example], folder: Path) -> list[Outcome]:
    """Do what a group of examples says, one after the other, in a folder of its own."""
    open_sizes = [item.text for item in group if re.search("--(size|shape) ", item.text)]
    if open_sizes:
        environment.run([environment.python, "-I", str(KIT), *open_sizes], folder)
    snippets = [item for item in group if item.kind == "python" and not not_here(item)]
    outcomes = []
    for example in group:
        reason = not_here(example)
        if reason:
            outcomes.append(Outcome(example, left_out=reason))
        elif example.kind == "command":
            outcomes.append(_follow_command(environment, example, folder))
        elif example is snippets[0]:  # one process, because each goes on from those before
            outcomes += _follow_snippets(environment, snippets, folder)
    return outcomes


def not_here(example: Example) -> str:
    """Why an example cannot be run here; empty if it can."""
    reasons = SNIPPETS_NOT_HERE if example.kind == "python" else NOT_HERE
    return next((why for what, why in reasons.items() if re.search(what, example.text)), "")


def shortened(example: Example) -> str:
    """An example's command with less to spend: rounds, epochs, and in a help text the budget."""
    command = example.text
    verb = shlex.split(command)[1]
    if verb == "profile" and "--fleet" in command:
        return command  # its file says what is measured
    if verb in TIMERS or " --pace" in command:
        command += " --rounds 2"
    if verb == "profile" and example.source.endswith("--help"):
        command = re.sub(r" --budget \S+", "", command) + f" --budget {BUDGET}"
    if verb == "train":
        command += " --search-epochs 1 --finish-epochs 1"
    return command


def _follow_command(environment: Environment, example: Example, folder: Path) -> Outcome:
    started = time.perf_counter()
    command = shortened(example)
    program, verb, *arguments = shlex.split(command)
    if "--target-ms" in arguments:
        table = arguments[arguments.index("--table") + 1]
        asked = _predicted_ms(environment, arguments[0], table, folder) * SHARE[verb]
        command = re.sub(r"--target-ms \S+", f"--target-ms {asked:.4g}", command)
    done = environment.run(command, folder)
    if program in OTHERS:
        problem = done.stderr.strip() if done.returncode else ""
    elif program in PROGRAMS:
        problem = problem_of(done, verb, arguments, folder)
    else:
        problem = "no such program"
    return Outcome(example, command, time.perf_counter() - started, problem)


def problem_of(
    done: subprocess.CompletedProcess[str], verb: str, arguments: Sequence[str], folder: Path
) -> str:
    """What is wrong with how a command ended; empty if nothing is."""
    found = done.returncode == 1 and verb in FINDERS
    if (done.returncode and not found) or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr.strip()[-1500:]}"
    redirected = arguments[arguments.index(">") + 1] if ">" in arguments else ""
    told = (folder / redirected).read_text(encoding="utf-8") if redirected else done.stdout
    if "--json" in arguments:
        try:
            json.loads(told)
        except ValueError as error:
            return f"its output is not JSON: {error}"
    if not told.strip():
        return f"it printed nothing: {done.stderr.strip()[-1500:]}"
    pairs = itertools.pairwise(arguments)
    made = [value for name, value in pairs if name in MAKERS]
    missing = [name for name in made if not (folder / name).exists()]
    if missing and not (verb == "align" and found):  # which writes nothing where nothing is gained
        return f"it did not write {', '.join(missing)}"
    return ""


def _predicted_ms(environment: Environment, model: str, table: str, folder: Path) -> float:
    done = environment.run(f"costmodel predict {model} --table {table} --json", folder)
    return float(json.loads(done.stdout)["total"])


def _follow_snippets(
    environment: Environment, snippets: Sequence[Example], folder: Path
) -> list[Outcome]:
    started = time.perf_counter()
    script = folder / "page.py"
    # Each tells that it was reached, so that the one that fails is known.
    parts = [
        f"{shortened_snippet(example.text)}\nprint({index!r}, 'is done')\n"
        for index, example in enumerate(snippets)
    ]
    script.write_text("".join(parts), encoding="utf-8")
    done = environment.run([environment.python, "-I", str(script)], folder)
    reached = len(re.findall(r"(?m)^\d+ is done$", done.stdout))
    problem = f"exit code {done.returncode}: {done.stderr.strip()[-1500:]}"
    seconds = (time.perf_counter() - started) / len(snippets)
    return [
        Outcome(example, "python page.py", seconds, "" if index < reached else problem)
        for index, example in enumerate(snippets)
    ]


def follow_all(environment: Environment, *, fast: bool) -> list[Outcome]:
    """Run every documented example; two groups at once."""
    kit = make_kit(environment, fast=fast)
    groups = documented(environment, fast=fast)

    def one(numbered: tuple[int, Sequence[Example]]) -> list[Outcome]:
        number, group = numbered
        if fast and all(slow(example) for example in group):
            reason = "takes long: python scripts/try_wheel.py without --fast"
            return [Outcome(example, left_out=reason) for example in group]
        folder = environment.home / f"follow-{number}"
        if group[0].source == FIRST:
            folder.mkdir()
        else:
            shutil.copytree(kit, folder)
        return follow(environment, group, folder)

    outcomes = []
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(one, enumerate(groups)):
            outcomes += found
            for outcome in found:
                print(outcome, flush=True)
    return outcomes


def slow(example: Example) -> bool:
    """Whether an example imports Keras, chooses hundreds of Ops to profile, or holds rows out."""
    chooses = " profile " in example.text and "--samples 0" not in example.text
    made_by_keras = any(kind in example.text for kind in (".keras", ".tflite", "morphnet sweep"))
    return made_by_keras or " score " in example.text or chooses


def unused_reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """Entries of ``NOT_HERE`` and of that for snippets that no example needs any more."""
    shown = [outcome.example for outcome in outcomes]
    found = []
    for reasons, kind in ((NOT_HERE, "command"), (SNIPPETS_NOT_HERE, "python")):
        texts = [example.text for example in shown if example.kind == kind]
        found += [what for what in reasons if not any(re.search(what, text) for text in texts)]
    return found


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many were run, failed and left out."""
    ran = [outcome for outcome in outcomes if not outcome.left_out]
    failed = [outcome for outcome in ran if outcome.problem]
    return f"{len(ran)} run, {len(failed)} failed, {len(outcomes) - len(ran)} left out"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying a wheel.

    Attributes:
        listed: names of the profiles that it lists.
        there: names of the checkout's.
        outcomes: of every documented example.
        unused: entries of ``NOT_HERE`` that are documented nowhere.
    """

    listed: frozenset[str]
    there: frozenset[str]
    outcomes: tuple[Outcome, ...]
    unused: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is as promised."""
        failed = any(outcome.problem for outcome in self.outcomes)
        return not failed and not self.unused and self.listed == self.there

    def __str__(self) -> str:
        lines = [f"NOT_HERE names what is documented nowhere: {what}" for what in self.unused]
        listed = f"{len(self.listed & self.there)} of {len(self.there)} profiles listed"
        return "\n".join([*lines, f"{summary(self.outcomes)}; {listed}"])


def attempt(*, fast: bool) -> Attempt:
    """Build, install and follow, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        home = Path(name).resolve()
        environment = install(build(home).wheel, home, fast=fast)
        listed, there = profiles(environment)
        outcomes = follow_all(environment, fast=fast)
    unused = () if fast else tuple(unused_reasons(outcomes))
    return Attempt(frozenset(listed), frozenset(there), tuple(outcomes), unused)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="only what takes seconds")
    found = attempt(fast=parser.parse_args().fast)
    print(found)
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
