"""mounts: in the listed order (MUST 48), each option of the spec's table (MUST 50).

A bind's source is opened on the host, before the container is left with its own eyes only; everything else is made
inside, through the new mount API where it can say what is asked: its file system context is the only interface in
which the kernel explains an EINVAL.
"""

from __future__ import annotations

from errno import EEXIST, ELOOP, EPERM, ESTALE

from pyrun.kernel.constants import (
    AT_FDCWD,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    FSCONFIG_CMD_RECONFIGURE,
    FSCONFIG_SET_FD,
    FSPICK_CLOEXEC,
    FSPICK_EMPTY_PATH,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    OPEN_TREE_CLONE,
    PROC_SUPER_MAGIC,
    STATFS_FLAGS,
    STATX_MODE,
)
from pyrun.machine.messages import COPY_FROM, COPY_UP
from pyrun.machine.program import Buffer, Label, Program, Register
from pyrun.plan import cgroup_mount, rootfs, verify
from pyrun.plan.paths import DIRECTORY, open_in_root
from pyrun.spec.checks.mounts import BELOW_PROC, ORDINARY_DIRECTORY
from pyrun.spec.mount_options import (
    ID_MAPS,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    parse,
)
from pyrun.spec.paths import clean, is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.plan.facts import Facts
    from pyrun.plan.namespaces import Namespaces
    from pyrun.spec.config import Config, Mount
    from pyrun.spec.mount_options import MountOptions

# Kernel file systems without a device: read-only is a property of the mount alone there. Their superblock may be
# shared with the host.
VIRTUAL = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"}

# What a remount as a bind sets anew, but for the modes of atime, and what a user namespace is locked out of changing:
# with the option that says the opposite.
_CLEARED = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW
_LOCKED = {
    MOUNT_ATTR_RDONLY: "rw",
    MOUNT_ATTR_NOSUID: "suid",
    MOUNT_ATTR_NODEV: "dev",
    MOUNT_ATTR_NOEXEC: "exec",
}

_ID_MAPPED = ("idmap", "ridmap", *ID_MAPS)

# Their labels are the policy's business alone, and mqueue takes none at mounting.
_UNLABELLED = {"proc", "sysfs", "mqueue", "cgroup", "cgroup2"}

# fsconfig takes strings of up to 255 bytes, mount(2) a page.
_LONGEST_VALUE = 255


class MountEntry:
    """One mount of the config: where it stands, what its options add up to, and where the
    tree of a bind is kept, once it is open.

    written      its destination in the config
    destination  the same, or where that leads by symlinks of the image whose target is missing
    late         the source of a bind that an earlier mount makes, as a path in the container; "" for all others"""

    __slots__ = ("destination", "index", "late", "mount", "options", "pointer", "tree", "type", "written")

    def __init__(self, index: int, mount: Mount, leads_to: str = "") -> None:
        self.index = index
        self.pointer = f"/mounts/{index}"
        self.mount = mount
        self.options = parse(mount.get("options", []))
        self.written = clean(mount["destination"])
        self.destination = leads_to or self.written
        self.type = "bind" if self.options.bind else mount.get("type", "")
        self.tree: Buffer | None = None
        self.late = ""

    @property
    def mapped(self) -> bool:
        """Its ids are to be mapped."""
        return is_mapped(self.mount)

    def target(self, p: Program, root: Register, create: str | Register = DIRECTORY) -> Register:
        """The mount point, checked: not in a procfs, wherever the image's symlinks lead (CVE-2019-16884)."""
        flags = O_PATH | O_NOFOLLOW if self.options.dest_nofollow else O_PATH
        with p.at("destination"):
            point = open_in_root(p, root, self.destination, flags=flags, create=create)
            _check(p, self, point, root)
        return point

    @property
    def late_read_only(self) -> bool:
        """A tmpfs, and whatever is /dev, can be filled before it becomes read-only: runc's way, images rely on it."""
        return not self.options.bind and (self.type == "tmpfs" or self.destination == "/dev")


