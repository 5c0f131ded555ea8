"""The text of a notebook's first code cell, the one tagged ``bootstrap``.

A committed notebook carries `COMMITTED`: it imports labkit or says how to get it. On the ``published``
branch, which Colab opens, `published` takes its place: it installs labkit from the book's own repository
at the commit that the notebook was published from, and only where labkit can't be imported. The cell is
no part of a result's key, so a published notebook keeps the results of the committed one.
"""

COMMITTED = """\
try:
    import labkit
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "This notebook needs labkit, the book's library. In a terminal, in the folder of the book's README: "
        "make book, or: pip install -e . (the book's Colab buttons open a copy that installs it by itself)."
    ) from error"""

PUBLISHED = """\
try:
    import labkit
except ModuleNotFoundError:
    %pip install -q "labkit-book{extra} @ git+{repository}@{commit}"
    import labkit"""


def published(repository: str, commit: str, extra: str = "") -> str:
    """Return the bootstrap cell that installs labkit from `repository` at `commit`.

    `repository` is an https address without a trailing slash or ``.git``; `commit` is the full hash;
    `extra` is the one of the project's extras that the notebook needs, if any.

    >>> print(published("https://example.org/book", "0" * 40).splitlines()[3].strip())
    %pip install -q "labkit-book @ git+https://example.org/book@0000000000000000000000000000000000000000"
    """
    if not repository.startswith("https://") or repository.endswith(("/", ".git")):
        raise ValueError(f"repository={repository!r}: an https address without a trailing slash or .git")
    if len(commit) != 40 or not set(commit) <= set("0123456789abcdef"):
        raise ValueError(f"commit={commit!r}: the full hash, 40 hexadecimal digits")
    return PUBLISHED.format(repository=repository, commit=commit, extra=f"[{extra}]" if extra else "")
