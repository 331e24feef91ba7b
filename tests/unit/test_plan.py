"""What bundles compile to: listings, without root and without a kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pyrun.container.bundle import CreateOptions
from pyrun.container.gather import layout
from pyrun.errors import Error
from pyrun.machine.launch import Layout
from pyrun.machine.listing import executed
from pyrun.machine.messages import HOST, INIT_SOCKET, Message
from pyrun.machine.messages import NAMES as CODES
from pyrun.machine.program import AWAIT, SAY, STORE, Program
from pyrun.plan import dialogue
from pyrun.plan.create import compile_container
from pyrun.plan.exec import compile_exec
from pyrun.plan.facts import Facts
from pyrun.plan.hook import NAMES, compile_hook
from pyrun.plan.seccomp import PASSED
from pyrun.spec import config, strictjson
from pyrun.spec.example import example
from pyrun.spec.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER

Edit = Callable[[dict[str, Any]], object]
V2 = [("", "/sys/fs/cgroup", "/box")]
V1 = [("cpu", "/sys/fs/cgroup/cpu", "/c"), ("name=systemd", "/sys/fs/cgroup/systemd", "/c")]


def plan(*edits: Edit, **facts: Any) -> list[tuple[str, str]]:
    """(instruction, pointer) of the example's program, after some edits of its config."""
    return executed(compiled(*edits, **facts))


def compiled(*edits: Edit, **facts: Any) -> Program:
    return compile_container(*gathered(*edits, **facts))


def gathered(*edits: Edit, **facts: Any) -> tuple[Any, Facts]:
    document: dict[str, Any] = strictjson.loads(strictjson.dumps(example(cgroup_v2=True)).encode())
    document["process"]["terminal"] = False
    for edit in edits:
        edit(document)
    checked = config.load(strictjson.dumps(document).encode())
    options = CreateOptions(bundle="/bundle", preserve_fds=facts.get("preserve", 0))
    return checked, Facts(layout=layout(options, checked), bundle="/bundle", container="box", **facts)


def calls(steps: list[tuple[str, str]], source: str = "") -> list[str]:
    """The instructions that come from a place in the config, or below it."""
    return [what for what, where in steps if where == source or where.startswith(f"{source}/")]


def first(steps: list[tuple[str, str]], start: str) -> int:
    """Where the first instruction that contains `start` stands. Raises StopIteration when there is none."""
    return next(i for i, (what, _) in enumerate(steps) if start in what)


def mount(destination: str, type_: str = "tmpfs", *options: str, source: str = "s") -> Edit:
    row = {"destination": destination, "type": type_, "source": source, "options": list(options)}
    return lambda c: c["mounts"].append(row)


def bind(destination: str, *options: str) -> Edit:
    return mount(destination, "bind", *options, source="/src")


def namespace(kind: str, path: str = "") -> Edit:
    def edit(c: dict[str, Any]) -> None:
        rows = [row for row in c["linux"]["namespaces"] if row["type"] != kind]
        c["linux"]["namespaces"] = [*rows, {"type": kind, **({"path": path} if path else {})}]

    return edit


def user_namespace(c: dict[str, Any]) -> None:
    namespace("user")(c)
    c["linux"]["uidMappings"] = c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 10}]


def test_it_begins_and_ends_as_it_must() -> None:
    steps = plan()
    first_three = ["umask(0)", "close_range(8, 0xffffffff, 0)", "prctl(PR_SET_DUMPABLE)"]
    assert [what for what, _ in steps[:3]] == first_three
    execve = first(steps, "execve(")
    assert steps[execve][1] == "/process/args/0"
    # After it comes only what the half on the host does.
    assert [what for what, _ in steps[execve + 1 :]] == ["close(5)", "exit_group(0)"]


def test_the_executable_is_found_before_ready_and_run_after_start() -> None:
    steps = plan()
    order = ["setresuid(", "faccessat2(", "close_range(3", "say READY", "execve("]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)


