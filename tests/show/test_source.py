"""Source code: key lines shown, the rest folded, in Markdown that every viewer renders."""

import re

import pytest

from labkit import show


def sample(
    first: int,
    second: int = 2,
) -> int:
    """Add. A return that is not code.

    Not shown.
    """
    total = first

    total += second
    if total > 3:
        total = 3
    return total


class Sample:
    """A class."""

    size = 3

    def double(self):
        return 2 * self.size


def test_the_whole_without_lines():
    shown = show.source(Sample)
    assert shown.markdown.startswith("```python\nclass Sample:") and shown.markdown.endswith("self.size\n```")
    assert "<details>" not in shown.markdown


def test_key_lines_with_the_signature_and_marks_for_what_is_left_out():
    assert show.source(sample, lines=["total +=", "return total"]).text == (
        "def sample(\n    first: int,\n    second: int = 2,\n) -> int:\n"
        "    ...\n    total += second\n    ...\n    return total"
    )


def test_the_docstring_is_not_searched_and_may_be_asked_for_by_number():
    assert "Add." not in show.source(sample, lines="return").text
    assert "Add." in show.source(sample, lines=(5, 5)).text


def test_numbers_count_from_one():
    assert show.source(Sample, lines=(4, 4)).text == "class Sample:\n    ...\n    size = 3\n    ..."


def test_the_fold_is_one_block_of_html_and_loses_nothing():
    fold = show.source(sample, lines="return total").markdown.split("```\n\n")[1]
    assert fold.startswith("<details><summary>All 14 lines of <code>sample</code></summary>")
    assert not re.search(r"\n[ \t]*\n", fold)  # an empty line would end the block in Markdown
    import html
    import inspect

    code = html.unescape(re.sub("<[^>]+>", "", fold.split("<pre>")[1].split("</pre>")[0]))
    assert code.rstrip() == inspect.getsource(sample).rstrip()


def test_the_library_names_its_file():
    assert "(<code>labkit/show/tables.py</code>)" in show.source(show.table, lines="_read(").markdown


def test_markdown_renders_to_highlighted_code_and_a_fold():
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(show.source(sample, lines="return total").markdown)
    assert [token.type for token in tokens] == ["fence", "html_block"]
    assert tokens[0].info == "python" and tokens[1].content.rstrip().endswith("</details>")


@pytest.mark.parametrize(
    ("obj", "lines", "error", "message"),
    [
        (len, None, TypeError, "obj: takes a function or class"),
        (3, None, TypeError, "obj: takes a function or class"),
        (sample, "nowhere", ValueError, "no line of code in sample holds 'nowhere'"),
        (sample, (0, 2), ValueError, "1 <= first <= last <= 14"),
        (sample, (3, 99), ValueError, "1 <= first <= last <= 14"),
        (sample, [], TypeError, "lines: takes"),
        (sample, "", TypeError, "lines: takes"),
        (sample, 3, TypeError, "lines: takes"),
    ],
)
def test_bad_input_is_named(obj, lines, error, message):
    with pytest.raises(error, match=message):
        show.source(obj, lines=lines)
