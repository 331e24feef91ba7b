"""A bundle: a config and a root file system, to be looked at, changed, checked and run."""

from __future__ import annotations

import copy
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from pyrun.caller import Caller
from pyrun.cgroups.host import host as hierarchies
from pyrun.check import bundle as of_bundle
from pyrun.check import host as of_host
from pyrun.container.bundle import CreateOptions
from pyrun.errors import ConfigError, Error
from pyrun.images import bundle as images
from pyrun.images.source import Image
from pyrun.library.plan import Plan
from pyrun.spec import config as spec_config
from pyrun.spec import strictjson
from pyrun.spec.audit import audit
from pyrun.spec.example import example
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal, Self, TypeAlias

    from pyrun.spec.config import Config, Hook, Linux, Mount, Namespace, Process, Resources
    from pyrun.spec.faults import Fault

    NamespaceType: TypeAlias = Literal["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]

_NAME = "config.json"


class Report(NamedTuple):
    """errors: what makes create, or with the host this host, refuse the bundle. warnings: what deserves a word."""

    errors: list[Fault]
    warnings: list[Fault]


class Bundle:
    """path: its directory. config: what config.json says, as plain dicts with the specification's names (typed by
    pyrun.spec.config); change it as you like, or by the methods below, each of which returns the bundle.

        box = Bundle.new("/tmp/box", root="/srv/alpine").limit(memory=64 << 20).mount("/data", "/srv/data")
    """

    def __init__(self, path: str | os.PathLike[str], config: Config) -> None:
        self.path = os.path.abspath(path)
        self.config = config

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The bundle in a directory. Raises ConfigError with all that is wrong with its config.json, and Error when it
        can't be read."""
        file = os.path.join(path, _NAME)
        try:
            with open(file, "rb") as opened:
                return cls(path, spec_config.load(opened.read()))
        except Invalid as e:
            raise ConfigError(e.faults) from None
        except OSError as e:
            raise Error("read the config", call=f"open {file}", errno=e.errno) from None

    @classmethod
    def new(
        cls,
        path: str | os.PathLike[str],
        *args: str,
        root: str | os.PathLike[str] | None = None,
        rootless: bool | None = None,
    ) -> Self:
        """What `pyrun spec` writes, without a terminal: all namespaces, few capabilities, a read-only root. Nothing is
        written before `save` or a create.

        args: the program and its arguments (default: sh). root: the root file system's directory (default: rootfs in
        the bundle). rootless: one that a user without privilege can run (default: when the caller is one)."""
        unprivileged = os.geteuid() != 0 if rootless is None else rootless
        config = example(unprivileged, hierarchies().mode == "v2", os.geteuid(), os.getegid())
        made = cls(path, config)
        made._process["terminal"] = False
        if args:
            made._process["args"] = [*args]
        if root is not None:
            config["root"]["path"] = os.path.abspath(root)
        return made

    @classmethod
    def from_image(
        cls,
        image: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *args: str,
        layers: str | os.PathLike[str] = "",
    ) -> Self:
        """What `pyrun bundle` makes of an image in a file, without a terminal; it is written.

        image: the file or directory, with :NAME behind it for one of several images. path: of the bundle: a directory
        that is empty, or not there. args: in place of the image's command. layers: where layers are shared, and the
        root is an overlay; else it holds a copy of all. Raises Error, and leaves nothing behind then."""
        config = example(os.geteuid() != 0, hierarchies().mode == "v2", os.geteuid(), os.getegid())
        config["process"]["terminal"] = False
        store = os.path.abspath(layers) if layers else ""
        images.make(Image.at(os.path.abspath(image)), os.path.abspath(path), args, config, store, lambda words: None)
        return cls(path, config)

    def remove(self) -> None:
        """Take away what `from_image` has made, and what was written to its root since. Raises Error, for another
        bundle too."""
        images.remove(self.path)

    def copy(self, path: str | os.PathLike[str]) -> Self:
        """The same config for another directory, to be changed by itself; what is relative to this one, the root and
        sources of binds, is made absolute."""
        config = copy.deepcopy(self.config)
        if "root" in config:
            config["root"]["path"] = os.path.join(self.path, config["root"]["path"])
        for mount in config.get("mounts", []):
            if {"bind", "rbind"} & set(mount.get("options", [])) and mount.get("source"):
                mount["source"] = os.path.join(self.path, mount["source"])
        return type(self)(path, config)

    def save(self) -> None:
        """Write config.json; the directory is made when it is missing. Raises Error."""
        file = os.path.join(self.path, _NAME)
        temporary = f"{file}.{os.getpid()}-{threading.get_ident()}"
        try:
            os.makedirs(self.path, exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as opened:
                opened.write(strictjson.dumps(self.config, indent=4) + "\n")
            os.replace(temporary, file)
        except OSError as e:
            raise Error("write the config", call=f"open {file}", errno=e.errno) from None

    def check(self, *, host: bool = False) -> Report:
        """All that is wrong with it, as `pyrun check` finds it; with `host`, also what this host can't do."""
        options = CreateOptions(bundle=self.path)
        found = audit(strictjson.dumps(self.config).encode())
        errors, warnings = found.errors, found.warnings
        if found.config is not None:
            errors = errors + of_bundle.errors(found.config, options, sound=not errors)
            warnings = warnings + of_bundle.warnings(found.config, options)
            if host:
                this = of_host.Host(found.config, options, Caller())
                errors = errors + of_host.errors(this)
                warnings = warnings + of_host.warnings(this)
        return Report(errors, warnings)

    def plan(self, name: str = "container") -> Plan:
        """What a create under that id would do here. Raises Error."""
        try:
            config = spec_config.load(strictjson.dumps(self.config).encode())
        except Invalid as e:
            raise ConfigError(e.faults) from None
        return Plan(config, name, self.path, Caller())

    # --- transforms

    def run(self, *args: str) -> Self:
        """This program, with its arguments."""
        self._process["args"] = [*args]
        return self

    def mount(
        self, destination: str, source: str = "", *, kind: str = "bind", options: Iterable[str] | None = None
    ) -> Self:
        """One more mount, of that kind of file system. source: of a bind what is shown there. options: as in
        mount(8); of a bind rbind, nosuid and nodev by default."""
        given = [*options] if options is not None else ["rbind", "nosuid", "nodev"] if kind == "bind" else []
        entry: Mount = {"destination": destination, "type": kind, "source": source or kind, "options": given}
        self.config.setdefault("mounts", []).append(entry)
        return self

    def tmpfs(self, destination: str, size: int = 64 << 20) -> Self:
        """Somewhere to write, of so many bytes at most, which is gone with the container."""
        return self.mount(destination, kind="tmpfs", options=["nosuid", "nodev", "mode=1777", f"size={size}"])

    def environment(self, **variables: str) -> Self:
        """Variables, in place of those that are there by that name."""
        env = self._process.setdefault("env", [])
        env[:] = [line for line in env if line.partition("=")[0] not in variables]
        env += [f"{name}={value}" for name, value in variables.items()]
        return self

    def user(self, uid: int, gid: int | None = None, groups: Sequence[int] = ()) -> Self:
        """Whom the program runs as, by numbers; gid: uid by default."""
        self._process["user"] = {"uid": uid, "gid": uid if gid is None else gid, "additionalGids": [*groups]}
        return self

    def namespace(self, kind: NamespaceType, path: str = "") -> Self:
        """A namespace of its own, of that type; with `path`, that one is joined."""
        self.without_namespace(kind)
        entry: Namespace = {"type": kind}
        if path:
            entry["path"] = path
        self._linux.setdefault("namespaces", []).append(entry)
        return self

    def without_namespace(self, kind: NamespaceType) -> Self:
        """That of the host is kept: `without_namespace("network")` is how the network is reached."""
        rows = self._linux.get("namespaces", [])
        self._linux["namespaces"] = [row for row in rows if row["type"] != kind]
        return self

    def limit(
        self, *, memory: int | None = None, swap: int | None = None, pids: int | None = None, cpus: float | None = None
    ) -> Self:
        """memory: bytes. swap: bytes of memory and swap together. pids: processes and threads. cpus: time of so many
        CPUs (0.5 is half of one)."""
        resources: Resources = self._linux.setdefault("resources", {})
        if memory is not None:
            resources.setdefault("memory", {})["limit"] = memory
        if swap is not None:
            resources.setdefault("memory", {})["swap"] = swap
        if pids is not None:
            resources["pids"] = {"limit": pids}
        if cpus is not None:
            cpu = resources.setdefault("cpu", {})
            cpu["quota"], cpu["period"] = int(cpus * 100_000), 100_000
        return self

    def writable(self) -> Self:
        """The root file system can be written to."""
        self.config["root"]["readonly"] = False
        return self

    def hook(self, kind: str, path: str, *args: str, timeout: int | None = None) -> Self:
        """One more hook; args: its arguments, after its own name."""
        entry: Hook = {"path": path, "args": [path, *args]}
        if timeout is not None:
            entry["timeout"] = timeout
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)  # type: ignore[misc]
        return self

    @property
    def _process(self) -> Process:
        return self.config.setdefault("process", {"cwd": "/", "user": {"uid": 0, "gid": 0}})

    @property
    def _linux(self) -> Linux:
        return self.config.setdefault("linux", {})