def is_mapped(mount: Mount) -> bool:
    """Its ids are to be mapped: it says so, or brings mappings."""
    return "uidMappings" in mount or any(option.startswith(_ID_MAPPED) for option in mount.get("options", ()))


def entries(config: Config, facts: Facts | None = None) -> list[MountEntry]:
    """The config's mounts, in its order."""
    leads_to = facts.destinations if facts else {}
    found = [MountEntry(i, mount, leads_to.get(i, "")) for i, mount in enumerate(config.get("mounts", []))]
    if facts:
        for index, inside in made_inside(config, rootfs.path(config, facts.bundle)).items():
            found[index].late = inside
    return found


def made_inside(config: Config, root: str) -> dict[int, str]:
    """Of binds whose source lies below the `root` on the host, where an earlier mount of the config is made: number of
    the mount -> its source as a path in the container."""
    found: dict[int, str] = {}
    root = clean(root)
    before: set[str] = set()
    for i, row in enumerate(config.get("mounts", [])):
        options, source = row.get("options", ()), row.get("source", "")
        if source.startswith(f"{root}/") and ("bind" in options or "rbind" in options):
            inside = clean(source[len(root) :])
            if is_below(inside, before):
                found[i] = inside
        before.add(clean(row["destination"]))
    return found


def open_sources(p: Program, entries: list[MountEntry], config: Config, facts: Facts, has_userns: bool) -> None:
    """Open every bind's source as a detached copy, in its final shape but for the place it goes to.

    Done with the host's rights: in a user namespace a bind with submounts, or of what only root can reach, is refused.
    """
    default = rootfs.received(config)
    for entry in entries:
        options = entry.options
        if not options.bind or options.remount or entry.late or entry.index in facts.symlinks:
            continue
        source = entry.mount.get("source", "")
        propagation = _propagation(options, default, has_userns)
        with p.at(entry.pointer):
            # A relative source is relative to the bundle (config.md "Mounts").
            path = source if source.startswith("/") else f"{facts.bundle}/{source}"
            flags = OPEN_TREE_CLONE | (AT_RECURSIVE if options.rbind else 0)
            flags |= AT_SYMLINK_NOFOLLOW if options.src_nofollow else 0
            tree = p.do(_open_source, path, constants=(flags, propagation))
            _attributes_of_bind(
                p,
                tree,
                options,
                locked=has_userns and facts.privileged,
                may_be_locked=facts.nested or not facts.privileged,
            )
            _map_ids(p, entry, tree, facts)
            entry.tree = p.keep(tree)


def _propagation(options: MountOptions, default: int, has_userns: bool) -> int:
    """How the copy of a bind's source hangs together with it."""
    wanted = options.propagation[-1][1] if options.propagation else default
    if wanted & MS_SHARED and not has_userns:
        return 0  # stays a peer of the host's mount, if that is shared: this is what was asked for
    return MS_SLAVE if wanted & (MS_SHARED | MS_SLAVE) else MS_PRIVATE


def _map_ids(p: Program, entry: MountEntry, tree: Register, facts: Facts) -> None:
    if entry.mapped:
        with p.at("uidMappings" if "uidMappings" in entry.mount else "options"):
            userns = facts.layout[f"idmap-{entry.index}"]
            p.mount_setattr(tree, MOUNT_ATTR_IDMAP, userns=userns, recursive=entry.options.ridmap)


def _open_source(p: Program, path: Register, flags: int, propagation: int) -> Register:
    with p.at("source"):
        tree = p.open_tree(AT_FDCWD, path, flags)
    if propagation:
        p.mount_setattr(tree, propagation=propagation, recursive=True)
    return tree