def test_the_parents_death_kills_until_ready() -> None:
    steps = [what for what, _ in plan()]
    ready = next(i for i, what in enumerate(steps) if what.startswith("say READY"))
    before = [what for what in steps[:ready] if "PDEATHSIG" in what]
    assert before[-1] == "prctl(PR_SET_PDEATHSIG)"  # cleared
    assert all(what == "prctl(PR_SET_PDEATHSIG, 9)" for what in before[:-1])
    # setresuid clears it: it must be set again behind.
    behind = [what for what in steps[steps.index("setresuid(0, 0, 0)") : ready] if "PDEATHSIG" in what]
    assert behind == ["prctl(PR_SET_PDEATHSIG, 9)", "prctl(PR_SET_PDEATHSIG)"]


def test_a_tmpfs_with_data_and_flags() -> None:
    steps = calls(plan(mount("/t", "tmpfs", "nosuid", "size=1m", "mode=700")), "/mounts/7")
    assert [re.sub(r"\br\d+", "r", what) for what in steps if "fs" in what.split("(")[0]] == [
        'r = fsopen("tmpfs", 1)',
        'fsconfig(r, FSCONFIG_SET_STRING, "source", "s", 0)',
        'fsconfig(r, FSCONFIG_SET_STRING, "size", "1m", 0)',
        'fsconfig(r, FSCONFIG_SET_STRING, "mode", "700", 0)',
        "fsconfig(r, FSCONFIG_CMD_CREATE, 0, 0, 0)",
        "r = fsmount(r, 1, MOUNT_ATTR_NOSUID)",
        "fstatfs(r, [0:4096])",
    ]


def test_a_bind_is_opened_on_the_host_in_its_final_shape() -> None:
    steps = plan(bind("/b", "rbind", "ro", "nosuid"))
    opened = first(steps, 'open_tree(AT_FDCWD, "/src"')
    assert opened < first(steps, "clone3(")
    assert "AT_RECURSIVE" in steps[opened][0]
    assert steps[opened + 1][0].endswith("{propagation=MS_SLAVE})")
    cleared = "|".join(f"MOUNT_ATTR_{name}" for name in ("NODEV", "NOEXEC", "NOSYMFOLLOW"))
    assert steps[opened + 2][0].endswith(f"{{attr_set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID, attr_clr={cleared}}})")


@pytest.mark.parametrize(
    ("option", "shown"),
    [("rprivate", "MS_PRIVATE"), ("rslave", "MS_SLAVE"), ("private", "MS_PRIVATE"), ("runbindable", "MS_PRIVATE")],
)
def test_a_bind_is_cut_off_from_the_host_at_once(option: str, shown: str) -> None:
    steps = plan(bind("/b", "bind", option))
    opened = first(steps, 'open_tree(AT_FDCWD, "/src"')
    assert f"propagation={shown}" in steps[opened + 1][0]


def test_a_shared_bind_stays_a_peer_only_without_a_user_namespace() -> None:
    def next_step(*edits: Edit) -> str:
        steps = plan(bind("/b", "bind", "shared"), *edits)
        return steps[first(steps, 'open_tree(AT_FDCWD, "/src"') + 1][0]

    assert "propagation" not in next_step()
    assert "propagation=MS_SLAVE" in next_step(user_namespace)


@pytest.mark.parametrize("option", ["silent", "iversion"])
def test_what_fsconfig_cannot_say_goes_by_mount(option: str) -> None:
    steps = calls(plan(mount("/t", "tmpfs", option)), "/mounts/7")
    assert any(what.startswith('mount("s", ".", "tmpfs"') for what in steps)


def test_a_value_too_long_for_fsconfig_goes_by_mount() -> None:
    steps = calls(plan(mount("/t", "overlay", f"lowerdir={'/l' * 200}")), "/mounts/7")
    assert any(what.startswith('mount("s", ".", "overlay"') for what in steps)


