"""What the start-up image is made from: runs in the engine (image.c), at build, isolated and without site.

ARGS: HERE DESTDIR LIBRARY PLAIN. Loads the linked modules of the hot verbs (packaging/link.py), and has them do what
they do in a start, over and over, so that their byte code is specialised and their caches are warm. Leaves for the
engine:

    entry   what a start calls
    plain   the executable for all other command lines
    hot     the words that make a command line one for the image
"""

import _imp
import gc
import posix
import sys
from importlib import invalidate_caches
from importlib.machinery import PathFinder
from marshal import loads

gc.disable()  # as in the plain launcher

here, destination, library, plain = sys.argv
linked = f"{destination}{library}/linked/{sys.implementation.cache_tag}"
verbs = sorted(posix.listdir(linked))
hot = [*verbs, "--version"]
_ROUNDS = 30


class Deferred:
    """_json is a shared object, and no image can hold one: it is loaded when it is first called."""

    def __init__(self):
        self.spec = PathFinder.find_spec("_json")
        self.module = sys.modules["_json"] = type(sys)("_json")
        for kind in ("make_scanner", "make_encoder"):
            setattr(self.module, kind, self.maker(kind))
        self.module.encode_basestring_ascii = lambda text: self.real().encode_basestring_ascii(text)

    def maker(self, kind):
        def make(*arguments):
            made = None

            def call(*given):
                nonlocal made
                if made is None:
                    made = getattr(self.real(), kind)(*arguments)
                return made(*given)

            return call

        return make

    def real(self):
        if sys.modules["_json"] is self.module:
            module = sys.modules["_json"] = _imp.create_dynamic(self.spec)
            _imp.exec_dynamic(module)
        return sys.modules["_json"]


def load():
    """As the plain launcher does, for all hot verbs at once."""
    loaded = set()
    for verb in verbs:
        with open(f"{linked}/{verb}", "rb") as file:
            modules = loads(file.read())
        for name, path, package, code in modules:
            if name in loaded:
                continue
            module = sys.modules.setdefault(name, type(sys)(name))
            # Where they lie now; once there is nothing more to be read, where they will lie: `settle`
            module.__file__ = path and destination + path
            if package:
                module.__path__ = [destination + folder for folder in package]
            if code:
                loaded.add(name)
                exec(code, module.__dict__)


def use_pack():
    """pack() of pack.c, in the place of Python's."""
    import _pyrun_pack

    from pyrun.machine import program as p

    _pyrun_pack.set_up(p.Register, p.SYSCALL, p.CALL, p.NONE, p.REGISTER, p.DATA)
    p.pack = _pyrun_pack.pack


def use_json():
    """What json.c can do, before _json is asked, which would have to be loaded."""
    import _pyrun_json

    from pyrun.spec import strictjson

    def scanner(otherwise, drop_nulls):
        def scan(text, start):
            return _pyrun_json.scan(text, start, drop_nulls) or otherwise(text, start)

        return scan

    def encode(value, level):
        text = _pyrun_json.encode(value)
        return otherwise()(value, level) if text is None else (text,)

    strictjson._KEEPING = scanner(strictjson._KEEPING, False)
    strictjson._DROPPING = scanner(strictjson._DROPPING, True)
    strictjson._TRUSTED = scanner(strictjson._TRUSTED, False)
    otherwise = strictjson._encoder
    strictjson._encoder = lambda: encode


def settle():
    for name, module in sys.modules.items():
        if name.partition(".")[0] == "pyrun":
            module.__file__ = module.__file__.removeprefix(destination)
            if hasattr(module, "__path__"):
                module.__path__ = [folder.removeprefix(destination) for folder in module.__path__]


def of_file(path):
    """What a file of Python defines that is no module of the image's."""
    found = {}
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), found)
    return found


