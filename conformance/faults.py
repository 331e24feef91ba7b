"""Faults of configs, and what a runtime says of each: docs/faults.md has pyrun, runc and crun side by side.

python -m conformance.faults    run all three, and write ../docs/faults.md
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from conformance.harness import EXAMPLE, Container, Runtime

DOCUMENT = Path(__file__).parents[1] / "docs/faults.md"
RUNTIMES = ("pyrun", "runc", "crun")
_HEAD = """# Forty faults, and what three runtimes say

Each is one fault in a config that is good otherwise; it is run (`run`), and below is the last line that each runtime
says. BUNDLE is the bundle's path. Written by `python -m conformance.faults`, in a guest with cgroup v2; a test compares
pyrun's lines with what it says now.

"""
# What it says depends on the host: its cgroups, its security modules.
OF_THE_HOST = (
    "an AppArmor profile without AppArmor",
    "a memory limit that nothing fits in",
    "a quota below the kernel's least",
)


class Fault(NamedTuple):
    """title: what is wrong, in a few words; edit: what makes it so."""

    title: str
    edit: Callable[[Container], object]


def _member(place: str, value: Any) -> Callable[[Container], object]:
    """Set a property, by its JSON pointer; what is above it is made."""

    def edit(container: Container) -> None:
        *above, last = place.split("/")[1:]
        at: Any = container.config
        for name in above:
            at = at[int(name)] if isinstance(at, list) else at.setdefault(name, {})
        at[last] = value

    return edit


def _program(text: bytes, mode: int = 0o755) -> Callable[[Container], object]:
    """The program is this file."""

    def edit(container: Container) -> None:
        file = container.rootfs / "program"
        file.write_bytes(text)
        file.chmod(mode)
        container.args = ["/program"]

    return edit


def _args(*args: str) -> Callable[[Container], object]:
    return _member("/process/args", [*args])


def _unmapped(container: Container) -> None:
    container.user_namespace(count=1000)
    container.process["user"]["uid"] = 5000


def _only_read(container: Container) -> None:
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
    }


def _without_root(container: Container) -> None:
    shutil.rmtree(container.rootfs)


def _broken(container: Container) -> None:
    """Its text isn't JSON."""
    container.config["\0broken"] = True


