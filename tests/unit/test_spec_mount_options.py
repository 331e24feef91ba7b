from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrun.spec import mount_options as mo
from pyrun.spec.mount_options import OPTIONS, parse

# MUST 50
REQUIRED = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec "
    "noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave "
    "runbindable rw shared silent slave strictatime suid sync unbindable"
)
OPTIONAL = (
    "mand nomand nosymfollow symfollow idmap ridmap tmpcopyup rro rrw rdev rnodev rexec rnoexec rsuid rnosuid ratime "
    "rnoatime rdiratime rnodiratime rrelatime rnorelatime rstrictatime rnostrictatime rsymfollow rnosymfollow"
)


@pytest.mark.parametrize("option", [*REQUIRED.split(), *OPTIONAL.split()])
def test_the_specification_s_options_are_in_the_table(option: str) -> None:
    assert option in OPTIONS
    assert parse([option]).data == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0, "sb_flags": [], "data": [], "propagation": []}),
        (["defaults"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0}),
        (
            ["nosuid", "noexec", "nodev", "ro"],
            {"ms_flags": 15, "attr_set": 15, "attr_clr": 0, "sb_flags": [(3, "ro")]},
        ),
        (["ro", "rw"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 1, "sb_flags": []}),
        (["rw", "ro"], {"ms_flags": 1, "attr_set": 1, "attr_clr": 0, "sb_flags": [(1, "ro")]}),
        (["suid", "dev", "exec"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 14}),
        (
            ["remount", "rw", "async"],
            {"remount": True, "ms_flags": mo.MS_REMOUNT, "sb_flags": [(1, "rw"), (2, "async")]},
        ),
        (["rw", "remount"], {"sb_flags": [(0, "rw")]}),
        (
            ["sync", "dirsync", "lazytime", "mand"],
            {
                "ms_flags": mo.MS_SYNCHRONOUS | mo.MS_DIRSYNC | mo.MS_LAZYTIME | mo.MS_MANDLOCK,
                "sb_flags": [(0, "sync"), (1, "dirsync"), (2, "lazytime"), (3, "mand")],
                "attr_set": 0,
            },
        ),
        (["sync", "async", "sync"], {"sb_flags": [(2, "sync")]}),
        (["lazytime", "nolazytime"], {"sb_flags": [], "ms_flags": 0}),
        # atime: the whole field is cleared as soon as one of its options is named
        (["noatime"], {"ms_flags": mo.MS_NOATIME, "attr_set": 0x10, "attr_clr": 0x70}),
        (["relatime"], {"ms_flags": mo.MS_RELATIME, "attr_set": 0, "attr_clr": 0x70}),
        (["strictatime"], {"ms_flags": mo.MS_STRICTATIME, "attr_set": 0x20, "attr_clr": 0x70}),
        (["strictatime", "noatime"], {"ms_flags": mo.MS_NOATIME, "attr_set": 0x10, "attr_clr": 0x70}),
        (["noatime", "strictatime"], {"ms_flags": mo.MS_STRICTATIME, "attr_set": 0x20, "attr_clr": 0x70}),
        (["noatime", "relatime"], {"ms_flags": mo.MS_RELATIME, "attr_set": 0, "attr_clr": 0x70}),
        (["noatime", "atime"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0x70}),
        (["strictatime", "atime"], {"ms_flags": mo.MS_STRICTATIME, "attr_set": 0x20, "attr_clr": 0x70}),
        (["strictatime", "nostrictatime"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0x70}),
        (["norelatime"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0x70}),
        (["nodiratime"], {"ms_flags": mo.MS_NODIRATIME, "attr_set": 0x80, "attr_clr": 0}),
        (["nodiratime", "diratime"], {"ms_flags": 0, "attr_set": 0, "attr_clr": 0x80}),
        (["nosymfollow"], {"ms_flags": 256, "attr_set": 0x200000, "sb_flags": []}),
        # what only mount(2) can say
        (["iversion", "silent"], {"ms_only": mo.MS_I_VERSION | mo.MS_SILENT, "attr_set": 0, "sb_flags": []}),
        (["silent", "loud", "iversion", "noiversion"], {"ms_only": 0, "ms_flags": 0}),
        # binds
        (["bind"], {"bind": True, "rbind": False, "ms_flags": mo.MS_BIND}),
        (["rbind"], {"bind": True, "rbind": True, "ms_flags": mo.MS_BIND | mo.MS_REC}),
        (["rbind", "bind"], {"bind": True, "rbind": True, "ms_flags": mo.MS_BIND | mo.MS_REC}),
        (["bind", "ro"], {"attr_set": 1, "sb_flags": [], "ms_flags": mo.MS_BIND | 1}),
        # recursive attributes
        (["rro", "rnosuid"], {"recursive_set": 3, "recursive_clr": 0, "attr_set": 0, "ms_flags": 0}),
        (["rro", "rrw"], {"recursive_set": 0, "recursive_clr": 1}),
        (["rnoatime"], {"recursive_set": 0x10, "recursive_clr": 0x70}),
        (["rstrictatime", "rnoatime"], {"recursive_set": 0x10, "recursive_clr": 0x70}),
        (["rnoatime", "ratime"], {"recursive_set": 0, "recursive_clr": 0x70}),
        (["rrelatime"], {"recursive_set": 0, "recursive_clr": 0x70}),
        (["rnodiratime", "rnosymfollow"], {"recursive_set": 0x200080, "recursive_clr": 0}),
        # propagation stays in order, and out of the flags
        (
            ["rprivate", "shared", "rslave"],
            {
                "ms_flags": 0,
                "propagation": [(0, mo.MS_PRIVATE | mo.MS_REC), (1, mo.MS_SHARED), (2, mo.MS_SLAVE | mo.MS_REC)],
            },
        ),
        (["unbindable"], {"propagation": [(0, mo.MS_UNBINDABLE)]}),
        (["idmap"], {"idmap": True, "ridmap": False}),
        (["ridmap"], {"idmap": True, "ridmap": True}),
        (["tmpcopyup"], {"tmpcopyup": True}),
        (
            ["copy-symlink", "src-nofollow", "dest-nofollow"],
            {"copy_symlink": True, "src_nofollow": True, "dest_nofollow": True, "data": []},
        ),
        # data
        (
            ["nosuid", "mode=755", "size=64k", "noswap", "a="],
            {"data": [(1, "mode", "755"), (2, "size", "64k"), (3, "noswap", None), (4, "a", "")]},
        ),
        (["mode=755,size=64k", "", ","], {"data": [(0, "mode", "755"), (0, "size", "64k")]}),
        ([r"lowerdir=/a\,b:/c,upperdir=/d"], {"data": [(0, "lowerdir", r"/a\,b:/c"), (0, "upperdir", "/d")]}),
        (
            ['context="a:b:c1,c2",mode=1'],
            {"data": [(0, "context", "a:b:c1,c2"), (0, "mode", "1")]},
        ),
        (["RO", "ro "], {"data": [(0, "RO", None), (1, "ro ", None)], "attr_set": 0}),
    ],
)
def test_parse(options: list[str], expected: dict[str, object]) -> None:
    found = parse(options)
    assert {name: getattr(found, name) for name in expected} == expected


