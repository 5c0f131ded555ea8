"""Testing a claim: which seeds, what a run may judge, and the record of it."""

import difflib
import json
import platform

from labkit.claims import records
from labkit.claims.entry import Claim
from labkit.claims.judging import Judgement, agrees, differences, judge
from labkit.claims.result import ClaimError, Result
from labkit.claims.running import Runs, check_takes, run

__all__ = ["conclude", "failed", "show", "test"]

SMOKE_SEEDS, BOOK_SEEDS = 2, 5


def test(claim: Claim, experiment, P, *, together: bool = False, **settings) -> Result:
    """Run the experiment over the seeds of the profile, judge, show, and leave the record in the cell.

    experiment: a function (seed, \\*\\*settings) -> {variant: number} that trains and measures all
    variants on one seed, and returns exactly the registered names. It gets the registered settings as
    keywords, overlaid with those given here. With ``together=True`` it gets the list of seeds and
    returns {variant: a sequence of numbers, one for each seed in their order}.
    P: the profile (`labkit.setup`), which fixes the seeds:

    - "smoke": 0 and 1. Judges nothing.
    - "book": 0 to 4. Says whether they agree with the committed record.
    - "judge" and "full": the claim's n seeds from 1000 x attempt up. Judges.
    - ``P.seed`` given: that seed alone. Judges nothing.

    Settings that differ from the registered ones run on design seeds, 0 to n - 1 at "judge" and
    "full", and judge nothing: the seeds that judge are not looked at on the way. A seed that raises or
    gives NaN or infinity is a failure with its name: the other seeds still run and are shown, then
    ClaimError is raised. When interrupted, what was finished is shown first.
    Raises ValueError for a claim that is not testable, an unknown setting, or other variants than
    the registered ones; TypeError where the experiment does not take the settings.
    """
    if not claim.testable:
        raise ValueError(f"claim {claim.id} is not testable here: {claim.why_not_testable} Use claim.show()")
    for name in settings:
        if name not in claim.settings:
            near = difflib.get_close_matches(name, claim.settings) or list(claim.settings) or ["none"]
            raise ValueError(f"claim {claim.id} registers no setting {name!r}; it has {', '.join(near)}")
    used = {name: _plain(settings.get(name, value)) for name, value in claim.settings.items()}
    try:
        json.dumps(used, allow_nan=False)
    except (TypeError, ValueError):
        raise TypeError(f"settings must be numbers, texts, or lists of them, got {used}") from None
    check_takes(experiment, used)

    seeds = _seeds(claim, P, registered=used == claim.settings)
    ratio = claim.question.ratio
    runs = run(experiment, seeds, variants=claim.variants, together=together, positive=ratio, settings=used)
    result = _result(claim, P, seeds, runs, used, records.source_of(experiment))
    return conclude(result, runs)


def conclude(result, runs: Runs):
    """Show a result, then raise what went wrong on the way to it, if anything did."""
    if runs.stopped is None or any(runs.values.values()):
        result.display()
    if runs.stopped is not None:
        raise runs.stopped
    if runs.failures:
        raise ClaimError(failed(runs)) from runs.error
    return result


def failed(runs: Runs) -> str:
    """Which seeds failed, and how."""
    count = len(runs.failures) + len(next(iter(runs.values.values()), ()))
    listed = "; ".join(f"seed {seed}: {problem}" for seed, problem in runs.failures.items())
    return f"{len(runs.failures)} of {count} seeds failed: {listed}"


def show(claim: Claim) -> Result:
    """Show a claim that can not be tested here, with the reason, and leave that in the cell as a record.

    Raises ValueError for a claim that can be tested: `Claim.test` shows it.
    """
    if claim.testable:
        raise ValueError(f"claim {claim.id} can be tested: use claim.test(experiment, P)")
    record = _stable(claim, "", []) | {
        "verdict": "not testable here",
        "sentence": f"Not testable here: {claim.why_not_testable}",
    }
    result = Result(
        claim=claim, question=None, values={}, seeds=[], failures={},
        verdict=record["verdict"], reason_verdict=None, sentence=record["sentence"], judgement=None,
        record=record, volatile={"entry": claim.entry},
    )  # fmt: skip
    result.display()
    return result


