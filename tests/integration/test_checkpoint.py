"""checkpoint and restore as far as CRIU: what it is told, and what its answers lead to. tests/criu has CRIU itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import CHECKOUT, Container, Listener, Runtime, message

from conformance.harness import V2

pytestmark = pytest.mark.pyrun_only("by a CRIU of ours")
_DUMPED = {
    "log_level": 4,
    "log_file": "dump.log",
    "notify_scripts": True,
    "tcp_established": False,
    "ext_unix_sk": False,
    "shell_job": False,
    "file_locks": False,
    "auto_dedup": False,
    "orphan_pts_master": True,
    "manage_cgroups": True,
    "manage_cgroups_mode": 3,
    "leave_running": False,
    "evasive_devices": True,
    "link_remap": False,
    "tcp_skip_in_flight": False,
}
_RESTORED = {
    **{name: value for name, value in _DUMPED.items() if name in _DUMPED and name not in (
        "leave_running", "evasive_devices", "link_remap", "tcp_skip_in_flight")},
    "log_file": "restore.log",
    "rst_sibling": True,
}  # fmt: skip


_OF_CGROUPS = "mnt[/sys/fs/cgroup"


class Criu:
    """The fake, and what it has been asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "criu"
        self.path.write_text(f"#!{sys.executable}\n" + (CHECKOUT / "tests/fake_criu.py").read_text())
        self.path.chmod(0o755)
        self.plays("success")

    def plays(self, play: str, *notices: str, features: tuple[str, ...] = ("mem_track", "lazy_pages")) -> None:
        (self.folder / "play").write_text(json.dumps({"play": play, "notices": notices, "features": features}))

    def asked(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def told(self) -> dict[str, Any]:
        """The options of the last request for work, without mounts of cgroups."""
        told = self._told()
        others = [row for row in told.pop("external", []) if not row.startswith(_OF_CGROUPS)]
        return {**told, "external": others} if others else told

    def cgroups(self) -> list[str]:
        """The mounts of cgroups in it."""
        return [row for row in self._told().get("external", []) if row.startswith(_OF_CGROUPS)]

    def _told(self) -> dict[str, Any]:
        return [row["opts"] for row in self.asked() if row.get("type") in (1, 2, 4)][-1]


@pytest.fixture
def criu(tmp_path: Path) -> Criu:
    folder = tmp_path / "fake"
    folder.mkdir()
    return Criu(folder)


@pytest.fixture
def call(container: Container, criu: Criu, tmp_path: Path) -> Any:
    """Runs checkpoint or restore of the container: its exit code and lines of stderr."""

    def run(verb: str, *options: Any, **popen: Any) -> tuple[int, list[str]]:
        paths = ("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
        own = ("--bundle", container.path, "--detach") if verb == "restore" else ()
        arguments = [str(one) for one in (*paths, *own, *options)]
        command = container.runtime.command(verb, *arguments, container.id, options=("--criu", str(criu.path)))
        with open(tmp_path / "said", "w+") as said:
            popen = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said, **popen}
            code = subprocess.run(command, timeout=60, check=False, **popen).returncode
        return code, [message(line) for line in (tmp_path / "said").read_text().splitlines()]

    return run


def test_what_dump_is_told(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    container.mount("/data", "bind", "/usr", "rbind", "ro")
    pid = container.up()
    assert call("checkpoint") == (0, [])
    told = criu.told()
    frozen = told.pop("freeze_cgroup", "")
    assert told == {
        **_DUMPED,
        "images_dir_fd": str(tmp_path / "image"),
        "work_dir_fd": str(tmp_path / "work"),
        "pid": pid,
        "root": str(container.path / "rootfs"),
        "external": ["mnt[/data]:/data"],
    }
    assert container.id in frozen or not frozen
    assert len(json.loads((tmp_path / "image/descriptors.json").read_text())) == 3
    assert not container.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tcp-established",), {"tcp_established": True}),
        (("--tcp-skip-in-flight",), {"tcp_skip_in_flight": True}),
        (("--ext-unix-sk",), {"ext_unix_sk": True}),
        (("--shell-job",), {"shell_job": True}),
        (("--file-locks",), {"file_locks": True}),
        (("--link-remap",), {"link_remap": True}),
        (("--auto-dedup",), {"auto_dedup": True}),
        (
            ("--lazy-pages",),
            {"lazy_pages": True, "ps": {"address": "127.0.0.1", "port": 0}, "config_file": "address 127.0.0.1\n"},
        ),
        (("--leave-running",), {"leave_running": True}),
        (("--pre-dump",), {"track_mem": True}),
        (("--parent-path", "../before"), {"parent_img": "../before", "track_mem": True}),
        (("--page-server", "10.0.0.1:99"), {"ps": {"address": "10.0.0.1", "port": 99}}),
        (("--manage-cgroups-mode", "strict"), {"manage_cgroups_mode": 5}),
        (("--manage-cgroups-mode", "full"), {"manage_cgroups_mode": 4}),
        (("--manage-cgroups-mode", "ignore"), {"manage_cgroups_mode": 0}),
        (("--network-lock", "iptables"), {"network_lock": 1}),
        (("--network-lock", "nftables"), {"network_lock": 2}),
        (("--network-lock", "skip"), {"network_lock": 3}),
        (("--empty-ns", "network"), {"empty_ns": 0x40000000}),
    ],
)
def test_options_of_checkpoint(container: Container, criu: Criu, call: Any, options: Any, told: dict[str, Any]) -> None:
    container.up()
    assert call("checkpoint", *options) == (0, [])
    found = {name: value for name, value in criu.told().items() if name in told or name not in _DUMPED}
    for name in ("images_dir_fd", "work_dir_fd", "pid", "root", "freeze_cgroup"):
        found.pop(name, None)
    assert found == told
    assert container.exists() == (options[0] in ("--leave-running", "--pre-dump"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tcp-established",), {"tcp_established": True}),
        (("--tcp-close",), {"tcp_close": True}),
        (("--ext-unix-sk",), {"ext_unix_sk": True}),
        (("--shell-job",), {"shell_job": True}),
        (("--file-locks",), {"file_locks": True}),
        (("--auto-dedup",), {"auto_dedup": True}),
        (("--lazy-pages",), {"lazy_pages": True}),
        (("--manage-cgroups-mode", "full"), {"manage_cgroups_mode": 4}),
        (("--network-lock", "skip"), {"network_lock": 3}),
        (("--empty-ns", "network"), {"empty_ns": 0x40000000}),
        (("--lsm-profile", "apparmor:web"), {"lsm_profile": "apparmor:web"}),
        (("--lsm-mount-context", "a:b:c"), {"lsm_mount_context": "a:b:c"}),
    ],
)
def test_options_of_restore(container: Container, criu: Criu, call: Any, options: Any, told: dict[str, Any]) -> None:
    container.up()
    assert call("checkpoint") == (0, [])
    assert call("restore", *options) == (0, [])
    assert {name: criu.told().get(name) for name in told} == told
    container.delete("--force")