def _attributes_of_bind(
    p: Program, tree: Register, options: MountOptions, *, locked: bool, may_be_locked: bool
) -> None:
    """As runc: no flag named, all of the source's mount are kept; any named, the others are cleared, but those of
    atime.

    locked: the container has a user namespace, and would be locked out of changing what the host's mount has, if the
    bind were made inside: that stays, and it is an error to name its opposite. may_be_locked: the mounts are those of
    somebody else's user namespace, and the kernel knows."""
    cleared = options.attr_clr
    if locked:
        for attribute, name in _LOCKED.items():
            if cleared & attribute:
                with p.at(f"options/{options.index[name]}"):
                    p.do(_is_not_locked, tree, constants=(attribute,))
    elif options.named:
        cleared |= _CLEARED & ~options.attr_set
    if options.attr_set or cleared:
        with p.at("options"):
            kept, done = p.label(), p.label()
            uncertain = may_be_locked and cleared != options.attr_clr
            p.mount_setattr(tree, options.attr_set, cleared, errors={EPERM: kept} if uncertain else None)
            if uncertain:
                p.jump(done)
                p.place(kept)
                p.mount_setattr(tree, options.attr_set, options.attr_clr)
                p.place(done)
    _recursive_attributes(p, tree, options)


def _is_not_locked(p: Program, tree: Register, attribute: int) -> None:
    # The flags of struct statfs (statfs(2), ST_*) have the values of MOUNT_ATTR_*.
    with p.held(p.load(p.fstatfs(tree), STATFS_FLAGS, 8)) as flags, p.when(flags, attribute, mask=attribute):
        p.fail(EPERM, "the host's mount has the opposite, and a user namespace may not change that")


def _attributes(p: Program, tree: Register, options: MountOptions) -> None:
    if options.attr_set or options.attr_clr:
        with p.at("options"):
            p.mount_setattr(tree, options.attr_set, options.attr_clr)
    _recursive_attributes(p, tree, options)


def _recursive_attributes(p: Program, tree: Register, options: MountOptions) -> None:
    if options.recursive_set or options.recursive_clr:
        with p.at("options"):
            p.mount_setattr(tree, options.recursive_set, options.recursive_clr, recursive=True)


def make(
    p: Program,
    entries: list[MountEntry],
    root: Register,
    config: Config,
    namespaces: Namespaces,
    facts: Facts,
) -> None:
    """Make the mounts, in order."""
    for entry in entries:
        with p.at(entry.pointer):
            if entry.options.remount:
                _remount(p, entry, root)
            elif entry.index in facts.symlinks:
                _symlink(p, entry, root, facts.symlinks[entry.index])
            elif entry.late:
                _late_bind(p, entry, root, config, namespaces, facts)
            elif entry.tree:
                _bind(p, entry, entry.tree, root, config, namespaces, facts)
            elif entry.type == "cgroup" or entry.type == "cgroup2":
                cgroup_mount.make(p, entry, root, namespaces, facts)
            elif _needs_mount(entry):
                _classic(p, entry, root, facts)
            else:
                tree = _file_system(p, entry, root, namespaces, facts)
                if entry.late_read_only and entry.options.attr_set & MOUNT_ATTR_RDONLY:
                    entry.tree = p.keep(tree)
                else:
                    p.close(tree)


def finish(p: Program, entries: list[MountEntry]) -> None:
    """Make read-only what had to be filled first."""
    for entry in entries:
        if entry.tree and entry.late_read_only:
            with p.at(f"{entry.pointer}/options/{entry.options.index['ro']}"), p.opened(p.fetch(entry.tree)) as tree:
                p.mount_setattr(tree, attr_set=MOUNT_ATTR_RDONLY)


def _check(p: Program, entry: MountEntry, point: Register, root: Register) -> None:
    if entry.written in BELOW_PROC:
        verify.is_not_root(p, point, root)
    else:
        verify.mount_point(p, point, root)


