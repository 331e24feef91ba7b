"""linux.intelRdt: a container's group of the resctrl file system (config-linux.md "IntelRdt", MUST 112 to 126; kernel
Documentation/filesystems/resctrl.rst)."""

from __future__ import annotations

import posix
from errno import EEXIST, ENOENT

from pyrun.errors import Error
from pyrun.kernel import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.spec.config import IntelRdt

_AT = "/linux/intelRdt"


class Group:
    """directory: the group's; made: create makes it, so delete removes it; monitoring: the directory of the
    monitoring group of the container's own, or "". Methods raise Error."""

    __slots__ = ("directory", "made", "monitoring", "top")

    def __init__(self, top: str, directory: str, made: bool, monitoring: str) -> None:
        self.top = top
        self.directory = directory
        self.made = made
        self.monitoring = monitoring

    @classmethod
    def of(cls, wanted: IntelRdt, container: str, mountinfo: str | None = None) -> Group:
        """The group that the config asks for; nothing is made yet. mountinfo: that of this process, unless given."""
        top = _mounted(files.read("/proc/self/mountinfo") if mountinfo is None else mountinfo)
        if not top:
            hint = "mount -t resctrl resctrl /sys/fs/resctrl; not every processor can"
            raise Error("no resctrl is mounted", pointer=_AT, hint=hint)
        name = wanted.get("closID", "")
        directory = top if name == "/" else f"{top}/{name or container}"
        there = files.exists(directory)
        if not there and name and not _lines(wanted):
            # Without a schema there is nothing to make it from (MUST 123).
            raise Error(f"the group {name} does not exist", pointer=f"{_AT}/closID", hint=f"mkdir {directory}")
        if there and not name:
            raise Error(
                f"the group {container} exists already", pointer=_AT, hint=f"rmdir {directory}, or name it by closID"
            )
        monitoring = f"{directory}/mon_groups/{container}" if wanted.get("enableMonitoring") else ""
        return cls(top, directory, not there, monitoring)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Group:
        """The group that `to_state` told of."""
        return cls(state["top"], state["directory"], state["made"], state["monitoring"])

    def to_state(self) -> dict[str, Any]:
        """What a later command needs, fit for JSON."""
        return {"top": self.top, "directory": self.directory, "made": self.made, "monitoring": self.monitoring}

    def create(self, wanted: IntelRdt) -> None:
        """Make what has to be made; one that is there must have the schemata asked for (MUST 122)."""
        lines = _lines(wanted)
        # Until a directory is made it is not ours to remove.
        made, self.made = self.made, False
        monitoring, self.monitoring = self.monitoring, ""
        if made:
            self._mkdir(self.directory, f"{_AT}/closID" if wanted.get("closID") else _AT)
            self.made = True
            if lines:
                self.write(lines)
        else:
            self._compare(lines)
        if monitoring:
            self._mkdir(monitoring, f"{_AT}/enableMonitoring")
            self.monitoring = monitoring

    def write(self, lines: list[tuple[str, str]]) -> None:
        """(JSON pointer, line) of schemata: l3CacheSchema, memBwSchema, schemata, in this order (MUST 118)."""
        self._put(f"{self.directory}/schemata", "".join(f"{line}\n" for _, line in lines), lines[0][0])

    def add(self, pid: int) -> None:
        """Put a process into it, and what it will start (MUST 112)."""
        for directory in filter(None, (self.directory, self.monitoring)):
            self._put(f"{directory}/tasks", f"{pid}\n", _AT)

    def statistics(self) -> dict[str, Any]:
        """What the hardware can, what the group has, and what is counted of it: runc's member intel_rdt of an event."""
        found: dict[str, Any] = {}
        for resource, prefix, members in _RESOURCES:
            values = {name: _text(f"{self.top}/info/{resource}/{name}") for name, _ in members}
            if any(values.values()):
                found[f"{prefix}_info"] = {
                    name: int(values[name] or 0) if numeric else values[name] for name, numeric in members
                }
            for name, directory in ((f"{prefix}_schema_root", self.top), (f"{prefix}_schema", self.directory)):
                lines = [line.strip() for line in _text(f"{directory}/schemata").splitlines()]
                if line := next((line for line in lines if line.startswith(f"{resource}:")), ""):
                    found[name] = line
        nodes = f"{self.monitoring or self.directory}/mon_data"
        names = sorted(posix.listdir(nodes)) if files.exists(nodes) else []
        for member, counters in _MONITORED:
            rows = [{name: int(_text(f"{nodes}/{node}/{name}") or 0) for name in counters} for node in names]
            if rows and all(files.exists(f"{nodes}/{names[0]}/{name}") for name in counters):
                found[member] = rows
        return found

    def destroy(self) -> None:
        """Remove what create made (MUST 124 to 126); the processes in it go to the default group."""
        for directory in (self.monitoring, self.directory if self.made else ""):
            if not directory:
                continue
            try:
                posix.rmdir(directory)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise Error("remove the resctrl group", call=f"rmdir {directory}", errno=e.errno) from None

    def _mkdir(self, directory: str, pointer: str) -> None:
        try:
            posix.mkdir(directory, 0o755)
        except OSError as e:
            hint = {EEXIST: "another container's", ENOENT: "no monitoring here"}.get(e.errno or 0, self._words())
            raise Error(
                "make the resctrl group", pointer=pointer, call=f"mkdir {directory}", errno=e.errno, hint=hint
            ) from None

    def _put(self, path: str, text: str, pointer: str) -> None:
        try:
            files.write(path, text)
        except OSError as e:
            tried = f"write {text.rstrip()!r} to {path}"
            raise Error(
                "set the resctrl group", pointer=pointer, call=tried, errno=e.errno, detail=self._words()
            ) from None

    def _words(self) -> str:
        """What the kernel says of the last command that failed."""
        try:
            words = files.read(f"{self.top}/info/last_cmd_status").strip()
        except OSError:
            return ""
        return "" if words == "ok" else words

    def _compare(self, lines: list[tuple[str, str]]) -> None:
        if not lines:
            return
        there = dict(map(_parse, files.read(f"{self.directory}/schemata").splitlines()))
        for pointer, line in lines:
            resource, wanted = _parse(line)
            found = there.get(resource, {})
            for domain, value in wanted.items():
                if found.get(domain) != value:
                    words = f"the group has {domain}={found.get(domain, 'nothing')} of {resource}, not {value}"
                    raise Error("the resctrl group is there with another schema", pointer=pointer, detail=words)


