"""A container that is no more than a directory and a process: for training, and for measuring what a verb touches.

It takes no rights, and nothing of pyrun's: train.py runs it in the engine, build.py in any Python.
"""

import posix
from fcntl import F_DUPFD_CLOEXEC, fcntl

NAME = "trained"
# As init does, it waits for start, and lets go of exec.status at its execve.
WAITING = "dd bs=1 count=1 <&3 >/dev/null 2>&1; exec sleep 100 3<&- 4>&-"
STATE = (
    '{"format":2,"ociVersion":"1.0.2","id":"%s","bundle":"%s","rootfs":"%s/rootfs","created":"2026-01-01T00:00:00Z",'
    '"owner":"","annotations":{},"pid":%d,"started":%d,"namespaces":738328576,"joined":0,"hooks":{},"executable":"sh",'
    '"freezer":"","cgroup":{"driver":"cgroupfs","mode":"v2","rootless":true,"directories":[]}}'
)
LIFE = ("state trained", "kill trained CONT", "start trained", "state trained", "kill trained KILL", "delete trained")


def make_place(config, program=b""):
    """A private directory with the bundle's config.json and an empty store; its path. `program`: the bundle's shell."""
    place = f"/tmp/.pyrun-image-{posix.getpid()}"
    posix.mkdir(place, 0o700)
    for name in ("store", "rootfs", "rootfs/bin"):
        posix.mkdir(f"{place}/{name}", 0o755)
    write(f"{place}/config.json", config)
    write(f"{place}/rootfs/bin/sh", program, 0o755)
    return place


def remove_place(path):
    for name in posix.listdir(path):
        if posix.lstat(f"{path}/{name}").st_mode & 0o170000 == 0o040000:
            remove_place(f"{path}/{name}")
        else:
            posix.unlink(f"{path}/{name}")
    posix.rmdir(path)


def begin(place):
    """Put the container there, `created`; the pid of its init, a child of ours."""
    directory = f"{place}/store/{NAME}"
    posix.mkdir(directory, 0o711)
    fifos = []
    for name in ("exec.fifo", "exec.status"):
        posix.mkfifo(f"{directory}/{name}", 0o600)
        fifos.append(posix.open(f"{directory}/{name}", posix.O_RDWR | posix.O_CLOEXEC))
    # By numbers that no copy to 3 or 4 can overwrite before its turn.
    fifos += [fcntl(fd, F_DUPFD_CLOEXEC, 10) for fd in fifos]
    actions = [(posix.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fifos[2:], 3)]
    pid = posix.posix_spawn("/bin/sh", ["sh", "-c", WAITING], {b"PATH": b"/bin:/usr/bin"}, file_actions=actions)
    for fd in fifos:
        posix.close(fd)
    with open(f"/proc/{pid}/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19])
    write(f"{directory}/pyrun-config.json", b"{}")
    write(f"{directory}/state.json", (STATE % (NAME, place, place, pid, started)).encode())
    return pid


def write(path, content, mode=0o600):
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, mode)
    while content:
        content = content[posix.write(fd, content) :]
    posix.close(fd)
