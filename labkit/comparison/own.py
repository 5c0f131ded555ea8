"""A comparison on one's own data, judged as a claim is, without registration."""

from collections.abc import Sequence

from labkit.claims.judging import Question, judge
from labkit.claims.result import Result
from labkit.claims.running import check_takes, run
from labkit.claims.testing import conclude
from labkit.statistics import KINDS

__all__ = ["check_question", "compare", "named", "seed_list"]


def compare(
    experiment,
    *,
    baseline: str,
    method: str | Sequence[str],
    metric: str,
    margin: float,
    seeds: int | Sequence[int],
    control: str | None = None,
    unit: str = "",
    higher_is_better: bool = True,
    kind: str = "better",
    sense: str = "better",
    equivalence: bool = False,
    together: bool = False,
) -> Result:
    """Judge method against baseline on your own data, as a claim is judged, without registration.

    experiment: a function of a seed that returns {variant: number} (see :func:`labkit.claims.test`).
    method: a variant, or several for kind "none wins".  control: the matched control, if there is one.
    margin: the smallest difference that matters to you, chosen before you look.  seeds: how many, or
    which.  kind, sense, equivalence: see :func:`labkit.statistics.verdict`.
    Raises ValueError or TypeError for a wrong argument and for a variant that is not returned, and
    ClaimError, after showing the others, where seeds failed.

    >>> def experiment(seed):
    ...     return {"plain": 70 + seed % 3, "new": 74 + seed % 2}
    >>> result = compare(experiment, baseline="plain", method="new", metric="accuracy", margin=1, seeds=12)
    ▲ supported
    Works here.
    accuracy: new against plain +3.5 [+2.86, +4.14]
    Margin 1; 12 seeds, 0 to 11; 95 % intervals of paired differences, above zero is better
    3 of 3 thirds of the seeds agree
    """
    methods = (method,) if isinstance(method, str) else tuple(method)
    question = Question(
        kind, baseline, methods, margin, control, sense, equivalence, higher_is_better, metric, unit
    )
    check_question(question)
    check_takes(experiment, {})
    seeds = seed_list(seeds, at_least=2)
    runs = run(experiment, seeds, needed=named(question), together=together, positive=question.ratio)
    finished = len(next(iter(runs.values.values()), ()))
    judgement = judge(question, runs.values) if finished >= 2 else None
    whole = finished == len(seeds)
    told = "Not judged: some seeds failed." if runs.failures else f"Not judged: {finished} seeds finished."
    result = Result(
        claim=None,
        question=question,
        values=runs.values,
        seeds=seeds,
        failures=runs.failures,
        verdict=judgement.verdict if whole else "not judged",
        reason_verdict=judgement.reason_verdict if whole else None,
        sentence=judgement.sentence if whole else told,
        judgement=judgement,
    )
    return conclude(result, runs)


def check_question(question: Question) -> None:
    if question.kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {question.kind!r}")
    if not question.methods or (len(question.methods) > 1 and question.kind != "none wins"):
        raise ValueError(f"method: kind {question.kind!r} takes one variant, got {question.methods}")
    if question.control is not None and question.kind == "none wins":
        raise ValueError(f"control: 'none wins' asks for no reason, got {question.control!r}")
    if question.sense not in ("better", "as good as"):
        raise ValueError(f"sense must be 'better' or 'as good as', got {question.sense!r}")
    low = 1 if question.ratio else 0
    if not low < question.margin < float("inf"):
        raise ValueError(f"margin must be above {low}, got {question.margin}")
    names = named(question)
    if len(set(names)) < len(names):
        raise ValueError(f"baseline, method and control must be different variants, got {names}")


def named(question: Question) -> tuple[str, ...]:
    return (question.baseline, *question.methods, *([question.control] if question.control else []))


def seed_list(seeds, at_least: int) -> list[int]:
    listed = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if len(listed) < at_least or len(set(listed)) < len(listed):
        raise ValueError(f"seeds must be at least {at_least}, all different, got {seeds!r}")
    return listed
