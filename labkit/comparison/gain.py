"""The gain of a method over a knob of the experiment, and where it turns."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from labkit.claims.entry import Claim
from labkit.claims.judging import Difference, Question, differences
from labkit.claims.result import ClaimError, Displayed
from labkit.claims.running import check_takes, run
from labkit.claims.testing import failed
from labkit.claims.words import amount, interval_text
from labkit.comparison.own import check_question, named, seed_list

__all__ = ["GAIN_MIME", "Gain", "crossings", "gain_over"]

GAIN_MIME = "application/vnd.labkit.gain+json"
SEEDS = {"smoke": 2, "book": 3, "judge": 5, "full": 5}  # design seeds: a gain curve judges nothing


@dataclass(repr=False)
class Gain(Displayed):
    """The gain of a method over the values of one knob; shows itself with its picture.

    knob, at: its name and values, rising.  values: {knob value: {variant: {seed: value}}}.
    gains: for each value the `Difference` against the baseline, or None where fewer than two seeds
    finished.  control_gains: the same against the control, or None without one.
    crossings: where the mean gain changes sign, interpolated between neighbouring values.
    failures: {knob value: what failed}.
    """

    knob: str
    at: list[float]
    question: Question
    seeds: list[int]
    values: dict[float, dict]
    failures: dict[float, str]
    gains: list[Difference | None] = field(init=False)
    control_gains: list[Difference | None] | None = field(init=False)
    crossings: list[float] = field(init=False)

    def __post_init__(self):
        question = self.question
        self.gains = self._against(question.baseline)
        self.control_gains = None if question.control is None else self._against(question.control)
        known = [(x, gain.mean - self._zero) for x, gain in zip(self.at, self.gains, strict=True) if gain]
        self.crossings = crossings([x for x, _ in known], [mean for _, mean in known])

    @property
    def _zero(self) -> float:
        """No gain: a factor of one for ratios, else a difference of zero."""
        return 1.0 if self.question.ratio else 0.0

    def _against(self, other: str) -> list[Difference | None]:
        found = []
        for values in (self.values[x] for x in self.at):
            enough = len(next(iter(values.values()), ())) >= 2
            method = self.question.methods[0]
            found.append(differences(self.question, values, other)[method] if enough else None)
        return found

    @property
    def sentence(self) -> str:
        """Where the mean gain changes sign, and where its interval leaves no doubt of the sign."""
        pairs = [(amount(x), gain) for x, gain in zip(self.at, self.gains, strict=True) if gain]
        if not pairs:
            return f"{len(self.seeds)} seed gives no interval: no gain over {self.knob}."
        places = " and ".join(amount(x) for x in self.crossings)
        span = f"{pairs[0][0]} to {pairs[-1][0]}"
        told = f"near {self.knob} = {places}" if places else f"nowhere within {self.knob} = {span}"
        above = ", ".join(x for x, gain in pairs if gain.low > self._zero) or "no value"
        below = ", ".join(x for x, gain in pairs if gain.high < self._zero) or "no value"
        return (
            f"The mean gain of {self.question.methods[0]} changes sign {told}. "
            f"Its interval lies wholly above {self._zero:g} at {above}, wholly below at {below}."
        )

    def __repr__(self) -> str:
        lines = [
            f"{self.knob} = {amount(x)}: {interval_text(self.question, gain)}"
            for x, gain in zip(self.at, self.gains, strict=True)
            if gain
        ]
        lines += [f"{self.knob} = {amount(x)}: {problem}" for x, problem in self.failures.items()]
        return "\n".join([self.sentence, *lines])

    def rows(self) -> list[dict]:
        """One row per value of the knob: the gains with their intervals."""
        table = []
        curves = [("gain", self.gains), ("gain against the control", self.control_gains)]
        for i, x in enumerate(self.at):
            row = {self.knob: x}
            for name, curve in curves:
                if curve and curve[i]:
                    row |= {name: curve[i].mean, f"{name}, low": curve[i].low, f"{name}, high": curve[i].high}
            table.append(row)
        return table

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        question = self.question
        stable = {
            "knob": self.knob,
            "at": self.at,
            "seeds": self.seeds,
            "baseline": question.baseline,
            "method": question.methods[0],
            "control": question.control,
            "metric": question.metric,
            "unit": question.unit,
            "margin": question.margin,
        }
        numbers = {"rows": self.rows(), "crossings": self.crossings, "sentence": self.sentence}
        failures = [f"! {self.knob} = {amount(x)}: {text}" for x, text in self.failures.items()]
        told = "".join(f"<p>{html.escape(line)}</p>" for line in [self.sentence, *failures])
        data = {
            GAIN_MIME: stable,
            "text/html": f'<div class="labkit-gain">{self._picture()}{told}</div>',
            "text/plain": repr(self),
        }
        return data, {GAIN_MIME: numbers}

    def _picture(self) -> str:
        from labkit import show

        if not any(self.gains):
            return show.table(self.rows()).html
        question = self.question
        kept = [i for i, gain in enumerate(self.gains) if gain]

        def curve(gains):
            return tuple([self._drawn(gains[i][end]) for i in kept] for end in range(3))

        figure = show.gain(
            [self.at[i] for i in kept],
            *curve(self.gains),
            knob=self.knob,
            margin=self._drawn(question.margin),
            metric=question.metric,
            unit="%" if question.ratio else question.unit,
            crossing=self.crossings or None,
            control=None if self.control_gains is None else curve(self.control_gains),
            labels=(f"against {question.baseline}", f"against {question.control}"),
        )
        alt = f"The gain of {question.methods[0]} in {question.metric} over {self.knob}. {self.sentence}"
        return show.figure(figure, alt=alt, numbers=self.rows()).html

    def _drawn(self, value: float) -> float:
        """A gain on the picture's axis, where no gain is zero: a factor in percent above one."""
        return 100 * (value - 1) if self.question.ratio else value


