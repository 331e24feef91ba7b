"""Published holes of low-level runtimes, tried again. A replay passes when the runtime refuses, or when the canary that
lies outside of the container is untouched; the names are those of the advisories."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import CHECKOUT, PYRUN, Container, Runtime

OLD = {"runc": "1.1.5 is open to it", "crun": "1.8.1 is open to it"}
DEV = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")


@pytest.fixture
def canary(container: Container) -> Path:
    """A folder outside of the root, which nobody may change."""
    folder = container.path / "canary"
    folder.mkdir()
    (folder / "ptmx").write_text("canary")
    return folder


def untouched(canary: Path) -> bool:
    return os.listdir(canary) == ["ptmx"] and (canary / "ptmx").read_text() == "canary"


def refused_or(container: Container, script: str = "true") -> str | None:
    """What the script prints, or None when the container is refused, cleanly."""
    done = container.run(script)
    if done.code:
        assert done.code == 1, done
        assert container.runtime.name != "pyrun" or len(done.err.splitlines()) == 1, done
        assert not container.exists()
        return None
    return done.out


# users and capabilities -----------------------------------------------------------------------------------------------


def test_a_numeric_user_name(container: Container) -> None:
    """CVE-2016-3697: the image's passwd makes root of a user called 1000."""
    container.script("/etc/passwd", "1000:x:0:0::/:/bin/sh\n0:x:1000:1000::/:/bin/sh\n")
    container.process["user"] = {"uid": 1000, "gid": 1000}
    assert container.sees("id -u; id -g").split() == ["1000", "1000"]


def test_the_example_has_no_inheritable_capabilities(example: str) -> None:
    """CVE-2022-29162."""
    assert "inheritable" not in example
    assert "ambient" not in example


# /proc/self/exe -------------------------------------------------------------------------------------------------------

OVERWRITE = """#!/proc/self/exe
"""


def digests(*paths: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.mark.pyrun_only("takes an interpreter and an executor of its own")
@pytest.mark.parametrize("way", ["args", "script"])
def test_the_runtimes_executables_cannot_be_reached(container: Container, way: str, tmp_path: Path) -> None:
    """CVE-2019-5736: a container that executes /proc/self/exe gets whatever its init was before. That must be neither
    the interpreter nor the executor on the disk."""
    python = tmp_path / "python3"
    shutil.copy("/usr/bin/python3", python)
    executor = CHECKOUT / "runtime/machine/executor"
    launcher = tmp_path / "pyrun"
    lines = PYRUN.read_text().splitlines(keepends=True)
    launcher.write_text("".join([f"#!{python} -IS\n", *lines[1:]]))
    launcher.chmod(0o755)
    container.runtime.binary = str(launcher)
    before = digests(python, executor, launcher)
    if way == "args":
        container.args = ["/proc/self/exe"]
    else:
        container.script("/bin/x", OVERWRITE)
        container.args = ["/bin/x"]
    container.write()
    done = container.runtime("run", "--bundle", container.path, container.id)
    assert done.code != 0  # the executor says nothing without its program
    assert digests(python, executor, launcher) == before
    container.runtime.binary = str(PYRUN)


@pytest.mark.pyrun_only("about its executor")
def test_what_init_runs_is_a_sealed_copy(container: Container) -> None:
    container.create()
    exe = f"/proc/{container.pid}/exe"
    assert os.readlink(exe).startswith("/memfd:")
    with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
        os.close(os.open(exe, os.O_WRONLY))
    assert Path(exe).stat().st_size < 16384


def test_init_cannot_be_traced(container: Container) -> None:
    """CVE-2016-9962: it is not dumpable, so that its files in /proc belong to root, and ptrace is refused."""
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.unlike(runc="1.1 is")
    container.create()
    assert os.stat(f"/proc/{container.pid}/exe", follow_symlinks=False).st_uid == 0
    assert os.stat(f"/proc/{container.pid}/mem").st_uid == 0


# /proc and /sys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/self", "/proc/sys/kernel", "/proc/../proc/self"]
)
def test_nothing_stands_in_for_proc(container: Container, canary: Path, destination: str, kind: str) -> None:
    """CVE-2019-16884, CVE-2025-52881: what the runtime writes to /proc would go there."""
    container.unlike(**OLD)
    if kind == "bind":
        container.mount(destination, "bind", str(canary), "rbind")
    else:
        container.mount(destination, "tmpfs", "tmpfs")
    container.linux["sysctl"] = {"kernel.shmmax": "4711"}
    container.refused("/mounts/7")
    assert untouched(canary)


