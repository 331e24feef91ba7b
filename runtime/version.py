"""pyrun's own version: the release in the making. What is built or installed has a copy of this, in which version and
commit stand as packaging/release.py has found them; git archive(1) puts the commit in as well (.gitattributes)."""

from __future__ import annotations

VERSION = "0.2.0"
_COMMIT = "$Format:%H$"
COMMIT = "" if _COMMIT.startswith("$") else _COMMIT
