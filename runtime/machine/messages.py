"""What the runtime and a running program say to each other on the control socket, one code a line.

A message is {u32 code, u32 instruction, s64 value}, followed in an error by the kernel's own words.
"""

from __future__ import annotations

PLACED = 13  # runtime: the executor is in the scope that systemd has made for it, go on
MIDDLE = 1  # executor: value is the pid of the process that makes or joins namespaces for the one that it will clone
MAPS = 2  # runtime: the id maps are written (executor: and now I need them)
INIT = 3  # executor: value is the pid of the container's init
ROOT = (
    15  # executor: value is the unique id of the mount that is about to be attached on the host (runtime: it is noted)
)
GO = 4  # runtime: your pid is known (to who shares the socket with its parent)
CLOCKS = 9  # executor: write the time offsets of the middle (runtime: they are written)
RUNTIME_HOOKS = 5  # executor: the environment stands, pivot_root not yet done; runtime: the hooks have run
COPY_FROM = 10  # executor: the folder of the image that a tmpfs is to begin with, as SCM_RIGHTS
COPY_UP = 11  # executor: and the tmpfs (runtime: it is copied)
# executor: the filter is loaded, and its listener has this number; without privilege: this is the listener (runtime: it
# is taken)
LISTENER = 12
CONSOLE = 6  # executor: the pty's master follows as SCM_RIGHTS on this socket
HOME = 14  # executor: /etc/passwd follows as SCM_RIGHTS, if there is one; runtime: HOME=, as the text of the message
READY = 7  # executor: all that create does is done; runtime: state is `created`, wait for start
LIMITS = 8  # runtime to the outer half: set init's limits (executor: they are set)
