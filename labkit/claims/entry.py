"""A claim as it is registered: one ``[[claims]]`` table of a paper's TOML file, checked."""

import copy
import hashlib
import json
from dataclasses import dataclass, field

from labkit import statistics
from labkit.claims.judging import Question

__all__ = ["CLAIMED_BY", "EVIDENCE", "JUDGED_FIELDS", "ROLES", "SOURCES", "Claim"]

ROLES = ("headline", "mechanism", "study")
CLAIMED_BY = ("paper", "us")
EVIDENCE = ("exact", "bundled real data", "synthetic data", "by construction")
SOURCES = ("abstract", "code", "recalled")
MIN_SEEDS = 10
DESIGN_SEEDS = 1000  # seeds below are for design; the k-th attempt is judged on seeds from 1000 k up

_TEXT, _NUMBER = (str,), (int, float)
# Every field: the types it takes, and whether a testable claim must have it.
_FIELDS = {
    "id": (_TEXT, True),
    "role": (_TEXT, True),
    "statement": (_TEXT, True),
    "claimed_by": (_TEXT, True),
    "kind": (_TEXT, True),
    "metric": (_TEXT, True),
    "unit": (_TEXT, True),
    "higher_is_better": ((bool,), True),
    "baseline": (_TEXT, True),
    "variants": ((list, tuple), True),
    "margin": (_NUMBER, True),
    "margin_reason": (_TEXT, True),
    "n": ((int,), True),
    "n_reason": (_TEXT, True),
    "attempt": ((int,), True),
    "tuned": ((list, tuple), True),
    "evidence": (_TEXT, True),
    "method": (_TEXT, False),
    "methods": ((list, tuple), False),
    "control": (_TEXT, False),
    "sense": (_TEXT, False),
    "equivalence": ((bool,), False),
    "data": (_TEXT, False),
    "reported": ((dict,), False),
    "settings": ((dict,), False),
    "testable": ((bool,), False),
    "why_not_testable": (_TEXT, False),
}
_ALWAYS = ("id", "role", "statement", "claimed_by")
#: What a verdict hangs on: where one of these changes after judging, a new attempt is due.
JUDGED_FIELDS = ("kind", "sense", "equivalence", "metric", "higher_is_better", "baseline", "method")
JUDGED_FIELDS += ("methods", "control", "variants", "margin", "n", "settings")


