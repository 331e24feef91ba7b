"""pyrun seccomp explain BUNDLE CALL [ARGS...]: what a profile makes of a system call, and which rule is behind that."""

from __future__ import annotations

import difflib
import errno

from pyrun.check.filter import judge
from pyrun.container.bundle import CreateOptions, absolute, read_config
from pyrun.errors import Error
from pyrun.host.seccomp import call_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    verb, bundle, call, *given = arguments
    if verb != "explain":
        raise Error(f"pyrun seccomp explain BUNDLE CALL [ARGS...], not {verb}")
    try:
        args = [int(text, 0) for text in given]
    except ValueError as e:
        raise Error("the arguments of a call are numbers", detail=str(e)) from None
    _, config = read_config(CreateOptions(bundle=absolute(bundle), config=values.text("config")))
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        print(f"{call}: allowed: the bundle has no seccomp profile")
        return 0
    try:
        verdict = judge(profile, call, args, context.caller.log)
    except LookupError:
        near = difflib.get_close_matches(call, call_names().values(), 1)
        hint = f"did you mean {near[0]}?" if near else ""
        raise Error(f"there is no system call {call} on this machine", hint=hint) from None
    number = errno.errorcode.get(verdict.number, str(verdict.number)) if verdict.number else ""
    print(f"{call}: {verdict.action}{f' {number}' if number else ''}  ({verdict.pointer})")
    print(f"    {verdict.why}")
    return 0