def test_a_link_that_leads_into_proc(container: Container) -> None:
    container.unlike(**OLD)
    (container.rootfs / "link").symlink_to("/proc/sys")
    container.mount("/link", "tmpfs", "tmpfs")
    container.refused("/mounts/7/destination", "/proc")


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("form", ["absolute", "relative", "chain", "file"])
def test_proc_or_sys_is_a_link(container: Container, name: str, form: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    folder = container.rootfs / name
    folder.rmdir()
    (container.rootfs / "evil").mkdir()
    if form == "file":
        folder.write_text("")
    elif form == "chain":
        (container.rootfs / "step").symlink_to("/evil")
        folder.symlink_to("step")
    else:
        folder.symlink_to("/evil" if form == "absolute" else "evil")
    if form != "file":
        container.unlike(crun="1.8 has other words")
        error = container.refused("must be mounted on ordinary directory")
        assert "must be mounted on ordinary directory" in error
    else:
        container.refused()
    assert os.listdir(container.rootfs / "evil") == []


def test_a_link_on_the_way_to_a_sysctl(container: Container, canary: Path) -> None:
    """CVE-2025-52881: through a link in the image, on a container that mounts no /proc at all."""
    container.without_mount("/proc")
    (container.rootfs / "proc").rmdir()
    (container.rootfs / "proc").symlink_to(canary)
    container.linux.update(maskedPaths=[], readonlyPaths=[])
    container.linux["sysctl"] = {"kernel.shmmax": "4711"}
    container.run("true")
    assert untouched(canary)
    assert Path("/proc/sys/kernel/shmmax").read_text() != "4711\n"


# mounts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["absolute", "relative"])
@pytest.mark.parametrize("destination", ["/vol/x/y", "/vol/x", "/vol/x/y/z/deep"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_link_in_a_destination(container: Container, canary: Path, destination: str, kind: str, link: str) -> None:
    """CVE-2021-30465, CVE-2024-45310, CVE-2019-18837, the static forms: nothing is made outside."""
    (container.rootfs / "vol").mkdir()
    target = str(canary) if link == "absolute" else f"{'../' * 20}{canary}"
    (container.rootfs / "vol/x").symlink_to(target)
    if kind == "tmpfs":
        container.mount(destination, "tmpfs", "tmpfs")
    else:
        container.mount(destination, "bind", "/etc/hostname", "bind")
    refused_or(container)
    assert untouched(canary)


def test_a_volume_with_a_link(container: Container, canary: Path) -> None:
    """The link lies in a volume that another container can write."""
    volume = container.path / "volume"
    volume.mkdir()
    (volume / "x").symlink_to(canary)
    container.mount("/vol", "bind", str(volume), "rbind")
    container.mount("/vol/x/y", "tmpfs", "tmpfs")
    container.linux["maskedPaths"] += ["/vol/x/ptmx"]
    refused_or(container)
    assert untouched(canary)


# /dev -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["absolute", "relative"])
@pytest.mark.parametrize("terminal", [False, True])
def test_dev_is_a_link(container: Container, canary: Path, link: str, terminal: bool) -> None:
    """CVE-2026-41579, CVE-2026-47766: devices and links are made elsewhere, ptmx there is unlinked."""
    container.unlike(**OLD)
    container.without_mount(*DEV)
    container.linux["maskedPaths"] = []
    (container.rootfs / "dev").rmdir()
    (container.rootfs / "dev").symlink_to(str(canary) if link == "absolute" else f"{'../' * 20}{canary}")
    container.process["terminal"] = terminal
    refused_or(container)
    assert untouched(canary)


@pytest.mark.parametrize("fake", ["link", "file", "missing", "other device"])
def test_a_false_null_device(container: Container, fake: str) -> None:
    """CVE-2025-31133: a masked path would show, writable, what the false device leads to."""
    container.unlike(**OLD)
    folder = container.path / "dev"
    folder.mkdir()
    null = folder / "null"
    if fake == "link":
        null.symlink_to("/proc/sys/kernel/core_pattern")
    elif fake == "file":
        null.write_text("false")
    elif fake == "other device":
        os.mknod(null, 0o20666, os.makedev(1, 5))
    container.without_mount(*DEV)
    container.mount("/dev", "bind", str(folder), "rbind")
    container.linux["maskedPaths"] = ["/etc/passwd"]
    container.refused("/linux/maskedPaths")


def test_a_false_null_device_for_stdio(container: Container, canary: Path) -> None:
    container.unlike(crun="1.8 hands over the host's")
    folder = container.path / "dev"
    folder.mkdir()
    (folder / "null").symlink_to("/canary/ptmx")
    container.without_mount(*DEV)
    container.mount("/dev", "bind", str(folder), "rbind")
    container.mount("/canary", "bind", str(canary), "rbind")
    container.linux["maskedPaths"] = []
    with open("/dev/null", "r+b") as null:
        container.run("echo overwritten", stdin=null, stdout=null)
    assert untouched(canary)


@pytest.mark.parametrize("pts", ["pts/0", "pts/ptmx", "console", "ptmx"])
def test_a_false_terminal(container: Container, canary: Path, pts: str) -> None:
    """CVE-2025-52565: the console would be bound over with a file of the attacker's choice."""
    container.unlike(**OLD)
    folder = container.path / "dev"
    (folder / "pts").mkdir(parents=True)
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    (folder / pts).symlink_to("/canary/ptmx")
    container.without_mount(*DEV)
    container.mount("/dev", "bind", str(folder), "rbind")
    container.mount("/canary", "bind", str(canary), "rbind")
    container.process["terminal"] = True
    container.write()
    done = container.runtime("run", "--bundle", container.path, container.id)
    assert done.code == 1
    assert not container.exists()
    assert untouched(canary)


# descriptors and the working directory --------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [False, True])
def test_a_working_directory_in_the_runtimes_descriptors(container: Container, link: bool) -> None:
    """CVE-2024-21626."""
    mark = container.script("/inside-mark", "")
    for number in range(3, 31):
        cwd = f"/proc/self/fd/{number}"
        if link:
            (container.rootfs / "link").unlink(missing_ok=True)
            (container.rootfs / "link").symlink_to(cwd)
            cwd = "/link"
        container.process["cwd"] = cwd
        seen = refused_or(container, "pwd -P; cd ../../../../../..; ls")
        assert seen is None or mark.name in seen, (number, seen)


def test_a_working_directory_that_was_moved_out(container: Container, canary: Path) -> None:
    """Between create and start: the program is where it was put, or nowhere."""
    container.mount("/vol", "bind", str(container.path), "rbind")
    (container.path / "inner/deep").mkdir(parents=True)
    container.process["cwd"] = "/vol/inner/deep"
    assert container.sees("pwd -P") == "/vol/inner/deep"
    assert untouched(canary)


@pytest.mark.parametrize(
    "path", ["/" + "x/" * 35000, "/proc/self/ns/net\0", "/a,b", "/proc/self/ns/net,uts:/proc/self/ns/uts"]
)
def test_odd_namespace_paths(container: Container, path: str) -> None:
    """CVE-2021-43784."""
    container.namespace("network", path)
    container.refused("/linux/namespaces/4/path")


@pytest.mark.parametrize("pointer", ["hostname", "args", "env", "cwd", "destination", "annotations"])
def test_nul_bytes(container: Container, pointer: str) -> None:
    if pointer == "hostname":
        container.config["hostname"] = "a\0b"
    elif pointer == "destination":
        container.mount("/a\0b")
    elif pointer == "annotations":
        container.unlike(**dict.fromkeys(OLD, "takes it"))
        container.config["annotations"] = {"com.example.x": "a\0b"}
    else:
        value: Any = {"args": ["/bin/true", "a\0b"], "env": ["A=a\0b"], "cwd": "/a\0b"}[pointer]
        container.process[pointer] = value
    container.unlike(crun="1.8 cuts it off")
    container.refused()


@pytest.mark.parametrize("identifier", ["..", ".", "a/b", "", "../../x", "x" * 300, "a\nb", "a\0b"[:1] + "\t"])
@pytest.mark.parametrize("verb", ["create", "state", "delete --force", "kill", "start"])
def test_odd_ids(container: Container, verb: str, identifier: str) -> None:
    """Nothing outside of the state folder is made, or removed."""
    container.unlike(crun="1.8 takes some")
    container.write()
    outside = container.runtime.folder / "x"
    outside.mkdir()
    flags = ["--bundle", str(container.path)] if verb == "create" else []
    done = container.runtime(*verb.split(), *flags, "--", identifier)
    assert done.code == 1 or (verb == "delete --force" and "does not exist" not in done.err)
    assert outside.is_dir()
    assert container.runtime.ids() == []


def test_a_link_in_the_state_folder_is_not_followed(runtime: Runtime, tmp_path: Path) -> None:
    if runtime.name != "pyrun":
        pytest.skip("they follow")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "state.json").write_text("{}")
    runtime.root.mkdir()
    (runtime.root / "x").symlink_to(outside)
    assert runtime("delete", "--force", "x").code == 1
    assert (outside / "state.json").exists()
    (runtime.root / "x").unlink()


@pytest.mark.parametrize("name", [".krun_config.json", "etc/hostname", "etc/hosts", "etc/resolv.conf"])
def test_no_file_is_written_into_the_image(container: Container, canary: Path, name: str) -> None:
    """CVE-2025-24965."""
    path = container.rootfs / name
    path.symlink_to(canary / "ptmx")
    container.config["root"]["readonly"] = False
    container.run("true")
    assert untouched(canary)


def test_a_container_cannot_mount_a_cgroup_hierarchy(container: Container) -> None:
    """CVE-2022-0492: to write release_agent."""
    seen = container.sees("unshare -U sh -c 'mount -t cgroup -o memory x /tmp' 2>&1; echo $?")
    assert seen.splitlines()[-1] != "0"


def test_the_keyring_is_not_the_callers(container: Container) -> None:
    if not shutil.which("keyctl"):
        pytest.skip("needs keyctl")
    subprocess.run(["keyctl", "add", "user", "canary", "secret", "@s"], check=True, stdout=subprocess.DEVNULL)
    container.linux["maskedPaths"].remove("/proc/keys")
    assert "canary" not in container.sees("cat /proc/keys")
