"""The standing trial: pyrun is hit at every place where it can be hit, and afterwards `delete --force` must have left
nothing, and nobody else may have been harmed.

    python -m tests.trial [--minutes N] [--seed N] [--round N [--call N]] [--criu CRIU] [TRIAL...]

`trials.py` is the table of what is tried, `world.py` where, `judge.py` what is bad; all else is a kind of hit a module.
A round depends on the seed and its number, so that a bad one can be had again: --round, and --call for the system call,
since how many a verb makes depends on the moment too (it waits for a process to end).
"""
