"""A small checkout with a labkit of its own, whose files can be edited, and notebooks written in a line."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from labkit.runner.notebooks import read

pytest.register_assert_rewrite("tests.runner.faults")

TOOL = '''"""What the notebooks import."""


def double(value):
    """Twice as much."""
    return 2 * value  # a comment
'''
DATA = """def loaded():
    return {"letters": "0123456789abcdef", "my own": "fedcba9876543210"}
"""
CLAIMS = """id = "toy"

[[claims]]
id = "toy"
statement = "Twice is more."
margin = 0.5
"""
RECORD = """from IPython.display import publish_display_data
kind = "application/vnd.labkit.record+json"
values = {"plain": {"7": 1.0 * size}, "doubled": {"7": 2.0 * size}}
record = {"paper": "toy", "claim": "toy", "verdict": "supported", "reason_verdict": None}
entry = {"metric": "accuracy", "unit": "%", "baseline": "plain"}
publish_display_data({kind: record, "text/plain": "a record"}, {kind: {"values": values, "entry": entry}})
"""
LOOK = """import os
print(same, os.getcwd(), os.listdir(), os.environ["OMP_NUM_THREADS"], os.environ["LABKIT_HEADLESS"])
print(labkit.tool.__file__)
"""


class Checkout:
    """A folder with ``notebooks/`` and ``labkit/``."""

    def __init__(self, root: Path):
        self.root = root

    def notebook(
        self, name: str, *code: str, parameters: str | None = "profile = 'book'\nseed = None\nsize = 3"
    ):
        cells = [nbformat.v4.new_markdown_cell("# Toy"), tagged("import sys", "bootstrap")]
        cells += [tagged(parameters, "parameters")] if parameters else []
        cells += [nbformat.v4.new_code_cell(source) for source in code]
        for number, cell in enumerate(cells):
            cell["id"] = f"cell-{number}"
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return name

    def path(self, name: str) -> Path:
        return self.root / "notebooks" / f"{name}.ipynb"

    def edit(self, file: str, old: str, new: str):
        path = self.root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def copy(self, target: Path) -> "Checkout":
        shutil.copytree(self.root, target)
        return Checkout(target)


def tagged(source: str, tag: str):
    return nbformat.v4.new_code_cell(source, metadata={"tags": [tag]})


def outputs(notebook: dict) -> list:
    """The outputs of all code cells, in order, as one list."""
    return [output for cell in notebook["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]


def printed(notebook: dict) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook))


@pytest.fixture
def plain(tmp_path) -> Checkout:
    """A checkout without a labkit of its own: its notebooks use the installed one."""
    (tmp_path / "book" / "labkit").mkdir(parents=True)
    (tmp_path / "book" / "notebooks").mkdir()
    return Checkout(tmp_path / "book")


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """A checkout in which four requests were executed at once: (checkout, {name: outcome}).

    Kernels cost seconds, so the tests share them; one that changes a file works on a copy.
    """
    from labkit import runner

    checkout = Checkout(tmp_path_factory.mktemp("executed") / "book")
    for file, text in {
        "__init__.py": "",
        "tool.py": TOOL,
        "data.py": DATA,
        "show/__init__.py": "",
        "augment/toy.toml": CLAIMS,
    }.items():
        path = checkout.root / "labkit" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    look = f"same = sys.executable == {sys.executable!r}\n" + LOOK
    import_ = "import labkit.data, labkit.show\nfrom labkit import tool\nsize = tool.double(size)"
    checkout.notebook("augment/images/toy", import_, look, RECORD, "%matplotlib --list\nsize")
    checkout.notebook("start/fails", "print('before')", "1 / 0", "print('after')")
    checkout.notebook("start/dies", "print('before', flush=True)", "import os\nos._exit(1)")
    names = ["start/fails", "start/dies", "augment/images/toy"]
    wanted = {name: runner.request(checkout.root, name) for name in names}
    wanted["judged"] = runner.request(checkout.root, "augment/images/toy", {"profile": "judge", "size": 3})
    by_request = {
        outcome.request: outcome for outcome in runner.run(checkout.root, list(wanted.values()), jobs=2)
    }
    return checkout, {name: by_request[request] for name, request in wanted.items()}


@pytest.fixture
def result(executed) -> dict:
    """The executed toy notebook."""
    return read(executed[1]["augment/images/toy"].path)