def _late_bind(
    p: Program, entry: MountEntry, root: Register, config: Config, namespaces: Namespaces, facts: Facts
) -> None:
    """The source is what an earlier mount has put there: opened in its turn, and as the container sees it."""
    options = entry.options
    with p.at("source"), p.opened(open_in_root(p, root, entry.late, follow=not options.src_nofollow)) as source:
        tree = p.clone_tree(source, recursive=options.rbind)
    if propagation := _propagation(options, rootfs.received(config), namespaces.has_userns):
        p.mount_setattr(tree, propagation=propagation, recursive=True)
    _attributes_of_bind(p, tree, options, locked=False, may_be_locked=True)
    _map_ids(p, entry, tree, facts)
    _attach(p, entry, tree, root)
    p.close(tree)


def _bind(
    p: Program,
    entry: MountEntry,
    kept: Buffer,
    root: Register,
    config: Config,
    namespaces: Namespaces,
    facts: Facts,
) -> None:
    with p.opened(p.fetch(kept)) as tree:
        if not entry.options.rbind or namespaces.has_userns or entry.mapped:
            _attach(p, entry, tree, root)
            return
        looped, done = p.label(), p.label()
        _attach(p, entry, tree, root, {ELOOP: looped})
        p.jump(done)
        p.place(looped)
        _bind_by_path(p, entry, tree, root, config, facts)
        p.place(done)


def _bind_by_path(p: Program, entry: MountEntry, tree: Register, root: Register, config: Config, facts: Facts) -> None:
    """move_mount(2) refuses a tree in which a mount namespace is pinned (a bind of /proc/PID/ns/mnt, as snapd has them)
    that is not newer than that of the container; which is newer goes by numbers that each CPU has a stock of, so it is
    a matter of chance. mount(2) does not ask. It takes a path, which is looked up again, in our own namespace: what it
    has led to must be what was opened before."""
    options = entry.options
    source = entry.mount.get("source", "")
    before = p.openat(AT_FDCWD, ".", O_PATH)
    with p.opened(entry.target(p, root, create=tree)) as point:
        # The root of a file can't be entered; but none holds mounts.
        p.call("fchdir", point)
        with p.at("source"):
            path = source if source.startswith("/") else f"{facts.bundle}/{source}"
            p.call("mount", path, ".", "", MS_BIND | MS_REC, 0)
        p.call("fchdir", before)
    p.close(before)
    with p.opened(open_in_root(p, root, entry.destination)) as made:
        with p.at("source"):
            verify.is_same(p, made, tree, ESTALE, "the source has become another file meanwhile")
        if propagation := _propagation(options, rootfs.received(config), False):
            p.mount_setattr(made, propagation=propagation, recursive=True)
        _attributes_of_bind(p, made, options, locked=False, may_be_locked=facts.nested or not facts.privileged)
        _propagate(p, entry, made)


def _attach(
    p: Program, entry: MountEntry, tree: Register, root: Register, errors: dict[int, Label] | None = None
) -> None:
    if entry.destination == "/proc":
        with p.at("source"):
            verify.on_file_system(p, tree, PROC_SUPER_MAGIC, EPERM, "/proc must be a procfs")
    with p.opened(entry.target(p, root, create=tree)) as point:
        p.move_mount(tree, point, errors)
    _propagate(p, entry, tree)


def _symlink(p: Program, entry: MountEntry, root: Register, text: str) -> None:
    """copy-symlink: the source is a symlink, and so will the destination be. One with the same text may be there."""
    above, _, name = entry.destination.rpartition("/")
    with p.at("destination"):
        where = open_in_root(p, root, above or "/", flags=O_PATH | O_DIRECTORY, create=DIRECTORY)
        with p.opened(where) as parent:
            verify.not_on_file_system(p, parent, PROC_SUPER_MAGIC, EPERM, "nothing may be mounted inside /proc")
            exists, made, other = p.label(), p.label(), p.label()
            p.call("symlinkat", text, parent, name, errors={EEXIST: exists})
            p.jump(made)
            p.place(exists)
            expected = text.encode() + bytes(8 - len(text.encode()) % 8)
            found = p.buffer(len(expected))
            p.call("readlinkat", parent, name, found, len(expected), note="the destination exists and is not a symlink")
            for i in range(0, len(expected), 8):
                with p.held(p.load(found, i, 8)) as word:
                    p.branch_unless(word, int.from_bytes(expected[i : i + 8], "little"), other)
            p.jump(made)
            p.place(other)
            p.fail(EEXIST, "the destination exists and is another symlink")
            p.place(made)


