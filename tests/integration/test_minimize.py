"""The capabilities that a program needs, found by running it without each."""

from __future__ import annotations

import json

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("no peer has it")


def test_what_is_needed(container: Container) -> None:
    names = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID"]
    container.process["capabilities"] = {kind: [*names] for kind in ("bounding", "effective", "permitted")}
    container.process["terminal"] = True
    container.config["root"]["readonly"] = False
    container.sh("touch /x; chown 5:5 /x && rm /x")
    container.write()
    said = container.runtime.ok("minimize", container.path)
    assert said.splitlines()[1:4] == [f"{name:<24} not needed" for name in names[1:]]
    assert said.startswith(
        "CAP_CHOWN                needed: exit status 1 without it: chown: /x: Operation not permitted"
    )
    found = json.loads(container.runtime.ok("minimize", "--json", "--bundle", container.path))
    assert found["capabilities"] == {kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}
    assert [row["needed"] for row in found["trials"]] == [True, False, False, False]
    # What was found is enough, and config.json is as it was.
    assert json.loads((container.path / "config.json").read_text())["process"]["capabilities"]["bounding"] == names
    container.process.update(capabilities=found["capabilities"], terminal=False)
    container.write()
    assert container.runtime("run", "--bundle", container.path, container.id).code == 0


def test_none_is_needed(container: Container) -> None:
    container.args = ["true"]
    container.process["capabilities"] = {}
    container.write()
    assert container.runtime.ok("minimize", container.path) == "/process/capabilities: {}\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exec sleep 1000", "it has not ended within 0.5 s"),
        ("if [ -e /x ]; then exit 1; fi; echo > /x", "it ended with exit status 0, then with exit status 1"),
    ],
)
def test_what_cannot_be_found_so(container: Container, script: str, words: str) -> None:
    container.config["root"]["readonly"] = False
    container.sh(script)
    container.write()
    done = container.runtime("minimize", "--timeout", "500ms", container.path)
    assert done.code == 1
    assert words in done.err
    assert container.runtime.ids() == []


def test_a_program_that_never_stops_writing(container: Container) -> None:
    """Nothing of it is kept."""
    container.sh("yes; true")
    container.write()
    done = container.runtime("minimize", "--timeout", "1s", container.path)
    assert done.code == 1 and "it has not ended within 1 s" in done.err
    assert container.runtime.ids() == []


def test_a_policy_holds_for_it(container: Container) -> None:
    (container.path / "policy").write_text('{"nonRoot": true}')
    container.args = ["true"]
    container.write()
    options = ("--require", str(container.path / "policy"))
    done = container.runtime("minimize", container.path, options=options)
    assert done.code == 1 and "/process/user/uid: must not be 0" in done.err
    done = container.runtime("minimize", container.path, options=("--cgroup-manager", "disabled"))
    assert done.code == 1 and "in cgroups of their own" in done.err
