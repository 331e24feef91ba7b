"""Cgroups, version 1 (hybrid too) and version 2: where a container goes, which limits it gets, how it is taken away.

`host` reads what is mounted, `paths` says which directories are the container's, `conversions`, `resources` and
`devices` turn `linux.resources` into a list of writes (pure), and `cgroup` executes them.
"""
