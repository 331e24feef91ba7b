"""The document as a whole: its version, what every container must have, names, hooks (config.md)."""

from __future__ import annotations

from pyrun.spec.checks.common import ABSOLUTE, env_faults, namespaces_of
from pyrun.spec.faults import Fault, show
from pyrun.spec.version import OCI_VERSION_MIN, SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.spec.config import Config, HookKind

# In the order in which they run (runtime.md "Lifecycle").
HOOKS: tuple[HookKind, ...] = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def oci_version(config: Config) -> Iterator[Fault]:
    """A version of SemVer that we know (MUST 45)."""
    version = config["ociVersion"]
    if not is_semver(version):
        yield Fault("/ociVersion", f"must be a semantic version such as {SPEC_VERSION}, not {show(version)}", "MUST 45")
    elif not version.startswith("1."):
        hint = f"pyrun takes bundles of {OCI_VERSION_MIN} to {SPEC_VERSION}, and newer ones of the series 1"
        yield Fault("/ociVersion", f"version {version} is of another series than 1", "MUST 45", hint)


def is_semver(text: str) -> bool:
    """Is the text a version by SemVer 2.0.0?"""
    text, plus, build = text.partition("+")
    text, dash, pre_release = text.partition("-")
    numbers = text.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not dash or all(_is_tag(tag) and (not tag.isdigit() or _is_number(tag)) for tag in pre_release.split(".")))
        and (not plus or all(_is_tag(tag) for tag in build.split(".")))
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _is_tag(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").isalnum()


def root(config: Config) -> Iterator[Fault]:
    """There is one (MUST 46)."""
    if "root" not in config:
        yield Fault("/root", "is required", "MUST 46")


def host_names(config: Config) -> Iterator[Fault]:
    """They need a uts namespace; sethostname(2) takes 64 bytes."""
    own_uts = "uts" in namespaces_of(config.get("linux"))
    for pointer, name in (("/hostname", config.get("hostname")), ("/domainname", config.get("domainname"))):
        if not name:
            continue
        if not own_uts:
            yield Fault(pointer, "needs a uts namespace", hint='add {"type": "uts"} to /linux/namespaces')
        if len(name.encode()) > 64:
            yield Fault(pointer, "must have at most 64 bytes")


def annotation_names(config: Config) -> Iterator[Fault]:
    """None is empty (MUST 76)."""
    if "" in config.get("annotations", ()):
        yield Fault("/annotations/", "the name of an annotation must not be empty", "MUST 76")


def hooks(config: Config) -> Iterator[Fault]:
    """Paths are absolute, time limits positive (MUST 63, 64)."""
    found = config.get("hooks", {})
    for kind in HOOKS:
        for i, hook in enumerate(found.get(kind, ())):
            if not hook["path"].startswith("/"):
                yield Fault(f"/hooks/{kind}/{i}/path", f"{ABSOLUTE}, not {show(hook['path'])}", "MUST 63")
            if hook.get("args", ())[:1] == [""]:
                yield Fault(f"/hooks/{kind}/{i}/args/0", "must not be empty")
            yield from env_faults(hook.get("env", ()), f"/hooks/{kind}/{i}/env")
            if hook.get("timeout", 1) <= 0:
                yield Fault(f"/hooks/{kind}/{i}/timeout", f"must be more than 0, not {hook['timeout']}", "MUST 64")
