"""crun's annotations (crun(1)), which Podman and its users rely on.

    run.oci.keep_original_groups          the caller's supplementary groups are kept (podman: keep-groups)
    run.oci.hooks.stdout, hooks.stderr    files that get what hooks write
    run.oci.seccomp_fail_unknown_syscall  a name that the profile has and this machine has not is an error
    run.oci.seccomp.receiver              linux.seccomp.listenerPath, where that is not set
    run.oci.pidfd_receiver                --pidfd-socket
    run.oci.mount_context_type            the mount option that linux.mountLabel is given by
    run.oci.delegate-cgroup               a cgroup in the container's, in which its processes begin; empty: none
    run.oci.systemd.subgroup              a cgroup in the container's scope, which becomes the container's own; v2 only

Of run.oci.handler no value is taken: what it names is another program in the place of the container's.
"""

from __future__ import annotations

from pyrun.spec.faults import Fault, escape, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyrun.spec.config import Config

PREFIX = "run.oci."
KEEP_GROUPS = "run.oci.keep_original_groups"
HOOKS_STDOUT = "run.oci.hooks.stdout"
HOOKS_STDERR = "run.oci.hooks.stderr"
FAIL_UNKNOWN_SYSCALL = "run.oci.seccomp_fail_unknown_syscall"
RECEIVER = "run.oci.seccomp.receiver"
PIDFD_RECEIVER = "run.oci.pidfd_receiver"
CONTEXT_TYPE = "run.oci.mount_context_type"
DELEGATE = "run.oci.delegate-cgroup"
SUBGROUP = "run.oci.systemd.subgroup"
KNOWN = (
    KEEP_GROUPS,
    HOOKS_STDOUT,
    HOOKS_STDERR,
    FAIL_UNKNOWN_SYSCALL,
    RECEIVER,
    PIDFD_RECEIVER,
    CONTEXT_TYPE,
    DELEGATE,
    SUBGROUP,
)
_HANDLER = "run.oci.handler"
_PATHS = (HOOKS_STDOUT, HOOKS_STDERR, RECEIVER, PIDFD_RECEIVER)
_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")


def on(annotations: Mapping[str, str], name: str) -> bool:
    """A switch is on with any value but 0."""
    return annotations.get(name, "0") not in ("", "0", "false")


def crun_annotations(config: Config) -> Iterator[Fault]:
    """What these annotations can't be."""
    annotations = config.get("annotations", {})
    if handler := annotations.get(_HANDLER):
        hint = "use a runtime that has it, or leave the annotation out"
        yield Fault(f"/annotations/{_HANDLER}", f"there is no handler {show(handler)}", hint=hint)
    for name in _PATHS:
        if not annotations.get(name, "/").startswith("/"):
            yield Fault(f"/annotations/{name}", f"must be an absolute path, not {show(annotations[name])}")
    for name in (DELEGATE, SUBGROUP):
        cgroup = annotations.get(name, "")
        if "/" in cgroup or cgroup in (".", "..") or cgroup.startswith("cgroup.") or "\n" in cgroup:
            yield Fault(f"/annotations/{name}", f"must be the name of one cgroup, not {show(cgroup)}")
    kind = annotations.get(CONTEXT_TYPE, "context")
    if kind not in _CONTEXTS:
        yield Fault(f"/annotations/{CONTEXT_TYPE}", f"is one of {', '.join(_CONTEXTS)}, not {show(kind)}")


def warnings(config: Config) -> Iterator[Fault]:
    """Those of crun's that have no effect here."""
    for name in config.get("annotations", ()):
        if name.startswith(PREFIX) and name not in KNOWN and name != _HANDLER:
            yield Fault(f"/annotations/{escape(name)}", "has no effect: pyrun does not know it")


def settle(config: Config) -> None:
    """Puts in its place what the config could say otherwise."""
    seccomp = config.get("linux", {}).get("seccomp")
    receiver = config.get("annotations", {}).get(RECEIVER)
    if seccomp and receiver and not seccomp.get("listenerPath"):
        seccomp["listenerPath"] = receiver
