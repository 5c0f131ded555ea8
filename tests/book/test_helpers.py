"""The parts of the site's builder, each on a few lines."""

import base64
import doctest
import json
import os
from types import SimpleNamespace

import labkit_book
import pytest
from sitegen import ledger, models, pages, performance, render, staging, toc

from labkit.papers import PARTS, Chapter, Part
from labkit.show import VERDICT_SYMBOLS

PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()
URI = f"data:image/webp;base64,{PICTURE}"


@pytest.mark.parametrize("module", [ledger, models, pages, performance, staging, toc])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


# The extension: HTML in, HTML out.


def test_pictures_become_files_named_by_their_content(tmp_path):
    page = f'<img src="{URI}"><figure data-frames="[&quot;{URI}&quot;]"></figure>'
    moved = labkit_book.move_data_uris(page, tmp_path / "_images", "../../")
    (file,) = (tmp_path / "_images").iterdir()
    assert file.read_bytes() == bytes(range(256)) * 4 and file.suffix == ".webp"
    assert moved.count(f"../../_images/{file.name}") == 2 and "base64" not in moved


def test_a_tiny_picture_and_other_data_stay(tmp_path):
    page = '<img src="data:image/png;base64,AAAA"><a href="data:text/csv;base64,' + PICTURE + '">'
    assert labkit_book.move_data_uris(page, tmp_path / "_images", "") == page
    assert not (tmp_path / "_images").exists()


def test_pictures_load_lazily_once():
    page = '<img src="a.png"><img loading="eager" src="b.png">'
    assert (
        labkit_book.load_lazily(page) == '<img loading="lazy" src="a.png"><img loading="eager" src="b.png">'
    )


def test_code_keeps_only_the_marks_that_colour():
    text, code = '<p><span class="n">a</span></p>', '<pre><span class="k">if</span> {}</pre>'
    page = text + code.format('<span class="n">a</span><span class="p">:</span>')
    assert labkit_book.unwrap_plain_code(page) == text + code.format("a:")


def test_badges_lead_to_colab_and_to_the_source():
    made = labkit_book.badges(
        "notebooks/augment/images/resizemix.ipynb",
        "https://github.com/owner/name",
        branch="main",
        published="published",
        static="../",
    )
    path = "notebooks/augment/images/resizemix.ipynb"
    assert f"https://colab.research.google.com/github/owner/name/blob/published/{path}" in made
    assert f"https://github.com/owner/name/edit/main/{path}" in made
    assert made.count("<img") == made.count("alt=") == 2 and 'src="../' in made


@pytest.mark.parametrize("address", ["github.com/owner", "https://github.com/owner", ""])
def test_an_address_without_owner_and_name_is_refused(address):
    with pytest.raises(ValueError, match="repository"):
        labkit_book.badges("a.ipynb", address, branch="main", published="published", static="")


def test_additions_come_below_the_title():
    assert labkit_book.add_after_title("<h1>A</h1><p>b</p>", "<i>c</i>") == "<h1>A</h1>\n<i>c</i><p>b</p>"
    assert labkit_book.add_after_title("<p>b</p>", "<i>c</i>") == "<i>c</i><p>b</p>"


def test_toggles_of_the_navigation_get_names():
    html = '<a class="x" href="a.html">Images</a><details><summary><span></span></summary>'
    assert '<summary aria-label="Pages of Images">' in labkit_book.name_toggles(html)


def test_scripts_without_use_go():
    icons = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    maths = "<script>window.MathJax = {}</script>"
    maths += '<script defer="defer" src="_static/mathjax/tex-chtml.js"></script>'
    formula = '<span class="math notranslate nohighlight">x</span>'
    plain = '<p class="tex2jax_ignore mathjax_ignore">text</p>'
    assert labkit_book.lighten(icons + maths + formula) == maths + formula
    assert labkit_book.lighten(icons + maths + plain) == plain


# The table of contents.

CHAPTER = Chapter("images", "augment", "Images", ("randaugment", "resizemix"))
PART = Part("augment", "Augment data", {"images": CHAPTER, "empty": Chapter("empty", "augment", "Empty")})
SKELETON = {
    "format": "jb-book",
    "root": "book/index",
    "parts": [
        {"caption": "Begin", "chapters": [{"file": "book/ledger"}]},
        {"generated": "parts"},
        {"caption": "Reference", "chapters": [{"file": "book/data/index", "generated": "cards"}]},
    ],
}