def test_a_readonly_tmpfs_becomes_so_at_the_end() -> None:
    steps = plan(mount("/t", "tmpfs", "ro"))
    late = [i for i, (what, where) in enumerate(steps) if where == "/mounts/7/options/0" and "RDONLY" in what]
    assert late and late[0] > first(steps, "pivot_root(")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "pid", "mount"])
def test_a_joined_namespace_is_checked_before_it_is_entered(kind: str) -> None:
    steps = calls(plan(namespace(kind, "/ns/x"), cgroups=V2), "/linux/namespaces/5/path")
    opened, asked, entered = (
        next(i for i, what in enumerate(steps) if part in what) for part in ('"/ns/x"', "NS_GET_NSTYPE", "setns(")
    )
    assert opened < asked < entered


def test_a_user_namespace_has_an_intermediate_process() -> None:
    steps = [what for what, _ in plan(user_namespace)]
    order = ["say INTERMEDIATE r", "unshare(CLONE_NEWUSER)", "say MAPS", "setresuid(0, 0, 0)", "say BORN r"]
    places = [next(i for i, what in enumerate(steps) if start in what) for start in order]
    assert places == sorted(places)
    # The host's devices are bound, opened before the namespaces are left.
    assert next(i for i, what in enumerate(steps) if '"/dev/null", OPEN_TREE_CLONE' in what) < places[0]
    assert not any(what.startswith("mknodat(") and "0o20" in what for what in steps)
    # No limit can be raised in there: the half on the host sets them.
    assert steps[-3].startswith("prlimit64(r")


def test_the_cgroup_namespace_comes_after_placement() -> None:
    steps = plan(namespace("cgroup"))
    assert first(steps, "clone3(") < first(steps, "unshare(CLONE_NEWCGROUP)")


def test_clocks_are_set_before_anyone_enters() -> None:
    def offsets(c: dict[str, Any]) -> None:
        c["linux"]["timeOffsets"] = {"boottime": {"secs": 7}}

    steps = plan(namespace("time"), offsets)
    order = ["unshare(CLONE_NEWTIME)", '"boottime 7 0\\n"', "clone3("]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)
    # In a user namespace the runtime writes them: the file is the host's root's.
    steps = plan(user_namespace, namespace("time"), offsets)
    order = ["say MAPS", "unshare(CLONE_NEWTIME)", "say CLOCKS", "say BORN"]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)


