"""The ledger as a table: readable without a script, sorted and filtered with one."""

from html import escape
from pathlib import Path

# A symbol for every verdict and every status, in the order in which they sort.
SYMBOLS = {
    "supported": "▲",
    "leaning": "△",
    "negligible": "≈",
    "reversed": "▼",
    "undecided": "?",
    "not testable": "∅",
    "not judged": "–",
    "stale": "↻",
    "void": "⊘",
    "failed": "!",
    "planned": "○",
}
ORDER = {word: place for place, word in enumerate(SYMBOLS)}
SCRIPT = Path(__file__).with_name("ledger.js")

COLUMNS = {
    "paper": "Paper",
    "claim": "Claim",
    "difference": "Difference [95 % interval]",
    "verdict": "Verdict",
    "reported": "The paper reports",
    "evidence": "Evidence",
    "thirds": "Thirds that agree",
    "seconds": "Seconds",
}
NOTHING = '<td class="none">–</td>'


def word(row: dict) -> str:
    """What a row says in one word: its verdict, or how far it has come.

    >>> word({"status": "stale", "verdict": "supported"}), word({"status": "registered", "verdict": ""})
    ('supported', 'not judged')
    """
    return row["verdict"] or {"registered": "not judged"}.get(row["status"], row["status"])


def chip(text: str) -> str:
    """A verdict or a status as HTML: a symbol and a word, so that colour is never needed."""
    kind, symbol = text.replace(" ", "-"), SYMBOLS[text]
    return (
        f'<span class="chip chip-{kind}"><span aria-hidden="true">{symbol}</span>&nbsp;{escape(text)}</span>'
    )


def number(value: float, *, signed: bool = True) -> str:
    """Three significant digits, with a real minus.

    >>> number(3.14159), number(-0.02)
    ('+3.14', '−0.02')
    """
    return (f"{value:+.3g}" if signed else f"{value:.3g}").replace("-", "−")


def table(rows: list[dict], notebooks: set[str]) -> str:
    """The ledger as HTML.

    rows: as `labkit.ledger.rows` gives them, at least one for every paper.
    notebooks: names of those that exist; only these are linked.
    """
    head = "".join(f'<th scope="col" data-key="{key}">{escape(label)}</th>' for key, label in COLUMNS.items())
    body = "\n".join(_row(row, notebooks) for row in rows)
    return (
        '<div class="ledger" id="ledger-table">\n'
        '<div class="table-scroll" tabindex="0" role="region" aria-label="Ledger of all papers">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n"
        f"<script>\n{SCRIPT.read_text(encoding='utf-8')}</script>\n</div>"
    )


def _row(row: dict, notebooks: set[str]) -> str:
    link = escape(row["title"])
    if row["notebook"] in notebooks:
        link = f'<a href="../notebooks/{escape(row["notebook"])}.html">{link}</a>'
    paper = f'<th scope="row">{link}<small>{escape(row["part"])} / {escape(row["chapter"])}</small></th>'
    said = word(row)
    marks = (
        f'data-paper="{row["paper"]}" data-part="{row["part"]}" data-word="{said}" data-order="{ORDER[said]}"'
    )
    if row["status"] == "planned":
        return f"<tr {marks}>{paper}{NOTHING * 2}<td>{chip(said)}</td>{NOTHING * 4}</tr>"
    evidence = f"<td>{escape(row['evidence'])}</td>" if row["evidence"] else NOTHING
    cells = [_claim(row), _difference(row), _verdict(row), _reported(row), evidence]
    cells += [_count(row["thirds"], " of 3"), _count(row["seconds"], "")]
    return f"<tr {marks}>{paper}{''.join(cells)}</tr>"


def _claim(row: dict) -> str:
    scale = " at full scale" if row["profile"] == "full" else ""
    attempt = f", attempt {row['attempt']}" if (row["attempt"] or 1) > 1 else ""
    return f"<td>{escape(row['statement'])}<small>{escape(row['role'])}{scale}{attempt}</small></td>"


def _difference(row: dict) -> str:
    if row["difference"] is None:
        return NOTHING
    ratio = row["kind"] == "ratio"
    mean, low, high = (number(row[name], signed=not ratio) for name in ("difference", "low", "high"))
    unit = "times" if ratio else row["unit"]
    shown = f"<b>{mean}</b> {escape(unit)}<small>[{low}, {high}]</small>"
    return f'<td data-sort="{row["difference"]:.6g}">{shown}</td>'


def _verdict(row: dict) -> str:
    notes = [row["sentence"], row["why"]]
    if row["status"] == "stale":
        notes[1] = f"Stale: {row['why']}."
    if row["borderline"]:
        notes.append("Borderline: the interval ends close to a rule's boundary.")
    return f"<td>{chip(word(row))}<small>{escape(' '.join(note for note in notes if note))}</small></td>"


def _reported(row: dict) -> str:
    """The paper's own figure with its source. One that is only recalled is never printed as the paper's."""
    if not row["reported"] or row["reported_source"] == "recalled":
        return NOTHING
    return f"<td>{escape(row['reported'])}<small>from the {escape(row['reported_source'])}</small></td>"


def _count(value: float | None, unit: str) -> str:
    return NOTHING if value is None else f'<td class="number" data-sort="{value:.6g}">{value:.0f}{unit}</td>'
