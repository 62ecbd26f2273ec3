"""The way to Android: the real adb client against a stand-in for a device's daemon."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adb_server import AdbServer, find_adb
from adbd import AdbDaemon
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.errors import LinkLostError, RemoteError
from costmodel.remote.adb import AdbTransport, attached

ADB = find_adb()
pytestmark = pytest.mark.skipif(
    ADB is None, reason="needs the adb client (Debian: apt install adb)"
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    assert ADB
    with AdbServer(ADB, tmp_path_factory.mktemp("adb")) as started:
        yield started


@pytest.fixture
def device(server: AdbServer) -> Iterator[AdbDaemon]:
    with AdbDaemon(os.environ) as started:
        server.connect(started)
        yield started
        server.forget(started)


@pytest.fixture
def transport(server: AdbServer, device: AdbDaemon) -> AdbTransport:
    return reach(server, device.serial)


def reach(server: AdbServer, serial: str) -> AdbTransport:
    return AdbTransport(serial, adb=server.adb, server_port=server.port, environ=server.environ)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_streams_stay_apart_and_bytes_stay_bytes(transport: AdbTransport) -> None:
    data = bytes(range(256)) * 3
    done = transport.run(["sh", "-c", "cat; echo warning >&2"], data=data)
    assert (done.status, done.out, done.err) == (0, data, "warning\n")


@pytest.mark.parametrize("status", [0, 1, 2, 7, 127, 137, 255])
def test_the_exit_status_is_the_command_s(transport: AdbTransport, status: int) -> None:
    assert transport.run(["sh", "-c", f"exit {status}"]).status == status


def test_a_missing_program_is_no_lost_link(transport: AdbTransport) -> None:
    done = transport.run(["no-such-program"])
    assert done.status == 127
    assert "no-such-program" in done.err


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_words_arrive_unchanged(transport: AdbTransport, words: list[str]) -> None:
    done = transport.run(["printf", "%s\\0", *words, "end"])
    assert done.out.decode().split("\0")[:-1] == [*words, "end"]


@pytest.mark.parametrize(
    "word", ["", " ", "a b", "$HOME", "`id`", "$(id)", "'", '"', "\\", "*", "a\nb", ";exit 3", "é"]
)
def test_no_word_is_read_by_the_shell(transport: AdbTransport, word: str) -> None:
    assert transport.run(["printf", "%s", word]).out.decode() == word


def test_a_long_command_talks_both_ways(transport: AdbTransport) -> None:
    transport.run(["true"])
    talk = transport.start(["sh", "-c", "while read -r line; do echo got $line; done; exit 3"])
    assert talk.stdin
    assert talk.stdout
    for word in (b"one", b"two"):
        talk.stdin.write(word + b"\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == b"got " + word + b"\n"
    _, err = talk.communicate(timeout=20)
    assert talk.returncode == 3
    assert transport.explain(3, err.decode()) is None


@pytest.mark.parametrize("status", [0, 1])
def test_a_long_command_that_ends_is_no_lost_link(transport: AdbTransport, status: int) -> None:
    talk = transport.start(["sh", "-c", f"exit {status}"])
    _, err = talk.communicate(timeout=20)
    assert transport.explain(talk.returncode, err.decode()) is None


def test_files_arrive_whole(transport: AdbTransport, tmp_path: Path) -> None:
    source, target = tmp_path / "here", tmp_path / "there it's"
    source.write_bytes(os.urandom(3_000_001))
    transport.put(source, str(target))
    assert target.read_bytes() == source.read_bytes()


def test_a_full_disk_is_named(transport: AdbTransport, device: AdbDaemon, tmp_path: Path) -> None:
    source = tmp_path / "here"
    source.write_bytes(bytes(100_000))
    device.room = 1000
    with pytest.raises(RemoteError, match=r"No space left on device\. Remove files there") as error:
        transport.put(source, str(tmp_path / "there"))
    assert not isinstance(error.value, LinkLostError)


def test_a_folder_that_is_not_there_is_named(transport: AdbTransport, tmp_path: Path) -> None:
    source = tmp_path / "here"
    source.write_bytes(b"x")
    with pytest.raises(RemoteError, match="No such file or directory"):
        transport.put(source, str(tmp_path / "no" / "there"))


def test_a_device_that_vanishes_in_a_command_is_a_lost_link(
    transport: AdbTransport, device: AdbDaemon
) -> None:
    transport.run(["true"])
    threading.Timer(0.3, device.cut).start()
    with pytest.raises(LinkLostError, match="the link broke in the middle of a command"):
        transport.run(["sleep", "20"])


def test_a_device_that_vanishes_in_a_conversation_is_a_lost_link(
    transport: AdbTransport, device: AdbDaemon
) -> None:
    talk = transport.start(["sh", "-c", "echo begun; cat"])
    assert talk.stdout
    assert talk.stdout.readline() == b"begun\n"
    device.cut()
    _, err = talk.communicate(timeout=20)
    assert isinstance(transport.explain(talk.returncode, err.decode()), LinkLostError)


def test_a_device_that_reboots_is_away_and_comes_back(
    transport: AdbTransport, device: AdbDaemon
) -> None:
    transport.run(["true"])
    device.away = True
    device.reboot()
    with pytest.raises(LinkLostError):
        wait_for(lambda: transport.run(["true"]).status != 0)
    device.away = False

    def back() -> bool:
        try:
            return transport.run(["true"]).status == 0
        except LinkLostError:
            return False

    wait_for(back)


def test_a_command_that_hangs_is_a_lost_link(transport: AdbTransport) -> None:
    with pytest.raises(LinkLostError, match=r"no answer from adb within 0\.5 s"):
        transport.run(["sleep", "20"], timeout_s=0.5)


def test_a_client_that_is_killed_is_a_lost_link(transport: AdbTransport) -> None:
    talk = transport.start(["sleep", "20"])
    talk.kill()
    _, err = talk.communicate(timeout=20)
    assert isinstance(transport.explain(talk.returncode, err.decode()), LinkLostError)


def test_a_device_over_the_network_is_connected(server: AdbServer) -> None:
    with AdbDaemon(os.environ) as device:
        assert reach(server, device.serial).run(["echo", "there"]).out == b"there\n"
        server.forget(device)


def test_a_device_that_does_not_trust_us_is_named(server: AdbServer) -> None:
    with AdbDaemon(os.environ) as device:
        device.unauthorized = True
        server.connect(device)
        with pytest.raises(RemoteError, match=r"unauthorized.*dialog on its screen") as error:
            reach(server, device.serial).run(["true"])
        assert not isinstance(error.value, LinkLostError)
        server.forget(device)


def test_a_device_that_is_offline_may_come_back(server: AdbServer, device: AdbDaemon) -> None:
    device.away = True
    device.cut()
    wait_for(lambda: "offline" in server.call("devices"))
    with pytest.raises(LinkLostError, match="offline"):
        reach(server, device.serial).run(["true"])


def test_a_serial_that_is_not_there_names_those_that_are(
    server: AdbServer, device: AdbDaemon
) -> None:
    with pytest.raises(LinkLostError, match=rf"0123.*Attached: {device.serial} \(device\)"):
        reach(server, "0123").run(["true"])


def test_nobody_listening_is_named(server: AdbServer) -> None:
    with AdbDaemon(os.environ) as device:
        serial = device.serial
    with pytest.raises(LinkLostError, match=f"{serial}.*Is it on and listening"):
        reach(server, serial).run(["true"])


def test_no_serial_is_the_only_device(server: AdbServer, device: AdbDaemon) -> None:
    transport = reach(server, "")
    assert transport.run(["echo", "it"]).out == b"it\n"
    assert transport.address == f"adb://{device.serial}"


def test_no_serial_and_no_device(server: AdbServer) -> None:
    with pytest.raises(RemoteError, match="No Android device is attached"):
        reach(server, "").run(["true"])


def test_no_serial_and_two_devices(server: AdbServer, device: AdbDaemon) -> None:
    with AdbDaemon(os.environ) as other:
        server.connect(other)
        with pytest.raises(RemoteError, match=f"More than one.*{other.serial}"):
            reach(server, "").run(["true"])
        server.forget(other)


def test_an_old_android_is_refused(server: AdbServer) -> None:
    with AdbDaemon(os.environ, features="cmd") as device:
        server.connect(device)
        with pytest.raises(RemoteError, match="Android 7 or later"):
            reach(server, device.serial).run(["true"])
        server.forget(device)


def test_a_missing_client_is_named() -> None:
    with pytest.raises(RemoteError, match=r"'no-adb-here' was not found.*apt install adb"):
        AdbTransport("0123", adb="no-adb-here")


def test_attached_devices_are_known_without_starting_a_server(
    server: AdbServer, device: AdbDaemon
) -> None:
    assert attached(server.port) == {device.serial: "device"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert attached(port) is None


def test_a_port_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costmodel.remote.adb._ASK_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert attached(silent.getsockname()[1]) is None


@pytest.mark.parametrize("port", ["", "no port", "99999999"])
def test_a_strange_environment_is_no_server(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port or "1")
    assert attached() is None
