"""What the pages promise: code that runs, commands that parse, links that lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from costmodel.cli import app as costmodel_app
from costmodel.clocking import DEFAULT_PLAN
from costmodel.errors import DISTRIBUTION
from costmodel.registry import runner_names
from costmodel.shipped import shipped_profiles
from costmodel.uses import comparing
from morphnet_core.cli import app as morphnet_app
from morphnet_core.structure import Structure

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from documented import (  # noqa: E402
    FIRST,
    PROGRAMS,
    help_examples,
    page_examples,
    section,
    shortened_snippet,
)
from site_pages import MODULES as STABLE  # noqa: E402
from site_pages import undocumented  # noqa: E402
from wheel_kit import make_onnx  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "profiles")
    for path in folder.glob("**/*.md")
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
)
SHOWN = page_examples("README.md", README)
#: What README.md begins with, in an empty folder.
FIRST_STEPS = page_examples(FIRST, "\n" + section(README, FIRST))
SNIPPETS = [
    example.text
    for example in SHOWN
    if example.kind == "python" and example.text != FIRST_STEPS[-1].text
]
#: Programs whose commands are parsed, and what those of others are for.
COMMAND = re.compile(rf"({'|'.join(PROGRAMS)}) ")
LINES = [example.text for example in SHOWN if COMMAND.match(example.text)]
#: The same of the other pages that readers follow.
MORE_LINES = [
    example.text.partition(" > ")[0]
    for page in sorted((ROOT / "docs").glob("*.md"))
    for example in page_examples(page.name, page.read_text(encoding="utf-8"))
    if COMMAND.match(example.text)
]
#: What a step reads or writes, by its name.
FILE = re.compile(r"(?<![\w./-])[\w-]+\.(?:onnx|keras|jsonl|csv|py)(?![\w/])")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: Chosen beside the networks' own: so that every kind of kernel of the README's network has a row.
ROWS = 16


APPS = {"costmodel": costmodel_app, "morphnet": morphnet_app}
COMMANDS: dict[str, Any] = {name: typer.main.get_command(app) for name, app in APPS.items()}


def parse(line: str) -> Any:
    """The verb's values of a command line, which is parsed but not run."""
    program, verb, *arguments = shlex.split(line, comments=True)
    group = COMMANDS[program]
    root = group.make_context(program, [verb, *arguments], resilient_parsing=True)
    command = group.get_command(root, verb)
    assert command is not None, f"there is no verb {verb}"
    return command.make_context(verb, arguments, parent=root).params


@cache
def help_text(program: str, *verb: str) -> str:
    done = CliRunner().invoke(APPS[program], [*verb, "--help"], prog_name=program)
    assert done.exit_code == 0, done.output
    return done.output


def examples(text: str) -> list[str]:
    return [example.text for example in help_examples("--help", text)]


VERBS = [(program, verb) for program, group in COMMANDS.items() for verb in group.commands]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the networks and the table that the README's code reads, measured here."""
    folder = tmp_path_factory.mktemp("readme")
    make_onnx(folder)
    command = [sys.executable, "-m", "costmodel", "profile", "--samples", str(ROWS)]
    command += ["--thinned", "0", "--rounds", "2", "--out", "cpu.jsonl"]
    command += ["--models", "net.onnx", "other.onnx"]
    # Locks of its own: another test may hold the device's, and no number is judged here.
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, with locks of its own and a clock that looks twice."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    monkeypatch.setattr(comparing, "DEFAULT_PLAN", replace(DEFAULT_PLAN, rounds=2, min_rounds=2))
    return workplace


def follow(snippets: Sequence[str]) -> dict[str, Any]:
    """Run snippets one after the other; what they name."""
    assert len(snippets) > 1
    names: dict[str, Any] = {}
    for snippet in snippets:
        text = shortened_snippet(snippet).replace("budget=", f"samples={ROWS}, rounds=2, budget=")
        exec(compile(text, "README.md", "exec"), names)
    return names


