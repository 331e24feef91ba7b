"""The pages that teach: each command in them is run, and says what they show."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest
from harness import CHECKOUT, PYRUN, Runtime, enterable

from tests.transcripts import Step, rewritten, run, same, steps

pytestmark = [pytest.mark.pyrun_only("about its documents"), pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
V2 = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="this host has not cgroup v2 alone"
)
# Those that are about what most hosts have, cgroup v2, are run in the guest.
PAGES = {
    "docs/tour.md": (),
    "docs/learn/namespaces.md": (pytest.mark.guest, V2),
    "docs/learn/cgroups.md": (pytest.mark.guest, V2),
    "docs/learn/layers.md": (),
    "docs/comparison.md": (pytest.mark.guest, V2),
    "README.md": (pytest.mark.guest,),
}


def need_nat() -> None:
    done = subprocess.run(["unshare", "--net", "iptables", "-t", "nat", "-S"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this kernel has no NAT, or there is no iptables")


@pytest.mark.parametrize("page", [pytest.param(page, marks=marks) for page, marks in PAGES.items()])
def test_a_page(runtime: Runtime, tmp_path: Path, page: str) -> None:
    if "--network" in (CHECKOUT / page).read_text():
        need_nat()
    enterable(tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    for step, said in run(CHECKOUT / page, place, runtime.command()):
        assert same(step.shown, said), f"$ {step.command}\n{said}"


def test_each_page_that_shows_a_session_is_run() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
    shown = {str(page.relative_to(CHECKOUT)) for page in pages if steps(page.read_text())}
    of_one_command = {f"docs/commands/{name}.md" for name in ("check", "checkpoint", "minimize", "prove")}
    assert shown - of_one_command == set(PAGES)


def test_how_a_page_is_read() -> None:
    page = "```console\n$ a <<END\n> b\n> END\nsaid\n$ sh\n...\n/ # x\ny\n$ c\n```\n```sh\n$ d\n```\n"
    assert steps(page) == [
        Step("a <<END\nb\nEND", "said\n", []),
        Step("sh", "...\n/ # x\ny\n", ["x"]),
        Step("c", "", []),
    ]
    assert rewritten(page, ["said\n", "z\n/ # x\ny\n", "new\n"]) == page.replace("$ c\n", "$ c\nnew\n")


@pytest.mark.parametrize(
    ("shown", "said", "equal"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "", False),
        ("", "a\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("box  12  running  x\n", "box   4567   running  x\n", True),
        ("box  12  running  x\n", "box   4567   stopped  x\n", False),
        ("at 2026-01-02T03:04:05Z\n", "at 2027-01-02T03:04:06Z\n", True),
        (' 240  sethostname("a", 1)\n', ' 7  sethostname("a", 1)\n', True),
        (' 240  sethostname("a", 1)\n', ' 240  sethostname("b", 1)\n', False),
        ("  0.100  0.200  ▏ x\nb\n", "b\n", True),
    ],
)
def test_what_is_the_same(shown: str, said: str, equal: bool) -> None:
    assert same(shown, said) is equal


@pytest.mark.guest
def test_the_pictures_are_those_of_today() -> None:
    """`make pictures` draws them again. They are the same with either version of cgroups."""
    pictures, site = CHECKOUT / "docs/pictures", CHECKOUT / "packaging/site"
    drawn = runpy.run_path(str(site / "pictures.py"))["drawn"](PYRUN)
    assert {path.name for path in pictures.iterdir()} == set(drawn)
    for name, text in drawn.items():
        assert (pictures / name).read_text() == text, name
    assert not runpy.run_path(str(site / "loads.py"))["elsewhere"](pictures)
