"""What can be known of a bundle before it runs: that no rule is broken, and which plan it is."""

from __future__ import annotations

import json

import pytest
from harness import Container

pytestmark = pytest.mark.pyrun_only("nobody else has a plan")


def test_prove(container: Container) -> None:
    container.hook("createContainer", "true")
    container.write()
    said = container.runtime.ok("prove", container.path)
    assert "BROKEN" not in said
    assert said.splitlines()[-1] == "5 programs, every path"
    found = json.loads(container.runtime.ok("prove", "--json", container.path))
    assert found["violations"] == []
    assert all(rule["checked"] for rule in found["rules"] if rule["name"] in ("root", "visible", "capabilities"))


def test_the_expected_plan(container: Container) -> None:
    container.args = ["true"]
    container.write()
    bundle = ("--bundle", container.path)
    digest = container.runtime.ok("plan", "--digest", *bundle, container.id).strip()
    assert len(digest) == 64
    assert digest == container.runtime.ok("plan", "--digest", *bundle, container.id).strip()
    container.runtime.ok("run", *bundle, "--expect-plan", digest, container.id)
    container.process["args"] = ["false"]
    container.write()
    other = container.runtime.ok("plan", "--digest", *bundle, container.id).strip()
    done = container.runtime("create", *bundle, "--expect-plan", digest, container.id)
    assert done.code == 1
    assert "the plan is not the expected one" in done.err and digest in done.err and other in done.err
    assert not container.exists()


def test_hooks_and_options_are_of_the_plan(container: Container) -> None:
    container.write()

    def digest(*options: str) -> str:
        said: str = container.runtime.ok("plan", "--digest", "--bundle", container.path, *options, container.id)
        return said

    found = {digest(), digest("--no-pivot"), digest("--no-new-keyring")}
    container.hook("poststop", "true")
    container.write()
    assert len({*found, digest()}) == 4