# Of info/: the resource, runc's word for it, and its files, with whether each is a number.
_RESOURCES = (
    ("L3", "l3_cache", (("cbm_mask", False), ("min_cbm_bits", True), ("num_closids", True))),
    (
        "MB",
        "mem_bw",
        (("bandwidth_gran", True), ("delay_linear", True), ("min_bandwidth", True), ("num_closids", True)),
    ),
)
_MONITORED = (("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")), ("cmt_stats", ("llc_occupancy",)))


def _text(path: str) -> str:
    try:
        return files.read(path).strip()
    except OSError:
        return ""


def _lines(wanted: IntelRdt) -> list[tuple[str, str]]:
    names = ("l3CacheSchema", "memBwSchema")
    lines = [(f"{_AT}/{name}", str(wanted[name])) for name in names if wanted.get(name)]  # type: ignore[literal-required]
    return lines + [(f"{_AT}/schemata/{i}", line) for i, line in enumerate(wanted.get("schemata", []))]


def _parse(line: str) -> tuple[str, dict[str, str]]:
    """(resource, domain -> value) of a line such as "L3:0=ff;1=f"; numbers without leading zeros."""
    resource, _, rest = line.strip().partition(":")
    domains = (domain.partition("=") for domain in rest.split(";") if domain)
    return resource.strip(), {d.strip(): v.strip().lower().lstrip("0") or "0" for d, _, v in domains}


def _mounted(mountinfo: str) -> str:
    """Where resctrl is mounted, "" when it isn't (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        if tail.startswith("resctrl "):
            return fields.split(" ")[4]
    return ""