def test_what_restore_is_told(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    container.mount("/data", "bind", "/usr", "rbind", "ro")
    container.up()
    call("checkpoint")
    call("restore", "--pid-file", tmp_path / "pid")
    told = criu.told()
    told.pop("cg_root")
    told.pop("inherit_fd")  # see test_pipes
    assert told == {
        **_RESTORED,
        "images_dir_fd": str(tmp_path / "image"),
        "work_dir_fd": str(tmp_path / "work"),
        "root": f"{container.runtime.root}/{container.id}/criu-root",
        "external": ["mnt[/data]:/usr"],
    }
    assert container.status == "running"
    assert (tmp_path / "pid").read_text() == str(container.pid)
    container.delete("--force")


def test_an_image_that_is_cut_short(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """By a page, of which its pagemap speaks: CRIU, which would wait for it, is not asked."""
    container.up()
    call("checkpoint")
    asked = criu.told()
    pagemap = bytes.fromhex("19435654 25400856 02000000 0801 06000000 0800 1001 2004")
    (tmp_path / "image" / "pagemap-1.img").write_bytes(pagemap)
    (tmp_path / "image" / "pages-1.img").touch()
    code, (said,) = call("restore")
    assert code == 1
    assert f"{tmp_path}/image/pages-1.img has 0 bytes" in said
    assert criu.told() == asked
    assert not container.exists()


def test_what_mounts_need_is_made(container: Container, criu: Criu, call: Any) -> None:
    """In the root, by no symlink out of it; a source may be relative to the bundle."""
    (container.path / "folder").mkdir()
    (container.path / "file").touch()
    container.mount("/one/folder", "bind", "folder", "bind")
    container.mount("/two/file", "bind", "file", "bind")
    container.mount("/away/three", "tmpfs")
    container.up()
    call("checkpoint")
    root = container.path / "rootfs"
    (root / "one/folder").rmdir()
    (root / "two/file").unlink()
    (root / "away/three").rmdir()
    (root / "away").rmdir()
    (root / "away").symlink_to("/one")
    assert call("restore") == (0, [])
    assert (root / "one/folder").is_dir()
    assert (root / "two/file").is_file()
    assert (root / "one/three").is_dir()
    assert not os.path.exists("/one")
    container.delete("--force")


def test_mounts_below_a_bind(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """They come with it, unasked; but not what the config mounts there itself."""
    source = tmp_path / "a source"
    (source / "below").mkdir(parents=True)
    (source / "own").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "below"], check=True)
    try:
        container.mount("/data", "bind", str(source), "rbind")
        container.mount("/data/own", "tmpfs")
        container.up()
        call("checkpoint")
        assert criu.told()["external"] == ["mnt[/data]:/data", "mnt[/data/below]:/data/below"]
        call("restore")
        assert criu.told()["external"] == [f"mnt[/data]:{source}", f"mnt[/data/below]:{source}/below"]
        container.delete("--force")
    finally:
        subprocess.run(["umount", source / "below"], check=True)


@pytest.mark.guest
def test_mounts_of_cgroups(container: Container, criu: Criu, call: Any) -> None:
    """On version 1 one of each hierarchy, on version 2 one; each comes to be one of the cgroup that it is in now."""
    rows = container.config["linux"]["namespaces"]
    container.config["linux"]["namespaces"] = [row for row in rows if row["type"] != "cgroup"]
    container.up()
    call("checkpoint")
    place, key = ("/sys/fs/cgroup", "0::") if V2 else ("/sys/fs/cgroup/pids", ":pids:")
    assert f"mnt[{place}]:{place}" in criu.cgroups()
    call("restore")
    lines = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
    path = next(line.partition(key)[2] for line in lines if key in line)
    assert f"mnt[{place}]:{place}{path}" in criu.cgroups()
    container.delete("--force")


@pytest.mark.guest
def test_mounts_of_cgroups_in_a_namespace(container: Container, criu: Criu, call: Any) -> None:
    """On version 2 CRIU knows by itself."""
    container.namespace("cgroup")
    container.up()
    call("checkpoint")
    assert bool(criu.cgroups()) == (not V2)


@pytest.mark.guest
@pytest.mark.skipif(not V2, reason="pyrun does not take hold of cgroup2 here")
def test_options_of_the_hosts_cgroups(container: Container, criu: Criu, call: Any) -> None:
    """CRIU takes them away, and they are given back."""

    def options() -> set[str]:
        line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line)
        return {*line.rpartition(" ")[2].split(",")} - {"rw"}

    def remount(*words: str) -> None:
        subprocess.run(["mount", "-o", ",".join(["remount", *words]), "/sys/fs/cgroup"], check=True)

    before = options()
    remount("nsdelegate", "memory_recursiveprot")
    try:
        wanted = options()
        assert len(wanted) == 2
        container.up()
        criu.plays("options")
        assert call("checkpoint") == (0, [])
        assert options() == wanted
        assert call("restore") == (0, [])
        assert options() == wanted
        container.delete("--force")
    finally:
        remount(*before)


