"""The validation programs of OCI runtime-tools, by name, and our tests of what each looks at: file → tests."""

from __future__ import annotations

Tests = dict[str, str]

LIMITS = {"cgroups": "limits"}
DEVICE_RULES = {"cgroups": "rules, rules_as_the_kernel_lists_them"}

PROGRAMS: dict[str, Tests] = {
    "config_updates_without_affect": {
        "lifecycle": "later_edits_of_the_config_have_no_effect, the_config_is_not_needed_after_create",
    },
    "create": {
        "lifecycle": "the_whole_life, without_an_id, create_without_a_bundle, a_taken_id, an_invalid_id, "
        "ids_are_unique",
    },
    "default": {
        "mounts": "the_default_mounts, the_order_is_kept",
        "devices": "default_devices, links",
        "process": "the_environment_is_the_configs, the_working_directory, capability_sets",
        "namespaces": "a_new_one, the_host_name",
        "root": "readonly",
    },
    "delete": {
        "lifecycle": "without_an_id, an_unknown_id, delete_of_a_created_container, delete_of_a_running_container, "
        "the_whole_life",
    },
    "delete_only_create_resources": {
        "cgroups": "delete_leaves_a_cgroup_that_the_container_was_moved_to, delete_leaves_a_cgroup_that_was_there, "
        "delete_removes_what_create_made",
        "lifecycle": "delete_leaves_the_bundle",
    },
    "delete_resources": {
        "cgroups": "delete_removes_what_create_made, delete_removes_the_parents_that_create_made",
        "lifecycle": "an_id_can_be_used_again",
    },
    "hooks": {"hooks": "the_order, several_of_a_kind_run_in_order"},
    "hooks_stdin": {"hooks": "the_state_on_stdin, the_status_in_a_hook, the_pid_inside"},
    "hostname": {"namespaces": "the_host_name, a_name_without_its_namespace"},
    "kill": {
        "lifecycle": "without_an_id, an_unknown_id, kill_of_a_created_container, running_and_killed_by_name, "
        "kill_of_a_stopped_container",
    },
    "kill_no_effect": {"lifecycle": "kill_of_a_stopped_container, a_stopped_container_stays_stopped"},
    "killsig": {"lifecycle": "kill_delivers_what_is_asked_for"},
    "linux_cgroups_blkio": LIMITS,
    "linux_cgroups_cpus": LIMITS,
    "linux_cgroups_devices": DEVICE_RULES,
    "linux_cgroups_hugetlb": LIMITS,
    "linux_cgroups_memory": LIMITS,
    "linux_cgroups_network": LIMITS,
    "linux_cgroups_pids": LIMITS,
    "linux_cgroups_relative_blkio": LIMITS,
    "linux_cgroups_relative_cpus": LIMITS,
    "linux_cgroups_relative_devices": DEVICE_RULES,
    "linux_cgroups_relative_hugetlb": LIMITS,
    "linux_cgroups_relative_memory": LIMITS,
    "linux_cgroups_relative_network": LIMITS,
    "linux_cgroups_relative_pids": LIMITS,
    "linux_devices": {"devices": "devices_of_the_config, one_that_is_there_already, another_file_in_its_place"},
    "linux_masked_paths": {
        "devices": "masked_folders, masked_files, masked_nodes, a_link_in_a_circle, a_link_of_the_image, "
        "a_relative_path",
    },
    "linux_mount_label": {"mounts": "a_mount_label, a_mount_label_without_selinux"},
    "linux_ns_itype": {"namespaces": "one_that_is_not_listed_is_the_runtimes"},
    "linux_ns_nopath": {"namespaces": "a_new_one"},
    "linux_ns_path": {"namespaces": "one_to_join, a_user_namespace_to_join"},
    "linux_ns_path_type": {"namespaces": "one_of_another_type, no_namespace_at_all"},
    "linux_process_apparmor_profile": {"process": "an_apparmor_profile, a_profile_without_apparmor"},
    "linux_readonly_paths": {
        "devices": "read_only_folders, read_only_files, read_only_nodes, a_link_in_a_circle, a_link_of_the_image, "
        "a_relative_path",
    },
    "linux_rootfs_propagation": {
        "root": "propagation_on_a_shared_host, mounts_cross_the_root, mounts_within_the_root, an_unbindable_root, "
        "later_mounts_of_the_host",
    },
    "linux_seccomp": {"seccomp": "it_does_not_hit_the_runtime, what_is_denied_is_denied, an_action_with_an_errno"},
    "linux_sysctl": {"devices": "sysctl, a_sysctl_that_is_not_the_containers"},
    "linux_uid_mappings": {"namespaces": "ids_are_mapped, several_mappings, files_belong_to_the_mapped_root"},
    "misc_props": {"config": "annotations, annotations_that_are_none, unknown_properties, invalid_values, versions"},
    "mounts": {"mounts": "the_order_is_kept, options_of_a_tmpfs, a_bind_of_a_file, options_of_a_bind"},
    "pidfile": {"callers": "the_pid_file_has_no_newline, forms_of_the_pid_file"},
    "poststart": {"hooks": "the_order, the_status_in_a_hook"},
    "poststart_fail": {"hooks": "a_failing_poststart_hook"},
    "poststop": {"hooks": "the_order, poststop_comes_after_the_deletion"},
    "poststop_fail": {"hooks": "a_failing_poststop_hook_is_a_warning"},
    "prestart": {"hooks": "the_order, before_the_root_changes, these_run_in_the_runtimes_namespaces"},
    "prestart_fail": {"hooks": "a_failure_at_create, a_failure_at_create_runs_poststop, a_failure_ends_the_row"},
    "process": {
        "process": "arguments_arrive_as_they_are, the_environment_is_the_configs, the_working_directory, "
        "no_new_privileges, a_process_that_is_none",
    },
    "process_capabilities": {"process": "capability_sets, without_capabilities, ambient_capabilities_work"},
    "process_capabilities_fail": {
        "process": "unknown_and_unavailable_capabilities_are_warnings, an_unknown_capability_changes_nothing_else",
    },
    "process_oom_score_adj": {"process": "oom_score, no_oom_score, an_oom_score_out_of_range"},
    "process_rlimits": {"process": "rlimits, an_infinite_rlimit, rlimits_in_a_user_namespace"},
    "process_rlimits_fail": {"process": "wrong_rlimits"},
    "process_user": {"process": "user_and_groups, groups_of_the_caller_are_dropped, umask"},
    "root_readonly_true": {"root": "readonly"},
    "start": {
        "lifecycle": "without_an_id, an_unknown_id, a_second_start, create_does_not_run_the_program, "
        "without_a_process_start_fails, a_stopped_container_stays_stopped",
    },
    "state": {"lifecycle": "without_an_id, an_unknown_id, the_whole_life, the_state_is_valid"},
}


def tests(program: str) -> list[str]:
    """Names as pytest has them, without parameters."""
    return [f"test_{file}.py::test_{name}" for file, names in PROGRAMS[program].items() for name in names.split(", ")]
