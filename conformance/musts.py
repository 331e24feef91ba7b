"""What the OCI runtime spec 1.3 demands of a runtime, numbered, in our own words; and why some of it can't be shown."""

from __future__ import annotations

from typing import NamedTuple


class Must(NamedTuple):
    """One demand: the file of the spec that it stands in, its text, and why no black-box test can show it."""

    file: str
    text: str
    why_not: str = ""


AN_AUTHORS = "about the bundle's author or its validator, not about what a runtime does"

# The files of the spec in order, each with its demands; the numbers count through.
TABLE: list[tuple[str, list[tuple[str, str] | str]]] = [
    (
        "bundle.md",
        [
            "config.json lies at the bundle's root under exactly that name",
            "all of the bundle is in one local directory; the root's path is relative to it, or absolute",
        ],
    ),
    (
        "runtime.md",
        [
            "whoever creates a container can use all operations on it",
            "the state has ociVersion, id, status and bundle; ids are unique on the host",
            "the state has the pid when created or running; in the container's namespace it is the one seen there",
            "more values of status stand only for states that are not defined",
            "the state follows the state schema",
            "create builds what config.json says, or fails",
            "create does not run the program",
            "later edits of config.json have no effect",
            "prestart hooks run; when one fails, create fails, the container goes, poststop hooks run",
            "createRuntime hooks run; when one fails, create fails, the container goes, poststop hooks run",
            "createContainer hooks run; when one fails, create fails, the container goes, poststop hooks run",
            "startContainer hooks run; when one fails, start fails and the program does not run",
            "start runs the program",
            "poststart hooks run; when one fails, start fails and the container is stopped",
            "delete undoes what create did",
            "poststop hooks run; a failing one is a warning and the others still run",
            "an error leaves the world as if nothing had been tried",
            "a warning doesn't change the flow",
            "all operations are there: state, create, start, kill, delete",
            "state without an id is an error",
            "state of an unknown id is an error",
            "state returns the state",
            "create without a bundle or an id is an error",
            "create with a taken or an invalid id is an error, and makes nothing",
            "create makes a new container",
            "create applies all but process",
            "process.args is not applied before start",
            "create fails for a property that can't be applied, and makes nothing",
            "start without an id is an error",
            "start of a container that is not created is an error without effect",
            "start runs the program of process",
            "start without process is an error",
            "kill without an id is an error",
            "kill of a container that neither is created nor runs is an error without effect",
            "kill delivers the signal that is asked for",
            "delete without an id is an error",
            "delete of a container that is not stopped is an error without effect",
            "delete removes what create made",
            "delete leaves alone what create did not make",
        ],
    ),
    ("runtime-linux.md", ["/dev/fd, stdin, stdout and stderr are links where their targets exist after the mounts"]),
    (
        "glossary.md",
        ["JSON is UTF-8", "no object has a name twice"],
    ),
    (
        "config.md",
        [
            "ociVersion is a semantic version (2.0.0)",
            "root is there, and so is the directory that it names",
            "root.readonly makes the root read-only inside",
            "mounts are made in the order of the list",
            "a relative destination of a mount is meant from the root",
            "the mount options of the spec's table work",
            "idmap and ridmap use the mount's mappings, or those of the user namespace, or are an error",
            "a mount has uidMappings and gidMappings, or neither",
            "consoleSize is ignored without a terminal",
            "process.cwd is absolute",
            "process.args has an entry",
            "a type of rlimit that the kernel doesn't know is an error",
            "getrlimit shows soft and hard as configured",
            "the same type of rlimit twice is an error",
            "unknown or unavailable capabilities are a warning, no error",
            "oomScoreAdj is written when set",
            "oom_score_adj is left alone when oomScoreAdj is not set",
            "unset numbers of the scheduler count as 0",
            "the path of a hook is absolute",
            "a hook's timeout is above 0",
            "the path of a hook is the runtime's, for startContainer the container's",
            "hooks run in the runtime's namespaces, createContainer and startContainer in the container's",
            "hooks run in the order of the list",
            "a hook gets the state on stdin",
            "prestart hooks run within create, before the root changes",
            "prestart hooks run before createRuntime hooks",
            "createRuntime hooks run within create, before the root changes",
            "createContainer hooks run after createRuntime hooks, before the root changes",
            "startContainer hooks run within start, before the program",
            "poststart hooks run after the program is run, before start returns",
            "poststop hooks run after the container is deleted, before delete returns",
            "annotations are a map of strings, no key is empty",
            ("org.opencontainers.* keys are used as the spec says", AN_AUTHORS),
            "unknown annotations are treated as unknown properties",
            "unknown properties are ignored",
            "an invalid or unsupported value is an error",
        ],
    ),
    (
        "config-linux.md",
        [
            "the path of a namespace is absolute",
            "the process is put in the namespace of that path",
            "a path to a namespace of another type is an error",
            "no path: a new namespace",
            "a type that is not listed: the runtime's namespace",
            "the same type twice is an error",
            "another file in a device's place is an error",
            "the listed devices are there",
            "the default devices are there: null zero full random urandom tty, ptmx, console with a terminal",
            "netDevices: the runtime checks that the device can be moved",
            "netDevices: a name that is taken in the container is an error, unless it is a template",
            "netDevices: permanent global addresses are kept",
            "netDevices: the device is set up",
            "netDevices: the device is not managed later",
            "netDevices: delete does not move it back",
            "cgroups: a check of a used or frozen cgroup that fails is an error",
            "cgroupsPath is absolute or relative",
            "an absolute cgroupsPath is meant from the mount of the hierarchy",
            "the same cgroupsPath leads to the same cgroup",
            "an invalid cgroupsPath is an error",
            "delegation: a listed file that is missing is no failure",
            "delegation without the kernel's list: three files",
            "device rules are applied in the order of the list",
            "memory.checkBeforeUpdate: more in use than the limit is an error",
            "cpu.burst is not above a positive quota",
            "an entry of blockIO.weightDevice holds weight or leafWeight",
            "an entry of rdma holds hcaHandles or hcaObjects",
            "unified: the controllers that are needed are enabled",
            "unified: unknown keys are written anyway",
            "unified: an absent controller is an error",
            "what has no counterpart in version 2 is an error",
            "intelRdt: the pid is in tasks of the right directory",
            "intelRdt without a mounted resctrl is an error",
            "without intelRdt resctrl is left alone",
            "intelRdt: closID / is the default group",
            "intelRdt: memBwSchema begins with MB: and holds no newline",
            "intelRdt: schemata hold no newline",
            "intelRdt: l3CacheSchema, memBwSchema, schemata are written in this order",
            "intelRdt: nothing set, nothing written to schemata",
            "intelRdt: without closID the directory has the container's id",
            "intelRdt: closID and a schema: a missing directory is made",
            "intelRdt: closID and a schema: another schema there is an error",
            "intelRdt: closID alone: the directory must be there",
            "intelRdt: delete removes its own directory",
            "intelRdt: delete leaves another's directory",
            "intelRdt: enableMonitoring makes and removes a group",
            "seccomp: an errno for an action that takes none is an error",
            "seccomp: names is not empty",
            "seccomp: listenerPath is a stream socket of AF_UNIX",
            "seccomp: one state per connection, which is closed then",
            "seccomp: a failure to send is an error",
            "seccomp: listenerMetadata without listenerPath is an error",
            "seccomp: the state goes as JSON, its descriptors with SCM_RIGHTS",
            "maskedPaths are absolute",
            "readonlyPaths are absolute",
        ],
    ),
    (
        "features.md",
        [
            "null is not the same as empty",
            "a config.json of ociVersionMin, and one of ociVersionMax, are taken",
            "ociVersionMax is not below ociVersionMin",
            "no properties from outside of the spec's version",
            "all hooks, mount options, namespaces, capabilities and seccomp words that are listed are recognised",
            "annotations are a map of strings, no key is empty",
            "partial support for idmap is said as true",
        ],
    ),
]


def numbered() -> dict[int, Must]:
    found: dict[int, Must] = {}
    for file, demands in TABLE:
        for demand in demands:
            text, why_not = (demand, "") if isinstance(demand, str) else demand
            found[len(found) + 1] = Must(file, text, why_not)
    return found


MUSTS = numbered()
assert len(MUSTS) == 142, len(MUSTS)
