"""A claim tested in a real kernel, as papermill and nbval run it: one output, no progress in it."""

import nbformat
import pytest

from labkit.claims import MIME

nbclient = pytest.importorskip("nbclient")

SETUP = f"""
import sys
sys.path.insert(0, {{root!r}})
import random, labkit
from labkit.claims import Claim
from tests.claims.conftest import ENTRY
P = labkit.setup("smoke")
claim = Claim.from_entry(ENTRY)
def experiment(seed, size, broken=None):
    noise = random.Random(seed)
    return {{{{name: noise.gauss(i, 1) / (seed != broken) for i, name in enumerate(claim.variants)}}}}
assert {MIME!r} == labkit.claims.MIME
"""


def test_a_cell_holds_the_record_once_and_nothing_else(request):
    cells = [
        SETUP.format(root=str(request.config.rootpath)),
        "claim.test(experiment, P)",
        "result = claim.test(experiment, P)",
        "result",
        "labkit.gain_over(lambda seed, size: experiment(seed, size), P, claim, size=(0.1, 0.2))",
        "claim.test(lambda seed, size: experiment(seed, size, broken=1), P)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3", allow_errors=True).execute()
    nbformat.validate(book)
    kinds = [[output.output_type for output in cell.outputs] for cell in book.cells]
    one = ["display_data"]
    assert kinds == [[], one, one, one, one, [*one, "error"]], book.cells[0].outputs
    first, assigned, again = (book.cells[i].outputs[0] for i in (1, 2, 3))
    assert first.data == assigned.data == again.data
    assert set(first.data) == {MIME, "text/html", "text/plain"} and set(first.metadata) == {MIME}
    failed, error = book.cells[5].outputs
    assert failed.data[MIME]["failed_seeds"] == [1]
    assert error.ename == "ClaimError" and "seed 1: ZeroDivisionError" in error.evalue
