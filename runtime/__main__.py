"""`python3 -I -S .../pyrun/runtime/__main__.py`: how the installed command starts (DESIGN: two speeds).

Isolated and without site, so that neither the environment nor the current folder, which is often a bundle, can bring
in code of their own.
"""

import sys

# The folder that holds `pyrun`, before the standard library's; the zip file that Python puts first never exists.
sys.path[:1] = [__file__.rsplit("/pyrun/runtime/", 1)[0]]

from pyrun.runtime.cli.main import entry  # noqa: E402

entry()
