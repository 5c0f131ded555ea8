import random

import pytest

from labkit.claims import Claim, records
from labkit.profiles import Profile

ENTRY = {
    "id": "resizemix",
    "role": "headline",
    "statement": "Resizing beats cropping.",
    "claimed_by": "paper",
    "kind": "better",
    "metric": "accuracy",
    "unit": "points",
    "higher_is_better": True,
    "baseline": "plain",
    "method": "new",
    "control": "placebo",
    "variants": ["plain", "new", "placebo"],
    "margin": 1.0,
    "margin_reason": "smaller ones vanish between seeds",
    "n": 12,
    "n_reason": "half-width of half a margin on design seeds",
    "attempt": 1,
    "tuned": [
        {"variant": "plain", "knobs": ["lr"], "trials": 4, "seeds": [0, 1]},
        {"variant": "new", "knobs": ["lr"], "trials": 4, "seeds": [0, 1]},
    ],
    "evidence": "synthetic data",
    "settings": {"size": 0.3},
}


def make_claim(**changes) -> Claim:
    """The claim above with some fields changed; None leaves a field out."""
    entry = {name: value for name, value in (ENTRY | changes).items() if value is not None}
    return Claim.from_entry(entry)


def experiment(seed, size=0.3):
    """The method gains three points, the placebo none."""
    noise = random.Random(seed)
    shared = noise.gauss(70, 5)
    means = {"plain": 0.0, "new": 3.0 * (size / 0.3), "placebo": 0.0}
    return {name: shared + mean + noise.gauss(0, 0.5) for name, mean in means.items()}


def P(profile="judge", seed=None) -> Profile:
    return Profile(profile, seed)


@pytest.fixture(autouse=True)
def no_committed_records(monkeypatch):
    """The records that the package ships say nothing about the claims of these tests."""
    commit(monkeypatch)


def commit(monkeypatch, *results):
    """Let these results be the committed records."""
    found = tuple({**result.record, "measured": result.volatile} for result in results)
    monkeypatch.setattr(records, "_committed", lambda: found)