def test_behind_the_filter_every_call_has_the_password() -> None:
    """But for execve, which is the profile's to allow; those of SAY and AWAIT have it in the executor."""

    def profile(c: dict[str, Any]) -> None:
        c["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}

    def joined(c: dict[str, Any]) -> None:
        namespace("pid", "/proc/7/ns/pid")(c)
        c["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 2}]
        c["process"]["terminal"] = True

    process = {**example(cgroup_v2=True)["process"], "terminal": True}
    facts = Facts(layout=Layout(["pidfd"]), bundle="/bundle", container="box", seccomp=bytes(16))
    for steps in (
        plan(profile, seccomp=bytes(16)),
        plan(profile, joined, seccomp=bytes(16)),
        executed(compile_exec(process, CLONE_NEWNS | CLONE_NEWPID, facts)),
    ):
        behind = [what for what, _ in steps[first(steps, "seccomp(") + 1 : first(steps, "execve(")] if "(" in what]
        assert behind
        assert all("PASS" in what and what.partition("(")[0].split()[-1] in PASSED for what in behind), behind


@pytest.mark.parametrize("hook", [False, True])
def test_a_process_is_born_when_all_else_is_done(hook: bool) -> None:
    """Others in its pid namespace see it from here on: it has nothing any more that they should not reach."""
    process = {**example(cgroup_v2=True)["process"], "noNewPrivileges": False}
    if hook:
        facts = Facts(layout=Layout(NAMES), bundle="/bundle", container="box", seccomp=bytes(16))
        steps = executed(
            compile_hook({"path": "/bin/true"}, "/hooks/startContainer/0", CLONE_NEWNS | CLONE_NEWPID, facts, process)
        )
    else:
        facts = Facts(layout=Layout(["pidfd"]), bundle="/bundle", container="box", seccomp=bytes(16))
        steps = executed(compile_exec(process, CLONE_NEWNS | CLONE_NEWPID, facts))
    order = [
        "clone3(",
        "setns(",
        "capset(",
        "close_range(3",
        "seccomp(",
        " = clone(",
        "say BORN",
        "say READY",
        "execve(",
    ]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)
    # The right that loading the filter takes is given back before.
    capsets = [i for i, (what, _) in enumerate(steps) if what.startswith("capset(")]
    assert len(capsets) == 2
    assert first(steps, "seccomp(") < capsets[1] < first(steps, " = clone(")


def test_a_procfs_of_a_joined_pid_namespace() -> None:
    def joined(c: dict[str, Any]) -> None:
        namespace("pid", "/proc/7/ns/pid")(c)

    steps = plan(joined)
    assert any(what.startswith("fsconfig(") and '"pidns"' in what for what, _ in steps)
    assert first(steps, "pivot_root(") < first(steps, " = clone(") < first(steps, "execve(")
    # Before Linux 6.17 only who is inside can mount it.
    steps = plan(joined, procfs_takes_namespace=False)
    assert not any(" = clone(" in what for what, _ in steps)


def test_cgroup2_is_bound_without_a_cgroup_namespace() -> None:
    def without(c: dict[str, Any]) -> None:
        c["linux"]["namespaces"] = [row for row in c["linux"]["namespaces"] if row["type"] != "cgroup"]

    steps = calls(plan(without, cgroups=V2), "/mounts/6")
    assert any('open_tree(AT_FDCWD, "/sys/fs/cgroup/box"' in what for what in steps)
    # fsopen("cgroup2") from the host's namespace would change the host's own mount.
    assert not any("cgroup2" in what for what in steps)
    assert any('fsopen("cgroup2"' in what for what in calls(plan(cgroups=V2), "/mounts/6"))


def test_cgroup_v1_has_a_folder_a_hierarchy() -> None:
    steps = calls(plan(cgroup_v2=False, cgroups=V1), "/mounts/6")
    made = [what.split('"')[1] for what in steps if what.startswith("mkdirat(")]
    assert made[-2:] == ["cpu", "systemd"]
    assert any('"name", "systemd"' in what for what in steps)


def test_without_a_cgroup_there_is_none_to_mount() -> None:
    def without(c: dict[str, Any]) -> None:
        c["linux"]["namespaces"] = [row for row in c["linux"]["namespaces"] if row["type"] != "cgroup"]

    with pytest.raises(Error, match="no cgroup"):
        plan(without, cgroups=[])


def test_a_terminal_takes_stdio() -> None:
    steps = calls(plan(lambda c: c["process"].update(terminal=True)), "/process/terminal")
    assert [what.split("(")[1].split(", ")[1] for what in steps if what.startswith("dup3")] == ["0", "1", "2"]
    assert any("TIOCSCTTY" in what for what in steps)


def test_hooks_stop_the_program_before_pivot() -> None:
    steps = plan(lambda c: c.update(hooks={"createRuntime": [{"path": "/bin/true"}]}))
    assert first(steps, "say RUNTIME_HOOKS") < first(steps, "pivot_root(")


def test_without_a_process_start_fails() -> None:
    steps = plan(lambda c: c.pop("process"))
    assert any("fail EINVAL: the config has no process" in what for what, _ in steps)
    assert not any("execve" in what for what, _ in steps)


def test_home_is_asked_for_only_when_it_is_missing() -> None:
    assert any('"/etc/passwd"' in what for what, _ in plan())
    steps = plan(lambda c: c["process"]["env"].append("HOME=/root"))
    assert not any('"/etc/passwd"' in what for what, _ in steps)


def test_preserved_descriptors_are_moved_at_the_very_end() -> None:
    steps = plan(preserve=2)
    moved = [what for what, _ in steps if what.startswith("dup3(") and what.endswith(("3, 0)", "4, 0)"))]
    assert len(moved) == 2
    assert first(steps, "close_range(") < first(steps, moved[0])


def test_a_sysctl_is_written_through_a_procfs_of_our_own() -> None:
    steps = plan(lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}))
    assert first(steps, 'fsopen("proc"') < first(steps, "clone3(")
    shown = calls(steps, "/linux/sysctl/net.ipv4.ip_forward")
    assert "RESOLVE_NO_XDEV" in shown[0] and '"sys/net/ipv4/ip_forward"' in shown[0]


