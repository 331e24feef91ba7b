"""linux.seccomp to a BPF program, by libseccomp (config-linux.md "Seccomp", seccomp(2), seccomp_rule_add(3)).

Compiled outside the container and kept by digest: compiling takes longer than all else that create does, and the
containers of a machine mostly share one profile.
"""

from __future__ import annotations

import posix
from _blake2 import blake2b
from _struct import Struct

from pyrun.errors import Error
from pyrun.kernel.constants import SECCOMP_FILTER_FLAG_NEW_LISTENER
from pyrun.kernel.files import read_all
from pyrun.kernel.kept import keep
from pyrun.kernel.ownership import open_file, open_owned
from pyrun.spec import strictjson
from pyrun.spec.peers import FAIL_UNKNOWN_SYSCALL
from pyrun.spec.seccomp import ACTIONS, DENYING, FLAGS, OPERATORS, WITH_ERRNO

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator
    from typing import Any

    from pyrun.log import Log
    from pyrun.spec.config import Seccomp

    # What seccomp_rule_add_array(3) takes, with the rule's pointer and the call's name before it.
    _Rule = tuple[str, str, int, int, int, ctypes.Array[Any]]

POINTER = "/linux/seccomp"

# The cache: a file a profile, a checksum and the program. More than a machine's managers have profiles are not kept.
_FORMAT, _CHECK, _MOST_KEPT = 3, 16, 64

_TSYNC, _WAIT_KILLABLE_RECV = 0x01, 0x20
_EPERM, _ENOSYS = 1, 38
_SCMP_FLTATR_CTL_OPTIMIZE = 8
# libseccomp's tokens, of which the first is the kernel's AUDIT_ARCH_X86_64 (seccomp(2))
_X86_64, _X32, _X32_BIT = 0xC000003E, 0x4000003E, 0x40000000
_MOST_CALLS = 1024  # numbers grow slowly: below 500 by 2026

# struct sock_filter: code, where to go when true and when false, constant
_SOCK_FILTER = Struct("<HBBI")
_LD_ABS, _JEQ, _JGT, _JGE, _RET = 0x20, 0x15, 0x25, 0x35, 0x06
_CLASS, _JMP, _JA = 0x07, 0x05, 0x05
_NUMBER_AT, _ARCH_AT = 0, 4


def flags(seccomp: Seccomp) -> int:
    """The flags for seccomp(2). Unset is SPEC_ALLOW, as with runc."""
    names = seccomp.get("flags")
    found = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"] if names is None else sum({FLAGS[name] for name in names})
    if notifies(seccomp):
        # The two exclude each other, and a program that has one thread needs no TSYNC.
        return found & ~_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER
    return found & ~_WAIT_KILLABLE_RECV  # of a listener's


def notifies(seccomp: Seccomp | None) -> bool:
    """Some calls wait for the answer of an agent."""
    if seccomp is None:
        return False
    actions = [seccomp["defaultAction"], *(rule["action"] for rule in seccomp.get("syscalls", []))]
    return "SCMP_ACT_NOTIFY" in actions


def refuse_unprivileged(seccomp: Seccomp) -> None:
    """Raises Error for a profile whose listener could never be sent: see runtime/container/listener.py."""
    for i, rule in enumerate(seccomp.get("syscalls", [])):
        if rule["action"] == "SCMP_ACT_NOTIFY" and "sendmsg" in rule["names"]:
            raise Error(
                "load the seccomp profile",
                pointer=f"{POINTER}/syscalls/{i}/names/{rule['names'].index('sendmsg')}",
                detail="without privilege sendmsg is how the listener gets to its agent: it can't wait for that one",
            )