def test_index_tells_where_an_option_is() -> None:
    assert parse(["ro", "mode=1", "rw", "ro"]).index == {"ro": 3, "rw": 2}


def test_clearing_options_undo_setting_ones() -> None:
    """For each pair of rows with the same flag: set, then cleared, leaves no flag behind."""
    pairs = [
        (on, off)
        for on, row in OPTIONS.items()
        for off, other in OPTIONS.items()
        if row[0] == other[0] and len(row) > 3 and row[1] == other[1] and row[2] and not other[2]
    ]
    assert len(pairs) == 20
    for on, off in pairs:
        assert parse([on]).ms_flags != 0
        assert parse([on, off]).ms_flags == 0


@given(st.lists(st.sampled_from([*OPTIONS, "mode=1", "x,y=z"]) | st.text()))
def test_any_list_is_understood(options: list[str]) -> None:
    found = parse(options)
    assert found.attr_set & found.attr_clr & ~mo.MOUNT_ATTR__ATIME == 0
    assert found.recursive_set & found.recursive_clr & ~mo.MOUNT_ATTR__ATIME == 0
    # EINVAL for mount_setattr(2) otherwise
    assert found.attr_clr & mo.MOUNT_ATTR__ATIME in (0, mo.MOUNT_ATTR__ATIME)
    assert found.attr_set & mo.MOUNT_ATTR__ATIME in (0, mo.MOUNT_ATTR_NOATIME, mo.MOUNT_ATTR_STRICTATIME)
    assert found.attr_set & mo.MOUNT_ATTR__ATIME == 0 or found.attr_clr & mo.MOUNT_ATTR__ATIME
    assert all(0 <= index < len(options) for index, _, _ in found.data)
    assert {options[index] for index in found.index.values()} == set(found.index)
    assert {options[index] for index, _, _ in found.data}.isdisjoint(OPTIONS)


@given(st.lists(st.sampled_from(sorted(OPTIONS))), st.sampled_from(sorted(OPTIONS)))
def test_naming_the_last_option_twice_changes_nothing(options: list[str], last: str) -> None:
    once, twice = parse([*options, last]), parse([*options, last, last])
    for name in ("ms_flags", "attr_set", "attr_clr", "recursive_set", "recursive_clr", "bind", "idmap"):
        assert getattr(once, name) == getattr(twice, name)