ELF_OF_S390 = b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x16" + bytes(100)
FAULTS = (
    Fault("no such program", _args("/nowhere")),
    Fault("a program that PATH has not", _args("nowhere")),
    Fault("a program without an execute bit", _program(b"#!/bin/sh\n", 0o644)),
    Fault("a directory for a program", _args("/etc")),
    Fault("a script whose interpreter is missing", _program(b"#!/bin/nowhere\n")),
    Fault("a script with carriage returns", _program(b"#!/bin/sh\r\necho\r\n")),
    Fault("a program of another machine", _program(ELF_OF_S390)),
    Fault("no program", _args()),
    Fault("a working directory that is a file", _member("/process/cwd", "/etc/passwd")),
    Fault("a relative working directory", _member("/process/cwd", "tmp")),
    Fault("a user that is not mapped", _unmapped),
    Fault("a user by name", _member("/process/user", {"username": "user"})),
    Fault(
        "a soft limit above the hard one",
        _member("/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]),
    ),
    Fault("a limit that there is not", _member("/process/rlimits", [{"type": "RLIMIT_FILES", "soft": 1, "hard": 1}])),
    Fault("a capability that there is not", _member("/process/capabilities/bounding", ["CAP_SYS_MAGIC"])),
    Fault("a variable without a sign of equality", _member("/process/env", ["PATH"])),
    Fault("a number for a name", _member("/hostname", 7)),
    Fault("a name that is too long", _member("/hostname", "x" * 65)),
    Fault("an OOM score that is too high", _member("/process/oomScoreAdj", 5000)),
    Fault("an AppArmor profile without AppArmor", _member("/process/apparmorProfile", "web")),
    Fault("no root file system", _without_root),
    Fault("a file system that there is not", lambda c: c.mount("/data", "nofs")),
    Fault("a wrong option of a file system", lambda c: c.mount("/data", "tmpfs", "tmpfs", "size=64x")),
    Fault("a bind of what is not there", lambda c: c.mount("/data", "bind", "/srv/nowhere", "bind")),
    Fault("a directory on a file", lambda c: c.mount("/etc/passwd", "bind", "/etc", "bind")),
    Fault("an overlay without its directories", lambda c: c.mount("/data", "overlay", "overlay", "lowerdir=/nowhere")),
    Fault("a namespace that there is not", lambda c: c.namespace("disk")),
    Fault("a namespace whose process is gone", lambda c: c.namespace("network", "/proc/999999999/ns/net")),
    Fault("a namespace twice", lambda c: c.linux["namespaces"].append({"type": "pid"})),
    Fault(
        "id maps without a user namespace",
        _member("/linux/uidMappings", [{"containerID": 0, "hostID": 1, "size": 1}]),
    ),
    Fault("a parameter that there is not", _member("/linux/sysctl", {"kernel.magic": "1"})),
    Fault("a parameter of the host's", _member("/linux/sysctl", {"vm.swappiness": "1"})),
    Fault("a memory limit that nothing fits in", _member("/linux/resources/memory", {"limit": 4096})),
    Fault("a quota below the kernel's least", _member("/linux/resources/cpu", {"quota": 10, "period": 100000})),
    Fault("a profile that allows only read", _only_read),
    Fault("an action that there is not", _member("/linux/seccomp", {"defaultAction": "SCMP_ACT_MAYBE"})),
    Fault("a device without a number", _member("/linux/devices", [{"path": "/dev/x", "type": "c"}])),
    Fault("a relative masked path", _member("/linux/maskedPaths", ["proc/kcore"])),
    Fault("a hook that fails", lambda c: c.hook("createRuntime", "echo no bridge >&2; exit 3")),
    Fault("a hook that is not there", _member("/hooks", {"createRuntime": [{"path": "/nowhere"}]})),
    Fault("a config that is no JSON", _broken),
)  # fmt: skip


def said(runtime: str, fault: Fault, folder: Path) -> str:
    """The last line that it says, and how it ended when that was well."""
    made = Runtime(runtime, folder)
    config = json.loads(json.dumps(EXAMPLE))
    config["process"] |= {"terminal": False, "args": ["/bin/true"]}
    container = Container(made, folder / "bundle", config)
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (container.rootfs / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", container.rootfs / "bin/busybox")
    for name in ("sh", "true"):
        (container.rootfs / "bin" / name).symlink_to("busybox")
    (container.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    fault.edit(container)
    broken = container.config.pop("\0broken", False)
    container.write()
    if broken:
        (container.path / "config.json").write_text('{"ociVersion": "1.0.2",\n "process": {"args": ["sh"]\n')
    done = made("run", "--bundle", container.path, container.id)
    made("delete", "--force", container.id)
    lines = done.err.strip().splitlines() or done.out.strip().splitlines()
    text = _bare(lines[-1]) if lines else "(nothing)"
    for name, value in (("BUNDLE", str(container.path)), ("ID", container.id)):
        text = text.replace(value, name)
    text = re.sub(r"/proc/\d+|/proc/self/fd/\d+|pid \d+|:\d\d:\d\dZ", lambda found: re.sub(r"\d+", "N", found[0]), text)
    return text if done.code else f"{text} (exit code 0)"


def _bare(line: str) -> str:
    """The text of a line of a log, in runc's form or in crun's."""
    if found := re.fullmatch(r'time="[^"]+" level=(error|warning) msg=(".*")', line):
        return " ".join(str(json.loads(found[2])).split())
    return re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z: ", "", line)


def recorded(runtime: str) -> dict[str, str]:
    """What the page has of a runtime, by title."""
    page = DOCUMENT.read_text()
    return dict(re.findall(rf"^## (.+)\n(?:.*\n)*?{runtime}: (.*)$", page, re.M))


def main() -> int:
    pages = [_HEAD]
    for name in RUNTIMES[1:]:
        version = os.popen(f"{shutil.which(name)} --version").readline().strip()
        pages.append(f"{version}. " if name == "runc" else f"{version}.\n")
    for fault in FAULTS:
        pages.append(f"\n## {fault.title}\n\n```\n")
        for name in RUNTIMES:
            program = str(Path(__file__).parents[1] / "build/pyrun") if name == "pyrun" else str(shutil.which(name))
            with tempfile.TemporaryDirectory() as folder:
                Path(folder).chmod(0o711)
                pages.append(f"{name}: {said(program, fault, Path(folder))}\n")
        pages.append("```\n")
    DOCUMENT.write_text("".join(pages))
    return 0


if __name__ == "__main__":
    sys.exit(main())
