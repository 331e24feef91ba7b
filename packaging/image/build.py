"""Build the start-up image's engine, and the image of an install.

usage: build.py engine OUT
           Python as one executable, its memory in one section (image.c)
       build.py image ENGINE OUT DESTDIR LIBRARY PLAIN
           the image of what lies in DESTDIR/LIBRARY, which leaves to PLAIN what is not hot

Exits with 3, and says why, where there is no static library of this Python, or image.c does not know it: then
pyrun does without.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
from array import array
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
sys.path.insert(0, str(HERE))  # isolated, Python looks in no directory of its script's
import rehearsal  # noqa: E402

NOT_HERE = 3
# image.c goes by CPython's internals, and what it does was tried with these.
KNOWN = {((3, 11), "x86_64"), ((3, 13), "x86_64"), ((3, 11), "aarch64")}
# As in image.c
MARK, RANGES = b"pyrun: pages\0\0\0\0", 200
SETTINGS = struct.Struct("<16sii")  # mark, report, by_unit
WARM, HOT = 1, 2
SINGLE_STEPS = os.uname().machine == "x86_64"
# They write to what the others do, and to more.
WARM_VERBS = ("create", "run", "exec")
REPORT = 200
GAP = 1
# Of the file, in one write: so large a folio of the page cache becomes, and one fault maps the whole folio (Linux 6.18,
# mm/memory.c). Smaller ones cost more faults, larger ones more memory.
PIECE = 256 << 10
# Data of Python's own, in the image: all that it writes to.
SECTIONS = (".data", ".bss", ".PyRuntime")
IN_IMAGE = "pydata,alloc,load,contents,data"
# Object -> functions of libc's that are called in it, and the image's (image.c) to be called in their place.
_ALLOCATION = {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "free": "free"}
REDIRECTED = {
    "obmalloc": {**_ALLOCATION, "mmap64": "mmap", "munmap": "munmap"},
    "_tracemalloc": _ALLOCATION,
    "posixmodule": {"_exit": "exit"},
    "pylifecycle": {"sigaction": "sigaction"},
}
# Of Python 3.13: its functions are in another archive, which Debian has not. hashlib goes to OpenSSL's then.
LEFT_OUT = ("sha2module",)
# Modules of ours in C
OURS = ("pack", "json")
# What Debian's Python needs besides libc. They are linked in: a shared library takes as long as a verb.
LIBRARIES = ("z", "expat")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["engine", out]:
            engine(Path(out).absolute())
        case ["image", engine_, out, destination, library, plain]:
            image(engine_, out, destination, library, plain)
        case _:
            raise SystemExit(__doc__)


def engine(out: Path) -> None:
    archive = Path(sysconfig.get_config_var("LIBPL") or "/none") / sysconfig.get_config_var("LIBRARY")
    here = sys.version_info[:2], os.uname().machine
    if here not in KNOWN:
        do_without(f"it is not known how, for Python {sys.version.split()[0]} on {here[1]}")
    if not archive.exists():
        do_without(f"there is no {archive} (Debian: libpython3-dev)")
    with tempfile.TemporaryDirectory() as objects:
        run("ar", "x", archive, cwd=objects)
        for name in LEFT_OUT:
            Path(objects, f"{name}.o").unlink(missing_ok=True)
        for name in OURS:
            compile_(HERE / f"{name}.c", out=Path(objects, f"{name}.o"))
        for path in Path(objects).glob("*.o"):
            into_image(path)
        # Outside of the image: what they know is of one process.
        compile_(HERE / "image.c", f'-DPYTHON="{sys.executable}"', out=Path(objects, "image.o"))
        compile_(HERE / "libm.c", "-fno-builtin", out=Path(objects, "libm.o"))
        members = sorted(map(str, Path(objects).glob("*.o")))
        libraries = [f"-l:lib{name}.a" for name in LIBRARIES]
        run(
            "gcc",
            "-s",
            "-no-pie",
            "-rdynamic",
            "-Wl,-z,lazy",
            "-Wl,--as-needed",
            "-o",
            out,
            *members,
            *libraries,
            "-lm",
        )
    require_no_foreign_data(out)


def do_without(reason: str) -> NoReturn:
    print(f"no start-up image: {reason}", file=sys.stderr)
    raise SystemExit(NOT_HERE)


def compile_(source: Path, *options: str, out: Path | None = None) -> None:
    include = sysconfig.get_path("include")
    flags = ("-O2", "-DNDEBUG", "-Wall", "-Wextra", "-fno-pie", f"-I{include}", f"-I{include}/internal")
    run("gcc", *flags, *options, "-c", source, "-o", out or source.with_suffix(".o"))


def into_image(path: Path) -> None:
    options = [f"--rename-section={name}={IN_IMAGE}" for name in SECTIONS]
    options += [f"--redefine-sym={name}=image_{ours}" for name, ours in REDIRECTED.get(path.stem, {}).items()]
    # Python itself has no constructors; mimalloc, which 3.13's obmalloc.c holds and does not use, has one that would be
    # called at build and once more at each start.
    options += ["--remove-section=.init_array", "--remove-section=.rela.init_array"]
    # A section without contents keeps none when it is renamed only.
    run("objcopy", "--set-section-flags=.bss=alloc,load,contents,data", *options, path)


def require_no_foreign_data(out: Path) -> None:
    """What the dynamic linker writes into the image at each start would be wrong in copies of it that Python has made
    at build."""
    found = run("readelf", "-rW", out)
    for line in found.splitlines():
        if " R_X86_64_64 " in line or " R_AARCH64_ABS64 " in line:
            raise SystemExit(f"the image would hold an address of a shared library's: {line}")


def image(engine_: str, out: str, destination: str, library: str, plain: str) -> None:
    seed = 1 + int.from_bytes(os.urandom(4), "little") % 0xFFFFFFFF  # 0 would be none

    def build(areas: bytes) -> bytearray:
        Path(out).unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile() as file:
            file.write(areas)
            file.flush()
            paths = Path(engine_).absolute(), "build", "train.py", Path(out).absolute(), seed, file.name
            # There, so that the checkout's own path is nowhere in it.
            run(*paths, ".", destination, library, plain, cwd=HERE, env={})
        return bytearray(Path(out).read_bytes())

    try:
        areas = b""
        content = build(areas)
        # Where much is written to, image.c stops looking, and misses what else lies there: so it looks once more, when
        # that lies apart.
        for _ in range(2 if SINGLE_STEPS else 0):
            found = heat(measure(content, by_unit=True), Path(f"{out}.owners").read_bytes())
            areas = bytes(map(max, zip_longest(areas, found, fillvalue=0)))
            content = build(areas)
    finally:
        Path(f"{out}.owners").unlink(missing_ok=True)
    measured = measure(content, by_unit=False)
    # As in train.py
    linked = Path(f"{destination}{library}/linked/{sys.implementation.cache_tag}")
    at = content.index(MARK) + SETTINGS.size
    for i, verb in enumerate([*sorted(path.name for path in linked.iterdir()), "--version"]):
        for j, (first, count) in enumerate(ranges(measured.get(verb, set()))[:RANGES]):
            struct.pack_into("<II", content, at + 8 * (i * RANGES + j), first, count)
    with open(out, "wb", buffering=0) as file:
        for at in range(0, len(content), PIECE):
            file.write(content[at : at + PIECE])


def heat(touched: dict[str, set[int]], owners: bytes) -> bytes:
    """A byte for each allocation: by which verbs it is written to. `owners`: the number of each unit's, from 1."""
    owner = array("I", owners)
    found = bytearray(max(owner))
    for verb, units in touched.items():
        area = WARM if verb in WARM_VERBS else HOT
        for unit in units:
            if owner[unit]:
                found[owner[unit] - 1] = max(found[owner[unit] - 1], area)
    return bytes(found)


