"""Where messages go, and where a caller's containers are kept."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pyrun import log_daemons
from pyrun.caller import Caller
from pyrun.errors import ConfigError, Error
from pyrun.log import Log
from pyrun.spec.faults import Fault

ERROR = Error("mount /x", pointer="/mounts/1", call="openat /y", errno=2, hint="look")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "journald",
            "MESSAGE=mount /x (/mounts/1): openat /y: ENOENT (no such file or directory): look\nPRIORITY=3\n"
            "SYSLOG_IDENTIFIER=me\nPYRUN_POINTER=/mounts/1\nPYRUN_CALL=openat /y\nPYRUN_ERRNO=ENOENT\n"
            "PYRUN_PATH=/y\nPYRUN_HINT=look\n",
        ),
        ("syslog", "<27>me[PID]: mount /x (/mounts/1): openat /y: ENOENT (no such file or directory): look"),
    ],
)
def test_daemons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, expected: str
) -> None:
    monkeypatch.setitem(log_daemons._PLACES, kind, str(tmp_path / "socket"))
    monkeypatch.setattr("posix.getpid", lambda: "PID")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        log = Log(f"{kind}:me")
        log.warning("not at this level")
        log.error(ERROR)
        assert daemon.recv(4096).decode() == expected


def test_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(log_daemons._PLACES, "syslog", "/no/socket")
    with pytest.raises(Error, match="no syslog is running"):
        Log("syslog:")


def test_a_file_by_its_kind(tmp_path: Path) -> None:
    log = Log(f"file:{tmp_path}/log")
    log.error("words")
    os.close(log.fd)
    assert (tmp_path / "log").read_text().endswith('level=error msg="words"\n')


def test_the_parts_of_an_error() -> None:
    assert ERROR.fields() == {
        "pointer": "/mounts/1", "call": "openat /y", "errno": "ENOENT", "path": "/y", "hint": "look"
    }  # fmt: skip
    faults = [Fault("/root", "is missing", hint="add it"), Fault("/process", "is odd")]
    assert ConfigError(faults).fields() == {"pointer": "/root", "hint": "add it"}


@pytest.mark.parametrize(
    ("home", "place"), [("/home/x", "/home/x/.local/state/pyrun"), ("/", "/.local/state/pyrun"), ("", "")]
)
def test_where_a_user_without_a_runtime_directory_keeps_containers(
    monkeypatch: pytest.MonkeyPatch, home: str, place: str
) -> None:
    monkeypatch.setattr("posix.geteuid", lambda: 987654)
    caller = Caller(environ={b"HOME": home.encode()} if home else {})
    if place:
        assert caller.default_root() == place
    else:
        with pytest.raises(Error, match="--root"):
            caller.default_root()
        assert caller.cache("seccomp") == ""
