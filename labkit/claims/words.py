"""Claims and results in words: for a terminal, and as small HTML that reads on light and on dark pages."""

import html
from statistics import fmean, geometric_mean

from labkit.claims.entry import Claim
from labkit.claims.judging import Difference, Question

__all__ = ["amount", "card", "card_html", "interval_text", "result_html", "result_text", "rows", "symbol"]

_SYMBOLS = {"agrees": "=", "differs": "≠", "failed": "!", "not testable here": "∅"}
_CLAIMED_BY = {"paper": "by the paper", "us": "by this book"}
_BOX = "border:1px solid currentColor;border-radius:6px;padding:0.2em 1em;margin:0.5em 0"


def symbol(verdict: str) -> str:
    """A verdict's symbol: no verdict is told by colour."""
    from labkit.show import VERDICT_SYMBOLS

    word = verdict.partition(":")[0]
    return (VERDICT_SYMBOLS | _SYMBOLS).get(word, "")


def amount(value: float, *, sign: bool = False) -> str:
    """A number to three significant digits, with a true minus.

    >>> amount(-1.2345), amount(0.5, sign=True)
    ('−1.23', '+0.5')
    """
    text = f"{value:+.3g}" if sign else f"{value:.3g}"
    return text.replace("-", "−")


def interval_text(question: Question, difference: Difference) -> str:
    """A difference with its 95 % interval, in its unit.

    >>> question = Question("better", "plain", ("new",), 1.0, unit="points")
    >>> interval_text(question, Difference(1.8, 1.1, 2.5, 1.0, {}))
    '+1.8 points [+1.1, +2.5]'
    """
    signed = not question.ratio
    mean, low, high = (amount(value, sign=signed) for value in difference[:3])
    unit = " times" if question.ratio else f" {question.unit}".rstrip()
    return f"{mean}{unit} [{low}, {high}]"


def margin_text(question: Question) -> str:
    unit = " times" if question.ratio else f" {question.unit}".rstrip()
    if question.margin == 1:
        unit = unit.removesuffix("s")  # one point
    return amount(question.margin) + unit


def card(claim: Claim) -> list[tuple[str, str]]:
    """What is registered, as (name, text) in reading order."""
    lines = [("claim", claim.id), ("statement", claim.statement)]
    lines.append(("claimed", f"{_CLAIMED_BY[claim.claimed_by]}; {claim.role}"))
    if claim.reported and claim.reported["source"] != "recalled":
        lines.append(("reported", f"{claim.reported['value']} (from the {claim.reported['source']})"))
    if not claim.testable:
        return [*lines, ("not tested", claim.why_not_testable)]
    question = claim.question
    better = "higher" if claim.higher_is_better else "lower"
    control = f", control: {claim.control}" if claim.control else ""
    lines += [
        ("asked", f"{', '.join(claim.methods)} {_asked(claim)} {claim.baseline}{control}"),
        ("variants", ", ".join(claim.variants)),
        ("metric", f"{claim.metric}{f' ({claim.unit})' if claim.unit else ''}, {better} is better"),
        ("margin", f"{margin_text(question)}: {claim.margin_reason}"),
        ("seeds", f"{claim.n}, from {claim.seeds[0]} (attempt {claim.attempt}): {claim.n_reason}"),
        ("evidence", claim.evidence),
    ]
    if claim.settings:
        lines.append(("settings", ", ".join(f"{name} = {value}" for name, value in claim.settings.items())))
    tuned = [f"{t['variant']}: {t['trials']} trials of {_knobs(t['knobs'])}" for t in claim.tuned]
    lines.append(("tuned", "; ".join(tuned) or "nothing"))
    return lines


def _asked(claim: Claim) -> str:
    if claim.kind == "none wins":
        return "never win against" if len(claim.methods) > 1 else "does not win against"
    sense = claim.sense if claim.kind == "ratio" else claim.kind
    return "better than" if sense == "better" else "as good as"


def _knobs(knobs) -> str:
    return ", ".join(knobs) if isinstance(knobs, dict | list | tuple) else str(knobs)


def card_html(claim: Claim) -> str:
    items = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in card(claim))
    return f'<div class="labkit-claim" style="{_BOX}"><dl>{items}</dl></div>'


def numbers(result) -> list[str]:
    """The lines of numbers below a verdict: differences with intervals, margin, seeds."""
    question, judgement = result.question, result.judgement
    if judgement is None:
        return []
    metric = f"{question.metric}: " if question.metric else ""
    lines = [
        f"{metric}{method} against {question.baseline} {interval_text(question, difference)}"
        for method, difference in judgement.differences.items()
    ]
    if judgement.control_difference is not None:
        found = interval_text(question, judgement.control_difference)
        lines.append(f"{metric}{question.methods[0]} against the control, {question.control} {found}")
    seeds = list(next(iter(result.values.values())))
    lines.append(
        f"Margin {margin_text(question)}; {len(seeds)} seeds, {seeds[0]} to {seeds[-1]}; 95 % intervals of "
        f"paired differences, above {'one' if question.ratio else 'zero'} is better"
    )
    if judgement.thirds is not None and result.verdict == judgement.verdict:
        lines.append(f"{judgement.thirds} of 3 thirds of the seeds agree")
    if result.verdict == "undecided":
        spreads = ", ".join(amount(d.spread) for d in judgement.differences.values())
        more = judgement.seeds_to_decide
        told = f"about {more} seeds would decide" if more else "10,000 seeds would not decide"
        lines.append(f"Spread of the differences {spreads}; {told}")
    return lines


def rows(result) -> list[dict]:
    """Per seed one row with the value of every variant, and the mean below."""
    seeds = list(next(iter(result.values.values()), ()))
    table = [{"seed": str(s)} | {name: row[s] for name, row in result.values.items()} for s in seeds]
    if not table:
        return []
    # Ratios are averaged as ratios.
    name, average = ("geometric mean", geometric_mean) if result.question.ratio else ("mean", fmean)
    means = {variant: average(list(row.values())) for variant, row in result.values.items()}
    return [*table, {"seed": name} | means]


def result_text(result) -> str:
    lines = [f"{symbol(result.verdict)} {result.verdict}", result.sentence, *numbers(result)]
    lines += [f"seed {seed} failed: {problem}" for seed, problem in result.failures.items()]
    return "\n".join(lines)


def result_html(result, picture: str) -> str:
    """The verdict, its sentence, what was claimed, the numbers, the picture.

    picture: HTML of the figure with its table of numbers, or "".
    """
    say = html.escape
    head = f"<strong>{symbol(result.verdict)} {say(result.verdict.partition(':')[0])}</strong>"
    parts = [f"<p>{head} · {say(result.sentence)}</p>"]
    claim = result.claim
    if claim is not None:
        about = f"{claim.role}, claimed {_CLAIMED_BY[claim.claimed_by]}"
        about += f"; evidence: {claim.evidence}; attempt {claim.attempt}" if claim.testable else ""
        parts.append(f"<p><em>{say(claim.statement)}</em> ({say(about)})</p>")
    lines = [say(line) for line in numbers(result)]
    lines += [f"! seed {seed} failed: {say(problem)}" for seed, problem in result.failures.items()]
    if lines:
        parts.append("<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>")
    return f'<div class="labkit-verdict" style="{_BOX}">{"".join(parts)}{picture}</div>'
