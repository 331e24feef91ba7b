"""What a config must keep to: rules in a file of the administrator's, for create, run, exec and mounts add (--require).

A rule that a policy does not name demands nothing; one that it names and pyrun does not know is an error, since what is
not understood can't be kept to. Cold.
"""

from __future__ import annotations

import os
import shlex
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from pyrun.spec import strictjson
from pyrun.spec.capabilities import SETS
from pyrun.spec.checks.document import HOOKS
from pyrun.spec.devices import DEFAULT_DEVICES
from pyrun.spec.faults import Fault, Invalid, escape, show
from pyrun.spec.mount_options import MOUNT_ATTR_RDONLY, MountOptions, parse
from pyrun.spec.paths import clean, is_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrun.spec.config import Config, Device, Mount, Process


class Subject(NamedTuple):
    """What is judged. bundle: its directory. image: the digest of the config of the image that it was made of, "": not
    known; signer: the key that has signed it. partial: of a container that is there, only what is changed."""

    config: Config
    bundle: str
    image: str = ""
    signer: str = ""
    partial: bool = False

    @property
    def process(self) -> Process:
        return self.config.get("process", {})


def mounts(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Types of file systems; and PATH or PATH:ro, what of the host may be bound, with all below it. What lies in the
    bundle always may."""
    types = [entry for entry in allowed if not entry.startswith("/")]
    places = [(clean(entry.removesuffix(":ro")), entry.endswith(":ro")) for entry in allowed if entry.startswith("/")]
    for i, mount in enumerate(subject.config.get("mounts", [])):
        options = parse(mount.get("options", []))
        if options.remount:
            # Of whatever lies there, which may be one that is read-only.
            if not _read_only(options):
                yield Fault(f"/mounts/{i}/options", "may not make writable what is mounted already")
        elif not options.bind:
            kind = mount.get("type", "")
            if kind not in types:
                yield Fault(f"/mounts/{i}/type", f"{show(kind)} is not one of {_listed(types)}")
            elif kind in ("cgroup", "cgroup2") and not _read_only(options):
                yield Fault(f"/mounts/{i}/options", "may only be mounted read-only: limits could be changed there")
        else:
            yield from _bind(subject, mount, options, places, f"/mounts/{i}")


def _read_only(options: MountOptions) -> bool:
    """The mount itself, by what is in force in the end: what is recursive comes last."""
    return bool((options.attr_set & ~options.recursive_clr | options.recursive_set) & MOUNT_ATTR_RDONLY)


def _whole_read_only(options: MountOptions) -> bool:
    """And all below it."""
    return bool(options.recursive_set & MOUNT_ATTR_RDONLY)


def _is_content(path: str, bundle: str, config: Config) -> bool:
    """It lies in the bundle, and is neither that itself nor of what pyrun goes by: the root, the config, the record."""
    own = [os.path.realpath(os.path.join(bundle, config.get("root", {}).get("path", "rootfs")))]
    own += [f"{bundle}/{name}" for name in ("config.json", "bundle.json", "rootfs", "upper", "work")]
    return path != bundle and _within(path, bundle) and not any(_within(path, place) for place in own)


def _bind(
    subject: Subject, mount: Mount, options: MountOptions, places: list[tuple[str, bool]], at: str
) -> Iterator[Fault]:
    source = os.path.realpath(os.path.join(subject.bundle, mount.get("source", "")))
    fitting = [read_only for path, read_only in places if _within(source, path)]
    if subject.bundle and _is_content(source, os.path.realpath(subject.bundle), subject.config):
        return
    read_only = _whole_read_only(options) if options.rbind else _read_only(options)
    if not fitting:
        yield Fault(f"{at}/source", f"{show(source)} may not be bound")
    elif all(fitting) and not read_only:
        hint = "rbind takes rro" if options.rbind else ""
        yield Fault(f"{at}/options", f"{show(source)} may only be bound read-only", hint=hint)


def roots(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Where root.path may lie other than in the bundle."""
    path = subject.config.get("root", {}).get("path", "")
    root = os.path.realpath(os.path.join(subject.bundle, path))
    if not any(_within(root, place) for place in (os.path.realpath(subject.bundle), *allowed)):
        yield Fault("/root/path", f"{show(root)} lies outside of the bundle")


def capabilities(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Those that a process may have, in any of its sets."""
    sets = subject.process.get("capabilities", {})
    for kind in SETS:
        for i, name in enumerate(sets.get(kind, [])):
            if name not in allowed:
                yield Fault(f"/process/capabilities/{kind}/{i}", f"{name} is not one of {_listed(allowed)}")


def no_new_privileges(subject: Subject, wanted: bool) -> Iterator[Fault]:
    """process.noNewPrivileges is true."""
    if wanted and "process" in subject.config and not subject.process.get("noNewPrivileges"):
        yield Fault("/process/noNewPrivileges", "must be true")


def non_root(subject: Subject, wanted: bool) -> Iterator[Fault]:
    """process.user.uid is not 0, and not 0 of the host either."""
    if not wanted or "process" not in subject.config:
        return
    uid = subject.process.get("user", {}).get("uid", 0)
    if not uid:
        yield Fault("/process/user/uid", "must not be 0")
    for row in subject.config.get("linux", {}).get("uidMappings", []):
        if 0 <= uid - row["containerID"] < row["size"] and row["hostID"] + uid - row["containerID"] == 0:
            yield Fault("/process/user/uid", "must not be 0 of the host, as it is by /linux/uidMappings")


def namespaces(subject: Subject, wanted: list[str]) -> Iterator[Fault]:
    """Types of which the container has a new one."""
    rows = subject.config.get("linux", {}).get("namespaces", [])
    for kind in wanted:
        found = next((i for i, row in enumerate(rows) if row["type"] == kind), -1)
        if found < 0:
            yield Fault("/linux/namespaces", f"must have a new {kind} namespace")
        elif rows[found].get("path"):
            yield Fault(
                f"/linux/namespaces/{found}/path", f"must not be there: the {kind} namespace is to be a new one"
            )


def read_only_root(subject: Subject, wanted: bool) -> Iterator[Fault]:
    """root.readonly is true."""
    if wanted and not subject.config.get("root", {}).get("readonly"):
        yield Fault("/root/readonly", "must be true")


def seccomp(subject: Subject, wanted: bool) -> Iterator[Fault]:
    """There is a profile, and its default is not to allow."""
    profile = subject.config.get("linux", {}).get("seccomp")
    if wanted and not profile:
        yield Fault("/linux/seccomp", "must be there")
    elif wanted and profile and profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        yield Fault("/linux/seccomp/defaultAction", "must deny")


def masked_paths(subject: Subject, wanted: list[str]) -> Iterator[Fault]:
    """These are masked, or what lies above them is."""
    masked = [clean(path) for path in subject.config.get("linux", {}).get("maskedPaths", [])]
    for i, mount in enumerate(subject.config.get("mounts", [])):
        if mount.get("type") == "proc" and clean(mount["destination"]) != "/proc":
            yield Fault(f"/mounts/{i}/destination", "must be /proc: what is masked there would be seen here")
    for path in wanted:
        if not any(_within(path, one) for one in masked):
            yield Fault("/linux/maskedPaths", f"must have {path}")


def devices(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Those that linux.devices may list, with the numbers that they have on this host; and no rule lets the container
    use any others."""
    linux = subject.config.get("linux", {})
    listed = linux.get("devices", [])
    for i, device in enumerate(listed):
        if clean(device["path"]) not in allowed:
            yield Fault(f"/linux/devices/{i}/path", f"{show(device['path'])} is not one of {_listed(allowed)}")
        elif device["type"] != "p" and not _is_of_host(device):
            yield Fault(f"/linux/devices/{i}", f"is not {show(device['path'])} of this host")
    known = [(device["type"].replace("u", "c"), device.get("major"), device.get("minor")) for device in listed]
    for i, rule in enumerate(linux.get("resources", {}).get("devices", [])):
        kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
        which = (kind, rule.get("major"), rule.get("minor"))
        # mknod alone gives nothing: the node can't be opened.
        if rule["allow"] and {"r", "w"} & set(access) and which not in known and which not in _DEFAULT_DEVICES:
            yield Fault(f"/linux/resources/devices/{i}", "allows devices that the container is not given")


def _is_of_host(device: Device) -> bool:
    try:
        there = os.stat(device["path"])
    except OSError:
        return False
    kind = stat.S_ISBLK if device["type"] == "b" else stat.S_ISCHR
    return kind(there.st_mode) and there.st_rdev == os.makedev(device.get("major", 0), device.get("minor", 0))


def hooks(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Command lines that may be hooks: a program and its arguments, as a shell would split them. They have no
    variables: what a program loads, or runs, may go by those."""
    lines = [shlex.split(line) for line in allowed]
    found: Any = subject.config.get("hooks", {})
    for kind in HOOKS:
        for i, hook in enumerate(found.get(kind, [])):
            if [hook["path"], *hook.get("args", [])[1:]] not in lines:
                yield Fault(f"/hooks/{kind}/{i}", f"{show(hook['path'])} with these arguments is none of those allowed")
            if hook.get("env"):
                yield Fault(f"/hooks/{kind}/{i}/env", "must not be there")
    for name in subject.config.get("annotations", {}):
        if name.startswith("run.oci.hooks."):
            yield Fault(f"/annotations/{escape(name)}", "must not be there: it is about hooks")


def sysctl(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Names, with * for any."""
    yield from _named(subject.config.get("linux", {}).get("sysctl", {}), allowed, "/linux/sysctl")


def allowed_annotations(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Names, with * for any."""
    yield from _named(subject.config.get("annotations", {}), allowed, "/annotations")


def memory(subject: Subject, most: int) -> Iterator[Fault]:
    """The limit, in bytes, is there and not above."""
    yield from _limited(subject, "memory", "limit", most)


def pids(subject: Subject, most: int) -> Iterator[Fault]:
    """The limit is there and not above."""
    yield from _limited(subject, "pids", "limit", most)


def images(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Digests of the configs of images: `pyrun bundle` has made the bundle of one of them, and its root is that."""
    if subject.image not in allowed:
        yield Fault("/root/path", f"{subject.image or 'what it is of'} is not one of the images that may be run")
    yield from _root_of_image(subject)


def _root_of_image(subject: Subject) -> Iterator[Fault]:
    root = os.path.join(subject.bundle, subject.config.get("root", {}).get("path", ""))
    if os.path.realpath(root) != os.path.realpath(f"{subject.bundle}/rootfs"):
        yield Fault("/root/path", "is not that of the image")


def signers(subject: Subject, allowed: list[str]) -> Iterator[Fault]:
    """Fingerprints of keys: one of them has signed the image that `pyrun bundle` has made the bundle of."""
    if subject.signer.upper() not in [name.replace(" ", "").upper() for name in allowed] or not subject.signer:
        yield Fault("/root/path", f"is of an image that {subject.signer or 'nobody'} has signed")
    yield from _root_of_image(subject)


class Rule(NamedTuple):
    """kind: of its value. judge: yields what breaks it. part: what of a config it is about, where that can come by
    itself: to `exec`, `mounts add` and `update`."""

    kind: type
    judge: Callable[[Subject, Any], Iterator[Fault]]
    part: str = ""


RULES = {
    "annotations": Rule(list, allowed_annotations),
    "capabilities": Rule(list, capabilities, "process"),
    "devices": Rule(list, devices),
    "hooks": Rule(list, hooks),
    "images": Rule(list, images),
    "maskedPaths": Rule(list, masked_paths),
    "memory": Rule(int, memory, "resources"),
    "mounts": Rule(list, mounts, "mounts"),
    "namespaces": Rule(list, namespaces),
    "noNewPrivileges": Rule(bool, no_new_privileges, "process"),
    "nonRoot": Rule(bool, non_root, "process"),
    "pids": Rule(int, pids, "resources"),
    "readonlyRoot": Rule(bool, read_only_root),
    "roots": Rule(list, roots),
    "seccomp": Rule(bool, seccomp),
    "signers": Rule(list, signers),
    "sysctl": Rule(list, sysctl),
}
# And the console, ptmx, and the pseudo terminals, whatever their minor number.
_DEFAULT_DEVICES: set[tuple[str, int | None, int | None]] = {
    *((kind, major, minor) for _, kind, major, minor in DEFAULT_DEVICES),
    *(("c", 5, 1), ("c", 5, 2), ("c", 136, None), ("c", 136, -1)),
}


class Policy:
    """A policy, read. Raises Invalid for one that can't be understood."""

    def __init__(self, raw: bytes) -> None:
        value = strictjson.loads(raw)
        if not isinstance(value, dict):
            raise Invalid([Fault("", "must be an object")])
        faults = []
        for name, said in value.items():
            rule, at = RULES.get(name), f"/{escape(name)}"
            if rule is None:
                faults.append(Fault(at, "is no rule", hint=f"the rules are {', '.join(RULES)}"))
            elif type(said) is not rule.kind:
                faults.append(Fault(at, f"must be {_KINDS[rule.kind]}, not {show(said)}"))
            elif isinstance(said, list) and not all(isinstance(entry, str) for entry in said):
                faults.append(Fault(at, "must be an array of strings"))
            elif name == "hooks":
                faults += [Fault(f"{at}/{i}", "is no command line: a quote is open") for i in _open_quotes(said)]
        if faults:
            raise Invalid(faults)
        self.rules: dict[str, Any] = value

    def faults(self, subject: Subject) -> list[Fault]:
        """What of a bundle breaks it."""
        return self._judged(subject, [*self.rules])

    def part_faults(self, part: str, value: Any, config: Config, bundle: str) -> list[Fault]:
        """What of a part by itself does: process, mounts, or resources, of which only what is named is changed. config,
        bundle: the container's."""
        linux: Any = config.get("linux", {})
        linux = {**linux, "resources": value} if part == "resources" else linux
        changed: Any = {**config, "linux": linux, **({} if part == "resources" else {part: value})}
        names = [name for name in self.rules if RULES[name].part == part]
        return self._judged(Subject(changed, bundle, partial=True), names)

    def _judged(self, subject: Subject, names: list[str]) -> list[Fault]:
        return [fault for name in names for fault in RULES[name].judge(subject, self.rules[name])]


_KINDS = {list: "an array of strings", bool: "true or false", int: "a number"}


def _within(path: str, above: str) -> bool:
    return is_below(path, (clean(above),))


def _open_quotes(lines: Any) -> Iterator[int]:
    for i, line in enumerate(lines):
        try:
            shlex.split(line)
        except ValueError:
            yield i


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _named(names: Any, allowed: list[str], at: str) -> Iterator[Fault]:
    for name in names:
        if not any(fnmatchcase(name, pattern) for pattern in allowed):
            yield Fault(f"{at}/{escape(name)}", f"is not one of {_listed(allowed)}")


def _limited(subject: Subject, part: str, member: str, most: int) -> Iterator[Fault]:
    found: Any = subject.config.get("linux", {}).get("resources", {})
    limit = found.get(part, {}).get(member)
    if limit is None and subject.partial:
        pass  # it stays as it was
    elif limit is None or not 0 < limit <= most:
        yield Fault(f"/linux/resources/{part}/{member}", f"must be there, and at most {most}")
    for key in found.get("unified", {}):
        if key.startswith(f"{part}."):
            yield Fault(f"/linux/resources/unified/{escape(key)}", f"must not be there: {part}.{member} is limited")
