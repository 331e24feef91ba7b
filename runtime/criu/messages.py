"""CRIU's messages (criu/images/rpc.proto), by name and number: what of them pyrun says or reads."""

from __future__ import annotations

EMPTY, DUMP, RESTORE, CHECK, PRE_DUMP, PAGE_SERVER, NOTIFY = range(7)
FEATURE_CHECK, VERSION = 9, 10

# criu_cg_mode, criu_network_lock_method
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}

_PAGE_SERVER_INFO = {"address": (1, str), "port": (2, int), "pid": (3, int), "fd": (4, int)}
OPTIONS = {
    "images_dir_fd": (1, int),
    "pid": (2, int),
    "leave_running": (3, bool),
    "ext_unix_sk": (4, bool),
    "tcp_established": (5, bool),
    "evasive_devices": (6, bool),
    "shell_job": (7, bool),
    "file_locks": (8, bool),
    "log_level": (9, int),
    "log_file": (10, str),
    "ps": (11, _PAGE_SERVER_INFO),
    "notify_scripts": (12, bool),
    "root": (13, str),
    "parent_img": (14, str),
    "track_mem": (15, bool),
    "auto_dedup": (16, bool),
    "work_dir_fd": (17, int),
    "link_remap": (18, bool),
    "manage_cgroups": (24, bool),
    "cg_root": (25, [{"ctrl": (1, str), "path": (2, str)}]),
    "rst_sibling": (26, bool),
    "inherit_fd": (27, [{"key": (1, str), "fd": (2, int)}]),
    "manage_cgroups_mode": (34, int),
    "external": (37, [str]),
    "empty_ns": (38, int),
    "freeze_cgroup": (44, str),
    "tcp_skip_in_flight": (46, bool),
    "lazy_pages": (48, bool),
    "orphan_pts_master": (50, bool),
    "config_file": (51, str),
    "tcp_close": (52, bool),
    "lsm_profile": (53, str),
    "lsm_mount_context": (63, str),
    "network_lock": (64, int),
}
_FEATURES = {"mem_track": (1, bool), "lazy_pages": (2, bool)}
REQUEST = {
    "type": (1, int),
    "opts": (2, OPTIONS),
    "notify_success": (3, bool),
    "keep_open": (4, bool),
    "features": (5, _FEATURES),
}
_VERSION = {"major_number": (1, int), "minor_number": (2, int), "sublevel": (4, int)}
RESPONSE = {
    "type": (1, int),
    "success": (2, bool),
    "dump": (3, {"restored": (1, bool)}),
    "restore": (4, {"pid": (1, int)}),
    "notify": (5, {"script": (1, str), "pid": (2, int)}),
    "ps": (6, _PAGE_SERVER_INFO),
    "cr_errno": (7, int),
    "features": (8, _FEATURES),
    "cr_errmsg": (9, str),
    "version": (10, _VERSION),
}
