"""The package, its environments, its workflows and its publishing, each run for real where it can be."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import bootstrap
import colab_check
import nbformat
import publish
import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("run", "book", "endpoint", "adapters", "retrieve", "test")
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
DIRECT = CORE + [Requirement(line) for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]


def lines(name: str) -> list[str]:
    """The lines of a requirements file without comments and empty lines."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins(name: str) -> dict[str, str]:
    """Name -> the one version that a file pins, for this Python."""
    requirements = [Requirement(line) for line in lines(name)]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in requirements
        if one.marker is None or one.marker.evaluate(default_environment())
    }


def floor(requirement: Requirement) -> str:
    """The version after ``>=``, the only kind of bound that the project sets but for the book's ceiling."""
    (lowest,) = [one.version for one in requirement.specifier if one.operator == ">="]
    return lowest


# --- pyproject.toml, constraints.txt, environment.yml and Colab's versions say the same ---


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_each_dependency_is_pinned_within_its_bounds(requirement):
    pinned = pins("constraints.txt")[canonicalize_name(requirement.name)]
    assert Version(pinned) in requirement.specifier
    assert Version(pinned) >= Version(floor(requirement))


@pytest.mark.parametrize("name", ["constraints.txt", "scripts/colab-versions.txt"])
def test_pins_are_plain_versions_that_any_index_has(name):
    for line in lines(name):
        requirement = Requirement(line)
        assert requirement.url is None, line
        assert re.fullmatch(r"==[0-9a-z.]+", str(requirement.specifier)), f"{line}: no range, no +cpu"


def test_constraints_are_sorted_and_name_each_package_once():
    pinned = lines("constraints.txt")
    assert pinned == sorted(pinned, key=str.lower)
    assert len({canonicalize_name(line.split("==")[0]) for line in pinned}) == len(pinned)


@pytest.mark.parametrize("requirement", CORE, ids=str)
def test_the_floors_of_the_core_are_colabs_versions(requirement):
    """The oldest supported environment is the one that `make colab` tests. Torch's own: see that file."""
    if requirement.name == "torch":
        assert floor(requirement) == "2.11"
        return
    carried = pins("scripts/colab-versions.txt")[canonicalize_name(requirement.name)]
    assert carried == floor(requirement) or carried.startswith(floor(requirement) + ".")


def test_the_conda_environment_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, by_pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert by_pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}
    assert f'-c constraints.txt -e ".[{",".join(EXTRAS)}]"' in " ".join(
        (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ").split()
    )


def test_the_supported_pythons_are_the_same_everywhere():
    pythons = ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    found = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert found == pythons
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return colab_check.build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_carries_labkit_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"labkit", wheel.name.split("-py3")[0] + ".dist-info"}
    carried = {name for name in names if name.startswith("labkit/")}
    tracked = subprocess.run(
        ["git", "ls-files", "labkit"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(tracked.stdout.split()) <= carried, (
        "a file of labkit is missing: facts, records, weights travel"
    )


def test_the_wheels_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    folder = wheel.name.split("-py3")[0] + ".dist-info"
    metadata = archive.read(f"{folder}/METADATA").decode()
    assert "Name: labkit-book\n" in metadata
    assert "License-Expression: MIT\n" in metadata
    assert archive.read(f"{folder}/licenses/LICENSE").startswith(b"MIT License")
    assert "labkit = labkit.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()


def test_one_version_everywhere():
    import labkit

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+) \((\S+)\)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert {PROJECT["version"], labkit.__version__, citation["version"], newest[1]} == {"0.1.0"}
    assert str(citation["date-released"]) == newest[2]


def test_the_citation_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The labkit-book authors"}]
    assert citation["repository-code"] == publish.repository()
    assert {"message", "title", "license", "type"} <= citation.keys()


# --- make, .ci/run and the workflows ---


def targets() -> set[str]:
    """The targets of the Makefile that a person calls."""
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return set(phony[1].split())


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_only_what_runs_here_too(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"], "the token's rights are said"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", step["uses"])
                continue
            command = step["run"].split()
            if command[0] == "make":
                assert command[1] in targets()
            else:
                assert command[0] == ".venv/bin/python"
                assert (ROOT / command[1]).is_file()
                shown = subprocess.run(
                    [sys.executable, ROOT / command[1], command[2], "--help"], capture_output=True, text=True
                )
                assert shown.returncode == 0, f"{step['run']}: {shown.stderr}"


def test_ci_calls_exactly_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert script.read_text(encoding="utf-8").rstrip().endswith("\nexec make test")
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("target", sorted(targets()))
def test_make_knows_its_targets_and_help_names_them(target):
    planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert target == "help" or f"make {target} " in shown


def test_make_refuses_a_python_that_the_book_does_not_support(tmp_path):
    """A stand-in for an old Python: the real one, told that it is 3.9."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    old = tmp_path / "python3.9"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1)\n$2"\n')
    old.chmod(0o755)
    done = subprocess.run(["make", "book", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "is 3.9. Try: make book PYTHON=" in done.stderr


# --- publishing ---


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A clone of this work tree as it stands, with a bare repository as its remote."""
    clone, bare = tmp_path / "clone", tmp_path / "remote.git"
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    run("git", "init", "--quiet", "--bare", bare, cwd=tmp_path)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=clone)
    run("git", "remote", "add", "origin", bare, cwd=clone)
    run("git", "config", "user.name", "A Tester", cwd=clone)
    run("git", "config", "user.email", "tester@example.org", cwd=clone)
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "-m", "The book", cwd=clone)
    return clone