def program(seccomp: Seccomp, cache: str, log: Log, strict: bool = False) -> bytes:
    """The profile's BPF program: from the directory `cache` ("" for none), or compiled and put there. strict: every
    name must be one of a system call here; this is looked at where it is compiled, so it is not kept."""
    if posix.geteuid() != 0:
        refuse_unprivileged(seccomp)
    if not cache or strict:
        return compile_filter(seccomp, log, strict)
    # By what the filter depends on: not by whom its listener is for.
    decisive = {
        key: value for key, value in seccomp.items() if key not in ("listenerPath", "listenerMetadata", "flags")
    }
    text = strictjson.dumps([_FORMAT, decisive, posix.uname().machine])
    digest = blake2b(text.encode(), digest_size=32).hexdigest()
    try:
        directory = open_owned(cache, make=True)
    except (Error, OSError) as e:
        # One that can't be made, or isn't ours, costs time, no more.
        log.debug(f"the compiled seccomp profile is not kept: {e}")
        return compile_filter(seccomp, log)
    try:
        kept = _kept(directory, cache, digest, log)
        if kept:
            log.debug(f"the compiled seccomp profile is there already: {cache}/{digest}")
            return kept
        compiled = compile_filter(seccomp, log)
        log.debug(f"the seccomp profile is compiled: {len(compiled) // 8} instructions")
        _keep(directory, digest, compiled, log)
        return compiled
    finally:
        posix.close(directory)


def _kept(directory: int, cache: str, digest: str, log: Log) -> bytes:
    """The file's content; b"" when there is none, or somebody else's."""
    try:
        fd = open_file(digest, directory, cache)
    except OSError:
        return b""
    except Error as e:
        log.debug(str(e))
        return b""
    try:
        kept = read_all(fd)
    finally:
        posix.close(fd)
    # A crash of the machine can leave a file with another content than was written, and somebody may have renamed one.
    if kept[:_CHECK] != _check(digest, kept[_CHECK:]):
        log.debug(f"{cache}/{digest} is damaged: it is written anew")
        return b""
    return kept[_CHECK:]


def _check(digest: str, compiled: bytes) -> bytes:
    return blake2b(digest.encode() + compiled, digest_size=_CHECK).digest()


def _keep(directory: int, digest: str, compiled: bytes, log: Log) -> None:
    try:
        keep(directory, digest, _check(digest, compiled) + compiled, _MOST_KEPT)
    except OSError as e:
        log.debug(f"the compiled seccomp profile is not kept: {e}")


def compile_filter(seccomp: Seccomp, log: Log, strict: bool = False) -> bytes:
    """Raises Error, with the pointer of the rule that libseccomp refuses.

    Each architecture is compiled by itself: what libseccomp takes for a filter grows with the square of its length."""
    library = _library()
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    tokens = _architectures(library, seccomp)
    rules = [*_rules(library, seccomp, default, log, strict)]
    prefix = b""
    if seccomp["defaultAction"] in DENYING:  # see _newer
        prefix = _newer({token: _last(library, token, seccomp) for token in tokens})
    return prefix + _joined(
        {token: _compiled(library, token, absent, default, rules) for token, absent in tokens.items()}
    )


def _architectures(library: ctypes.CDLL, seccomp: Seccomp) -> dict[int, Error | None]:
    """libseccomp's tokens: that of this machine, and the profile's with what to say where it can't be compiled for."""
    found: dict[int, Error | None] = {library.seccomp_arch_native(): None}
    for i, name in enumerate(seccomp.get("architectures", [])):
        pointer = f"{POINTER}/architectures/{i}"
        absent = Error("compile the seccomp profile", pointer=pointer, detail=f"no {name} here")
        token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token:
            raise absent
        found.setdefault(token, absent)
    return found


