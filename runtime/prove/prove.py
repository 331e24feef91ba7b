"""Every rule, of a whole program."""

from __future__ import annotations

from pyrun.machine.listing import describe
from pyrun.machine.program import SYSCALL
from pyrun.prove.rules import RULES
from pyrun.prove.walk import Walk
from pyrun.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.machine.program import Program
    from pyrun.prove.rules import Asked, Rule


class Violation(Record):
    """rule: which. problem: what is wrong. step, pointer: at which instruction, and what asked for it. path: numbers
    of the instructions on one way there."""

    rule: Rule
    problem: str
    step: str
    pointer: str
    path: list[int]


class Proof(Record):
    """held: at how many instructions each rule was asked, by its name. violations: where one did not hold."""

    held: dict[str, int]
    violations: list[Violation]


def prove(program: Program, asked: Asked) -> Proof:
    """Decide every rule on every path of the program."""
    layout = asked.layout
    numbers = frozenset((0, 1, 2, *range(layout.host, layout.end)))
    walk = Walk(program, numbers)
    held = {rule.name: 0 for rule in RULES}
    violations = []
    for step in walk.steps():
        if step.instruction.op != SYSCALL:
            continue
        for rule in RULES:
            if step.instruction.name not in rule.calls and rule.calls != ("*",):
                continue
            problem = rule.check(step, asked)
            if not problem:
                held[rule.name] += 1
                continue
            path = [index for index, _ in walk.path(step.site)]
            what, pointer = describe(step.instruction), step.instruction.pointer
            violations.append(Violation(rule=rule, problem=problem, step=what, pointer=pointer, path=path))
    return Proof(held=held, violations=violations)