def _file_system(p: Program, entry: MountEntry, root: Register, namespaces: Namespaces, facts: Facts) -> Register:
    """Mount a file system by its type; returns its mount."""
    options = entry.options
    if entry.type == "sysfs" and namespaces.has_userns and not namespaces.own("network"):
        tree = _host_sysfs(p, entry)
    else:
        tree = _new(p, entry, facts, namespaces.pids)
    _map_ids(p, entry, tree, facts)
    if entry.type in ORDINARY_DIRECTORY:
        point = _ordinary_directory(p, entry, root)
    elif entry.type == "tmpfs" and not any(key == "mode" for _, key, _ in options.data):
        point = _same_mode(p, entry, root, tree)
    else:
        point = entry.target(p, root)
    if options.tmpcopyup:
        with p.at(f"options/{options.index['tmpcopyup']}"):
            # Reading an image is the runtime's: no code that does it runs inside (runtime/host/copyup.py).
            p.say_with(facts.layout.init, COPY_FROM, point)
            p.say_with(facts.layout.init, COPY_UP, tree)
            p.heed(COPY_UP)
    p.move_mount(tree, point)
    p.close(point)
    _propagate(p, entry, tree)
    _recursive_attributes(p, tree, options)
    return tree


def _new(p: Program, entry: MountEntry, facts: Facts, pids: Register | None) -> Register:
    """A new file system of the entry's type, not attached anywhere yet. `pids`: whose processes a procfs shows, if not
    those of our own namespace."""
    options = entry.options
    with p.at("type"):
        fs = p.fsopen(entry.type)
    source = entry.mount.get("source") or entry.type
    with p.at("source"):
        p.fsconfig_set_string(fs, "source", source)
    for index, key, value in options.data:
        with p.at(f"options/{index}"):
            if value is None:
                p.fsconfig_set_flag(fs, key)
            else:
                p.fsconfig_set_string(fs, key, value)
    if pids and entry.type == "proc":
        p.call("fsconfig", fs, FSCONFIG_SET_FD, "pidns", 0, pids, log=fs)
    label = _label(entry, facts)
    if label:
        with p.at("/linux/mountLabel"):
            p.fsconfig_set_string(fs, facts.mount_context, label)
    for index, flag in options.sb_flags:
        if flag != "ro" or entry.type not in VIRTUAL:
            with p.at(f"options/{index}"):
                p.fsconfig_set_flag(fs, flag)
    p.fsconfig_create(fs, note=_HINTS.get(entry.type, ""))
    attributes = options.attr_set & ~MOUNT_ATTR_RDONLY if entry.late_read_only else options.attr_set
    tree = p.fsmount(fs, attributes)
    p.close(fs)
    if entry.type == "mqueue" and facts.mount_label:
        with p.at("/linux/mountLabel"):
            top = p.openat(tree, ".", O_RDONLY | O_DIRECTORY)
            text = facts.mount_label
            p.call("fsetxattr", top, "security.selinux", text, len(text.encode()), 0)
            p.close(top)
    return tree


def _label(entry: MountEntry, facts: Facts) -> str:
    """The SELinux label to mount with: what the options say themselves comes first."""
    if entry.type in _UNLABELLED or any(key == "context" for _, key, _ in entry.options.data):
        return ""
    return facts.mount_label


def _host_sysfs(p: Program, entry: MountEntry) -> Register:
    """Who doesn't own the network namespace can't mount a sysfs, which would show it (EPERM): the host's is bound
    instead, with what is mounted in it, as crun does."""
    with p.at("type"):
        tree = p.clone_tree(AT_FDCWD, "/sys", recursive=True)
    with p.at("options"):
        p.mount_setattr(tree, attr_set=entry.options.attr_set & ~MOUNT_ATTR__ATIME, recursive=True)
    return tree