def test_capabilities_that_cannot_be_had_are_left_out() -> None:
    # CAP_KILL is 5; without it in the runtime's own set it is dropped, not asked for.
    with_, without = plan(), plan(capabilities=((1 << 41) - 1) & ~(1 << 5))
    assert not any("PR_CAPBSET_DROP, 5)" in what for what, _ in with_)
    assert any("PR_CAPBSET_DROP, 5)" in what for what, _ in without)


def test_the_size_of_the_default_program_is_known() -> None:
    # It all lies in the container's memory: whoever makes it grow should know.
    assert len(compiled().instructions) < 400


def test_a_bind_costs_few_instructions() -> None:
    many = [bind(f"/mnt/{i}", "bind", "ro", "nosuid") for i in range(1200)]
    for edits in ([], [user_namespace]):
        program = compiled(*many, *edits)
        assert (len(program.instructions) - len(compiled(*edits).instructions)) / len(many) < 19
        program.encode(4)


def spoken(program: Program) -> list[int]:
    """The codes that a program says or waits for, in its order; one that is said and answered counts once."""
    found: list[int] = []
    for i in program.instructions[: program.main]:
        if i.op in (SAY, AWAIT):
            found.append(int(i.name))
        elif i.op == STORE and isinstance(i.operands[1], bytes) and i.operands[1][4:] == bytes(12):
            found.append(int.from_bytes(i.operands[1][:4], "little"))  # Program.say_with
    return [code for code, before in zip(found, [None, *found], strict=False) if code != before]


def check_dialogue(program: Program, expected: list[Message]) -> None:
    program.link()
    for socket in (HOST, INIT_SOCKET):
        codes = {message for message in CODES if isinstance(message, Message) and message.socket == socket}
        assert [c for c in spoken(program) if c in codes] == [m for m in expected if m in codes]


