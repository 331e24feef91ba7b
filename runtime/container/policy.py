"""--require: a config that breaks the policy is refused before anything is made. Cold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrun.errors import ConfigError, Error
from pyrun.images.layers import origin
from pyrun.kernel.files import read_document
from pyrun.spec.faults import Invalid
from pyrun.spec.policy import Policy, Subject

if TYPE_CHECKING:
    from typing import Any

    from pyrun.container.container import Container
    from pyrun.spec.config import Config
    from pyrun.spec.faults import Fault


def read(path: str) -> Policy:
    """The policy in a file. Raises Error."""
    try:
        return Policy(read_document(path))
    except OSError as e:
        raise Error("read the policy", call=f"open {path}", errno=e.errno) from None
    except Invalid as e:
        raise ConfigError(e.faults, f"invalid policy {path}") from None


def faults(path: str, config: Config, bundle: str) -> list[Fault]:
    """What of a bundle breaks the policy in that file. Raises Error."""
    return read(path).faults(Subject(config, bundle, *origin(bundle)))


def enforce(path: str, config: Config, bundle: str) -> None:
    """Raises ConfigError with all that breaks it."""
    _refuse(path, faults(path, config, bundle))


def enforce_part(path: str, part: str, value: Any, container: Container) -> None:
    """The same of what exec, update and `mounts add` are given for a container. Raises ConfigError."""
    _refuse(path, read(path).part_faults(part, value, container.config(), container.state["bundle"]))


def _refuse(path: str, found: list[Fault]) -> None:
    if found:
        raise ConfigError(found, f"refused by {path}")
