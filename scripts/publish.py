"""Publish what `make book` has built; the publishing workflow runs this file, and so does a test.

``python scripts/publish.py notebooks``: write the branch ``published`` of this repository, which the book's
Colab buttons open: every executed notebook, its bootstrap cell replaced by the one that installs labkit from
the book's own repository at the commit that is checked out (`bootstrap.published`). Neither the work tree nor
the index is touched. With ``--push``, the branch of the remote is brought up to date too.

``python scripts/publish.py pages FOLDER``: copy the built site into a new folder as GitHub Pages wants it.

The repository's address is one setting: ``repository: url`` in ``_config.yml``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bootstrap
import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "published"

README = """\
# Published notebooks

Executed notebooks of the book at commit {commit}, ready to be opened in Colab. Written by
`scripts/publish.py`; changes made here are lost. The sources: {repository}
"""


def git(*arguments: str, root: Path, text: str | None = None, **environ: str) -> str:
    """Run git in `root`, with `text` as its input, and return its output without the last line end."""
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=root, input=text, capture_output=True, encoding="utf-8", env=os.environ | environ
    )
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")


def repository(root: Path = ROOT) -> str:
    """Return the address of the book's repository, the one setting in ``_config.yml``."""
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def notebooks(root: Path = ROOT) -> list[Path]:
    """Return the committed notebooks, sorted."""
    found = (root / "notebooks").rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def publishable(path: Path, commit: str, address: str | None = None) -> nbformat.NotebookNode:
    """Return the notebook at `path` as it is published from `commit`.

    Its bootstrap cell installs labkit, with the extra ``retrieve`` where the notebook searches passages, and
    a cell that papermill injected is left out; nothing else differs.
    Raises ValueError where the notebook hasn't exactly one bootstrap cell with the committed text.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = {tag: tagged(notebook, tag) for tag in ("bootstrap", "injected-parameters")}
    if [cell.source for cell in cells["bootstrap"]] != [bootstrap.COMMITTED]:
        raise ValueError(
            f"{path}: it must have one cell tagged bootstrap, with the text that scripts/bootstrap.py gives"
        )
    used = notebook.metadata.get("labkit", {}).get("files", {})
    extra = "retrieve" if any(file.startswith(("retrieval/", "retrieve/")) for file in used) else ""
    cells["bootstrap"][0].source = bootstrap.published(address or repository(), commit, extra)
    notebook.cells = [cell for cell in notebook.cells if cell not in cells["injected-parameters"]]
    return notebook


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    """Return the cells of `notebook` that have `tag`."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def results(root: Path = ROOT) -> dict[str, Path]:
    """Return, for each notebook's path in the repository, the file with its best executed result.

    Raises RuntimeError where a notebook failed or was never executed: those are not published.
    """
    from labkit import runner

    found = {}
    for path in notebooks(root):
        name = path.relative_to(root / "notebooks").with_suffix("").as_posix()
        best = runner.best(root, name)
        code = [cell for cell in nbformat.read(best, as_version=4).cells if cell.cell_type == "code"]
        if any(output.output_type == "error" for cell in code for output in cell.outputs):
            raise RuntimeError(f"{name} failed; not published. `make book` shows why.")
        if not any(cell.outputs for cell in code):
            raise RuntimeError(f"{name} has no executed result; run `make book` first.")
        found[path.relative_to(root).as_posix()] = best
    return found


def write_branch(files: dict[str, str], commit: str, root: Path = ROOT, branch: str = BRANCH) -> str:
    """Make `files` (path -> text) the content of `branch` in one commit on top of it; return that commit.

    Author and date are those of `commit`, so that publishing the same thing twice gives the same commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        for path, text in files.items():
            blob = git("hash-object", "-w", "--stdin", root=root, text=text)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", root=root, **index)
        tree = git("write-tree", root=root, **index)
    before = git("for-each-ref", "--format=%(objectname) %(tree)", f"refs/heads/{branch}", root=root).split()
    if before[1:] == [tree]:
        return before[0]
    name, email, date = git("log", "-1", "--format=%an%n%ae%n%aI", commit, root=root).split("\n")
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email, f"GIT_{role}_DATE": date}
    parents = ["-p", before[0]] if before else []
    message = f"Notebooks of {commit}"
    new = git("commit-tree", tree, *parents, "-m", message, root=root, **who)
    git("update-ref", f"refs/heads/{branch}", new, root=root)
    return new


def publish_notebooks(root: Path = ROOT, push: bool = False, remote: str = "origin") -> str:
    """Write the branch `BRANCH` from the executed notebooks, and push it if asked; return its commit."""
    commit = git("rev-parse", "HEAD", root=root)
    address = repository(root)
    files = {"README.md": README.format(commit=commit, repository=address)}
    for name, result in results(root).items():
        files[name] = nbformat.writes(publishable(result, commit, address)) + "\n"
    if push and git("ls-remote", "--heads", remote, BRANCH, root=root):
        git("fetch", "--quiet", remote, f"+refs/heads/{BRANCH}:refs/heads/{BRANCH}", root=root)
    new = write_branch(files, commit, root)
    if push:
        git("push", "--quiet", remote, f"refs/heads/{BRANCH}:refs/heads/{BRANCH}", root=root)
    return new


def publish_pages(folder: Path, root: Path = ROOT) -> None:
    """Copy the built site into the new `folder`, with the file that keeps Pages from hiding ``_static``."""
    site = root / "book" / "_build" / "html"
    if not (site / "index.html").is_file():
        raise RuntimeError(f"{site} has no index.html; run `make book` first.")
    shutil.copytree(site, folder)
    (folder / ".nojekyll").touch()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    branch = commands.add_parser("notebooks", help=f"write the branch {BRANCH}")
    branch.add_argument("--push", action="store_true", help="push the branch as well")
    branch.add_argument("--remote", default="origin", help="the remote to push to (default: origin)")
    pages = commands.add_parser("pages", help="copy the built site for GitHub Pages")
    pages.add_argument("folder", type=Path, help="where to; must not exist yet")
    given = parser.parse_args()
    try:
        if given.command == "notebooks":
            print(f"{BRANCH}: {publish_notebooks(push=given.push, remote=given.remote)}")
        else:
            publish_pages(given.folder)
            print(f"pages: {given.folder}")
    except (RuntimeError, ValueError, FileExistsError) as error:
        sys.exit(f"publish.py: {error}")


if __name__ == "__main__":
    main()