def test_the_readmes_measuring_can_be_followed_in_python(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = follow([text for text in SNIPPETS if "import costmodel" in text])
    assert "predicted" in capsys.readouterr().out
    assert len(names["report"].table.to_frame()) >= ROWS


@pytest.mark.keras
def test_the_readmes_training_can_be_followed_in_python(here: Path) -> None:
    names = follow([text for text in SNIPPETS if "import costmodel" not in text])
    assert 0 < names["smaller"].count_params() <= names["model"].count_params()
    assert Structure.load(here / "structure.json") == names["regularizer"].structure()


def test_the_readmes_uses_are_one_import_and_three_lines() -> None:
    uses = [text for text in SNIPPETS if re.match(r"import \w+ as (cm|mc)\n", text)]
    assert len(uses) == 3
    assert [text for text in uses if len(text.strip().splitlines()) > 5] == []  # one is empty


@pytest.mark.parametrize("line", sorted({*LINES, *MORE_LINES}))
def test_the_pages_commands_parse(line: str) -> None:
    parse(line)
    program, verb = shlex.split(line)[:2]
    for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", line.partition("#")[0]):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_text(program, verb)), option


def test_the_first_steps_are_few_and_none_needs_editing() -> None:
    assert len(FIRST_STEPS) <= 8
    *lines, snippet = [step.text for step in FIRST_STEPS]
    assert lines[0].startswith(f"pip install '{DISTRIBUTION}[")
    verbs = [line.split()[1] for line in lines if COMMAND.match(line)]
    assert verbs[0] == "profile"
    assert "compare" in verbs
    assert "mc.morph(" in snippet
    made: set[str] = set()
    for line in [*lines, snippet]:
        written = {line.split()[-1]} if line.startswith("cp ") else set()
        written |= set(re.findall(r"--out (\S+)", line))
        read = set(FILE.findall(line)) - written
        if not line.startswith("cp "):
            assert read <= made, line
        made |= written


@pytest.mark.keras
def test_the_first_steps_end_in_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a table that is shipped: scripts/try_wheel.py does it with the one that is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = "amd-epyc-family-25-model-17/onnxruntime-float32.jsonl"
    shutil.copy(ROOT / "profiles" / table, tmp_path / "cpu.jsonl")
    snippet = re.sub(r"_epochs=\d+", "_epochs=1", FIRST_STEPS[-1].text)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "round 1: predicted" in capsys.readouterr().out
    assert (tmp_path / "digits" / "model.onnx").is_file()


def test_the_first_network_comes_with_the_onnx_package() -> None:
    import onnx

    copied = next(step.text for step in FIRST_STEPS if step.text.startswith("cp "))
    path = re.search(r"\)/(\S+?)\"", copied)
    assert path is not None
    assert (Path(onnx.__path__[0]) / path[1]).is_file()


def test_the_readme_shows_every_verb_that_measures_or_prices() -> None:
    shown = {shlex.split(line)[1] for line in LINES}
    assert {"profile", "show", "check", "score", "predict", "compare", "explain"} <= shown
    assert {"import", "solve", "report"} <= shown
    assert {"train", "shrink", "expand", "align", "plan"} <= shown


@pytest.mark.parametrize(("program", "verb"), VERBS)
def test_the_examples_of_every_verb_parse(program: str, verb: str) -> None:
    lines = examples(help_text(program, verb))
    assert lines != []
    for line in lines:
        assert line.startswith(f"{program} {verb}")
        parse(line)


@pytest.mark.parametrize("program", COMMANDS)
def test_the_examples_of_the_command_lines_parse(program: str) -> None:
    lines = examples(help_text(program))
    assert len(lines) > 1
    for line in lines:
        parse(line)


def test_a_wrong_option_does_not_parse() -> None:
    with pytest.raises(Exception, match="--loud"):
        parse("costmodel show t.jsonl --loud")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_the_readmes_scripts_exist_and_can_be_run() -> None:
    scripts = set(re.findall(r"(?m)^    (scripts/\w+)", README))
    assert scripts == {"scripts/demo", "scripts/test", "scripts/backends"}
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_the_list_of_shipped_profiles_is_whole() -> None:
    text = (ROOT / "profiles" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[([^\]]+)\]", text, re.MULTILINE)) == set(shipped_profiles())


def test_the_extras_that_pages_name_are_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'(?m)^name = "{DISTRIBUTION}"', text)
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"pip install ['\"]?([\w.-]+)\[([\w,-]+)\]", pages)
    assert {name for name, _ in named} == {DISTRIBUTION, "."}
    extras = {extra for _, some in named for extra in some.split(",")}
    assert {"report", "keras"} <= extras
    assert all(re.search(rf"(?m)^{extra} = \[", text) for extra in extras)


def test_shipped_profiles_named_in_help_exist() -> None:
    helps = [help_text(program, verb) for program, verb in VERBS]
    named = re.findall(r"--table ([\w-]+/[\w-]+)", "\n".join(helps))
    assert len(named) > 1
    assert set(named) <= set(shipped_profiles())


def test_runners_named_in_help_are_registered() -> None:
    named = re.findall(r"--runner (\w+)", "\n".join(examples(help_text("costmodel", "profile"))))
    assert named != []
    assert set(named) <= set(runner_names())


def test_every_test_that_the_feature_table_names_exists() -> None:
    text = (ROOT / "docs" / "morphnet.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*$", text, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 23)]
    named = re.findall(r"`([\w./]+\.py)::(\w+)`", text)
    files = {path: ROOT / "tests" / "morphnet_core" / path for path, _ in named}
    missing = [name for path, name in named if f"def {name}(" not in files[path].read_text("utf-8")]
    assert missing == []


def test_checks_before_a_commit_have_the_pinned_versions() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    named = re.findall(r"\b([\w-]+)==([\w.]+)", text)
    assert named != []
    assert {name: version for name, version in named if pins[name] != version} == {}


def test_the_workflow_runs_scripts_that_there_are() -> None:
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    named = re.findall(r"run: (?:python )?(scripts/\S+)", text)
    tried = {"scripts/try_wheel.py", "scripts/try_versions.py"}
    assert {"scripts/sbom", "scripts/test", "scripts/site", *tried} == set(named)
    assert all((ROOT / name).is_file() for name in named)


def test_the_pages_of_the_stable_names_have_something_to_show() -> None:
    assert [name for module in STABLE for name in undocumented(module)] == []


def test_every_page_is_listed() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {target for target in LINK.findall(text) if "/" not in target} == pages


@pytest.mark.parametrize("folder", ["docs/decisions", "examples"])
def test_lists_of_a_folder_are_whole(folder: str) -> None:
    pages = {path.name for path in (ROOT / folder).glob("*.*") if path.suffix in {".md", ".py"}}
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert {target for target in LINK.findall(text) if "/" not in target} == pages - {"README.md"}
