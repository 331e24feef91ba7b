"""What a person reads: fits the terminal, is coloured there and only there, and is drawn anew when it has changed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest
from harness import Container, read_to_end
from prometheus_client.parser import text_string_to_metric_families
from test_terminal import resize

pytestmark = pytest.mark.pyrun_only("how its own output looks")

FREE = re.compile(r"\d+ MiB")  # what doctor says of the disk and of the memory
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(container: Container, *arguments: str | Path, columns: int = 60, **environment: str) -> list[str]:
    """The lines that a command writes to a terminal of that width."""
    words = container.runtime.command(*arguments)
    pid, master = pty.fork()
    if not pid:
        resize(0, 24, columns)
        try:
            os.execve(words[0], words, {"TERM": "xterm", **environment})
        finally:
            os._exit(99)
    said = read_to_end(master)
    os.close(master)
    os.waitpid(pid, 0)
    return said.splitlines()


@pytest.mark.parametrize("arguments", [("list",), ("plan",), ("plan", "--all"), ("ps",)], ids=" ".join)
def test_lines_fit_the_width(container: Container, arguments: tuple[str, ...]) -> None:
    container.sh("exec sleep 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000")
    container.create()
    container.start()
    more = {"plan": ("--bundle", container.path, container.id), "ps": (container.id,)}.get(arguments[0], ())
    narrow = [COLOUR.sub("", line) for line in on_a_terminal(container, *arguments, *more)]
    assert max(map(len, narrow)) == 60
    whole = container.runtime.ok(*arguments, *more).splitlines()
    assert max(map(len, whole)) > 60
    for line in narrow:
        assert any(full.startswith(line.removesuffix("…")) for full in whole)
    container.delete("--force")


def test_sentences_are_folded(container: Container) -> None:
    container.process["cwd"] = "relative"
    container.config["mounts"].append({"destination": "/x", "type": "tmpfs", "options": ["siez=1m"]})
    container.write()
    for arguments in (("check", container.path), ("doctor",)):
        folded = [COLOUR.sub("", line) for line in on_a_terminal(container, *arguments, columns=50)]
        whole = container.runtime(*arguments).out
        longest = max(len(word) for line in folded for word in line.split())
        assert max(map(len, folded)) <= max(50, 27 + longest)
        now, before = (" ".join(FREE.sub("N MiB", text).split()) for text in (" ".join(folded), whole))
        assert now == before


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours(container: Container, environment: dict[str, str]) -> None:
    container.process["cwd"] = "relative"
    container.write()
    for arguments in (("check", container.path), ("doctor",)):
        said = "\n".join(on_a_terminal(container, *arguments, **environment))
        assert bool(COLOUR.search(said)) == (not environment), said
        assert not COLOUR.search(container.runtime(*arguments).out)


def line(running: subprocess.Popen[bytes]) -> str:
    assert running.stdout and select.select([running.stdout], [], [], 30)[0]
    return running.stdout.readline().decode().replace(" ", "").rstrip("\n")


def until(running: subprocess.Popen[bytes], words: str) -> None:
    """Read lines up to one with these words; what is passed through on the way may be seen as well."""
    before, said = "", line(running)
    while words not in said:
        assert said != before
        before, said = said, line(running)


def test_watching(container: Container) -> None:
    """A line whenever the list has changed."""
    container.sh("exec sleep 1000")
    container.create()  # so that there is a --root
    container.delete("--force")
    command = container.runtime.command("list", "--watch", "--format", "json")
    # Unbuffered: select looks at the pipe, not at what has been read ahead.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as watching:
        assert line(watching) == "null"
        container.create()
        until(watching, '"status":"created"')
        container.start()
        until(watching, '"status":"running"')
        container.delete("--force")
        until(watching, "null")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130


def test_a_scrape(container: Container) -> None:
    container.sh("exec sleep 1000")
    container.linux["resources"] = {"pids": {"limit": 7}, "memory": {"limit": 64 << 20}}
    container.create()
    container.start()
    for arguments in ((), (container.id,)):
        text = container.runtime.ok("events", "--prometheus", *arguments)
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels["id"] == container.id
        }
        assert found["container_processes"] == 1
        assert found["container_threads_max"] == 7
        assert found["container_spec_memory_limit_bytes"] == 64 << 20
        assert 0 < found["container_memory_usage_bytes"] < 64 << 20
        assert 0 < found["container_cpu_usage_seconds_total"] < 20
    container.delete("--force")
    assert container.id not in container.runtime.ok("events", "--prometheus")
    assert container.runtime("events", "--prometheus", container.id).code == 1
    done = container.runtime("events")
    assert done.code != 0 and "requires exactly 1 argument" in done.err


def test_what_others_have_chosen_tells_a_terminal_nothing(container: Container) -> None:
    """Nor does it break a line: a command line is its process's own."""
    evil = "\x1b]0;title\x07\x1b[31m\nroot 1 1 00:00 ? 00:00:00 forged"
    container.args = ["/bin/sh", "-c", "sleep 1000; :", evil]
    container.create()
    container.start()
    for lines in (container.runtime.ok("ps", container.id).splitlines(), on_a_terminal(container, "ps", container.id)):
        assert not any("\x1b]" in line or "\x07" in line for line in lines)
        assert not any(line.startswith("root 1") for line in lines)
    container.delete("--force")
