"""Hashes of code: the same for what does not count, others for what does, and the same on every Python."""

import ast

import pytest

from labkit.runner.syntax import canonical, hash_cells, hash_file

# Every kind of node whose fields or pieces differ between Python 3.11, 3.12 and 3.13.
EVERYTHING = '''"""Module."""
from __future__ import annotations
import a.b as c
X: int = -1
Y: int


@decorated(1, *args, key=None, **more)
class A(B, metaclass=M):
    """Class."""

    async def f(self, a, /, b=1, *c, d: int = 2, e, **g) -> None:
        """Function."""
        async with open(a) as x, y:
            yield None
        return


def g(x):
    match x:
        case {"k": [1, *_], **rest} if rest:
            return f"a{x!r:>{width}}b" "c" f"{x = }{x:}" u"u\\u00e9\\U0001F600"
        case A(z=None) | True:
            return lambda q, *, w=0: {**q, 1: {w}, 2: w[1:2, ...]}
    try:
        del x
        (y := 1.5e-7j)
    except* ValueError as error:
        raise E from error
    else:
        global h
    while not x < 1 <= 2:
        x @= [i async for i in j if i for k in l]
        break
    return b"bytes" if x else None
'''


def test_the_text_and_the_hash_are_the_same_on_every_python(tmp_path):
    """Values worked out once. Where they change, every committed result becomes invalid."""
    assert canonical(ast.parse("def f(x):\n  'doc'\n  return x[0]")) == (
        "Module(body=[FunctionDef(args=arguments(args=[arg(arg='x')]), "
        "body=[Return(value=Subscript(slice=Constant(value=0), value=Name(id='x')))], name='f')])"
    )
    file = tmp_path / "everything.py"
    file.write_text(EVERYTHING, encoding="utf-8")
    assert hash_file(file) == "ec39026af5c584c7"


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    '''Another text.'''\n    return (x + 1)  # why",
        "def f( x ):\n\n    return x+1\n",
        "def f(x):\n    return x \\\n        + 1",
    ],
)
def test_comments_docstrings_and_layout_do_not_count(other):
    assert hash_cells((other,)) == hash_cells(("def f(x):\n    'Doc.'\n    return x + 1",))


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x + 1.0",
        "def f(x):\n    return x + True",
        "def g(x):\n    return x + 1",
        "def f(x=None):\n    return x + 1",
        "def f(x):\n    return x + 1\nf",
    ],
)
def test_code_counts(other):
    assert hash_cells((other,)) != hash_cells(("def f(x):\n    return x + 1",))


def test_none_as_a_value_counts():
    assert canonical(ast.parse("return_ = None").body) != canonical(ast.parse("return_ = ...").body)
    assert hash_cells(("def f():\n  return None",)) != hash_cells(("def f():\n  return",))


def test_cells():
    assert hash_cells(("a", "b")) != hash_cells(("a\nb",)), "where a cell ends decides what it shows"
    assert hash_cells(("f()",)) != hash_cells(("f();",)), "a semicolon hides the value"
    assert hash_cells(("'one'",)) != hash_cells(("'two'",)), (
        "a text alone in a cell is shown, it is no docstring"
    )


def test_magics():
    assert hash_cells(("%timeit  x # one",)) != hash_cells(("%timeit y",))
    assert hash_cells(("%matplotlib inline\nx=1",)) == hash_cells(("%matplotlib inline\nx = 1  # comment",))
    assert hash_cells(("no python at all",)) != hash_cells(("no python whatever",))


def test_a_file_that_is_no_python_counts_by_its_bytes(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("def (")
    first = hash_file(file)
    file.write_text("def (  ")
    assert hash_file(file) != first