def everything(c: dict[str, Any]) -> None:
    c["process"]["terminal"] = True
    c["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 2}]
    c["process"]["scheduler"] = {"policy": "SCHED_OTHER"}
    c["linux"]["timeOffsets"] = {"boottime": {"secs": 7}}
    namespace("time")(c)
    c["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}


@pytest.mark.parametrize("notify", [False, True])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "edits",
    [
        [],
        [user_namespace],
        [everything],
        [everything, user_namespace],
        [namespace("pid", "/proc/7/ns/pid")],
        [everything, namespace("pid", "/proc/7/ns/pid")],
        [everything, user_namespace, namespace("pid", "/proc/7/ns/pid")],
        [namespace("user", "/proc/7/ns/user")],
        [mount("/t", "tmpfs", "tmpcopyup"), mount("/u", "tmpfs", "tmpcopyup")],
        [lambda c: c["linux"]["namespaces"].remove({"type": "mount"})],
        [lambda c: c.pop("process")],
    ],
)
def test_both_halves_of_the_dialogue_are_one(edits: list[Edit], held: bool, notify: bool) -> None:
    """What the runtime will listen for is what the program says, in that order, on both sockets."""
    seccomp = {"seccomp": bytes(16), "seccomp_flags": 8} if notify else {}
    checked, facts = gathered(*edits, held=held, **seccomp)
    check_dialogue(compile_container(checked, facts), dialogue.of_container(checked, facts))


@pytest.mark.parametrize("namespaces", [CLONE_NEWNS, CLONE_NEWNS | CLONE_NEWUSER])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_the_dialogue_of_who_joins(held: bool, terminal: bool, namespaces: int) -> None:
    process = {**example(cgroup_v2=True)["process"], "terminal": terminal, "scheduler": {"policy": "SCHED_OTHER"}}
    has_userns = bool(namespaces & CLONE_NEWUSER)
    facts = Facts(layout=Layout(NAMES), bundle="/bundle", container="box", seccomp=bytes(16), seccomp_flags=8)
    hook = compile_hook({"path": "/bin/true"}, "/hooks/startContainer/0", namespaces, facts, process)
    check_dialogue(hook, dialogue.of_newcomer(process, facts, has_userns=has_userns, hook=True))
    facts.held = held
    program = compile_exec(process, namespaces, facts)
    check_dialogue(program, dialogue.of_newcomer(process, facts, has_userns=has_userns))


def labelled(c: dict[str, Any]) -> None:
    c["process"].update(apparmorProfile="box-profile", selinuxLabel="u:r:t:s0")


def test_labels_are_taken_at_execve() -> None:
    """Written by the process itself through the runtime's own procfs, while it is still root; that of the keyring
    before it is made, and undone after."""
    steps = plan(labelled)
    apparmor = calls(steps, "/process/apparmorProfile")
    assert [what.partition('"')[2].partition('"')[0] for what in apparmor if '"' in what] == [
        "thread-self/attr/apparmor/exec",
        "thread-self/attr/exec",
        "exec box-profile",
    ]
    order = ["keyctl(", '"exec box-profile"', "setresuid("]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)
    written = [what for what in calls(steps, "/process/selinuxLabel") if what.startswith("write(")]
    assert [what.partition('"')[2].partition('"')[0] for what in written] == ["u:r:t:s0", "", "u:r:t:s0"]


def test_unconfined_is_no_profile() -> None:
    steps = plan(lambda c: c["process"].update(apparmorProfile="unconfined"))
    assert not calls(steps, "/process/apparmorProfile")


def test_the_label_of_mounts() -> None:
    """context= for what the kernel mounts anew, but for the file systems whose labels are the policy's own."""
    steps = plan(mount("/t"), mount("/u", "tmpfs", "silent"), bind("/b", "bind"), mount_label="u:r:t:s0")
    labelled_ = [what for what in calls(steps, "/linux/mountLabel") if "fsconfig" in what]
    # /dev, /dev/pts, /dev/shm, /t; and the tmpfs that covers masked folders has no pointer of its own
    assert len(labelled_) == 4
    assert all('FSCONFIG_SET_STRING, "context", "u:r:t:s0"' in what for what in labelled_)
    assert any('"security.selinux"' in what for what in calls(steps, "/linux/mountLabel"))  # mqueue
    assert any('context=\\"u:r:t:s0\\"' in what or 'context="u:r:t:s0"' in what for what in calls(steps, "/mounts/8"))
    assert any('"context"' in what for what in calls(steps, "/linux/maskedPaths"))


def test_exec_runs_on_its_cpus() -> None:
    from pyrun.machine.launch import Layout

    process: Any = {"args": ["/x"], "cwd": "/", "execCPUAffinity": {"initial": "0-1", "final": "65"}}
    facts = Facts(
        layout=Layout(["pidfd", "root"]), bundle="/bundle", container="box", v1_cgroups=["/sys/fs/cgroup/cpuset/box"]
    )
    steps = executed(compile_exec(process, 0, facts))
    order = ["sched_setaffinity(0, 8", "clone3(", "sched_setaffinity(0, 16"]
    assert [first(steps, what) for what in order] == sorted(first(steps, what) for what in order)


def test_a_time_namespace_without_offsets() -> None:
    """The kernel takes no empty text; a procfs of our own is open here for the sysctl alone."""
    steps = plan(namespace("time"), lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}))
    assert not any("timens_offsets" in what for what, _ in steps)
