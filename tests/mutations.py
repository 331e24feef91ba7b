"""One-place mutations of configs, for tests of what `check` and `create` make of them. Deterministic by their seed."""

from __future__ import annotations

import json
import random
from typing import Any

# What stands in the place of a value, whatever that was.
JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 5, 999, 4096, 1 << 20, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, 1 << 64,
    -(1 << 63), 1.5, "", "/", ".", "..", "/..", "a", "a b", "a/b", "/a", "\n", "é", "x" * 300, "0", "0-3", "0-", "9999",
    "bind", "rbind", "remount", "ro", "idmap", "idmap=x", "tmpfs", "proc", "/proc/self", "p", "u", "user", "mount",
    [], [""], ["/a"], [0], {}, {"a": 1}, [{}], {"path": "/x"}, {"type": "user"},
)  # fmt: skip


def mutated(config: dict[str, Any], seed: int) -> tuple[str, dict[str, Any]]:
    """(what was done, a copy of the config with one place changed)."""
    chance = random.Random(seed)
    document: dict[str, Any] = json.loads(json.dumps(config))
    places = list(_places(document, ""))
    parent, key, pointer = chance.choice(places)
    act = chance.choice(("junk", "junk", "delete", "more", "near", "other"))
    value = parent[key]
    if act == "delete":
        del parent[key]
    elif act == "near" and type(value) is int:
        parent[key] = chance.choice((value - 1, value + 1, -value, value * 1000, value << 32))
    elif act == "near" and isinstance(value, str):
        parent[key] = chance.choice(
            (f"{value} ", f"{value}x", value[:-1], f"/{value}", f"{value}/..", value * 2, value.upper())
        )
    elif act == "more" and isinstance(value, list) and value:
        value.insert(chance.randrange(len(value) + 1), json.loads(json.dumps(chance.choice(value))))
    elif act == "more" and isinstance(value, dict):
        value[chance.choice(("a", "", "/", "type", "path", "options"))] = chance.choice(JUNK)
    elif act == "other":
        other, name, _ = chance.choice(places)
        parent[key] = json.loads(json.dumps(other[name]))
    else:
        parent[key] = chance.choice(JUNK)
    return f"{act} {pointer}", document


def _places(node: Any, at: str) -> Any:
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key, f"{at}/{key}"
        if isinstance(node[key], dict | list):
            yield from _places(node[key], f"{at}/{key}")
