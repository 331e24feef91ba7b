"""`python3 -I -S .../pyrun/__main__.py`: how the command that pip installs starts (DESIGN: two speeds).

Isolated and without site, so that neither the environment nor the current folder, which is often a bundle, can bring
in code of their own. `-X packages=FOLDER:FOLDER` says where click and the like are: looked for last,
by cold paths only.
"""

import sys
from _signal import SIG_DFL, SIGINT, signal  # type: ignore[import-not-found]

# Ctrl-C from here on ends it as it ends any program: by no traceback.
signal(SIGINT, SIG_DFL)

# Not through sys.path: nothing that lies beside `pyrun` may stand in for a module of the standard library.
package = sys.modules["pyrun"] = type(sys)("pyrun")
package.__path__ = [__file__.rpartition("/")[0]]
sys.path.extend(folder for folder in str(sys._xoptions.get("packages", "")).split(":") if folder)

from pyrun.cli.main import entry  # noqa: E402

entry()