def _ordinary_directory(p: Program, entry: MountEntry, root: Register) -> Register:
    with p.at("destination"):
        # A path that is missing is made; a symlink on the way, or something else in its place, is refused.
        return open_in_root(p, root, entry.destination, create=DIRECTORY, follow=False, note=_ORDINARY)


def _same_mode(p: Program, entry: MountEntry, root: Register, tree: Register) -> Register:
    """Without mode=, a tmpfs over a directory of the image looks like that directory."""
    with p.at("destination"):
        existed = p.register()
        point = open_in_root(p, root, entry.destination, create=DIRECTORY, existed=existed)
        _check(p, entry, point, root)
        with p.held(existed), p.unless(existed, 0), p.held(p.load(p.statx(point), STATX_MODE, 2)) as mode:
            p.call("fchmodat", tree, ".", mode)
    return point


def _propagate(p: Program, entry: MountEntry, tree: Register) -> None:
    for index, flag in entry.options.propagation:
        if flag & MS_SLAVE and entry.options.bind:
            continue  # already so since open_sources; once more would cut it off from the host
        with p.at(f"options/{index}"):
            p.mount_setattr(tree, propagation=flag & ~MS_REC, recursive=bool(flag & MS_REC))


def _remount(p: Program, entry: MountEntry, root: Register) -> None:
    """Change the mount that is at the destination."""
    options = entry.options
    # What changes a whole file system, not the container's mount of it alone, goes by no symlink of the image: that
    # could lead to one of the host's.
    with p.at("destination"):
        point = open_in_root(p, root, entry.destination, follow=options.bind)
        verify.is_not_root(p, point, root)
    if not options.bind and (options.sb_flags or options.data):
        fs = p.call("fspick", point, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH, result=True)
        for index, key, value in [*options.data, *((i, flag, None) for i, flag in options.sb_flags)]:
            with p.at(f"options/{index}"):
                if value is None:
                    p.fsconfig_set_flag(fs, key)
                else:
                    p.fsconfig_set_string(fs, key, value)
        p.call("fsconfig", fs, FSCONFIG_CMD_RECONFIGURE, 0, 0, 0, log=fs)
        p.close(fs)
    _attributes(p, point, options)
    _propagate(p, entry, point)
    p.close(point)


def _needs_mount(entry: MountEntry) -> bool:
    """Whether only mount(2) can say it: flags without a name in fsconfig, values too long for it."""
    return bool(entry.options.ms_only) or any(
        value is not None and len(value.encode()) > _LONGEST_VALUE for _, _, value in entry.options.data
    )


def _classic(p: Program, entry: MountEntry, root: Register, facts: Facts) -> None:
    """mount(2), on "." of the checked mount point: its path is not resolved again."""
    options = entry.options
    point = _ordinary_directory(p, entry, root) if entry.type in ORDINARY_DIRECTORY else entry.target(p, root)
    data = ",".join(key if value is None else f"{key}={value}" for _, key, value in options.data)
    if label := _label(entry, facts):
        given = f'{facts.mount_context}="{label}"'
        data = f"{data},{given}" if data else given
    before = p.openat(AT_FDCWD, ".", O_PATH)
    p.call("fchdir", point)
    with p.at("options"):
        p.call("mount", entry.mount.get("source") or entry.type, ".", entry.type, options.ms_flags, data)
    p.call("fchdir", before)
    p.close(before)
    p.close(point)
    if options.propagation or options.recursive_set or options.recursive_clr:
        with p.at("destination"):
            made = open_in_root(p, root, entry.destination)
        _propagate(p, entry, made)
        _recursive_attributes(p, made, options)
        p.close(made)


_ORDINARY = "must be mounted on ordinary directory"
_HINTS = {
    "sysfs": "sysfs needs a network namespace of the container's own",
    "mqueue": "mqueue needs an ipc namespace of the container's own",
    "proc": "proc in a user namespace needs a pid namespace, and the host's /proc in full view",
}
