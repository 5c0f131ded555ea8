"""Rules of the whole tree: what no file of the book may contain."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = {".py", ".ipynb", ".md", ".txt", ".toml", ".yml", ".yaml", ".cfg", ".cff", ".json", ".csv", ".bib"}
TEXT |= {".css", ".js", ".html", ".svg", ""}


def tree() -> list[Path]:
    """Every file of the project: what git tracks, and what it would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("the tree is no git checkout", allow_module_level=True)
    return sorted(path for name in set(done.stdout.split("\0")) - {""} if (path := ROOT / name).is_file())


FILES = tree()
# The patterns below would find themselves.
READABLE = [path for path in FILES if path.suffix in TEXT and path != Path(__file__)]
PYTHON = [path for path in FILES if path.suffix == ".py"]

NAME = "labkit"  # apart, so that no line below reads as a command that installs it
PATTERNS = {
    # On the package index that name belongs to somebody else: ours is labkit-book.
    "installs a foreign package": rf"pip3? install [^\n]*?(?<![\w./@-]){NAME}(?![-\w./])",
    "a path of a machine": r"(?<![\w.:/-])/(?:work|root|home/\w+|Users/\w+|tmp/\w+)/",
    "the host of a package registry": (
        r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|anaconda\.(?:org|com)|npmjs\.(?:org|com)"
        r"|deb\.debian\.org|archive\.ubuntu\.com|unpkg\.com|jsdelivr\.net"
    ),
    "a secret": (
        r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}"
        r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abp]-[\w-]{10,}"
    ),
}


def places(pattern: str, paths: list[Path]) -> list[str]:
    """Where a pattern occurs: ``file:line: text``."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if match := re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()[:80]}")
    return found


@pytest.mark.parametrize("what", PATTERNS)
def test_no_file_contains(what):
    assert places(PATTERNS[what], READABLE) == []


@pytest.mark.parametrize(
    ("what", "line", "found"),
    [
        ("installs a foreign package", f"%pip install -q {NAME}", True),
        ("installs a foreign package", f"pip install -U 'torch' {NAME}", True),
        (
            "installs a foreign package",
            f'%pip install -q "{NAME}-book @ git+https://example.org/{NAME}@1"',
            False,
        ),
        ("installs a foreign package", f"pip install -e .  # brings {NAME}.cli", False),
        ("a path of a machine", 'open("/home/ada/data.csv")', True),
        ("a path of a machine", "https://example.org/home/ada/", False),
    ],
)
def test_the_patterns_themselves(what, line, found):
    assert bool(re.search(PATTERNS[what], line)) == found


def unsafe(source: str) -> list[str]:
    """The calls and imports of a source text that could run code out of a data file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found += sorted({"pickle", "cloudpickle", "dill", "shelve", "marshal"} & set(names))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if re.search(r"\b(torch|joblib)\.load$|read_pickle$", name) else []
            found += [
                f"{word.arg}={word.value.value}"
                for word in node.keywords
                if word.arg in ("allow_pickle", "trust_remote_code")
                and isinstance(word.value, ast.Constant)
                and word.value.value
            ]
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_unpickles_or_trusts_remote_code(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source", ["import pickle", "from pickle import loads", "torch.load(f)", "np.load(f, allow_pickle=True)"]
)
def test_the_search_for_unsafe_code_itself(source):
    assert len(unsafe(source)) == 1


def test_no_notebook_unpickles_or_trusts_remote_code():
    notebooks = [path for path in FILES if path.suffix == ".ipynb"]
    words = r"pickle\.loads?\(|torch\.load\(|allow_pickle=True|trust_remote_code=True"
    assert places(words, notebooks) == []


def test_no_file_is_larger_than_1_mb():
    """Shipped weights may have 8 MB each, and 25 MB in all."""
    weights = [path for path in FILES if path.suffix == ".safetensors"]
    assert all(path.is_relative_to(ROOT / "labkit" / "weights") for path in weights)
    sizes = [path.stat().st_size for path in weights]
    assert max(sizes, default=0) <= 8_000_000 and sum(sizes) <= 25_000_000
    others = set(FILES) - set(weights)
    assert [str(path.relative_to(ROOT)) for path in others if path.stat().st_size > 1_000_000] == []


def test_no_file_of_labkit_is_longer_than_300_lines():
    rows = {path: path.read_text(encoding="utf-8").count("\n") for path in PYTHON}
    rows = {path: n for path, n in rows.items() if path.is_relative_to(ROOT / "labkit")}
    assert {path: n for path, n in rows.items() if n > 300} == {}