def _compiled(library: ctypes.CDLL, token: int, absent: Error | None, default: int, rules: list[_Rule]) -> bytes:
    """The filter for one architecture, which refuses the calls of all others."""
    context = library.seccomp_init(default)
    if not context:
        raise Error("compile the seccomp profile", pointer=f"{POINTER}/defaultAction", detail="libseccomp refuses it")
    try:
        if absent and (
            library.seccomp_arch_add(context, token)
            or library.seccomp_arch_remove(context, library.seccomp_arch_native())
        ):
            raise absent
        # A tree of comparisons for large profiles; older libraries don't know it, and that is all the same.
        library.seccomp_attr_set(context, _SCMP_FLTATR_CTL_OPTIMIZE, 2)
        for pointer, name, action, number, count, comparisons in rules:
            result = library.seccomp_rule_add_array(context, action, number, count, comparisons)
            if result:
                raise Error("compile the seccomp profile", pointer=pointer, call=f"rule for {name}", errno=-result)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _joined(programs: dict[int, bytes]) -> bytes:
    """One program of those of several architectures. Before each but the last stands what goes past it with a call that
    is not for it. That is for speed alone: each of them refuses what is not its own."""
    *others, last = programs
    return b"".join(_going_past(token, programs) + programs[token] for token in others) + programs[last]