def crossings(at: Sequence[float], means: Sequence[float]) -> list[float]:
    """Where a curve through these points changes sign, on straight lines between neighbours.

    A point at zero, or a run of them, counts where the signs on its two sides differ: at its middle.

    >>> crossings([0.1, 0.2, 0.4], [3.0, 1.0, -1.0])
    [0.3]
    >>> crossings([1, 2, 3], [1.0, 0.0, 2.0])
    []
    """
    points = [(x, mean) for x, mean in zip(at, means, strict=True) if mean != 0]
    found = []
    for (x, mean), (after, other) in pairwise(points):
        if mean * other < 0:
            zeros = [
                place for place, value in zip(at, means, strict=True) if value == 0 and x < place < after
            ]
            middle = x + (after - x) * mean / (mean - other)
            found.append(round((zeros[0] + zeros[-1]) / 2 if zeros else middle, 12))
    return found


def gain_over(
    experiment,
    P,
    claim: Claim | None = None,
    *,
    baseline: str | None = None,
    method: str | None = None,
    control: str | None = None,
    metric: str | None = None,
    margin: float | None = None,
    unit: str = "",
    higher_is_better: bool = True,
    seeds: int | Sequence[int] | None = None,
    **knob,
) -> Gain:
    """Run the experiment at several values of one knob and show where the gain turns.

    experiment: (seed, \\*\\*settings) -> {variant: number}, as in :func:`labkit.claims.test`.
    claim: gives baseline, method, control, metric, unit, direction and margin, and the other settings
    of the experiment; without it, baseline, method, metric and margin must be given.
    P: the profile.  seeds: how many (from 0 up) or which; by default 2 at "smoke", 3 at "book", 5
    above, always design seeds, because a curve judges nothing. P.seed: that seed alone.
    knob: one keyword, ``object_size=(0.1, 0.2, 0.4)``: its rising values.
    Raises ValueError or TypeError for a wrong argument, and ClaimError, after showing the rest,
    where seeds failed.
    """
    question, settings = _asked(claim, baseline, method, control, metric, margin, unit, higher_is_better)
    name, at = _knob(knob)
    check_takes(experiment, settings | {name: at[0]})
    chosen = [P.seed] if P.seed is not None else seed_list(SEEDS[P.profile] if seeds is None else seeds, 2)

    values, failures, error = {x: {} for x in at}, {}, None
    for x in at:
        runs = run(
            experiment, chosen, needed=named(question), positive=question.ratio, settings=settings | {name: x}
        )
        values[x] = runs.values
        if runs.failures:
            failures[x], error = failed(runs), error or runs.error
        if runs.stopped is not None:
            break
    result = Gain(name, at, question, chosen, values, failures)
    if runs.stopped is None or any(result.gains):
        result.display()
    if runs.stopped is not None:
        raise runs.stopped
    if failures:
        listed = "; ".join(f"{name} = {x}: {text}" for x, text in failures.items())
        raise ClaimError(listed) from error
    return result


def _asked(claim, baseline, method, control, metric, margin, unit, higher_is_better):
    """The question, and the settings that go with it, from a claim or from the arguments."""
    if claim is not None:
        if any(value is not None for value in (baseline, method, control, metric, margin)):
            raise ValueError("claim: gives baseline, method, control, metric and margin; leave them out")
        if not claim.testable or len(claim.methods) != 1:
            raise ValueError(f"claim: takes a testable claim of one method, got {claim.id}")
        return claim.question, claim.settings
    given = {"baseline": baseline, "method": method, "metric": metric, "margin": margin}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise ValueError(f"without a claim give {', '.join(missing)} too")
    question = Question(
        "better", baseline, (method,), margin, control,
        higher_is_better=higher_is_better, metric=metric, unit=unit,
    )  # fmt: skip
    check_question(question)
    return question, {}


def _knob(knob: dict) -> tuple[str, list[float]]:
    """The one knob and its values."""
    if len(knob) != 1:
        raise ValueError(f"give one knob with its values, such as object_size=(0.1, 0.2); got {list(knob)}")
    [(name, values)] = knob.items()
    try:
        at = [float(x) if isinstance(x, float) else int(x) for x in values]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a sequence of numbers, got {values!r}") from None
    if len(at) < 2 or any(a >= b for a, b in pairwise(at)):
        raise ValueError(f"{name} must be two or more rising numbers, got {values!r}")
    return name, at
