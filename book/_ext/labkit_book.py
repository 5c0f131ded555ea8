"""The Sphinx extension of this book: badges, pictures in files, and small repairs of the theme's HTML.

Every function here takes a page's HTML as text and returns it changed, so that each can be tested on
a line of HTML; `on_page` calls them in order for each page that Sphinx writes.
"""

import base64
import hashlib
import html
import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

DATA_URI = re.compile(r"data:image/(png|webp|jpeg|gif|svg\+xml);base64,([A-Za-z0-9+/=]+)")
SUFFIX = {"png": "png", "webp": "webp", "jpeg": "jpg", "gif": "gif", "svg+xml": "svg"}
SMALLEST_MOVED = 512  # characters of base64; a smaller picture costs more as a request than inline
PICTURES = "_images"

ICON_SCRIPT = re.compile(r"<script [^>]*scripts/fontawesome\.js[^>]*></script>\s*")
MATHJAX = re.compile(r"<script>window\.MathJax = .*?</script>\s*|<script [^>]*/mathjax/[^>]*></script>\s*")
FORMULA = re.compile(r'class="[^"]*\bmath\b(?!_)[^"]*\bnotranslate\b')

CODE = re.compile(r"<pre>.*?</pre>", re.DOTALL)
PLAIN = re.compile(
    r'<span class="[npw]">([^<]*)</span>'
)  # names, punctuation, spaces: in the text's own colour

COLAB = "https://colab.research.google.com/github/{owner}/{name}/blob/{branch}/{path}"


def move_data_uris(page: str, folder: Path, to_root: str) -> str:
    """Write each base64 picture of a page to `folder` and put its address in the page instead.

    to_root: the way from the page to the site's root, such as "../../" or "".  A file is named by its
    content, so that the same picture on two pages is one file.  Works wherever the address stands: in
    a `src`, in CSS, or in a list inside a script.
    """

    def move(match: re.Match) -> str:
        kind, encoded = match.groups()
        if len(encoded) < SMALLEST_MOVED:
            return match.group()
        content = base64.b64decode(encoded, validate=True)
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{SUFFIX[kind]}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
        return f"{to_root}{PICTURES}/{name}"

    return DATA_URI.sub(move, page)


def load_lazily(page: str) -> str:
    """Let the browser fetch each picture when it comes near the screen."""
    return re.sub(r"<img\b(?![^>]*\bloading=)", '<img loading="lazy"', page)


def repair(page: str) -> str:
    """What a screen reader or a keyboard stumbles over in the HTML that Sphinx writes.

    A wide formula scrolls, so it must take the focus; a list must hold list items.
    """
    page = page.replace('<div class="math ', '<div tabindex="0" class="math ')
    return page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def unwrap_plain_code(page: str) -> str:
    """Highlighted code without the marks that colour nothing; they are a third of a page of code."""
    return CODE.sub(lambda block: PLAIN.sub(r"\1", block.group()), page)


def add_after_title(page: str, addition: str) -> str:
    """Put HTML right after the page's first heading, or first on a page that has none."""
    head, found, rest = page.partition("</h1>")
    return f"{head}{found}\n{addition}{rest}" if found else addition + page


def name_toggles(navigation: str) -> str:
    """Say what each arrow of the navigation opens; the theme gives it a picture only."""
    pattern = re.compile(r"(<a [^>]*>([^<]*)</a><details[^>]*>)<summary>")
    return pattern.sub(r'\1<summary aria-label="Pages of \2">', navigation)


def badges(path: str, repository: str, *, branch: str, published: str, static: str) -> str:
    """The badges of one notebook: open in Colab, suggest an edit.

    path: of the notebook in the repository.  repository: "https://github.com/owner/name".
    static: the way from the page to the folder of static files.
    Raises ValueError where the repository's address has no owner and name.
    """
    parts = PurePosixPath(repository.partition("://")[2]).parts
    if len(parts) != 3:
        raise ValueError(f"repository must look like https://host/owner/name, got {repository!r}")
    _, owner, name = parts
    colab = COLAB.format(owner=owner, name=name, branch=published, path=quote(path))
    edit = f"{repository}/edit/{branch}/{quote(path)}"
    links = [
        _badge(colab, f"{static}colab.svg", "Open in Colab", width=112),
        _badge(edit, f"{static}edit.svg", "Suggest an edit", width=120),
    ]
    return f'<p class="labkit-badges">{" ".join(links)}</p>\n'


def _badge(address: str, picture: str, text: str, *, width: int) -> str:
    image = f'<img src="{picture}" alt="{text}" width="{width}" height="20">'
    return f'<a href="{html.escape(address)}">{image}</a>'


def lighten(page: str) -> str:
    """A whole page without the scripts it does not need.

    The theme loads every icon twice, as a script of 1.5 MB and as a font: the font stays. MathJax goes
    where there is no formula; Sphinx lets it slip into the page that follows one with formulas.
    """
    page = ICON_SCRIPT.sub("", page)
    return page if FORMULA.search(page) else MATHJAX.sub("", page)


def on_page(app, pagename, templatename, context, doctree):
    """Change the HTML of one page just before its template is filled."""
    if "generate_toctree_html" in context:
        make = context["generate_toctree_html"]
        context["generate_toctree_html"] = lambda *args, **kinds: name_toggles(str(make(*args, **kinds)))
    if "body" not in context:
        return
    to_root = "../" * pagename.count("/")
    body = context["body"]
    if str(app.env.doc2path(pagename)).endswith(".ipynb"):
        options = app.config.html_theme_options
        body = add_after_title(
            body,
            badges(
                f"{pagename}.ipynb",
                options["repository_url"],
                branch=options["repository_branch"],
                published=app.config.labkit_published_branch,
                static=f"{to_root}_static/",
            ),
        )
    body = move_data_uris(body, Path(app.outdir) / PICTURES, to_root)
    context["body"] = load_lazily(unwrap_plain_code(repair(body)))


def skip_field(app, what, name, member, skip, options):
    """Leave out the fields of a named tuple: Python's text on them says only their number."""
    return True if type(member).__name__ == "_tuplegetter" else None


def on_finish(app, exception):
    """Take from the written site what no page needs."""
    if exception is not None:
        return
    root = Path(app.outdir)
    for file in root.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        if (light := lighten(page)) != page:
            file.write_text(light, encoding="utf-8")
    static = root / "_static"
    # With them their maps, and the themes' own templates, which are no pages.
    for file in {static / "scripts" / "fontawesome.js", *static.rglob("*.map"), *static.glob("*.html")}:
        file.unlink(missing_ok=True)


def setup(app):
    """Register the extension with Sphinx."""
    app.add_config_value("labkit_published_branch", "published", "html", [str])
    app.add_config_value("comments_config", {}, "html", [dict])  # Jupyter Book sets it, used or not
    app.connect("html-page-context", on_page, priority=900)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("build-finished", on_finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
