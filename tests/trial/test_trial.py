"""The short form of the standing trial: `make trial` is the long one. And that it finds what it looks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import inject, processes, world
from .judge import KINDS
from .scenes import SCENES
from .trials import TRIALS, Trial, attempt
from .world import World

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.pyrun_only("what may be left is known of pyrun only"),
]
SEED = 1
SCENE = Trial("a start", lambda world, random, number: SCENES["start"].play(world, number), 1, 1)

# What goes wrong on purpose, before pyrun is executed; $2 is the store.
SABOTAGE = {
    "tracebacks": 'echo "Traceback (most recent call last):" >&2',
    "hangs": 'case "$*" in *start*-2) sleep 100; esac',
    "leftovers": 'case "$*" in *delete*) exit 0; esac',
    "harm": 'case "$*" in *delete*) kill -9 $(sed \'s/.*"pid": *\\([0-9]*\\).*/\\1/\' "$2"/*/state.json); esac',
    "false success": 'case "$*" in *start*) exit 0; esac',
    "growth": 'mkdir "$2/../bundle/$$"',
}


@pytest.fixture
def pyrun(request: pytest.FixtureRequest) -> str:
    return os.path.abspath(str(request.config.getoption("runtime")))


@pytest.mark.parametrize(
    "trial", [trial for trial in TRIALS if not trial.criu], ids=lambda trial: trial.name.replace(" ", "-")
)
def test_trial(trial: Trial, pyrun: str) -> None:
    if trial.round in (inject.signals, inject.errors) and not inject.SUPPORTED:
        pytest.skip("inject.c knows the registers of x86_64 only")
    said: list[str] = []
    with World(pyrun, user=trial.user, seed=SEED) as place:
        row = attempt(trial, place, SEED, range(trial.rounds(0)), said.append)
    assert row.is_good, "\n".join([str(row), *said])


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_fail(kind: str, pyrun: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\n{SABOTAGE[kind]}\nexec {pyrun} "$@"\n')
    broken.chmod(0o755)
    monkeypatch.setattr(processes, "PATIENCE", 1)
    if kind == "hangs":
        monkeypatch.setattr(world, "GUARD", 1)
    with World(str(broken)) as place:
        row = attempt(SCENE, place, SEED, range(1), lambda text: None)
    assert row.counts[kind] > 0