def _going_past(token: int, programs: dict[int, bytes]) -> bytes:
    past = (_JA, 0, 0, len(programs[token]) // _SOCK_FILTER.size)
    if token not in (_X86_64, _X32) or _X32 not in programs:
        return _packed((_LD_ABS, 0, 0, _ARCH_AT), (_JEQ, 1, 0, token), past)
    # The kernel has one number for both architectures: a bit of the call's number is what tells them apart.
    large = (_JGE, 0, 1, _X32_BIT) if token == _X86_64 else (_JGE, 1, 0, _X32_BIT)
    return _packed((_LD_ABS, 0, 0, _ARCH_AT), (_JEQ, 0, 2, _X86_64), (_LD_ABS, 0, 0, _NUMBER_AT), large, past)


def _packed(*code: tuple[int, int, int, int]) -> bytes:
    return b"".join(_SOCK_FILTER.pack(*step) for step in code)


def _action(name: str, number: int | None) -> int:
    value = ACTIONS[name]
    if name in WITH_ERRNO:
        value |= (_EPERM if number is None else number) & 0xFFFF
    return value


def _rules(library: ctypes.CDLL, seccomp: Seccomp, default: int, log: Log, strict: bool) -> Iterator[_Rule]:
    """The profile's rules as libseccomp takes them, a call each."""
    import ctypes  # lazy: only when a profile is compiled

    class Comparison(ctypes.Structure):
        """struct scmp_arg_cmp"""

        _fields_ = [
            ("arg", ctypes.c_uint),
            ("op", ctypes.c_int),
            ("datum_a", ctypes.c_uint64),
            ("datum_b", ctypes.c_uint64),
        ]

    for i, rule in enumerate(seccomp.get("syscalls", [])):
        pointer = f"{POINTER}/syscalls/{i}"
        action = _action(rule["action"], rule.get("errnoRet"))
        if action == default:
            continue  # libseccomp refuses a rule that changes nothing
        comparisons = [
            Comparison(a["index"], OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args", [])
        ]
        # Two conditions on one argument can't be in one rule; runc takes each for a rule of its own, and so do we.
        if len({c.arg for c in comparisons}) < len(comparisons):
            groups = [[c] for c in comparisons]
        else:
            groups = [comparisons]
        arrays = [(len(group), (Comparison * len(group))(*group)) for group in groups]
        for j, name in enumerate(rule["names"]):
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:
                where = f"{pointer}/names/{j}"
                if strict:
                    hint = f"the annotation {FAIL_UNKNOWN_SYSCALL} asks for it"
                    detail = f"no system call {name} here"
                    raise Error("compile the seccomp profile", pointer=where, detail=detail, hint=hint)
                log.debug(f"{where}: no system call {name} here")
                continue
            for count, array in arrays:
                yield pointer, name, action, number, count, array


def _last(library: ctypes.CDLL, token: int, seccomp: Seccomp) -> int:
    """The highest number of a system call on that architecture that the profile names."""
    names = {name for rule in seccomp.get("syscalls", []) for name in rule["names"]}
    return max((library.seccomp_syscall_resolve_name_arch(token, name.encode()) for name in names), default=-1)


def _newer(last: dict[int, int]) -> bytes:
    """A head for the program: a call with a number above all that the profile names is ENOSYS.

    A C library tries the newest call first, and falls back on ENOSYS, not on the profile's EPERM. As runc does."""
    code = [(_LD_ABS, 0, 0, _ARCH_AT)]
    for token, number in last.items():
        if number >= 0:
            code += [
                (_JEQ, 0, 4, token),
                (_LD_ABS, 0, 0, _NUMBER_AT),
                (_JGE, 2, 0, _X32_BIT),
                (_JGT, 0, 1, number),
                (_RET, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | _ENOSYS),
            ]
    return _packed(*code)


def _export(library: ctypes.CDLL, context: object) -> bytes:
    fd = posix.memfd_create("bpf", 1)
    try:
        result = library.seccomp_export_bpf(context, fd)
        if result:
            raise Error("compile the seccomp profile", pointer=POINTER, errno=-result)
        posix.lseek(fd, 0, 0)
        program = read_all(fd)
    finally:
        posix.close(fd)
    if not _is_whole(program):
        # libseccomp writes once and doesn't look how much of it was taken.
        hint = "is RLIMIT_FSIZE smaller than the filter?"
        raise Error("compile the seccomp profile", pointer=POINTER, detail="the filter was cut short", hint=hint)
    return program


def _is_whole(program: bytes) -> bool:
    """Every way through it ends within it: what the kernel checks as well, but can't explain."""
    if not program or len(program) % _SOCK_FILTER.size:
        return False
    last = len(program) // _SOCK_FILTER.size - 1
    for at, (code, right, wrong, constant) in enumerate(_SOCK_FILTER.iter_unpack(program)):
        if code == _JA and at + 1 + constant > last:
            return False
        if code & _CLASS == _JMP and code != _JA and at + 1 + max(right, wrong) > last:
            return False
    return bool(code & _CLASS == _RET)


def unknown_names(seccomp: Seccomp) -> Iterator[tuple[int, int, str]]:
    """(which of syscalls, which of its names, the name) of what libseccomp knows on no architecture: the filter says
    nothing of them. Raises Error without libseccomp."""
    library = _library()
    for i, rule in enumerate(seccomp.get("syscalls", [])):
        for j, name in enumerate(rule["names"]):
            if library.seccomp_syscall_resolve_name(name.encode()) == -1:
                yield i, j, name


def call_names() -> dict[int, str]:
    """Number -> name of each system call of this machine that libseccomp knows. Raises Error without it."""
    native = _library().seccomp_arch_native()
    return {number: name for number in range(_MOST_CALLS) if (name := call_name(native, number))}


def call_name(architecture: int, number: int) -> str:
    """Of a system call on an AUDIT_ARCH_ (linux/audit.h); "" when libseccomp knows none. Raises Error without it."""
    import ctypes  # lazy: hardly ever

    resolve, libc = _library().seccomp_syscall_resolve_num_arch, ctypes.CDLL(None)
    resolve.argtypes, resolve.restype = [ctypes.c_uint32, ctypes.c_int], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    at = resolve(architecture, number)
    if not at:
        return ""
    name = ctypes.string_at(at).decode()
    libc.free(at)
    return name


def library_version() -> str:
    """libseccomp's, as 2.5.4; "" where it isn't installed."""
    import ctypes  # lazy: only when it is asked for

    try:
        found = _library().seccomp_version
    except Error:
        return ""
    found.restype = ctypes.POINTER(ctypes.c_uint * 3)  # struct scmp_version: major, minor, micro
    return ".".join(map(str, found().contents))


def _library() -> ctypes.CDLL:
    """Raises Error when libseccomp isn't installed."""
    import ctypes  # lazy: only when a profile is compiled

    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        hint = "install libseccomp2"
        raise Error(
            "compile the seccomp profile", pointer=POINTER, detail="libseccomp.so.2 not found", hint=hint
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library
