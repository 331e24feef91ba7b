"""The directory in which a container's program finds the socket that it says READY=1 at (sd_notify(3)).

create binds it at /run/notify. Whoever runs the program puts a socket there, and tells the service manager: that is
cli/service.py.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.bundle import CreateOptions
    from pyrun.container.store import ContainerDir
    from pyrun.spec.config import Config

DIRECTORY = "notify"
NAME = "notify.sock"
_INSIDE = "/run/notify"
_DEEPEST = 100
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


def prepare(directory: ContainerDir, config: Config, options: CreateOptions) -> None:
    """Make it, and add to the config what the program needs to know of it and of what else it is passed."""
    if "process" not in config:
        return
    env = list(options.environment)
    if options.notify:
        posix.mkdir(DIRECTORY, 0o755, dir_fd=directory.fd)
        config["mounts"] = [
            *config.get("mounts", []),
            {
                "destination": _INSIDE,
                "source": f"{directory.path}/{DIRECTORY}",
                "options": ["bind", "private", "ro", "nosuid", "nodev", "noexec"],
            },
        ]
        env.insert(0, f"NOTIFY_SOCKET={_INSIDE}/{NAME}")
    config["process"]["env"] = [*config["process"].get("env", []), *env]


def remove(directory: ContainerDir) -> None:
    """The directory, if there is one, with whatever a container has put there that could write to its mount."""
    try:
        fd = posix.open(DIRECTORY, _DIRECTORY, dir_fd=directory.fd)
    except FileNotFoundError:
        return
    try:
        _empty(fd)
    finally:
        posix.close(fd)
    posix.rmdir(DIRECTORY, dir_fd=directory.fd)


def _empty(directory: int, depth: int = 0) -> None:
    """By descriptors, and through no symlink."""
    for name in posix.listdir(directory):
        try:
            posix.unlink(name, dir_fd=directory)
            continue
        except IsADirectoryError:
            if depth == _DEEPEST:
                raise
        fd = posix.open(name, _DIRECTORY, dir_fd=directory)
        try:
            _empty(fd, depth + 1)
        finally:
            posix.close(fd)
        posix.rmdir(name, dir_fd=directory)