@dataclass(frozen=True)
class Claim:
    """A registered claim; :func:`labkit.claim` finds it by its id.

    Its fields are those of its entry in the paper's TOML file:

    id, role: the paper's id for the "headline"; "<paper>/<name>" for a "mechanism" or "study".
    statement, claimed_by: what is claimed, by the "paper" or by "us".
    kind, sense, equivalence: how it is judged, see :func:`labkit.statistics.verdict`.
    metric, unit, higher_is_better: what the experiment returns, and which direction is better.
    variants: all names that the experiment returns.  baseline, control: two of them.
    methods: the variant under test (``method`` in the file), or several for "none wins".
    margin, margin_reason: the smallest difference that matters, and why.
    n, n_reason: the seeds, at least 10, fixed from the spread on design seeds.
    attempt: 1; one more each time that the test changes after it was judged.
    tuned: for each tuned variant {variant, knobs, trials, seeds}, on seeds below 1000.
    evidence: "exact", "bundled real data", "synthetic data" or "by construction".
    data: name of the bundled data.  reported: the paper's figure, {value, source}.
    settings: what the experiment gets as keyword arguments.
    testable, why_not_testable: false and the reason, where there is no fair test here; then only id,
    role, statement and claimed_by are needed.
    entry: the table as it stands.
    """

    id: str
    role: str
    statement: str
    claimed_by: str
    entry: dict = field(repr=False, hash=False)
    kind: str = ""
    sense: str = "better"
    equivalence: bool = False
    metric: str = ""
    unit: str = ""
    higher_is_better: bool = True
    baseline: str = ""
    methods: tuple[str, ...] = ()
    control: str | None = None
    variants: tuple[str, ...] = ()
    margin: float = 0.0
    margin_reason: str = ""
    n: int = 0
    n_reason: str = ""
    attempt: int = 1
    tuned: tuple[dict, ...] = field(default=(), hash=False)
    evidence: str = ""
    data: str = ""
    reported: dict | None = field(default=None, hash=False)
    settings: dict = field(default_factory=dict, hash=False)
    testable: bool = True
    why_not_testable: str = ""

    @classmethod
    def from_entry(cls, entry: dict) -> "Claim":
        """Check a ``[[claims]]`` table and make a claim of it.

        Raises ValueError or TypeError with the claim's id, the field, what it holds and what it takes.
        """
        _check(entry)
        known = {name: value for name, value in entry.items() if name not in ("method", "methods")}
        for name in ("variants", "tuned"):
            known[name] = tuple(entry.get(name, ()))
        methods = entry.get("methods", [entry["method"]] if "method" in entry else [])
        return cls(**known, methods=tuple(methods), entry=copy.deepcopy(entry))

    @property
    def paper(self) -> str:
        """The paper's id."""
        return self.id.partition("/")[0]

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of SHA-256 over the entry as sorted JSON."""
        text = json.dumps(self.entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def seeds(self) -> list[int]:
        """The seeds that this attempt is judged on: n of them from 1000 x attempt up."""
        return list(range(DESIGN_SEEDS * self.attempt, DESIGN_SEEDS * self.attempt + self.n))

    @property
    def question(self) -> Question:
        """What the claim asks of the values."""
        return Question(
            kind=self.kind,
            baseline=self.baseline,
            methods=self.methods,
            margin=self.margin,
            control=self.control,
            sense=self.sense,
            equivalence=self.equivalence,
            higher_is_better=self.higher_is_better,
            metric=self.metric,
            unit=self.unit,
            data=self.data if self.evidence == "bundled real data" else "",
        )

    def test(self, experiment, P, together: bool = False, **settings):
        """Run the experiment over the profile's seeds and judge: see :func:`labkit.claims.test`."""
        from labkit.claims.testing import test

        return test(self, experiment, P, together=together, **settings)

    def show(self):
        """Show, and record, a claim that can not be tested: see :func:`labkit.claims.show`."""
        from labkit.claims.testing import show

        return show(self)

    def __str__(self) -> str:
        from labkit.claims.words import card

        return "\n".join(f"{name + ':':<11} {text}" for name, text in card(self))

    def _repr_html_(self) -> str:
        from labkit.claims.words import card_html

        return card_html(self)


def _check(entry: dict) -> None:
    """Refuse an entry with a field missing, unknown, of a wrong type or out of range."""
    name = entry.get("id", "without an id")

    def demand(ok, field_name: str, takes: str):
        if not ok:
            raise ValueError(f"claim {name}: {field_name} = {entry.get(field_name)!r}, but it takes {takes}")

    for field_name, value in entry.items():
        if field_name not in _FIELDS:
            raise ValueError(f"claim {name}: unknown field {field_name!r}; known: {', '.join(_FIELDS)}")
        types = _FIELDS[field_name][0]
        # bool is a kind of int in Python, but `n = true` is no number
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(each.__name__ for each in types)
            raise TypeError(f"claim {name}: {field_name} must be {wanted}, got {value!r}")
    testable = entry.get("testable", True)
    needed = [key for key, (_, must) in _FIELDS.items() if must] if testable else _ALWAYS
    missing = [key for key in needed if key not in entry]
    if missing:
        raise ValueError(f"claim {name}: missing {', '.join(missing)}")

    paper, slash, rest = entry["id"].partition("/")
    demand(paper and bool(slash) == bool(rest), "id", "'<paper>' for the headline or '<paper>/<name>'")
    demand(entry["role"] in ROLES, "role", f"one of {', '.join(ROLES)}")
    demand(
        (entry["role"] == "headline") != bool(rest), "role", "'headline' exactly where the id is the paper's"
    )
    demand(entry["statement"].strip(), "statement", "a sentence")
    demand(entry["claimed_by"] in CLAIMED_BY, "claimed_by", f"one of {', '.join(CLAIMED_BY)}")
    reported = entry.get("reported")
    ok = reported is None or (set(reported) == {"value", "source"} and reported["source"] in SOURCES)
    demand(ok, "reported", f"{{value, source}} with a source from {', '.join(SOURCES)}")
    if "evidence" in entry:
        demand(entry["evidence"] in EVIDENCE, "evidence", f"one of {', '.join(EVIDENCE)}")
    if not testable:
        demand(entry.get("why_not_testable", "").strip(), "why_not_testable", "the reason, in a sentence")
        return
    demand("why_not_testable" not in entry, "why_not_testable", "nothing where the claim is testable")
    _check_test(entry, demand)


