"""Addresses and arguments: nothing a user writes reaches a shell, or ssh's options, unquoted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ssh_server import SshServer

from costmodel.errors import InvalidInputError, RemoteError
from costmodel.remote.ssh import SshTransport, parse_address

WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
WORDS = st.lists(WORD, max_size=5)
ODD = (
    "",
    " ",
    "-n",
    "$HOME",
    "$(id)",
    "`id`",
    "';id",
    '"',
    "\\",
    "a\nb",
    "*",
    "~",
    "!!",
    "#",
    "%s",
    "é",
)


@pytest.mark.parametrize(
    ("text", "destination", "port"),
    [
        ("ssh://board", "board", ""),
        ("ssh://pi" + "@board.local:2222", "pi@board.local", "2222"),
        ("ssh://pi" + "@[fe80::1%eth0]:22", "pi@fe80::1%eth0", "22"),
        ("ssh://10.0.0.7", "10.0.0.7", ""),
        ("ssh://first.last" + "@my_board-2", "first.last@my_board-2", ""),
    ],
)
def test_addresses_are_taken_apart(text: str, destination: str, port: str) -> None:
    address = parse_address(text)
    assert (address.destination, address.port) == (destination, port)


@pytest.mark.parametrize(
    "rest",
    [
        "", "-oProxyCommand=x", "pi" + "@-oProxyCommand=x", "-l" + "@board", "@board", "pi@",
        "board:", "board:0", "board:65536", "board:2x", "board:٣", "a b", "a;b", "$(x)", "`x`",
        "board/path", "pi:secret" + "@board", "[::1", "a\nb", "board%h", "'x'", "x\0",
    ],
)  # fmt: skip
def test_addresses_that_could_be_misread_are_refused(rest: str) -> None:
    with pytest.raises(InvalidInputError, match="is no address of a board"):
        parse_address(f"ssh://{rest}")


@given(st.text(max_size=40))
def test_no_address_becomes_an_option_or_a_second_word(rest: str) -> None:
    try:
        transport = SshTransport(f"ssh://{rest}", ssh="true")
    except InvalidInputError:
        return
    arguments = transport.arguments(["echo", "x"])
    place = arguments.index("--")
    assert len(arguments) == place + 3
    destination = arguments[place + 1]
    assert not destination.startswith("-")
    assert shlex.split(destination) == [destination] or "\\" in destination
    assert not set(destination) & set(" \t\n;&|<>$`'\"*?(){}!#~\0")
    transport.close()


@given(WORDS)
def test_every_word_of_a_command_is_quoted(words: list[str]) -> None:
    transport = SshTransport("ssh://board", ssh="true")
    assert shlex.split(transport.arguments(["program", *words])[-1]) == ["program", *words]
    transport.close()


def test_every_word_of_a_command_arrives(board: SshServer) -> None:
    transport = SshTransport(board.address, **board.reach)

    @settings(max_examples=6, deadline=None)
    @given(st.lists(st.sampled_from(ODD) | WORD, min_size=10, max_size=40))
    def arrives(words: list[str]) -> None:
        found = transport.run(["sh", "-c", 'for w; do printf "%s\\0" "$w"; done', "sh", *words])
        assert found.out == b"".join(word.encode() + b"\0" for word in words)

    try:
        arrives()
    finally:
        transport.close()


def test_files_arrive_whole_under_any_name(board: SshServer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 5000)
    target = tmp_path / "a $(touch b) 'c' \"d\"\n-e"
    transport = SshTransport(board.address, **board.reach)
    try:
        transport.put(source, str(target))
        assert target.read_bytes() == source.read_bytes()
        with pytest.raises(RemoteError, match=r"cannot be written there: .*folder=PATH"):
            transport.put(source, "/dev/null/x")
    finally:
        transport.close()
    assert {path.name for path in tmp_path.iterdir()} >= {"source", target.name}
    assert not (tmp_path / "b").exists()


def test_host_keys_are_checked_whatever_the_options(tmp_path: Path) -> None:
    for name in ("identity", "ssh_config", "known_hosts"):
        (tmp_path / name).touch()
    files = {name: str(tmp_path / name) for name in ("identity", "ssh_config", "known_hosts")}
    transport = SshTransport("ssh://board", ssh="true", port=2222, **files)
    arguments = transport.arguments(["true"])
    transport.close()
    assert not any("StrictHostKeyChecking" in item for item in arguments)
    assert {"BatchMode=yes", "IdentitiesOnly=yes"} <= set(arguments)
    assert f'UserKnownHostsFile="{tmp_path}/known_hosts"' in arguments
    control = next(item for item in arguments if item.startswith("ControlPath="))
    assert not Path(control.partition("=")[2]).parent.exists(), "gone when the transport is closed"


def test_the_shared_connection_lies_where_nobody_else_gets_in() -> None:
    transport = SshTransport("ssh://board", ssh="true")
    control = next(i for i in transport.arguments(["true"]) if i.startswith("ControlPath="))
    folder = Path(control.partition("=")[2]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    transport.close()


def test_a_file_whose_name_would_confuse_ssh_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / 'a"b'
    odd.touch()
    with pytest.raises(InvalidInputError, match="confuse ssh"):
        SshTransport("ssh://board", ssh="true", identity=str(odd))


def test_a_missing_client_says_what_to_install() -> None:
    with pytest.raises(RemoteError, match=r"'no-such-ssh' was not found.*openssh-client"):
        SshTransport("ssh://board", ssh="no-such-ssh")