def test_contents_list_only_notebooks_that_exist():
    made = toc.build(SKELETON, [PART], {"augment/images/resizemix"}, ["digits"], [])
    chapters = made["parts"][1]["chapters"]
    assert made["parts"][1]["caption"] == "Augment data"
    assert chapters == [
        {"file": "notebooks/augment/index"},
        {
            "file": "notebooks/augment/images/index",
            "sections": [{"file": "notebooks/augment/images/resizemix"}],
        },
    ]
    reference = made["parts"][2]["chapters"]
    assert reference == [{"file": "book/data/index", "sections": [{"file": "book/data/digits"}]}]
    assert made["root"] == "book/index"


def test_contents_of_the_catalogue_hold_every_chapter_with_papers():
    made = toc.build(SKELETON, list(PARTS.values()), {"start/fair-test"}, [], [])
    files = [page["file"] for part in made["parts"] for page in part["chapters"]]
    assert "notebooks/start/fair-test" in files and "notebooks/start/training" not in files
    for part in PARTS.values():
        for chapter in part.chapters.values():
            assert not chapter.papers or f"notebooks/{part.id}/{chapter.id}/index" in files


def test_a_notebook_that_the_catalogue_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"notebooks/augment/images/mixup\.ipynb"):
        toc.build(SKELETON, [PART], {"augment/images/mixup"}, [], [])


@pytest.mark.parametrize("entry", [{"generated": "pages"}, {"chapters": [{"file": "a", "generated": "b"}]}])
def test_an_unknown_generated_entry_is_refused(entry):
    with pytest.raises(ValueError, match="generated"):
        toc.build(SKELETON | {"parts": [entry]}, [PART], set(), [], [])


# The staged tree.


def test_unchanged_files_keep_their_date_and_strangers_go(tmp_path):
    files = {"a.md": b"a", "b/c.md": b"c"}
    assert staging.write_tree(tmp_path, files) == ["a.md", "b/c.md"]
    os.utime(tmp_path / "a.md", (1, 1))
    (tmp_path / "old.md").write_text("old")
    assert staging.write_tree(tmp_path, files | {"b/c.md": b"new"}) == ["b/c.md", "old.md"]
    assert (tmp_path / "a.md").stat().st_mtime == 1 and not (tmp_path / "old.md").exists()


def test_a_digest_tells_names_from_contents():
    assert (
        staging.digest({"a": b"bc"}) != staging.digest({"ab": b"c"}) != staging.digest({"a": b"b", "c": b""})
    )


def notebook(cells, **labkit) -> bytes:
    return json.dumps({"cells": cells, "metadata": {"labkit": labkit} if labkit else {}}).encode()


TITLE = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": ["# Title\n", "text"]}
SETUP = {"cell_type": "code", "metadata": {"tags": ["bootstrap"]}, "source": "1", "outputs": []}


def test_set_up_cells_start_folded():
    staged, failed = staging.notebook(notebook([TITLE, SETUP]))
    metadata = json.loads(staged)["cells"][1]["metadata"]
    assert metadata["tags"] == ["bootstrap", "hide-cell"]
    assert metadata["mystnb"]["code_prompt_show"].startswith("Set-up") and not failed


def test_a_failed_notebook_says_so_below_its_title():
    error = "\x1b[31mValueError\x1b[39m: no\n```danger"
    staged, failed = staging.notebook(notebook([SETUP, TITLE], status="failed", error=error))
    note = json.loads(staged)["cells"][2]["source"]
    assert failed and "failed" in note and "ValueError: no" in note
    assert note.count("```") == 2  # what the error says can't close its own block


def test_a_chapters_notebook_gets_the_list_of_its_papers():
    staged, _ = staging.notebook(notebook([TITLE]), appendix="## Papers")
    assert json.loads(staged)["cells"][-1]["source"] == "## Papers"


# Pages and ledger.

ROW = {
    "paper": "resizemix",
    "title": "ResizeMix <b>",
    "part": "augment",
    "chapter": "images",
    "notebook": "augment/images/resizemix",
    "status": "judged",
    "verdict": "supported",
    "why": "",
    "sentence": "Works here, for the stated reason.",
    "statement": "Better on small objects.",
    "role": "headline",
    "profile": "judge",
    "attempt": 1,
    "kind": "better",
    "unit": "points",
    "difference": 2.5,
    "low": 1.25,
    "high": 3.75,
    "borderline": False,
    "reported": "79.0 %",
    "reported_source": "code",
    "evidence": "synthetic data",
    "thirds": 3,
    "seconds": 123.4,
}


