"""Which release a tree says it is: a repository of the test's own, an archive, and what was built of either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "packaging"))
import release  # noqa: E402

FILE = CHECKOUT / "runtime/version.py"


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false")
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    command = ["git", "-C", folder, *who, *words]
    return subprocess.check_output(command, text=True, env=environment).strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Without git, and of the release 0.2.0."""
    tree = tmp_path / "tree"
    (tree / "runtime").mkdir(parents=True)
    (tree / "runtime/version.py").write_text(FILE.read_text().replace(version(FILE)[0], "0.2.0"))
    (tree / ".gitattributes").write_text((CHECKOUT / ".gitattributes").read_text())
    return tree


@pytest.fixture
def repository(tree: Path) -> Path:
    """The same with a commit."""
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", "one")
    return tree


def commit(repository: Path) -> str:
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "more")
    return git(repository, "rev-parse", "HEAD")


def version(file: Path) -> tuple[str, str]:
    """What the module says."""
    found: dict[str, str] = {}
    exec(file.read_text(), found)
    return found["VERSION"], found["COMMIT"]


def test_the_checkout_names_a_release_and_no_commit() -> None:
    """The file is the same in every commit: what is not known stays to be filled in."""
    text = FILE.read_text()
    assert release._WRITTEN.search(text) and release._COMMIT.search(text)
    number, known = version(FILE)
    assert number.replace(".", "").isdigit()
    assert known == ""


def test_without_a_tag(repository: Path) -> None:
    commit(repository)
    head = commit(repository)
    found = release.release(str(repository))
    assert found.semver() == f"0.2.0-dev.3+g{head[:9]}"
    assert found.pep440() == f"0.2.0.dev3+g{head[:9]}"
    assert found.debian() == f"0.2.0~dev3+g{head[:9]}"
    assert (found.commit, found.changed) == (head, False)


def test_at_a_tag(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    git(repository, "tag", "v0.2.0-rc1")
    git(repository, "tag", "of-another-kind-1.2.3")
    found = release.release(str(repository))
    assert found.semver() == found.pep440() == found.debian() == "0.2.0"
    assert found.commit == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(("written", "number"), [("0.2.0", "0.2.1"), ("0.3.0", "0.3.0"), ("0.10.0", "0.10.0")])
def test_after_a_tag(repository: Path, written: str, number: str) -> None:
    git(repository, "tag", "--annotate", "--message", "it", "v0.2.0")
    file = repository / "runtime/version.py"
    file.write_text(file.read_text().replace("0.2.0", written))
    git(repository, "commit", "--quiet", "--all", "--allow-empty", "--message", "next")
    head = commit(repository)
    assert release.release(str(repository)).semver() == f"{number}-dev.2+g{head[:9]}"


def test_changes_make_it_another_than_the_tagged(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")
    with (repository / "runtime/version.py").open("a") as file:
        file.write("\n")
    found = release.release(str(repository))
    assert found.pep440() == f"0.2.1.dev0+g{found.commit[:9]}.dirty"
    release.write(str(repository / "built.py"), str(repository))
    assert version(repository / "built.py") == (found.semver(), f"{found.commit}-dirty")


def test_a_tag_that_is_not_the_files(repository: Path) -> None:
    git(repository, "tag", "v0.3.0")
    with pytest.raises(SystemExit, match=r"the tag is v0\.3\.0, and runtime/version\.py says 0\.2\.0"):
        release.release(str(repository))


def test_what_was_built_says_so_without_git(repository: Path, tmp_path: Path) -> None:
    """An sdist's tree, and what is built of that."""
    for change in ("", "\n"):
        with (repository / ".gitattributes").open("a") as file:
            file.write(change)
        there = release.release(str(repository))
        tree = tmp_path / f"sdist{len(change)}"
        release.write(str(tree / "runtime/version.py"), str(repository))
        assert release.release(str(tree)) == there
        release.write(str(tree / "again.py"), str(tree))
        assert (tree / "again.py").read_text() == (tree / "runtime/version.py").read_text()


def test_an_archive_knows_its_commit(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    archive = subprocess.check_output(["git", "-C", repository, "archive", "HEAD"])
    subprocess.run(["tar", "-x", "-C", tmp_path / "archive"], input=archive, check=True)
    head = git(repository, "rev-parse", "HEAD")
    assert version(tmp_path / "archive/runtime/version.py") == ("0.2.0", head)
    assert release.release(str(tmp_path / "archive")) == ("0.2.0", None, head, False)


def test_a_tree_in_a_repository_of_somebody_elses(tree: Path) -> None:
    git(tree.parent, "init", "--quiet")
    (tree.parent / "file").touch()
    git(tree.parent, "add", "file")
    commit(tree.parent)
    assert release.release(str(tree)) == ("0.2.0", None, "", False)


def test_the_file_that_is_a_link_stays_as_it_is(repository: Path) -> None:
    (repository / "built.py").symlink_to("runtime/version.py")
    release.write(str(repository / "built.py"), str(repository))
    assert not (repository / "built.py").is_symlink()
    assert version(repository / "runtime/version.py")[1] == ""
