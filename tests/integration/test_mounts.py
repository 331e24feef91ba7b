"""mounts: what /proc/self/mountinfo of the container says of each option of the spec's table (MUST 48 to 50)."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from harness import Container, mount_at, mount_lines


@pytest.mark.parametrize(("option", "top", "below"), [("ro", "ro", "rw"), ("rro", "ro", "ro")])
def test_recursive_options(container: Container, shared: Path, option: str, top: str, below: str) -> None:
    container.mount("/tmp", "bind", str(shared), "rbind", option)
    found = {line.point: line.options for line in mount_lines(container)}
    assert top in found["/tmp"]
    assert below in found["/tmp/below"]


@pytest.mark.parametrize("option", ["rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"])
def test_more_recursive_options(container: Container, shared: Path, option: str) -> None:
    if option == "rnosymfollow" and container.runtime.name != "pyrun":
        pytest.skip("too old")
    if "atime" in option:
        container.unlike(crun="1.8 doesn't clear the old mode: EINVAL")
    container.mount("/tmp", "bind", str(shared), "rbind", option)
    found = {line.point: line.options for line in mount_lines(container)}
    assert option[1:] in found["/tmp"]
    assert option[1:] in found["/tmp/below"]


def test_the_type_of_a_bind_is_a_dummy(container: Container, shared: Path) -> None:
    container.mount("/tmp", "none", str(shared), "rbind")
    assert container.sees("cat /tmp/mark") == "top"


def test_a_relative_source_is_of_the_bundle(container: Container) -> None:
    (container.path / "folder").mkdir()
    (container.path / "folder/mark").write_text("mine")
    container.mount("/tmp", "bind", "folder", "bind")
    assert container.sees("cat /tmp/mark") == "mine"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_missing_destination_is_made(container: Container, kind: str) -> None:
    source = container.path / "source"
    if kind == "folder":
        source.mkdir()
        (source / "mark").write_text("mine")
    else:
        source.write_text("mine")
    container.mount("/not/there/yet", "bind", str(source), "bind")
    assert container.sees("cat /not/there/yet/mark" if kind == "folder" else "cat /not/there/yet") == "mine"
    made = container.rootfs / "not/there/yet"
    assert made.is_dir() if kind == "folder" else made.is_file()
    assert (container.rootfs / "not").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [(0o1777, [], "1777"), (0o700, [], "700"), (0o700, ["mode=755"], "755"), (None, [], "1777")],
)
def test_a_tmpfs_looks_like_the_folder_below(
    container: Container, mode: int | None, options: list[str], expected: str
) -> None:
    if mode is None:
        container.unlike(runc="runc makes it 755")
    if mode == 0o700:
        container.unlike(runc="1.1 ignores mode=", crun="1.8 makes it 1777")
    if mode is not None:
        (container.rootfs / "folder").mkdir()
        (container.rootfs / "folder").chmod(mode)
    container.mount("/folder", "tmpfs", "tmpfs", *options)
    assert container.sees("stat -c %a /folder") == expected


def test_a_read_only_tmpfs_can_be_filled_before(container: Container) -> None:
    container.mount("/tmp", "tmpfs", "tmpfs", "ro")
    container.mount("/tmp/below", "tmpfs", "tmpfs")
    found = {line.point: line.options for line in mount_lines(container)}
    assert "ro" in found["/tmp"]
    assert "rw" in found["/tmp/below"]


def test_a_read_only_dev_has_its_devices(container: Container) -> None:
    next(m for m in container.config["mounts"] if m["destination"] == "/dev")["options"].append("ro")
    assert "ro" in mount_at(container, "/dev").options
    assert container.sees("ls /dev/null; touch /dev/x 2>&1 || true").splitlines()[0] == "/dev/null"


def test_a_relative_destination(container: Container) -> None:
    """MUST 49: it is meant from the root, and deserves a warning."""
    container.mount("tmp", "tmpfs", "mine")
    done = container.run("grep ' /tmp ' /proc/self/mountinfo")
    assert done.code == 0
    assert "mine" in done.out
    if container.runtime.name == "pyrun":
        assert "/mounts/7/destination" in done.err and "level=warning" in done.err


def test_a_link_in_the_destination_stays_inside(container: Container) -> None:
    (container.rootfs / "link").symlink_to("/tmp")
    container.mount("/link/below", "tmpfs", "mine")
    assert mount_at(container, "/tmp/below").source == "mine"


def test_the_sys_mount_can_be_a_bind_of_the_hosts(container: Container) -> None:
    """As for containers with the host's network."""
    container.without_mount("/sys/fs/cgroup", "/sys")
    container.mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    assert mount_at(container, "/sys/fs/cgroup").point == "/sys/fs/cgroup"


def test_a_very_long_value(container: Container, shared: Path) -> None:
    """fsconfig takes 255 bytes; mount(2) takes a page."""
    folders = [shared / f"layer-{i:03}-with-a-long-name" for i in range(8)]
    for folder in folders:
        folder.mkdir()
        (folder / folder.name).write_text("")
    container.mount("/tmp", "overlay", "overlay", f"lowerdir={':'.join(map(str, folders))}")
    assert container.sees("ls /tmp | wc -l") == "8"


@pytest.mark.parametrize(
    ("destination", "kind", "source", "options", "parts"),
    [
        ("/tmp", "tmpfs", "tmpfs", ["size=64x"], ["mount /tmp (/mounts/7/options/0)", "Bad value for 'size'"]),
        ("/tmp", "tmpfs", "tmpfs", ["mode=9"], ["/mounts/7", "Bad value for 'mode'"]),
        ("/tmp", "tmpfs", "tmpfs", ["nonsense"], ["/mounts/7/options/0", "Unknown parameter 'nonsense'"]),
        ("/tmp", "nonsense", "x", [], ["/mounts/7/type", "no such device"]),
        ("/tmp", "bind", "/no/such", ["bind"], ["/mounts/7/source", "no such file or directory"]),
        ("/bin/busybox", "tmpfs", "tmpfs", [], ["/mounts/7", "on a directory"]),
        ("/bin/busybox/x", "tmpfs", "tmpfs", [], ["/mounts/7/destination", "not a directory"]),
        ("/etc", "bind", "/etc/passwd", ["bind"], ["/mounts/7", "on a directory"]),
        ("/", "tmpfs", "tmpfs", [], ["/mounts/7/destination"]),
    ],
)
@pytest.mark.pyrun_only("about pyrun's words")
def test_what_goes_wrong_is_named(
    container: Container, destination: str, kind: str, source: str, options: list[str], parts: list[str]
) -> None:
    container.mount(destination, kind, source, *options)
    container.refused(*parts)


@pytest.mark.pyrun_only("crun takes seconds for each, runc's limit is that of open files")
@pytest.mark.parametrize("user_namespace", [False, True])
def test_a_thousand_binds(container: Container, user_namespace: bool) -> None:
    """Their trees are open at once: more than the soft limit of open files, which the program itself has as it was."""
    if user_namespace:
        container.user_namespace()
    for i in range(1100):
        container.mount(f"/tmp/{i}", "bind", "/etc", "bind", "ro")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        container.process.pop("rlimits", None)
        assert container.sees("grep -c ' /tmp/' /proc/self/mounts; ulimit -Sn").split() == ["1100", "1024"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