def test_a_judged_row_shows_every_column():
    made = ledger.table([ROW], {"augment/images/resizemix"})
    for text in (
        'href="../notebooks/augment/images/resizemix.html"',
        "ResizeMix &lt;b&gt;",
        "<b>+2.5</b> points",
        "[+1.25, +3.75]",
        "supported",
        "Works here, for the stated reason.",
        "79.0 %",
        "from the code",
        "synthetic data",
        "3 of 3",
        ">123<",
    ):
        assert text in made, text


def test_a_ratio_is_shown_as_a_factor():
    made = ledger.table([ROW | {"kind": "ratio", "difference": 1.5, "low": 1.2, "high": 1.9}], set())
    assert "<b>1.5</b> times" in made and "[1.2, 1.9]" in made


def test_a_recalled_figure_is_not_printed():
    made = ledger.table([ROW | {"reported_source": "recalled"}], set())
    assert "79.0 %" not in made


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("registered", "not judged"),
        ("not testable", "not testable"),
        ("failed", "failed"),
        ("void", "void"),
        ("planned", "planned"),
    ],
)
def test_a_row_without_a_verdict_says_how_far_it_is(status, said):
    blank = {"verdict": "", "sentence": "", "difference": None, "thirds": None, "seconds": None}
    made = ledger.table([ROW | blank | {"status": status, "why": "because"}], set())
    assert f'data-word="{said}"' in made and f"&nbsp;{said}</span>" in made
    assert status == "planned" or "because" in made


def test_stale_and_borderline_verdicts_say_so():
    made = ledger.table([ROW | {"status": "stale", "why": "judged with torch 2", "borderline": True}], set())
    assert "Stale: judged with torch 2." in made and "Borderline" in made


def test_every_verdict_has_its_symbol():
    for name, symbol in VERDICT_SYMBOLS.items():
        assert ledger.SYMBOLS[name] == symbol


def test_a_chapter_page_escapes_what_markdown_would_read():
    paper = SimpleNamespace(
        id="resizemix", title="A [b] *c*", notebook="augment/images/resizemix", 
        authors=("A", "B"), year=2020, kind="method", family="x", arxiv_url="", code_url="", core=True,
        headline_source="abstract", reported="5 $ and 6 $",
    )  # fmt: skip
    chapter = Chapter("images", "augment", "Images", ("resizemix",))
    made = pages.chapter_page(
        chapter, PART, {"resizemix": paper}, {"augment/images/resizemix"}, {"resizemix": [ROW]}
    )
    assert r"[A \[b\] \*c\*](resizemix.ipynb)" in made and r"5 \$ and 6 \$" in made
    assert "1 paper: 1 judged, 0 planned." in made and "supported" in made and "(from its abstract)" in made


def test_rates_keep_rare_from_never():
    made = pages.rates([{"effect": -1.0, "supported": 0.0, "leaning": 0.0001, "reversed": 1.0}], "effect")
    assert made.splitlines() == [
        "| effect | leaning | reversed |",
        "|---:|---:|---:|",
        "| −1 | < 0.1 % | 100 % |",
    ]


# Rendering.


def test_jupyter_book_runs_only_when_something_changed(tmp_path, monkeypatch):
    out = tmp_path / "_build"
    calls = []

    def fake(folder):
        calls.append(sorted(p.name for p in folder.iterdir()))
        (folder / "html" / "book").mkdir(parents=True, exist_ok=True)
        (folder / ".doctrees").mkdir(exist_ok=True)
        return status

    monkeypatch.setattr(render, "_jupyter_book", fake)
    files = {"_config.yml": b"a", "book/x.md": b"b", "book/ledger.csv": b"", "book/ledger.json": b""}
    out.mkdir()

    def run(files):
        return render.run(out, files, code="c")

    status = 0
    assert run(files) == 0 and len(calls) == 1
    assert run(files) == 0 and len(calls) == 1, "nothing had changed"
    assert run(files | {"book/x.md": b"new"}) == 0 and ".doctrees" in calls[-1], "only what changed"
    status = 1
    assert run(files) == 1 and len(calls) == 3
    assert run(files) == 1 and len(calls) == 4, "a build with warnings is tried again"
    assert ".doctrees" not in calls[-1], "all its pages, so that the warnings come again"


def test_another_folder_than_build_is_refused(tmp_path):
    with pytest.raises(ValueError, match="_build"):
        render.run(tmp_path, {}, code="", fresh=True)
