"""linux.intelRdt against a tree that looks like resctrl: the hardware is rare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pyrun.errors import Error
from pyrun.host import resctrl
from pyrun.host.resctrl import Group

DEFAULT = "    L3:0=fff;1=fff\n    MB:0=100;1=100\n"


def fill(folder: Path) -> None:
    """What the kernel puts into a new group."""
    (folder / "schemata").write_text(DEFAULT)
    (folder / "tasks").write_text("")
    if folder.parent.name != "mon_groups":
        (folder / "mon_groups").mkdir()


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mounted resctrl."""
    folder = tmp_path / "resctrl"
    folder.mkdir()
    fill(folder)
    (folder / "info").mkdir()
    (folder / "info/last_cmd_status").write_text("ok\n")
    real = resctrl.posix.mkdir

    class Posix:
        strerror = staticmethod(resctrl.posix.strerror)
        rmdir = staticmethod(shutil.rmtree)
        listdir = staticmethod(resctrl.posix.listdir)

        @staticmethod
        def mkdir(path: str, mode: int) -> None:
            real(path, mode)
            fill(Path(path))

    monkeypatch.setattr(resctrl, "posix", Posix)
    return folder


def group(top: Path, **wanted: Any) -> Group:
    mountinfo = f"30 20 0:25 / /sys rw - sysfs sysfs rw\n31 30 0:26 / {top} rw,nosuid - resctrl resctrl rw\n"
    made = Group.of(wanted, "box", mountinfo)  # type: ignore[arg-type]
    made.create(wanted)  # type: ignore[arg-type]
    return made


def test_not_mounted() -> None:
    """MUST 113."""
    with pytest.raises(Error, match="no resctrl is mounted") as caught:
        Group.of({}, "box", "30 20 0:25 / /sys rw - sysfs sysfs rw\n")
    assert caught.value.pointer == "/linux/intelRdt"


def test_without_a_name_the_containers_own(top: Path) -> None:
    """MUST 119, 120, 124: nothing is written to schemata."""
    made = group(top)
    assert (top / "box/schemata").read_text() == DEFAULT
    made.add(77)
    assert (top / "box/tasks").read_text() == "77\n"
    Group.from_state(made.to_state()).destroy()
    assert not (top / "box").exists()


def test_the_default_group(top: Path) -> None:
    """MUST 115, 125."""
    made = group(top, closID="/")
    made.add(77)
    assert (top / "tasks").read_text() == "77\n"
    made.destroy()
    assert top.exists()


def test_a_missing_group_with_a_schema_is_made(top: Path) -> None:
    """MUST 118, 121: all that is asked for, in one write and in order."""
    made = group(top, closID="guests", schemata=["L2:0=3"], memBwSchema="MB:0=70", l3CacheSchema="L3:0=f")
    assert (top / "guests/schemata").read_text().startswith("L3:0=f\nMB:0=70\nL2:0=3\n")
    made.destroy()
    assert not (top / "guests").exists()


def test_a_name_alone_must_be_there(top: Path) -> None:
    """MUST 123, 125."""
    with pytest.raises(Error, match="the group guests does not exist") as caught:
        group(top, closID="guests")
    assert caught.value.pointer == "/linux/intelRdt/closID"
    resctrl.posix.mkdir(str(top / "guests"), 0o755)
    group(top, closID="guests").destroy()
    assert (top / "guests").exists()


@pytest.mark.parametrize("line", ["L3:0=fff", "L3:1=0FFF;0=fff", " L3 : 0=fff"])
def test_the_schema_that_is_there(top: Path, line: str) -> None:
    """MUST 122."""
    resctrl.posix.mkdir(str(top / "guests"), 0o755)
    group(top, closID="guests", schemata=[line]).destroy()
    assert (top / "guests/schemata").read_text() == DEFAULT


@pytest.mark.parametrize("line", ["L3:0=ff", "L3:2=fff", "L2:0=fff", "MB:0=10"])
def test_another_schema_than_is_there(top: Path, line: str) -> None:
    """MUST 122."""
    resctrl.posix.mkdir(str(top / "guests"), 0o755)
    with pytest.raises(Error, match="another schema") as caught:
        group(top, closID="guests", schemata=[line])
    assert caught.value.pointer == "/linux/intelRdt/schemata/0"
    assert (top / "guests/schemata").read_text() == DEFAULT


def test_monitoring(top: Path) -> None:
    """MUST 126."""
    made = group(top, closID="/", enableMonitoring=True)
    assert made.monitoring == str(top / "mon_groups/box")
    made.add(77)
    assert [(top / name).read_text() for name in ("tasks", "mon_groups/box/tasks")] == ["77\n", "77\n"]
    made.destroy()
    assert not (top / "mon_groups/box").exists()


def test_a_monitoring_group_that_is_there(top: Path) -> None:
    """It is another's: not taken, not removed."""
    resctrl.posix.mkdir(str(top / "mon_groups/box"), 0o755)
    made = Group(str(top), str(top), False, str(top / "mon_groups/box"))
    with pytest.raises(Error, match="make the resctrl group") as caught:
        made.create({"closID": "/", "enableMonitoring": True})
    assert caught.value.pointer == "/linux/intelRdt/enableMonitoring"
    made.destroy()
    assert (top / "mon_groups/box").exists()


def test_a_group_of_the_same_id(top: Path) -> None:
    resctrl.posix.mkdir(str(top / "box"), 0o755)
    with pytest.raises(Error, match="exists already"):
        group(top)


def test_the_kernels_words(top: Path) -> None:
    (top / "info/last_cmd_status").write_text("Mask out of range\n")
    (top / "schemata").unlink()
    with pytest.raises(Error) as caught:
        Group(str(top), str(top), False, "").write([("/linux/intelRdt/l3CacheSchema", "L3:0=fffffff")])
    assert "Mask out of range" in str(caught.value)
    assert caught.value.pointer == "/linux/intelRdt/l3CacheSchema"


def test_statistics(top: Path) -> None:
    """In runc's shape."""
    for path, text in {
        "info/L3/cbm_mask": "fff\n",
        "info/L3/min_cbm_bits": "1\n",
        "info/L3/num_closids": "16\n",
        "info/MB/bandwidth_gran": "10\n",
    }.items():
        (top / path).parent.mkdir(exist_ok=True)
        (top / path).write_text(text)
    made = group(top)
    (top / "box/schemata").write_text("    L3:0=f;1=f\n")
    for node, bytes_ in (("mon_L3_00", "7"), ("mon_L3_01", "9")):
        (top / "box/mon_data" / node).mkdir(parents=True)
        (top / "box/mon_data" / node / "llc_occupancy").write_text(f"{bytes_}\n")
    assert made.statistics() == {
        "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fff;1=fff",
        "l3_cache_schema": "L3:0=f;1=f",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 0, "min_bandwidth": 0, "num_closids": 0},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "cmt_stats": [{"llc_occupancy": 7}, {"llc_occupancy": 9}],
    }