def measure(content: bytearray, *, by_unit: bool) -> dict[str, set[int]]:
    """What each verb writes to of the image's memory: pages, or units of its heap."""
    copy = content.copy()
    SETTINGS.pack_into(copy, copy.index(MARK), MARK, REPORT, by_unit)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(copy)
    try:
        os.chmod(file.name, 0o700)
        return use(file.name, ("--version", "list") if by_unit else ("features", "--version", "list"))
    finally:
        os.unlink(file.name)


def use(executable: str, words: tuple[str, ...]) -> dict[str, set[int]]:
    """Verb -> where it says that it has written to. `words`: those among them that need no container."""
    # A program that needs nothing but the kernel, and ends at once: without a program to execute it says so.
    executor = (CHECKOUT / "runtime/machine/executor").read_bytes()
    place = rehearsal.make_place(json.dumps(example()).encode(), executor)
    found: dict[str, set[int]] = {}
    pid = rehearsal.begin(place)
    wide, name = ["--root", f"{place}/store"], os.path.basename(place).lstrip(".")
    try:
        for word in words:
            found[word] = written(executable, word)
        for words in rehearsal.LIFE:
            if words.startswith("delete"):
                os.waitpid(pid, 0)
            verb = words.split()[0]
            found.setdefault(verb, set()).update(written(executable, *wide, *words.split(), must=True))
        # What takes more rights than we have fails, but hardly before most has been touched.
        found["create"] = written(executable, *wide, "create", "--bundle", place, name)
        found["exec"] = written(executable, *wide, "exec", name, "sh")
        written(executable, *wide, "delete", "--force", name)
        found["run"] = written(executable, *wide, "run", "--bundle", place, name)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        subprocess.run([executable, *wide, "delete", "--force", name], capture_output=True, check=False)
        raise
    finally:
        rehearsal.remove_place(place)
    return found


def example() -> dict[str, Any]:
    """What `pyrun spec` writes, by the checkout."""
    package = sys.modules["pyrun"] = type(sys)("pyrun")
    package.__path__ = [f"{CHECKOUT}/runtime", str(CHECKOUT)]
    found = __import__("pyrun.spec.example", fromlist=["example"]).example()
    found["process"]["terminal"] = False
    return found


def written(*command: str, must: bool = False) -> set[int]:
    """must: it has to succeed."""
    read, write = os.pipe()
    os.dup2(write, REPORT)
    os.close(write)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[REPORT]
    )
    os.close(REPORT)
    with open(read, "rb") as file:
        said = file.read()
    if process.wait() < 0 or (must and process.returncode):
        raise SystemExit(f"{' '.join(command[1:])}: exit status {process.returncode}")
    return {page for page, own in enumerate(said) if own}


def ranges(pages: set[int]) -> list[tuple[int, int]]:
    """(first, count) of pages that lie together, or so near that those between cost less than a call."""
    found: list[tuple[int, int]] = []
    for page in sorted(pages):
        if found and page <= sum(found[-1]) + GAP:
            found[-1] = found[-1][0], page + 1 - found[-1][0]
        else:
            found.append((page, 1))
    return found


def run(*words: str | int | Path, cwd: str | Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]}: exit status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
