"""What is kept of a command that failed: failures/record.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrun.container.bundle import CreateOptions, absolute, read_raw
from pyrun.errors import DoesNotExistError, Error, NotRunningError
from pyrun.failures.record import remember
from pyrun.kernel.files import read_document
from pyrun.spec import strictjson
from pyrun.spec.faults import Invalid

if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def record(verb: str, context: Context, values: Values, arguments: list[str], error: Error) -> None:
    """Keep what can be said of it; that it can't be kept is nothing to fail for."""
    if isinstance(error, DoesNotExistError | NotRunningError):
        return
    name, bundle = arguments[0], ""
    try:
        if verb in ("start", "exec"):
            bundle, document = _of_container(context, name)
            if verb == "exec":
                document = {**document, "process": _of_process(document, values, arguments[1:])}
        else:
            bundle = absolute(values.text("bundle") or ".")
            document = _parsed(CreateOptions(bundle=bundle, config=values.text("config")))
        remember(context.caller.cache("failures"), verb, name, bundle, document, error)
    except (Error, OSError) as e:
        context.caller.log.debug(f"the failure is not kept: {e}")


def _parsed(options: CreateOptions) -> Any:
    """The config, whatever it is; None when it can't be read."""
    try:
        return strictjson.loads(read_raw(options))
    except (Error, Invalid):
        return None


def _of_container(context: Context, name: str) -> tuple[str, dict[str, Any]]:
    """(its bundle, its config)."""
    try:
        container = context.open(name)
        try:
            return container.state["bundle"], dict(container.config())
        finally:
            container.close()
    except Error:
        return "", {}


def _of_process(document: dict[str, Any], values: Values, command: list[str]) -> Any:
    if not values["process"]:
        return {**document.get("process", {}), "args": command}
    try:
        return strictjson.loads(read_document(absolute(values.text("process"))))
    except (Error, OSError, Invalid):
        return None
