"""Many containers, one after the other and at once: nothing may grow."""

from __future__ import annotations

from random import Random

from .world import World


def life(world: World, random: Random, number: int) -> None:
    """create, start, kill, delete; or run. What is deleted needs no force."""
    brief = bool(number % 2)
    name = world.new(kind=number, brief=brief)
    if brief:
        world.prepare("run", *world.bundle(name), name)
    else:
        world.prepare("create", *world.bundle(name), name)
        world.prepare("start", name)
        world.prepare("delete", "--force", name)
    if (world.root / name).exists():
        world.verdict.add("leftovers", f"{name} outlives its end")
    (world.home / f"{name}.json").unlink()
    world.ids.remove(name)


def begin(world: World, random: Random, number: int) -> None:
    """One more that stays."""
    name = world.new(kind=number, brief=False)
    world.prepare("create", *world.bundle(name), name)
    world.prepare("start", name)
