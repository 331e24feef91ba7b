"""--trace: what was done, by whom, how long it took and how it ended; also of what fails."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("a thing of pyrun's own")

ASKED, MOUNTS = "/mounts/", ("mount_setattr(", "move_mount(")


def traced(container: Container, file: Path, *arguments: str) -> tuple[list[dict[str, Any]], list[str], Any]:
    """Run it with --trace: (events, lanes, how the command ended)."""
    container.write()
    done = container.runtime(*arguments, "--trace", file, "--bundle", container.path, container.id)
    return *read(file), done


def read(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    rows = json.loads(file.read_text())["traceEvents"]
    lanes = [row["args"]["name"] for row in rows if row["ph"] == "M"]
    return [row for row in rows if row["ph"] == "X"], lanes


def test_every_event_has_its_place(container: Container, tmp_path: Path) -> None:
    container.args = ["/bin/true"]
    events, lanes, done = traced(container, tmp_path / "t.json", "run")
    assert done.code == 0, done
    assert lanes == ["pyrun", "container: executor on the host", "container: init"]
    whole = max(event["ts"] + event["dur"] for event in events)
    for event in events:
        assert event["ts"] >= 0 and event["dur"] >= 0, event
    for lane in (1, 2):  # one does one thing at a time
        mine = [event for event in events if event["tid"] == lane]
        for one, next_ in itertools.pairwise(mine):
            assert one["ts"] + one["dur"] <= next_["ts"] + 0.01
    calls = [event for event in events if event["tid"] == 2 and event["name"].startswith(MOUNTS)]
    asked = {event["args"]["pointer"].split("/")[2] for event in calls if ASKED in event["args"].get("pointer", "")}
    assert asked == {str(i) for i in range(len(container.config["mounts"]))}
    assert events[-1]["tid"] == 0 and whole > 0
    [last] = [event for event in events if event["name"].startswith("execve")]
    assert last["tid"] == 2 and last["dur"] > 0


def test_what_fails_is_the_last(container: Container, tmp_path: Path) -> None:
    container.mount("/t", "tmpfs", "t", "size=x")
    events, lanes, done = traced(container, tmp_path / "t.json", "create")
    assert done.code == 1 and not container.exists()
    place = f"/mounts/{len(container.config['mounts']) - 1}/options/0"
    last = [event for event in events if event["tid"] == lanes.index("container: init")][-1]
    assert last["args"] == {"pointer": place, "result": "EINVAL"}
    document = json.loads((tmp_path / "t.json").read_text())
    assert place in document["otherData"]["failure"]


def test_the_table(container: Container) -> None:
    container.sh("echo hello")
    container.write()
    done = container.runtime("trace", "--bundle", container.path, container.id)
    assert done.code == 0 and done.out == "hello\n", done
    assert re.search(r"^container: init$", done.err, re.M)
    assert re.search(r"^ +\d+\.\d{3} +\d+\.\d{3} .*compiled: \d+ instructions", done.err, re.M)
    assert re.search(r"^\d+\.\d{3} ms, \d+ events; \d+ lines below 0\.4% left out$", done.err, re.M)
    assert "\x1b" not in done.err


def test_the_table_of_a_failure(container: Container, tmp_path: Path) -> None:
    container.mount("/t", "tmpfs", "t", "size=x")
    container.write()
    file = tmp_path / "said"
    done = container.runtime("run", "--trace", file, "--bundle", container.path, container.id)
    assert done.code == 1
    failed, error = file.read_text().splitlines()[-2:]
    assert failed.startswith("failed: fsconfig(") and re.search(r" = EINVAL  /mounts/\d+/options/0$", failed)
    assert error.startswith("error: ") and "/options/0" in error


def test_hooks(container: Container, tmp_path: Path) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo a network is made >&2; sleep 0.05"]}
    container.config["hooks"] = {"createRuntime": [hook], "poststop": [hook]}
    events, lanes, done = traced(container, tmp_path / "t.json", "run")
    assert done.code == 0, done
    mine = [event for event in events if event["tid"] == lanes.index("hooks")]
    assert [event["args"]["pointer"] for event in mine] == ["/hooks/createRuntime/0", "/hooks/poststop/0"]
    for event in mine:
        assert event["name"] == " ".join(hook["args"])
        assert event["args"]["detail"] == "a network is made" and event["args"]["result"] == "0"
        assert event["dur"] >= 50_000
    assert "hook /hooks/createRuntime/0: executor on the host" in lanes


def test_namespaces_of_a_user_and_of_time(container: Container, tmp_path: Path) -> None:
    """The intermediate process has a lane; clocks that are shifted inside shift nothing here."""
    container.user_namespace()
    container.namespace("time")
    container.linux["timeOffsets"] = {"monotonic": {"secs": 100000}, "boottime": {"secs": 100000}}
    events, lanes, done = traced(container, tmp_path / "t.json", "run")
    assert done.code == 0, done
    assert lanes[1:] == [
        "container: executor on the host", "container: intermediate process", "container: init"
    ]  # fmt: skip
    assert max(event["ts"] + event["dur"] for event in events) < 60e6


def test_a_profile_that_kills(container: Container, tmp_path: Path) -> None:
    """The trace asks for no time once the filter is there."""
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["execve", "exit_group", "brk", "mmap", "arch_prctl", "prctl", "set_tid_address",
                                "set_robust_list", "rseq", "prlimit64", "readlinkat", "readlink", "getrandom",
                                "mprotect", "getuid", "setuid", "getgid", "setgid", "uname", "fstat", "newfstatat"],
                      "action": "SCMP_ACT_ALLOW"}],
    }  # fmt: skip
    container.args = ["/bin/true"]
    events, _, done = traced(container, tmp_path / "t.json", "run")
    assert done.code == 0, done
    [last] = [event for event in events if event["name"].startswith("execve")]
    assert last["dur"] == 0 and "not timed" in last["args"]["detail"]


def test_exec(container: Container, tmp_path: Path) -> None:
    container.up()
    file = tmp_path / "t.json"
    done = container.runtime("exec", "--trace", file, container.id, "/bin/sh", "-c", "echo inside")
    assert done.out == "inside\n", done
    events, lanes = read(file)
    assert lanes == [
        "pyrun", "process: executor on the host", "process: intermediate process", "process: process"
    ]  # fmt: skip
    assert [event["cat"] for event in events if event["name"].startswith("execve")] == ["/bin/sh -c echo inside"]


def test_a_file_that_can_not_be_written(container: Container) -> None:
    """Is said before anything is made."""
    container.write()
    done = container.runtime("create", "--trace", "/nowhere/t.json", "--bundle", container.path, container.id)
    assert done.code == 1 and "open /nowhere/t.json: ENOENT" in done.err
    assert not container.exists()


def test_the_page_in_a_browser(container: Container, tmp_path: Path) -> None:
    """It needs nothing else, and shows what a config can't turn into markup."""
    file = tmp_path / "t.html"
    container.mount("/t", "tmpfs", "t", "size=</script><b>")
    container.write()
    container.runtime("create", "--trace", file, "--bundle", container.path, container.id)
    page = file.read_text()
    assert "://" not in page
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    browser = shutil.which("chromium")
    assert browser, "make setup-tests installs it"
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", "--dump-dom",
         file.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    shown = done.stdout
    assert len(re.findall(r"<tr data-event=", shown)) == len(data["events"]) > 100
    assert "&lt;/script&gt;&lt;b&gt;" in shown
    assert re.search(r'<td class="bad">EINVAL</td>', shown)
    assert re.search(r'<canvas id="chart"[^>]* height="\d{2,}"', shown)


@pytest.mark.parametrize("form", ["t", "json", "html"])
def test_what_fails_before_a_program_runs(container: Container, tmp_path: Path, form: str) -> None:
    (tmp_path / "empty").mkdir()
    file = tmp_path / f"t.{form}"
    done = container.runtime("run", "--trace", file, "--bundle", tmp_path / "empty", container.id)
    assert done.code == 1 and "config.json not found" in done.err and "itself failed" not in done.err
    assert file.stat().st_size


def test_a_full_disk_hides_nothing(container: Container) -> None:
    container.sh("exit 3")
    container.write()
    done = container.runtime("run", "--trace", "/dev/full", "--bundle", container.path, container.id)
    assert done.code == 3 and "write the trace: write /dev/full: ENOSPC" in done.err