def train():
    """Of what is only for this nothing stays: no module, no descriptor, no signal's action."""
    before = set(sys.modules)
    rehearsal = of_file(f"{here}/rehearsal.py")
    config = of_file(f"{destination}{library}/pyrun/spec/example.py")["example"]()
    config["process"]["terminal"] = False
    from pyrun.spec import strictjson

    place = rehearsal["make_place"](strictjson.dumps(config).encode())
    said = [posix.dup(fd) for fd in (1, 2)]
    silence = posix.open("/dev/null", posix.O_WRONLY)
    for fd in (1, 2):
        posix.dup2(silence, fd)
    try:
        for _ in range(_ROUNDS):
            live(place, rehearsal)
            plan(place)
    finally:
        for file in sys.stdout, sys.stderr:
            file.flush()
            for _ in range(2):  # over what has been in the buffer
                file.buffer.write(bytes(4096))
            file.flush()
        for fd, was in zip((1, 2), said, strict=True):
            posix.dup2(was, fd)
        posix.closerange(3, 1000)
        rehearsal["remove_place"](place)
    forget_signals()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def live(place, rehearsal):
    """The life of a container that is a directory and a process."""
    from pyrun.cli.main import main

    pid = rehearsal["begin"](place)
    for words in rehearsal["LIFE"]:
        if words.startswith("delete"):
            posix.waitpid(pid, 0)
        if main(["--root", f"{place}/store", *words.split()]):
            raise SystemExit(f"training: {words} failed")


def plan(place):
    """What create and exec do before anything is made: the config is read and checked, the programs are compiled."""
    from pyrun.caller import Caller
    from pyrun.cgroups.host import host
    from pyrun.cli.parse import parse
    from pyrun.container import gather
    from pyrun.container.bundle import CreateOptions, check_terminal, read_config
    from pyrun.machine.launch import Layout
    from pyrun.plan import dialogue
    from pyrun.plan.create import compile_container
    from pyrun.plan.exec import compile_exec
    from pyrun.plan.facts import Facts
    from pyrun.spec import checks, strictjson

    parse(["--root", place, "create", "--bundle", place, "--pid-file", "pid", "trained"])
    parse(["--root", place, "exec", "--process", "process.json", "trained"])
    caller, options = Caller(), CreateOptions(bundle=place)
    _, config = read_config(options)
    checks.config_warnings(config)
    check_terminal(config, options)
    hierarchies = host()
    cgroup = gather.own_cgroup(options, hierarchies, "trained", config, caller)
    cgroup.foresee()
    cgroup.writes(gather.resources(config, cgroup))
    facts = gather.facts("trained", config, options, hierarchies, cgroup, caller)
    compile_container(config, facts).encode(3)
    dialogue.of_container(config, facts)
    process = {**config["process"], "args": ["true"]}
    checks.process_faults(process)
    inside = Facts(layout=Layout(["pidfd"]), bundle=place, container="trained", unified_cgroup="/sys/fs/cgroup/trained")
    compile_exec(process, 0x2C020000, inside).encode(3)
    dialogue.of_newcomer(process, inside, has_userns=False)
    strictjson.dumps(config)


def forget_signals():
    """What main() has asked for is for a start to ask for."""
    from _signal import SIG_DFL, set_wakeup_fd, signal

    set_wakeup_fd(-1)
    for number in (1, 2, 15):
        signal(number, SIG_DFL)


def shared_objects():
    """But libm, of which the image has nothing: libm.c finds it in each process."""
    with open("/proc/self/maps") as file:
        return {line.split()[-1] for line in file if ".so" in line and "/libm.so" not in line}


sys.path.append(f"{library}/dependencies")
libraries = shared_objects()
# From Python 3.12 on Debian's has it built in.
deferred = "_json" not in sys.builtin_module_names
if deferred:
    Deferred()
load()
use_pack()
if deferred:
    use_json()
train()
settle()
if more := shared_objects() - libraries:
    raise SystemExit(f"the image can't hold {', '.join(sorted(more))}: a shared object")
sys.path_importer_cache.clear()
invalidate_caches()
gc.collect()

# For the engine, which takes it from here
from pyrun.cli.main import entry  # noqa: E402, F401