def _plain(value):
    """A setting as TOML would hold it, so that (0.1, 0.2) equals [0.1, 0.2]; arrays and tensors, too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _seeds(claim: Claim, P, registered: bool) -> list[int]:
    if P.seed is not None:
        return [P.seed]
    if P.profile in records.JUDGING:
        return claim.seeds if registered else list(range(claim.n))
    return list(range(SMOKE_SEEDS if P.profile == "smoke" else BOOK_SEEDS))


def _result(claim: Claim, P, seeds, runs: Runs, used: dict, source: str | None) -> Result:
    finished = len(next(iter(runs.values.values()), ()))
    judgement = judge(claim.question, runs.values) if finished >= 2 else None
    verdict, sentence = _verdict(claim, P, seeds, runs, used, source, judgement)
    judged = judgement is not None and verdict == judgement.verdict
    record = _stable(claim, P.profile, seeds) | {
        "failed_seeds": list(runs.failures),
        "verdict": verdict,
        "reason_verdict": judgement.reason_verdict if judged else None,
        "sentence": sentence,
    }
    return Result(
        claim=claim, question=claim.question, values=runs.values, seeds=seeds,
        failures=runs.failures, verdict=verdict, reason_verdict=record["reason_verdict"],
        sentence=sentence, judgement=judgement, record=record,
        volatile=_volatile(claim, runs, judgement, used, source),
    )  # fmt: skip


def _verdict(claim, P, seeds, runs, used, source, judgement: Judgement | None) -> tuple[str, str]:
    """The verdict's word and the sentence; why nothing is judged comes before any verdict."""
    finished = len(next(iter(runs.values.values()), ()))
    if isinstance(runs.stopped, KeyboardInterrupt):
        return _not_judged(f"interrupted after {finished} of {len(seeds)} seeds")
    if runs.failures:
        return _not_judged(f"{len(runs.failures)} of {len(seeds)} seeds failed")
    if runs.stopped is not None:
        return _not_judged("the experiment returned other variants")
    if used != claim.settings:
        changed = [f"{k} = {used[k]!r}, registered {v!r}" for k, v in claim.settings.items() if used[k] != v]
        return "not judged: settings differ", f"Not judged: settings differ ({'; '.join(changed)})."
    if P.seed is not None:
        return _not_judged("one seed")
    if P.profile == "smoke":
        return "not judged: smoke", "Not judged: a smoke run only shows that the code runs."
    if P.profile == "book":
        return _laid_over(claim, judgement)
    why = records.changed_since(claim, source, runs.values, P.profile)
    return _not_judged(why) if why else (judgement.verdict, judgement.sentence)


def _not_judged(why: str) -> tuple[str, str]:
    return f"not judged: {why}", f"Not judged: {why}."


def _laid_over(claim: Claim, judgement: Judgement) -> tuple[str, str]:
    """The small run of a reader against the committed record."""
    record = records.committed(claim.id)
    if record is None:
        return "not judged: no record yet", f"No record yet; {BOOK_SEEDS} seeds judge nothing."
    problems = records.check(record, claim)
    if problems:
        return _not_judged(f"the record is not of this entry ({problems[0]})")
    recorded = differences(claim.question, records.values_of(record), claim.baseline)
    fits = agrees(claim.question, recorded, judgement.differences, record["n"])
    told = (
        f"{BOOK_SEEDS} other seeds {'agree with' if fits else 'differ from'} the record: {record['sentence']}"
    )
    return "agrees" if fits else "differs", told + _other_data(record)


def _other_data(record: dict) -> str:
    """Which data sets are not those of the record, as a sentence; "" where none differs."""
    from labkit import data

    recorded = record["measured"]["data"]
    other = [name for name, content in data.loaded().items() if recorded.get(name, content) != content]
    return f" Not the record's data: {', '.join(other)}." if other else ""


def _stable(claim: Claim, profile: str, seeds: list[int]) -> dict:
    """What two runs on one machine have in common."""
    return {
        "version": 1,
        "paper": claim.paper,
        "claim": claim.id,
        "hash": claim.hash,
        "role": claim.role,
        "evidence": claim.evidence,
        "profile": profile,
        "variants": list(claim.variants),
        "n": claim.n,
        "attempt": claim.attempt,
        "seeds": list(seeds),
        "failed_seeds": [],
        "verdict": "",
        "reason_verdict": None,
        "sentence": "",
    }


def _volatile(claim: Claim, runs: Runs, judgement: Judgement | None, used: dict, source) -> dict:
    """What changes from run to run and from machine to machine, as JSON takes it."""
    found = judgement.differences if judgement else {}
    control = judgement.control_difference if judgement else None
    return {
        "entry": claim.entry,
        "settings": used,
        "values": {name: _texts(row) for name, row in runs.values.items()},
        "failures": _texts(runs.failures),
        "differences": {name: _numbers(difference) for name, difference in found.items()},
        "control_difference": _numbers(control) if control else None,
        "thirds": judgement.thirds if judgement else None,
        "seeds_to_decide": judgement.seeds_to_decide if judgement else None,
        "seconds": {"total": sum(runs.seconds.values()), "per_seed": _texts(runs.seconds)},
        "experiment": source,
        **_machine(),
    }


def _texts(row: dict) -> dict:
    return {str(seed): value for seed, value in row.items()}


def _numbers(difference) -> dict:
    return {name: getattr(difference, name) for name in ("mean", "low", "high", "spread")}


def _machine() -> dict:
    """Versions, device, and the content hashes of the data read in this process."""
    import numpy
    import torch

    import labkit
    from labkit import data, seeding

    device = seeding.device()
    on_gpu = device.type == "cuda"
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "labkit": labkit.__version__,
        },
        "device": {
            "type": device.type,
            "name": torch.cuda.get_device_name() if on_gpu else platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        },
        "data": dict(data.loaded()),
    }
