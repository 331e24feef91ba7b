"""What the kernel's log says of a process that a seccomp filter has killed."""

from __future__ import annotations

from typing import Any

import pytest

from pyrun.host import audit

GENUINE = (
    "5,9277,12943210250,-;audit: type=1326 audit(1795816399.938:70): auid=4294967295 uid=0 gid=0 ses=1 pid=4242 "
    'comm="mkdir" exe="/bin/busybox" sig=31 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x80000000\n'
)
FORGED = (
    "3,9278,12943244326,-;overlayfs: no '/type=1326 audit pid=4242 comm sig=31 arch=c000003e syscall=59 ': -2\n",
    "3,9279,12943244327,-;overlayfs: audit: type=1326 audit(1.1:1): pid=4242 comm=x sig=31 arch=c000003e syscall=59 \n",
)


@pytest.mark.parametrize(
    ("records", "pid", "since", "call"),
    [
        ([GENUINE], 4242, 12943.0, "mkdir"),
        ([GENUINE, *FORGED], 4242, 12943.0, "mkdir"),
        ([*FORGED], 4242, 0, ""),
        ([GENUINE], 4243, 0, ""),
        ([GENUINE], 4242, 12945.0, ""),
    ],
)
def test_only_the_kernels_own_words_count(
    monkeypatch: pytest.MonkeyPatch, records: list[str], pid: int, since: float, call: str
) -> None:
    rows: Any = records
    monkeypatch.setattr(audit, "_records", lambda log: rows)
    monkeypatch.setattr(audit.posix, "open", lambda *_: 99)
    monkeypatch.setattr(audit.posix, "close", lambda fd: None)
    assert audit.forbidden_call(pid, since) == call
