"""What the runtime and a running program say to each other on a control socket: every exchange, in its order.

A message is {u32 code, u32 instruction, s64 value}, followed in an error by the kernel's own words, and in the answer
to HOME by a text. plan/dialogue.py says which exchanges take place for a config; the program's half is compiled in that
order, and container/session.py goes through it on the runtime's side.
"""

from __future__ import annotations

# The two sockets: of the half of the program that stays on the host, and of the half that goes inside.
HOST, INIT_SOCKET = "host", "init"
# Who speaks. SAID: the program. ASKED: the program, then the runtime. TOLD: the runtime. SERVED: the runtime, then the
# program.
SAID, ASKED, TOLD, SERVED = "said", "asked", "told", "served"


class Message(int):
    """The code of an exchange, with the socket that it goes over and who speaks."""

    socket: str
    kind: str

    def __new__(cls, code: int, socket: str, kind: str) -> Message:
        message = super().__new__(cls, code)
        message.socket = socket
        message.kind = kind
        return message


# The executor is in the scope that systemd has made for it.
PLACED = Message(13, HOST, TOLD)
# The id of the device filter that a cgroup which outlives the container is about to get: it is recorded.
FILTER = Message(18, HOST, ASKED)
# The pid of the intermediate process, which makes or joins namespaces for the one that it will clone.
INTERMEDIATE = Message(1, HOST, SAID)
# The user namespace is there: its id maps are written.
MAPS = Message(2, INIT_SOCKET, ASKED)
# The time namespace is there: its offsets are written.
CLOCKS = Message(9, INIT_SOCKET, ASKED)
# The namespaces that belong to the user namespace are there: what comes from the host's is moved into them.
MADE = Message(17, INIT_SOCKET, ASKED)
# The pid of init, from the half on the host; BORN: from the intermediate process, before or after all that follows.
INIT = Message(3, HOST, SAID)
BORN = Message(16, INIT_SOCKET, SAID)
# Whom BORN was about may use the socket now, which its parent had.
GO = Message(4, INIT_SOCKET, TOLD)
# The unique id of the mount that is about to be attached on the host: it is recorded.
ROOT = Message(15, INIT_SOCKET, ASKED)
# The directory of the image that a tmpfs is to begin with, and the tmpfs, each with its descriptor: it is copied.
COPY_FROM = Message(10, INIT_SOCKET, SAID)
COPY_UP = Message(11, INIT_SOCKET, ASKED)
# The container's environment stands, pivot_root is still to come: the hooks have run.
RUNTIME_HOOKS = Message(5, INIT_SOCKET, ASKED)
# The descriptor of the terminal's master.
CONSOLE = Message(6, INIT_SOCKET, SAID)
# The descriptor of /etc/passwd, if there is one: HOME=, as the text of the message.
HOME = Message(14, INIT_SOCKET, ASKED)
# The filter is loaded; the number of its listener in the process, or without privilege its descriptor: it is taken.
LISTENER = Message(12, INIT_SOCKET, ASKED)
# The limits of the pid in the value are set by the half on the host.
LIMITS = Message(8, HOST, SERVED)
# All is done but execve: the state is written.
READY = Message(7, INIT_SOCKET, ASKED)

NAMES: dict[int, str] = {value: name for name, value in vars().items() if isinstance(value, Message)}