def test_user_namespace(container: Container, criu: Criu, call: Any) -> None:
    """What is bound in place of device nodes is the host's."""
    container.user_namespace()
    container.linux["maskedPaths"] = ["/proc/keys", "/proc/acpi", "/proc/none"]
    container.linux["devices"] = [{"path": "/dev/loud", "type": "c", "major": 1, "minor": 7}]
    container.up()
    call("checkpoint")
    dumped = set(criu.told()["external"])
    assert {"mnt[/dev/null]:/dev/null", "mnt[/dev/loud]:/dev/loud"} <= dumped
    assert ("mnt[/proc/keys]:/proc/keys" in dumped) == os.path.exists("/proc/keys")
    assert not any("none" in row or "acpi" in row for row in dumped)
    call("restore")
    assert {"mnt[/dev/null]:/dev/null", "mnt[/proc/keys]:/dev/null"} <= set(criu.told()["external"])
    container.delete("--force")


def test_a_network_namespace_by_path(container: Container, criu: Criu, call: Any) -> None:
    """It is named in the image, and given to CRIU again."""
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"], close_fds=True) as other:
        try:
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{other.pid}/ns/net") == own:
                assert other.poll() is None
            link = os.readlink(f"/proc/{other.pid}/ns/net")
            container.namespace("network", f"/proc/{other.pid}/ns/net")
            container.up()
            call("checkpoint")
            assert f"{link.replace(':', '')}:extRootNetNS" in criu.told()["external"]
            call("restore")
            assert {"key": "extRootNetNS", "fd": 5, "is": link} in criu.told()["inherit_fd"]
            container.delete("--force")
        finally:
            other.kill()


