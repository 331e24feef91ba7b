"""Drives the validation programs of OCI runtime-tools, of a checkout that somebody has built
(`make runtimetest validation-executables`): python -m conformance.runtime_tools RUNTIME CHECKOUT [NAME...]

Each program runs in a fresh working folder that holds what it looks for, in a mount namespace of its own, for a limited
time. It speaks TAP; what it says is compared with what the runtimes in use are known to fail.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conformance.harness import libc, processes

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 60
NEEDED = ("runtimetest", "rootfs-amd64.tar.gz")

# Programs that no runtime in use passes, and why. Some speak of the machine: they may pass elsewhere.
FAILING = {
    "delete": "wants delete of a created container refused; callers rely on its being allowed",
    "hooks": "compares the order of the hooks with a wrong text",
    "prestart": "older than spec 1.0.2: prestart hooks are a part of create",
    "linux_cgroups_blkio": "asks for blkio.weight, which newer kernels lack",
    "linux_cgroups_relative_blkio": "asks for blkio.weight, which newer kernels lack",
    "linux_cgroups_memory": "asks for kernel memory, which newer kernels lack",
    "linux_cgroups_relative_memory": "asks for kernel memory, which newer kernels lack",
    "linux_cgroups_network": "needs the net_cls and net_prio hierarchies",
    "linux_cgroups_relative_network": "needs the net_cls and net_prio hierarchies",
    "linux_process_apparmor_profile": "needs AppArmor",
    "misc_props": "its bundle lacks the helper that it runs",
    "pidfile": "kills a process that has ended already",
    "process_capabilities": "asks for CAP_SYS_RESOURCE, which the caller may lack",
    "process_capabilities_fail": "wants an unknown capability refused; the spec has come to ask for a warning",
    "process_rlimits": "its helper sees its own change of RLIMIT_NOFILE",
}
# "start" fails with runc and crun, which refuse a config without process at create; the spec wants it to pass.


@dataclass
class Tap:
    """What a program says in the Test Anything Protocol."""

    planned: int | None = None
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    bailed: str = ""

    @property
    def ran(self) -> int:
        return self.passed + self.skipped + len(self.failed)


RESULT = re.compile(r"(not )?ok\b\s*(\d+)?\s*(?:-\s*)?([^#]*)(#\s*(skip|todo)\b.*)?", re.IGNORECASE)


def read_tap(text: str) -> Tap:
    """Lines that are none of TAP's are left out: programs mix logs in. What is indented is a test's own subtest."""
    tap = Tap()
    for line in text.splitlines():
        if found := re.fullmatch(r"1\.\.(\d+)\s*(#.*)?", line):
            tap.planned = int(found[1])
        elif line.startswith("Bail out!"):
            tap.bailed = line.removeprefix("Bail out!").strip() or "without a word"
        elif found := RESULT.fullmatch(line):
            if found[5]:
                tap.skipped += 1
            elif found[1]:
                tap.failed.append(found[3].strip() or f"test {found[2]}")
            else:
                tap.passed += 1
    return tap


def fault(tap: Tap, code: int | None) -> str:
    """Why a program counts as failed; "" when it passed. One that says nothing and ends well is content."""
    if code is None:
        return f"not done after {SECONDS} s"
    if tap.bailed:
        return f"bails out: {tap.bailed}"
    if tap.failed:
        return f"not ok: {tap.failed[0]}" + (f", and {len(tap.failed) - 1} more" if tap.failed[1:] else "")
    if code:
        return f"ends with {code}"
    if tap.planned is not None and tap.planned != tap.ran:
        return f"{tap.planned} planned, {tap.ran} run"
    return ""


def programs(checkout: Path) -> Iterator[Path]:
    """validation/NAME/NAME.t, of newer checkouts, or validation/NAME.t."""
    yield from sorted({*checkout.glob("validation/*.t"), *checkout.glob("validation/*/*.t")})


def run(program: Path, runtime: str, checkout: Path, seconds: float = SECONDS) -> str:
    """One program; returns its fault. Nothing of it outlives this: no process, no mount, no folder."""
    with tempfile.TemporaryDirectory(prefix="runtime-tools-") as folder:
        for name in NEEDED:
            if (file := checkout / name).exists():
                shutil.copy(file, folder)
        said = Path(folder, "said")
        command = [str(program)]
        if os.geteuid() == 0:
            command = ["unshare", "--mount", "--propagation", "private", *command]
        environment = {**os.environ, "RUNTIME": runtime, "TMPDIR": folder}
        with open(said, "wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            code: int | None
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end(process)
        return fault(read_tap(said.read_text(errors="replace")), code)


def end(process: subprocess.Popen[bytes]) -> None:
    """The program with its session, and the containers that it leaves: with their parents gone they are children of
    the driver (a subreaper)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := processes():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    runtime, checkout, names = shutil.which(arguments[0]) or "", Path(arguments[1]), arguments[2:]
    found = {program.stem: program.resolve() for program in programs(checkout)}
    missing = [name for name in names if name not in found] + [n for n in NEEDED if not (checkout / n).exists()]
    if not found or missing or not runtime:
        print(f"not there: {', '.join(missing) or 'the programs, or the runtime'}", file=sys.stderr)
        return 2
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    surprises = 0
    for name in names or found:
        why = run(found[name], os.path.abspath(runtime), checkout)
        known = FAILING.get(name, "")
        verdict = "pass" if not why else "known" if known else "FAIL"
        surprises += verdict == "FAIL"
        note = f" ({known})" if known and why else " (known to fail elsewhere)" if known else ""
        print(f"{verdict:6}{name:40}{why}{note}".rstrip(), flush=True)
    print(f"{surprises} unexpected of {len(names or found)}")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
