"""From one value per variant and seed to a verdict and its sentence, by the rules of `labkit.statistics`."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from labkit import statistics

__all__ = ["Difference", "Judgement", "Question", "agrees", "borderline", "differences", "judge"]


@dataclass(frozen=True)
class Question:
    """What is asked of the values: who against whom, by how much, in which direction.

    kind, sense, equivalence, margin: see :func:`labkit.statistics.verdict`.  baseline, control:
    variants.  methods: the variant under test, or several for "none wins".  data: name of the
    bundled data, said in the sentence; "" for none.
    """

    kind: str
    baseline: str
    methods: tuple[str, ...]
    margin: float
    control: str | None = None
    sense: str = "better"
    equivalence: bool = False
    higher_is_better: bool = True
    metric: str = ""
    unit: str = ""
    data: str = ""

    @property
    def ratio(self) -> bool:
        return self.kind == "ratio"


class Difference(NamedTuple):
    """One variant against another, above zero where it is ahead (for a ratio: a factor, above one).

    mean, low, high: mean and 95 % interval.  spread: standard deviation over the seeds (for a ratio:
    a factor).  per_seed: {seed: difference}. For a ratio the mean is the geometric one.
    """

    mean: float
    low: float
    high: float
    spread: float
    per_seed: dict[int, float]


class Judgement(NamedTuple):
    """The answer to a question.

    verdict: one of :data:`labkit.statistics.VERDICTS`.  reason_verdict: one of
    :data:`labkit.statistics.REASONS`, or None where the second question was not asked.
    differences: {method: Difference} against the baseline.  control_difference: against the control.
    thirds: how many thirds of the seeds agree, or None.  seeds_to_decide: about how many seeds would
    end an "undecided", or None.
    """

    verdict: str
    reason_verdict: str | None
    sentence: str
    differences: dict[str, Difference]
    control_difference: Difference | None
    thirds: int | None
    seeds_to_decide: int | None


def differences(question: Question, values: dict, against: str) -> dict[str, Difference]:
    """The paired differences of every method against one variant, with their intervals.

    values: {variant: {seed: value}}, the same two or more seeds for every variant.
    """
    found = {}
    for method in question.methods:
        pairs = {seed: (value, values[against][seed]) for seed, value in values[method].items()}
        scaled = {seed: _scaled(question, *pair) for seed, pair in pairs.items()}
        mean, low, high, spread, _ = statistics.interval(list(scaled.values()))
        back = math.exp if question.ratio else float
        per_seed = {seed: back(value) for seed, value in scaled.items()}
        found[method] = Difference(back(mean), back(low), back(high), back(spread), per_seed)
    return found


def _scaled(question: Question, method: float, other: float) -> float:
    """One paired difference in the claimed direction; for a ratio, of the logarithms."""
    if question.ratio:
        method, other = math.log(method), math.log(other)
    return method - other if question.higher_is_better else other - method


def judge(question: Question, values: dict) -> Judgement:
    """Answer a question from {variant: {seed: value}}, the same two or more seeds for every variant.

    >>> values = {"plain": {0: 1.0, 1: 1.2, 2: 1.1}, "new": {0: 3.0, 1: 3.3, 2: 3.1}}
    >>> judge(Question("better", "plain", ("new",), margin=1.0), values).sentence
    'Works here.'
    """
    found = differences(question, values, question.baseline)
    each = list(found.values())
    word = _verdict(question, [d.low for d in each], [d.high for d in each])
    control, reason_word = None, None
    if question.control is not None:
        control = differences(question, values, question.control)[question.methods[0]]
        if word in ("supported", "leaning"):  # only then there is something to explain
            ends = (control.low, control.high, question.margin)
            reason_word = statistics.reason(*(map(math.log, ends) if question.ratio else ends))
    count = len(each[0].per_seed)
    return Judgement(
        verdict=word,
        reason_verdict=reason_word,
        sentence=_sentence(question, word, reason_word, found, control, count),
        differences=found,
        control_difference=control,
        thirds=_thirds(question, each),
        seeds_to_decide=_seeds_to_decide(question, each, count) if word == "undecided" else None,
    )


def _verdict(question: Question, lows: list[float], highs: list[float]) -> str:
    """The verdict of one interval per method."""
    if question.kind != "none wins":
        [lows], [highs] = lows, highs
    settings = {"sense": question.sense, "equivalence": question.equivalence}
    return statistics.verdict(question.kind, lows, highs, question.margin, **settings)


def _on_logs(question: Question):
    """The verdict as a function of ends that are logarithms where the question is of a ratio."""

    def judged(lows, highs) -> str:
        back = math.exp if question.ratio else float
        return _verdict(question, [back(low) for low in lows], [back(high) for high in highs])

    return judged, math.log if question.ratio else float


def _thirds(question: Question, each: list[Difference]) -> int | None:
    judged, scale = _on_logs(question)
    return statistics.agreeing_thirds([[scale(v) for v in d.per_seed.values()] for d in each], judged)


def _seeds_to_decide(question: Question, each: list[Difference], count: int) -> int | None:
    judged, scale = _on_logs(question)
    means, spreads = [scale(d.mean) for d in each], [scale(d.spread) for d in each]
    return statistics.seeds_to_decide(judged, means, spreads, count)


def borderline(question: Question, found: dict[str, Difference], tolerance: float = 0.1) -> bool:
    """Whether the verdict would change if an end of an interval moved by this part of the margin.

    Such a verdict can differ between machines whose arithmetic differs in the last digits.
    """
    judged, scale = _on_logs(question)
    lows, highs = ([scale(getattr(d, end)) for d in found.values()] for end in ("low", "high"))
    step = tolerance * scale(question.margin)
    word = judged(lows, highs)
    for i in range(len(lows)):
        for down, up in ((-step, 0), (step, 0), (0, -step), (0, step)):
            low, high = lows.copy(), highs.copy()
            low[i], high[i] = lows[i] + down, highs[i] + up
            # an interval narrower than the step keeps its two ends in order
            low[i], high[i] = min(low[i], high[i]), max(low[i], high[i])
            if judged(low, high) != word:
                return True
    return False


def _sentence(question: Question, word: str, reason_word, found, against_control, count: int) -> str:
    """The two verdicts in one sentence. It always says "here", and for bundled data its name."""
    here = f"here on {question.data}" if question.data else "here"
    if word == "undecided":
        return f"{count} seeds cannot tell {here}."
    if question.kind == "none wins":
        winners = [name for name, d in found.items() if d.low > question.margin]
        verb = "wins" if len(winners) == 1 else "win"
        return f"None wins {here}." if word == "supported" else f"{_listed(winners)} {verb} {here}."
    if question.kind == "as good as" or (question.ratio and question.sense == "as good as"):
        rival = f"{question.baseline} {here}"
        if word == "reversed":
            ahead = found[question.methods[0]].mean > (1 if question.ratio else 0)
            return f"Better than {rival}, not the same." if ahead else f"Falls short of {rival}."
        opening = f"As good as {rival}" + (", and no better" if question.equivalence else "")
    else:
        opening = {
            "supported": f"Works {here}",
            "leaning": f"Helps {here}, though perhaps too little to matter",
            "negligible": f"Makes no difference that matters {here}",
            "reversed": f"Turns the other way {here}",
        }[word]
    return opening + _reason(question, reason_word, against_control, count)


def _reason(question: Question, reason_word: str | None, against_control, count: int) -> str:
    if reason_word is None:
        return "."
    behind = reason_word == "control does as well" and against_control.high < (1 if question.ratio else 0)
    return {
        "stated reason": ", for the stated reason.",
        "probably stated reason": ", probably for the stated reason.",
        "control does as well": f"; {question.control} does {'better' if behind else 'as well'}.",
        "undecided": f"; whether for the stated reason, {count} seeds cannot tell.",
    }[reason_word]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def agrees(question: Question, recorded: dict, new: dict, count: int) -> bool:
    """Whether new seeds gave what a record leads one to expect: 95 % of honest re-runs do.

    recorded, new: {method: Difference}.  count: seeds of the record. Every method's new mean must lie
    in its prediction interval; the 5 % are shared among the methods.
    """
    log = math.log if question.ratio else float
    level = 1 - 0.05 / len(question.methods)
    for method in question.methods:
        old, run = recorded[method], new[method]
        known = statistics.Interval(log(old.mean), log(old.low), log(old.high), log(old.spread), count)
        low, high = statistics.prediction_interval(known, len(run.per_seed), level=level)
        if not low <= log(run.mean) <= high:
            return False
    return True
