"""A small site of two notebooks, one of which failed: what build.py makes of it, and what it says."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLANK = {"role": "", "verdict": "", "sentence": "", "difference": None, "thirds": None, "seconds": None}


def cell(source: str, *, tags=(), outputs=None) -> dict:
    kind = {"cell_type": "markdown"} if outputs is None else {"cell_type": "code", "execution_count": 1}
    made = kind | {"id": f"c{abs(hash(source))}", "metadata": {"tags": list(tags)}, "source": source}
    return made if outputs is None else made | {"outputs": outputs}


def notebook(path: Path, cells: list[dict], **labkit):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": cells, "metadata": metadata | {"labkit": labkit}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory, builder):
    """The built site's folder, build.py's exit status and what it printed."""
    from matplotlib.figure import Figure
    from sitegen.content import Content

    from labkit import papers, show

    def draw(power):
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([x**power for x in range(5)])
        return figure

    root = tmp_path_factory.mktemp("small")
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("_build", "__pycache__"))
    shutil.copy(ROOT / "_config.yml", root)
    (root / "CHANGELOG.md").write_text("# Changelog\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HEADLESS", "1")
        data, metadata = show.explore(draw, power=[1, 2, 3], alt="A power.")._repr_mimebundle_()
    explored = {"output_type": "display_data", "data": data, "metadata": metadata}
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["ValueError: no"]}
    record = {"application/vnd.labkit.record+json": {"claim": "x"}, "text/html": "<p>judged</p>"}
    judged = {"output_type": "display_data", "data": record, "metadata": {}}
    good = [cell("# Good\n\n$x^2$"), cell("profile = 'book'", tags=["parameters"], outputs=[])]
    good += [cell("explore()", outputs=[explored]), cell("claim.test()", outputs=[judged])]
    bad = [cell("# Bad"), cell("fail()", outputs=[error])]
    results = {
        "augment/images/resizemix": notebook(root / "good.ipynb", good, status="ok"),
        "augment/images/randaugment": notebook(
            root / "bad.ipynb", bad, status="failed", error="ValueError: no"
        ),
    }
    guide = (root / "book" / "how-to-read.md").read_text(encoding="utf-8")
    chapter = papers.Chapter("images", "augment", "Images", ("randaugment", "resizemix"))
    chosen = {name: papers.get(name) for name in chapter.papers}
    facts = {"title": "T", "part": "augment", "chapter": "images", "status": "planned", "notebook": ""}
    rows = [BLANK | facts | {"paper": name} for name in chosen]
    content = Content(
        parts=[papers.PARTS["start"], papers.Part("augment", "Augment data", {"images": chapter})],
        papers=chosen,
        rows=rows,
        downloads={"ledger.csv": b"", "ledger.json": b"[]"},
        results=results,
        cards={},
        modules={},
        functions=[],
        guide=dict.fromkeys(re.findall(r"{{ (\w+) }}", guide), "1"),
        chapters={"augment/images": chapter},
        doors={"few-labels": papers.Door("few-labels", "Few labels only", ("augment/images",))},
        weeks=(papers.Week(1, "Images", tuple(paper.notebook for paper in chosen.values()), ()),),
        times={"augment/images/resizemix": (12, 55)},
        code="",
    )
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(builder, "gather", lambda *args, **kinds: content)
        with contextlib.redirect_stderr(printed):
            status = builder.build(root)
    return root / "book" / "_build" / "html", status, printed.getvalue()


def test_a_failed_notebook_shows_on_its_page_and_in_the_exit_status(small):
    folder, status, printed = small
    assert status == 1 and "FAILED: notebooks/augment/images/randaugment.ipynb" in printed
    page = (folder / "notebooks/augment/images/randaugment.html").read_text(encoding="utf-8")
    assert "This notebook failed" in page and page.index("<h1>") < page.index("This notebook failed")
    good = (folder / "notebooks/augment/images/resizemix.html").read_text(encoding="utf-8")
    assert "This notebook failed" not in good and "judged" in good


def test_steps_and_place_are_printed(small):
    _, _, printed = small
    assert re.search(r"\d\.\d s  Render", printed) and "index.html" in printed


def test_the_frames_of_a_picture_are_files(small):
    folder, _, _ = small
    page = (folder / "notebooks/augment/images/resizemix.html").read_text(encoding="utf-8")
    frames = re.findall(r"\.\./\.\./\.\./_images/([0-9a-f]{20}\.\w+)", page)
    assert len(frames) == 4 and all((folder / "_images" / frame).stat().st_size > 0 for frame in frames)
    assert "base64" not in page


def test_the_picture_moves(small, serve, open_page, move):
    with serve(small[0]) as address:
        visitor = open_page("notebooks/augment/images/resizemix.html", address=address)
        move(visitor.page.locator("figure.labkit-explore"))
        assert not visitor.problems