def test_publishing_writes_the_branch_that_colab_opens(checkout, tmp_path):
    script = checkout / "scripts" / "publish.py"
    run(sys.executable, script, "notebooks", "--push", cwd=checkout)
    commit = run("git", "rev-parse", "HEAD", cwd=checkout)
    assert run("git", "status", "--porcelain", cwd=checkout) == "", "the work tree is left alone"

    fresh = tmp_path / "fresh"
    run("git", "clone", "--quiet", "--branch", "published", tmp_path / "remote.git", fresh, cwd=tmp_path)
    expected = {path.relative_to(ROOT).as_posix() for path in publish.notebooks()}
    assert set(run("git", "ls-files", cwd=fresh).split("\n")) == expected | {"README.md"}
    for name in expected:
        check_published(nbformat.read(fresh / name, as_version=4), commit)

    # The same commit again changes nothing; a new one goes on top.
    before = run("git", "rev-parse", "published", cwd=checkout)
    run(sys.executable, script, "notebooks", "--push", cwd=checkout)
    assert run("git", "rev-parse", "published", cwd=checkout) == before
    run("git", "commit", "--quiet", "--allow-empty", "-m", "Next", cwd=checkout)
    run("git", "update-ref", "-d", "refs/heads/published", cwd=checkout)  # a fresh checkout has none
    run(sys.executable, script, "notebooks", "--push", cwd=checkout)
    assert run("git", "rev-parse", "published^", cwd=checkout) == before
    assert run("git", "ls-remote", "origin", "published", cwd=checkout).split()[0] != before


def check_published(notebook: nbformat.NotebookNode, commit: str) -> None:
    """A published notebook: valid, executed, and its bootstrap cell installs the book at that commit."""
    nbformat.validate(notebook)
    (cell,) = publish.tagged(notebook, "bootstrap")
    assert cell == next(cell for cell in notebook.cells if cell.cell_type == "code")
    address = f"git+{publish.repository()}@{commit}"
    assert re.search(
        rf'^    %pip install -q "labkit-book(\[retrieve\])? @ {re.escape(address)}"$', cell.source, re.M
    )
    assert publish.tagged(notebook, "parameters") and not publish.tagged(notebook, "injected-parameters")
    assert any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")


def small_notebook(path: Path, *cells: nbformat.NotebookNode) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)
    return path


def test_only_setup_cells_differ_from_the_committed_notebook(tmp_path):
    def code(source, *tags):
        return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})

    cells = code(bootstrap.COMMITTED, "bootstrap"), code('profile = "book"', "parameters"), code("1 + 1")
    path = small_notebook(tmp_path / "a.ipynb", *cells, code("x = 1", "injected-parameters"))
    before, after = nbformat.read(path, 4), publish.publishable(path, "a" * 40, "https://example.org/book")
    assert after.cells[0].source == bootstrap.published("https://example.org/book", "a" * 40)
    assert after.cells[1:] == before.cells[1:3]
    assert after.metadata == before.metadata


@pytest.mark.parametrize(
    ("used", "extra"), [("retrieval/indexes.py", "[retrieve]"), ("language/tokens.py", "")]
)
def test_a_notebook_that_searches_passages_installs_what_searches(tmp_path, used, extra):
    cell = nbformat.v4.new_code_cell(bootstrap.COMMITTED, metadata={"tags": ["bootstrap"]})
    path = small_notebook(tmp_path / "a.ipynb", cell)
    notebook = nbformat.read(path, 4)
    notebook.metadata["labkit"] = {"files": {used: "0" * 16}}
    nbformat.write(notebook, path)
    made = publish.publishable(path, "a" * 40, "https://example.org/book").cells[0].source
    assert f'"labkit-book{extra} @ git+https://example.org/book@{"a" * 40}"' in made


@pytest.mark.parametrize("sources", [[], ["import labkit"], [bootstrap.COMMITTED] * 2])
def test_a_notebook_without_the_one_bootstrap_cell_is_not_published(tmp_path, sources):
    cells = [nbformat.v4.new_code_cell(text, metadata={"tags": ["bootstrap"]}) for text in sources]
    path = small_notebook(tmp_path / "a.ipynb", *cells)
    with pytest.raises(ValueError, match=r"a\.ipynb: it must have one cell tagged bootstrap"):
        publish.publishable(path, "a" * 40)


@pytest.mark.parametrize(
    ("repository", "commit", "message"),
    [
        ("git@example.org:book", "a" * 40, "repository='git@example.org:book'"),
        ("https://example.org/book.git", "a" * 40, "without a trailing slash or .git"),
        ("https://example.org/book", "main", "commit='main': the full hash"),
    ],
)
def test_bootstrap_refuses_what_pip_could_not_install(repository, commit, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.published(repository, commit)


def test_the_bootstrap_cells_run_where_labkit_is_installed():
    exec(bootstrap.COMMITTED, {})
    assert bootstrap.published("https://example.org/book", "a" * 40).startswith("try:\n    import labkit\n")


def test_the_committed_bootstrap_cell_says_what_to_do_without_labkit():
    code = f"import sys\nsys.modules['labkit'] = None\n{bootstrap.COMMITTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "This notebook needs labkit" in done.stderr and "make book" in done.stderr


def test_pages_are_copied_whole(tmp_path):
    site = tmp_path / "book" / "_build" / "html"
    (site / "_static").mkdir(parents=True)
    (site / "index.html").write_text("<p>")
    (site / "_static" / "a.css").touch()
    publish.publish_pages(tmp_path / "out", root=tmp_path)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert found == [".nojekyll", "_static", "_static/a.css", "index.html"]


def test_pages_are_not_published_before_they_are_built(tmp_path):
    with pytest.raises(RuntimeError, match="run `make book` first"):
        publish.publish_pages(tmp_path / "out", root=tmp_path)
