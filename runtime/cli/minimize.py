"""pyrun minimize [BUNDLE]: the capabilities that a bundle's program needs, and no others."""

from __future__ import annotations

import os

from pyrun.cli._duration import seconds
from pyrun.container.policy import enforce
from pyrun.errors import Error
from pyrun.library.bundle import Bundle
from pyrun.library.minimize import minimize
from pyrun.spec import strictjson
from pyrun.spec.faults import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli.main import Context
    from pyrun.cli.parse import Values


def run(context: Context, values: Values, arguments: list[str]) -> int:
    bundle = Bundle.load(os.path.abspath(arguments[0] if arguments else values.text("bundle") or "."))
    if "process" not in bundle.config:
        raise Error("run the program", pointer="/process", detail="the bundle has none")
    if context.cgroup_manager == "disabled":
        raise Error("minimize runs containers in cgroups of their own", hint="without --cgroup-manager disabled")
    if context.require:
        enforce(context.require, bundle.config, bundle.path)
    found = []
    limit, systemd = seconds(values.text("timeout") or "1m", "--timeout"), context.cgroup_manager == "systemd"
    for trial in minimize(bundle, timeout=limit, root=context.root, systemd=systemd):
        found.append(trial)
        if not values["json"]:
            words = f"needed: {trial.how} without it{f': {printable(trial.why)}' if trial.why else ''}"
            print(f"{trial.capability:<24} {words if trial.needed else 'not needed'}", flush=True)
    capabilities = bundle.config["process"].get("capabilities", {})
    if values["json"]:
        rows = [{"capability": row.capability, "needed": row.needed, "how": row.how, "why": row.why} for row in found]
        print(strictjson.dumps({"trials": rows, "capabilities": capabilities}, indent=2))
    else:
        print(f"/process/capabilities: {strictjson.dumps(capabilities)}")
    return 0
