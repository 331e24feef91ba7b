"""Options of file systems, by name and value: as the kernel judges them, without asking it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyrun.check import parameters
from pyrun.spec import filesystems

VALUES = (
    *(None, "", "0", "1", "7", "8", "0x10", "010", "+1", "-1", "1k", "1K", "1g", "1x", "50%", "50%%", "%", "1.5", " 1"),
    *(
        "1777",
        "on",
        "off",
        "auto",
        "pid",
        "never",
        "always",
        "advise",
        "within_size",
        "invisible",
        "noaccess",
        "3",
        "4",
    ),
    *("default", "nonsense"),
)
# Of the table, what any kernel that pyrun runs on has.
OLD = {
    "tmpfs": ("gid", "huge", "inode32", "inode64", "mode", "nr_blocks", "nr_inodes", "size", "uid"),
    "devpts": ("gid", "max", "mode", "newinstance", "ptmxmode", "uid"),
    "proc": ("gid", "hidepid", "subset"),
}


def mount(kind: str, *options: str) -> Any:
    return {"mounts": [{"destination": "/x", "type": kind, "source": kind, "options": [*options]}]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask the kernel")
@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind, keys in OLD.items() for key in keys])
def test_the_kernel_agrees(kind: str, key: str) -> None:
    for value in VALUES:
        config = mount(kind, key if value is None else f"{key}={value}")
        ours = [fault.pointer for fault in filesystems.data(config)]
        kernels = [fault.pointer for fault in parameters.faults(config)]
        # What only a number's size makes wrong is left to the kernel.
        assert ours == kernels, (key, value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask the kernel")
@pytest.mark.parametrize("kind", ["tmpfs", "devpts", "proc", "sysfs", "mqueue"])
def test_what_has_no_row(kind: str) -> None:
    names = {key for keys in filesystems.OPTIONS.values() for key in keys} | {"siez", "nosuch"}
    for key in sorted(names - filesystems.OPTIONS[kind].keys()):
        config = mount(kind, f"{key}=1")
        assert [fault.pointer for fault in filesystems.data(config)] == ["/mounts/0/options/0"], key
        assert [fault.pointer for fault in parameters.faults(config)] == ["/mounts/0/options/0"], key


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("tmpfs", ["nosuid", "siez=64k"], '/mounts/0/options/1: tmpfs has no option "siez" (did you mean size?)'),
        ("tmpfs", ["mode=999"], '/mounts/0/options/0: mode of tmpfs must be an octal number, not "999"'),
        ("tmpfs", ["size=1k,uid=x"], '/mounts/0/options/0: uid of tmpfs must be a number, not "x"'),
        ("devpts", ["newinstance=1"], "/mounts/0/options/0: newinstance of devpts takes no value"),
        ("devpts", ["ptmxmode"], "/mounts/0/options/0: ptmxmode of devpts needs a value"),
        ("proc", ["subset=pids"], '/mounts/0/options/0: subset of proc must be pid, not "pids"'),
        ("overlay", ["upperdir=/u"], "/mounts/0/options: an overlay needs a lowerdir"),
        ("overlay", ["lowerdir=/l", "upperdir=/u"], "/mounts/0/options/1: upperdir needs a workdir beside it"),
        (
            "overlay",
            ["lowerdir=/l", "index=1"],
            '/mounts/0/options/1: index of overlay must be one of on, off, not "1"',
        ),
        ("tmpfs", ["bind", "siez=64k"], ""),
        ("ext4", ["anything=x"], ""),
        ("tmpfs", ['context="system_u:object_r:x:s0:c1,c2"'], ""),
    ],
)
def test_the_words(kind: str, options: list[str], words: str) -> None:
    assert "; ".join(map(str, filesystems.data(mount(kind, *options)))).startswith(words) if words else True
    assert bool(list(filesystems.data(mount(kind, *options)))) == bool(words)
