"""A result: values, verdict, record, and how it shows itself."""

import math
import sys
from dataclasses import dataclass, field

from labkit.claims import words
from labkit.claims.entry import Claim
from labkit.claims.judging import Difference, Judgement, Question
from labkit.claims.records import MIME

__all__ = ["ClaimError", "Displayed", "Result"]


class ClaimError(RuntimeError):
    """Some seeds failed; the message names them. What the others gave is shown before it is raised."""


class Displayed:
    """What shows itself as soon as it is made, once: a record must not depend on a cell's last line."""

    def _ipython_display_(self) -> None:
        # It was shown when it was made; as the value at the end of the same cell it is not shown again.
        if getattr(self, "_shown_in", None) != _cell():
            self.display()

    def display(self) -> None:
        """Show the result: in the cell's output, with its record, or as text in a terminal."""
        self._shown_in = _cell()
        if self._shown_in is None:
            print(self)
            return
        from IPython.display import publish_display_data

        data, metadata = self._repr_mimebundle_()
        publish_display_data(data=data, metadata=metadata)


@dataclass(repr=False)
class Result(Displayed):
    """What came of a test.

    claim: the registered claim, or None (`labkit.compare`).  values: {variant: {seed: value}}.
    verdict, reason_verdict, sentence: the answers (see `labkit.claims.judging`), or why nothing is
    judged.  judgement: the numbers behind them, or None where fewer than two seeds finished.
    failures: {seed: what went wrong}.  record: the stable fields.  volatile: what changes from run
    to run; both as they are stored in the notebook.
    """

    claim: Claim | None
    question: Question | None
    values: dict[str, dict[int, float]]
    seeds: list[int]
    failures: dict[int, str]
    verdict: str
    reason_verdict: str | None
    sentence: str
    judgement: Judgement | None
    record: dict | None = None
    volatile: dict = field(default_factory=dict, repr=False)

    @property
    def difference(self) -> Difference | None:
        """The (first) method against the baseline, in the claimed direction."""
        return next(iter(self.judgement.differences.values())) if self.judgement else None

    @property
    def control_difference(self) -> Difference | None:
        """The method against the control; None without one."""
        return self.judgement.control_difference if self.judgement else None

    @property
    def thirds(self) -> int | None:
        """How many thirds of the seeds agree with all of them together."""
        return self.judgement.thirds if self.judgement else None

    def __repr__(self) -> str:
        return words.result_text(self)

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"text/html": words.result_html(self, self._picture()), "text/plain": repr(self)}
        if self.record is None:
            return data, {}
        return {MIME: self.record, **data}, {MIME: self.volatile}

    def _picture(self) -> str:
        table = words.rows(self)
        if not table:
            return ""
        from labkit import show

        question, judgement = self.question, self.judgement
        intervals, control = None, None
        if judgement is not None:
            intervals = [_on_axis(question, d) for d in judgement.differences.values()]
            control = judgement.control_difference
        figure = show.verdict(
            {name: list(row.values()) for name, row in self.values.items()},
            baseline=question.baseline,
            method=list(question.methods),
            control=question.control,
            margin=math.log(question.margin) if question.ratio else question.margin,
            metric=question.metric,
            unit=question.unit,
            difference=intervals,
            control_difference=None if control is None else _on_axis(question, control),
            word=self.verdict.partition(":")[0],
            symbol=words.symbol(self.verdict),
            kind=question.kind,
            higher_is_better=question.higher_is_better,
        )
        alt = " ".join([f"{self.sentence} Points per seed and paired differences.", *words.numbers(self)])
        return show.figure(figure, alt=alt, numbers=table).html


def _on_axis(question: Question, difference: Difference) -> tuple[float, float, float]:
    """(mean, low, high) as the picture takes it: logarithms for a ratio."""
    return tuple(math.log(value) if question.ratio else value for value in difference[:3])


def _cell():
    """The number of the running cell, or None outside of IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return None if shell is None else shell.execution_count
