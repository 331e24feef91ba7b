"""pyrun: an OCI low-level container runtime, which compiles a bundle to a program of system calls and executes it.

As a library (docs/library.md) it has what __all__ names. That is loaded when it is first asked for, since each command
of the command line begins by importing this.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import DEVNULL, PIPE, STDOUT

    from pyrun.errors import (
        CgroupError,
        ConfigError,
        DoesNotExistError,
        Error,
        ExecutableError,
        NotRunningError,
    )
    from pyrun.host.features import features
    from pyrun.library.bundle import Bundle, Report
    from pyrun.library.container import Completed, Container, Process, run
    from pyrun.library.plan import Plan, Step

    __version__: str

# Name -> the module that has it.
_MODULES = {
    "Bundle": "pyrun.library.bundle",
    "CgroupError": "pyrun.errors",
    "Completed": "pyrun.library.container",
    "ConfigError": "pyrun.errors",
    "Container": "pyrun.library.container",
    "DEVNULL": "subprocess",
    "DoesNotExistError": "pyrun.errors",
    "Error": "pyrun.errors",
    "ExecutableError": "pyrun.errors",
    "NotRunningError": "pyrun.errors",
    "PIPE": "subprocess",
    "Plan": "pyrun.library.plan",
    "Process": "pyrun.library.container",
    "Report": "pyrun.library.bundle",
    "STDOUT": "subprocess",
    "Step": "pyrun.library.plan",
    "features": "pyrun.host.features",
    "run": "pyrun.library.container",
}
__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Bundle",
    "CgroupError",
    "Completed",
    "ConfigError",
    "Container",
    "DoesNotExistError",
    "Error",
    "ExecutableError",
    "NotRunningError",
    "Plan",
    "Process",
    "Report",
    "Step",
    "features",
    "run",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__version__":
        from pyrun.version import VERSION  # lazy: most do not ask

        return VERSION
    if name not in _MODULES:
        raise AttributeError(f"module 'pyrun' has no attribute {name!r}")
    from importlib import import_module  # lazy: the command line does without

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
