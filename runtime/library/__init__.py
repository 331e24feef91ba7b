"""`import pyrun`: bundles and containers for other people's programs. Nothing here prints, takes signals, or changes
what belongs to the whole process; the command line does without it."""