def _check_test(entry: dict, demand) -> None:
    """The fields that say what is compared, by how much, and how it was prepared."""
    kind, variants = entry["kind"], list(entry["variants"])
    demand(kind in statistics.KINDS, "kind", f"one of {', '.join(statistics.KINDS)}")
    if kind == "ratio":
        demand(
            entry.get("sense") in ("better", "as good as"), "sense", "'better' or 'as good as' for a ratio"
        )
    else:
        demand("sense" not in entry, "sense", "nothing for another kind than ratio")
    as_good = "as good as" in (kind, entry.get("sense"))
    demand(as_good or "equivalence" not in entry, "equivalence", "nothing but for 'as good as'")
    for name in ("metric", "margin_reason", "n_reason"):
        demand(entry[name].strip(), name, "some words")
    distinct = len(set(map(str, variants))) == len(variants) >= 2
    demand(distinct and all(isinstance(v, str) for v in variants), "variants", "two or more distinct names")
    if kind == "none wins":
        demand("method" not in entry and "control" not in entry, "kind", "'methods' but no method or control")
        demand(entry.get("methods"), "methods", "one or more of the variants")
    else:
        demand("methods" not in entry, "methods", "nothing but for 'none wins'")
        demand("method" in entry, "method", "the variant under test")
    methods = list(entry.get("methods", [entry.get("method")]))
    named = [entry["baseline"], *methods, *([entry["control"]] if "control" in entry else [])]
    demand(len(set(named)) == len(named), "baseline", "a variant that is neither method nor control")
    for name in named:
        demand(name in variants, "variants", f"all compared names, {name!r} too")
    low = 1 if kind == "ratio" else 0
    demand(low < entry["margin"] < float("inf"), "margin", f"a number above {low}")
    demand(entry["n"] >= MIN_SEEDS, "n", f"at least {MIN_SEEDS} seeds")
    demand(entry["n"] <= DESIGN_SEEDS, "n", f"at most {DESIGN_SEEDS} seeds")
    demand(entry["attempt"] >= 1, "attempt", "1 or more")
    if entry["evidence"] == "bundled real data":
        demand(entry.get("data", "").strip(), "data", "the name of the bundled data, which the sentence says")
    taken = {"seed", "seeds", "experiment", "P", "together"} & set(entry.get("settings", ()))
    demand(not taken, "settings", "other names than seed, seeds, experiment, P and together")
    _check_tuning(entry, methods, demand)


def _check_tuning(entry: dict, methods: list[str], demand) -> None:
    """Tuned on design seeds, and the baseline as much as the method."""
    trials = dict.fromkeys(entry["variants"], 0)
    for tuned in entry["tuned"]:
        ok = isinstance(tuned, dict) and set(tuned) == {"variant", "knobs", "trials", "seeds"}
        demand(ok, "tuned", "tables of variant, knobs, trials and seeds")
        demand(tuned["variant"] in trials, "tuned", f"variants {', '.join(trials)}")
        demand(isinstance(tuned["trials"], int) and tuned["trials"] >= 1, "tuned", "trials of 1 or more")
        seeds = tuned["seeds"]
        ok = isinstance(seeds, list | tuple) and seeds and all(isinstance(seed, int) for seed in seeds)
        demand(ok and max(seeds) < DESIGN_SEEDS, "tuned", f"design seeds, all below {DESIGN_SEEDS}")
        trials[tuned["variant"]] += tuned["trials"]
    # The side that the claim speaks against must not be the worse prepared one.
    if entry["kind"] == "none wins":
        fair = all(trials[method] >= trials[entry["baseline"]] for method in methods)
        demand(fair, "tuned", "as many trials for each method as for the baseline")
    else:
        fair = trials[entry["baseline"]] >= trials[methods[0]]
        demand(fair, "tuned", "as many trials for the baseline as for the method")