def test_pipes(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """0, 1 and 2 of restore are for what was a pipe, by its name in the image."""
    container.up()
    call("checkpoint")
    (tmp_path / "image/descriptors.json").write_text('["/dev/null", "pipe:[11]", "pipe:[12]"]')
    ends = [os.pipe() for _ in range(2)]
    try:
        assert call("restore", stdout=ends[0][1], stderr=ends[1][1])[0] == 0
        shown = [os.readlink(f"/proc/self/fd/{pair[1]}") for pair in ends]
    finally:
        for fd in (fd for pair in ends for fd in pair):
            os.close(fd)
    assert [(row["key"], row["is"]) for row in criu.told()["inherit_fd"]] == [
        ("pipe:[11]", shown[0]),
        ("pipe:[12]", shown[1]),
    ]
    container.delete("--force")


def test_configuration_of_criu(container: Container, criu: Criu, call: Any) -> None:
    container.config["annotations"] = {"org.criu.config": "/etc/my.conf"}
    container.up()
    call("checkpoint")
    assert criu.told()["config_file"] == "/etc/my.conf"


def test_configuration_of_criu_and_an_address(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """Lazy pages are asked for at that; what the file says counts for more, being later."""
    (tmp_path / "my.conf").write_text("tcp-established\n")
    container.config["annotations"] = {"org.criu.config": str(tmp_path / "my.conf")}
    container.up()
    assert call("checkpoint", "--lazy-pages", "--page-server", "10.0.0.1:99") == (0, [])
    assert criu.told()["config_file"] == "address 10.0.0.1\ntcp-established\n"


@pytest.mark.parametrize(
    ("play", "parts"),
    [
        ("failure", ("CRIU says: the last thing: No such device", "{work}/{log}")),
        ("errmsg", ("CRIU says: two", "{work}/{log}")),
        ("unreachable", ("CRIU says: Can't connect to server 10.0.0.1:99", "{work}/{log}")),
        ("silent", ("CRIU does not say why", "{work}/{log}")),
        ("death", ("it has ended with status -9, and without an answer",)),
        ("deaf", ("it has ended with status 1", "the option --nonsense is none")),
        ("garbage", ("what it says can't be read",)),
    ],
)
@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_failure(container: Container, criu: Criu, call: Any, tmp_path: Path, verb: str, play: str, parts: Any) -> None:
    """One line, and all is as it was: what runs goes on, and of what was to be made nothing is there."""
    pid = container.up()
    if verb == "restore":
        call("checkpoint")
    criu.plays(play, *(("setup-namespaces",) if verb == "restore" else ("pre-dump",)))
    code, lines = call(verb)
    assert code == 1
    assert len(lines) == 1, lines
    log = "dump.log" if verb == "checkpoint" else "restore.log"
    for part in parts:
        assert part.format(work=tmp_path / "work", log=log) in lines[0]
    if verb == "checkpoint":
        assert (container.status, container.pid) == ("running", pid)
        container.delete("--force")
    else:
        assert not container.exists()


def test_a_dump_that_fails_stays_paused(container: Container, criu: Criu, call: Any) -> None:
    container.up()
    if container.runtime("pause", container.id).code:
        pytest.skip("this host has no freezer")
    criu.plays("failure")
    assert call("checkpoint")[0] == 1
    assert container.status == "paused"
    container.runtime.ok("resume", container.id)
    container.delete("--force")


def test_a_hook_that_fails(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """CRIU is told so; the process that it has made already is gone."""
    container.up()
    call("checkpoint")
    container.hook("createRuntime", f"cat > {tmp_path}/shown; exit 3")
    container.hook("poststop", f"echo stopped > {tmp_path}/poststop")
    container.write()
    criu.plays("success", "setup-namespaces")
    code, lines = call("restore")
    assert (code, len(lines)) == (1, 1), lines
    assert "/hooks/createRuntime/0" in lines[0]
    assert {"notice": "setup-namespaces", "success": False} in criu.asked()
    pid = json.loads((tmp_path / "shown").read_text())["pid"]
    assert not os.path.exists(f"/proc/{pid}")
    assert (tmp_path / "poststop").read_text() == "stopped\n"
    assert not container.exists()


def test_a_child_of_its_caller_is_left_alone(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """A shell that has executed pyrun leaves it its jobs: a failed restore ends what CRIU has made, and no more."""
    container.up()
    call("checkpoint")
    criu.plays("failure", "setup-namespaces")
    words = container.runtime.command(
        "restore", "--image-path", tmp_path / "image", "--bundle", container.path, container.id,
        options=("--criu", str(criu.path)),
    )  # fmt: skip
    null = subprocess.DEVNULL
    script = f'sleep 1000 & echo $! > {tmp_path}/job; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *words], stdin=null, stdout=null, stderr=null, timeout=60, check=False
    )
    job = int((tmp_path / "job").read_text())
    assert done.returncode == 1
    assert os.waitpid(job, os.WNOHANG) == (0, 0), "it is ours now, and lives"
    os.kill(job, signal.SIGKILL)
    os.waitpid(job, 0)
    assert not container.exists()


def test_what_mounts_need(container: Container, criu: Criu, call: Any) -> None:
    """Directories are made in the root where there are none, but for what lies below an earlier mount."""
    for destination in ("/new/one", "/new", "/new/two"):
        container.mount(destination, "tmpfs", "tmpfs")
    container.up()
    call("checkpoint")
    shutil.rmtree(container.rootfs / "new")
    assert call("restore") == (0, [])
    assert sorted(str(path.relative_to(container.rootfs)) for path in container.rootfs.glob("new/**/*")) == ["new/one"]
    container.delete("--force")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart"])
def test_a_network_that_hooks_set_up(container: Container, criu: Criu, call: Any, tmp_path: Path, kind: str) -> None:
    """It is not in the image, at both ends, and the loopback device is set up where it is to be."""
    container.hook(kind, "cat")
    container.up()
    call("checkpoint")
    empty = {"empty_ns": 0x40000000} if kind != "poststart" else {}
    assert {"empty_ns": criu.told().get("empty_ns")} == (empty or {"empty_ns": None})
    criu.plays("success", "setup-namespaces")
    assert call("restore") == (0, [])
    assert {"empty_ns": criu.told().get("empty_ns")} == (empty or {"empty_ns": None})
    container.delete("--force")


def test_terminal(container: Container, criu: Criu, call: Any, tmp_path: Path) -> None:
    """The master that comes with a notice goes to the console socket."""
    container.up()
    call("checkpoint")
    criu.plays("success", "setup-namespaces", "orphan-pts-master")
    listener = Listener(tmp_path / "console")
    try:
        assert call("restore", "--console-socket", tmp_path / "console") == (0, [])
        listener.receive()
    finally:
        listener.close()
    container.delete("--force")


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("checkpoint", ("--manage-cgroups-mode", "hard"), "mode is ignore, soft, full, strict, not hard"),
        ("checkpoint", ("--network-lock", "yes"), "--network-lock is iptables, nftables, skip, not yes"),
        ("checkpoint", ("--empty-ns", "pid"), "--empty-ns takes network, not pid"),
        ("checkpoint", ("--page-server", "99"), "--page-server is ADDRESS:PORT, not 99"),
        ("checkpoint", ("--status-fd", "x"), "--status-fd takes a number, not 'x'"),
        ("checkpoint", ("--pre-dump", "--lazy-pages"), "--pre-dump writes memory, and takes no --lazy-pages"),
        ("checkpoint", ("--status-fd", "1"), "--status-fd takes --lazy-pages"),
        ("checkpoint", ("--lazy-pages", "--status-fd", "3"), "--status-fd 3 is not open"),
        ("checkpoint", ("--lazy-pages", "--status-fd", "9" * 20), "is not open"),
        ("restore", ("--network-lock", "yes"), "--network-lock is iptables, nftables, skip, not yes"),
        ("restore", ("--image-path", "/nowhere"), "open /nowhere: ENOENT"),
        ("restore", ("--lsm-mount-context",), "flag needs an argument"),
    ],
)
def test_what_is_refused(
    container: Container, criu: Criu, call: Any, tmp_path: Path, verb: str, options: Any, words: str
) -> None:
    """Before CRIU is asked for anything."""
    if verb == "checkpoint":
        container.up()
    else:
        container.write()
        (tmp_path / "image").mkdir()
        (tmp_path / "work").mkdir()
    code, lines = call(verb, *options) if options[-1] != "--lsm-mount-context" else _bare(container, *options)
    assert code != 0
    assert words in "\n".join(lines), lines
    assert not criu.asked()
    assert container.exists() == (verb == "checkpoint")
    if verb == "checkpoint":
        assert container.status == "running"
        container.delete("--force")


def _bare(container: Container, *options: str) -> tuple[int, list[str]]:
    """As Podman asks what a runtime knows."""
    done = container.runtime("restore", *options)
    return done.code, (done.out + done.err).splitlines()


@pytest.mark.parametrize(("feature", "option"), [("mem_track", "--pre-dump"), ("lazy_pages", "--lazy-pages")])
def test_what_the_kernel_lacks(container: Container, criu: Criu, call: Any, feature: str, option: str) -> None:
    container.up()
    criu.plays("success", features=())
    code, lines = call("checkpoint", option)
    assert (code, len(lines)) == (1, 1)
    assert f"CRIU {feature.replace('_', ' ')} does not work on this kernel" in lines[0]
    assert container.status == "running"
    container.delete("--force")


@pytest.mark.parametrize("status", ["created", "stopped"])
def test_a_status_without_processes_to_write(container: Container, criu: Criu, call: Any, status: str) -> None:
    if status == "stopped":
        pid = container.up()
        container.kill()
        container.wait(pid)
    else:
        container.create()
    code, lines = call("checkpoint")
    assert (code, len(lines)) == (1, 1)
    assert f"cannot checkpoint a container that is {status}" in lines[0]
    container.delete("--force")


def test_without_criu(container: Container, runtime: Runtime, criu: Criu, call: Any) -> None:
    container.up()
    criu.path.unlink()
    code, lines = call("checkpoint")
    assert (code, len(lines)) == (1, 1)
    assert str(criu.path) in lines[0]
    container.delete("--force")


def test_an_id_that_is_taken(container: Container, criu: Criu, call: Any) -> None:
    container.up()
    call("checkpoint", "--leave-running")
    code, lines = call("restore")
    assert (code, len(lines)) == (1, 1)
    assert "already exists" in lines[0]
    assert container.status == "running"
    container.delete("--force")


def test_a_status_descriptor_for_reading(container: Container, criu: Criu, call: Any) -> None:
    container.up()
    read, write = os.pipe()
    try:
        code, lines = call("checkpoint", "--lazy-pages", "--status-fd", read, pass_fds=(read,))
    finally:
        os.close(read)
        os.close(write)
    assert (code, len(lines)) == (1, 1)
    assert f"--status-fd {read} can't be written to" in lines[0]
    assert not criu.asked()
    container.delete("--force")


@pytest.mark.parametrize("gone", [False, True])
def test_memory_can_be_asked_for(container: Container, criu: Criu, call: Any, gone: bool) -> None:
    """The descriptor hears one byte, and is closed; that nobody reads it is a warning."""
    container.up()
    criu.plays("success", "status-ready")
    read, status = os.pipe()
    try:
        if gone:
            os.close(read)
        code, lines = call("checkpoint", "--lazy-pages", "--status-fd", status, pass_fds=(status,))
        os.close(status)
        status = -1
        assert (code, len(lines)) == (0, int(gone)), lines
        if gone:
            assert "Broken pipe" in lines[0]
        else:
            with open(read, "rb", closefd=False) as file:
                assert file.read() == b"\0"
    finally:
        for fd in (status, *(() if gone else (read,))):
            if fd >= 0:
                os.close(fd)
    assert {"notice": "status-ready", "success": True} in criu.asked()
    assert not container.exists()


def test_podman_asks(runtime: Runtime) -> None:
    """Whether checkpoint is known, and whether restore knows a flag."""
    assert runtime("checkpoint", "--help").code == 0
    done = runtime("restore", "--lsm-mount-context")
    assert done.code != 0
    assert "flag needs an argument" in done.out + done.err


@pytest.mark.parametrize(
    ("play", "features", "level", "says", "cost"),
    [
        ("success", ("mem_track", "lazy_pages"), "ok", "CRIU 4.1.0: mem_track, lazy_pages", ""),
        ("success", ("mem_track",), "limited", "CRIU 4.1.0: mem_track", "no --lazy-pages"),
        ("failure", (), "limited", "CRIU 4.1.0: the last thing: No such device", "no checkpoint, no restore"),
        ("", (), "limited", "it has ended with status", "no checkpoint, no restore"),
    ],
)
def test_doctor(runtime: Runtime, criu: Criu, play: str, features: Any, level: str, says: str, cost: str) -> None:
    criu.plays(play, features=features)
    if not play:
        criu.path.write_text("#!/bin/false\n")
    done = runtime("doctor", "--json", options=("--criu", str(criu.path)))
    found = next(row for row in json.loads(done.out) if row["about"] == "criu")
    assert (found["level"], found["cost"]) == (level, cost)
    assert says in found["says"]
