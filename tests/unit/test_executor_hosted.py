"""The executor under the address and undefined-behaviour sanitizers: whatever a program says, it refuses it or ends.

In this build (hosted.h) system calls are made up from a seed, so that programs go down all their ways.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrun.container.bundle import CreateOptions
from pyrun.container.gather import layout
from pyrun.machine.program import NO_FD
from pyrun.plan.create import compile_container
from pyrun.plan.facts import Facts
from pyrun.spec import config as spec_config
from pyrun.spec import strictjson
from pyrun.spec.example import example

HOSTED = Path(__file__).parents[2] / "build/executor.hosted"
HEADER, INSTRUCTION = 40, 72
ENDED, GAVE_UP, REFUSED, REPORT = 0, 1, 2, 99
ENVIRONMENT = {"ASAN_OPTIONS": f"exitcode={REPORT}", "UBSAN_OPTIONS": f"exitcode={REPORT}:print_stacktrace=1"}

pytestmark = pytest.mark.skipif(not HOSTED.exists(), reason="make test builds it")


@pytest.fixture(scope="module")
def program() -> bytes:
    """The program of the bundle that `pyrun spec` writes."""
    config = spec_config.load(strictjson.dumps(example(False, False, 0, 0)).encode())
    facts = Facts(
        layout=layout(CreateOptions(bundle="/bundle"), {}),
        bundle="/bundle",
        container="test",
        cgroup_v2=False,
        cgroups=[("cpu", "/sys/fs/cgroup/cpu", "/x")],
    )
    return compile_container(config, facts).encode(5, NO_FD, "x86_64")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[bytes, int], int]:
    def run(program: bytes, seed: int) -> int:
        file = tmp_path / "program"
        file.write_bytes(program)
        done = subprocess.run([HOSTED, file, str(seed)], env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode in (ENDED, GAVE_UP, REFUSED), (program, seed, done)
        assert done.stderr == "", (program, seed)
        return done.returncode

    return run


Run = Callable[[bytes, int], int]


def test_it_runs_a_real_program(run: Run, program: bytes) -> None:
    assert {run(program, seed) for seed in range(40)} <= {ENDED, GAVE_UP}


def test_random_bytes(run: Run) -> None:
    draw = random.Random(1)
    for seed in range(40):
        assert run(draw.randbytes(draw.randrange(300)), seed) == REFUSED


def test_cut_short(run: Run, program: bytes) -> None:
    draw = random.Random(2)
    for length in (0, 1, HEADER - 1, HEADER, HEADER + INSTRUCTION, len(program) - 1):
        assert run(program[:length], 1) == REFUSED
    for seed in range(30):
        assert run(program[: draw.randrange(len(program))], seed) == REFUSED


@pytest.mark.slow
def test_bytes_changed(run: Run, program: bytes) -> None:
    draw = random.Random(3)
    seen = set()
    for seed in range(150):
        changed = bytearray(program)
        for _ in range(draw.choice((1, 1, 1, 10, 100))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        seen.add(run(bytes(changed), seed))
    # The changes get past the header and into every way there is.
    assert seen >= {GAVE_UP, REFUSED}


@pytest.mark.slow
def test_random_instructions(run: Run) -> None:
    """Programs that are well formed enough to be run, or nearly so."""
    draw = random.Random(4)
    edges = [
        0,
        1,
        2,
        8,
        63,
        64,
        65,
        239,
        240,
        255,
        1 << 31,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 64) - 8,
        (1 << 64) - 1,
    ]
    seen = []
    for seed in range(350):
        count, size = draw.randrange(1, 12), 64
        code = b""
        for i in range(count):
            kinds = sum(draw.choice((0, 0, 1, 2)) << 2 * at for at in range(6)) & (
                0xFFF if draw.random() < 0.98 else 0xFFFF
            )
            code += bytes((draw.randrange(12), draw.choice((0, 5, 255)), draw.choice((255, 255, 3)), draw.randrange(3)))
            code += kinds.to_bytes(2, "little") + draw.choice((0, 1, 1, 2, 4, 8)).to_bytes(2, "little")
            for _ in range(3):
                error = draw.choice((0, 0, 1, 0xFFFF))
                code += error.to_bytes(2, "little") + draw.randrange(i + 1, count + 1).to_bytes(2, "little")
            code += bytes(4)
            for _ in range(6):
                operand = draw.choice(edges) if draw.random() < 0.02 else draw.randrange(size - 7)
                code += operand.to_bytes(8, "little")
        header = b"PYRN\x05\x00" + count.to_bytes(2, "little") + size.to_bytes(4, "little")
        header += (4).to_bytes(4, "little") + draw.choice((NO_FD, 5)).to_bytes(4, "little")
        header += draw.choice((0, 1, 3, 1000)).to_bytes(4, "little")
        header += draw.choice((count, count, draw.randrange(count + 2))).to_bytes(4, "little") + bytes(12)
        seen.append(run(header + code + bytes(size), seed))
    assert min(map(seen.count, (ENDED, GAVE_UP, REFUSED))) > 10


def test_the_sanitizers_would_say_so(tmp_path: Path) -> None:
    """The exit status that the tests above look for is really the one of a report."""
    source = tmp_path / "bad.c"
    source.write_text(
        "#include <stdlib.h>\nint main(int n, char **v) { char *p = malloc(n); return (int)(long)v + p[n]; }\n"
    )
    binary = tmp_path / "bad"
    subprocess.run(["gcc", "-g", "-fsanitize=address,undefined", "-o", binary, source], check=True)
    done = subprocess.run([binary], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False)
    assert done.returncode == REPORT
    assert "heap-buffer-overflow" in done.stderr
