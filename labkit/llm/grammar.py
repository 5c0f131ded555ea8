"""``oracle``: a role that speaks the grammars of ``facts`` and ``scenes``, with knobs for its faults.

It reads the prompt and nothing else, so that it cannot know more than the text it is given; what it gets
wrong, leaves out or says always the same way is a setting, and an experiment can turn it.
"""

from collections.abc import Sequence

from labkit.data import facts
from labkit.data.build import check_seed, real, stream
from labkit.data.facts import Fact
from labkit.data.facts.topics import NEIGHBOUR
from labkit.llm import captions, graph, prompts
from labkit.llm.completion import Completion, check_request
from labkit.llm.speaking import Typical, falsify, invent, language_of, names_in, topic, understood

__all__ = ["Oracle", "oracle"]


class Oracle:
    """See :func:`labkit.llm.oracle`."""

    name = "oracle"

    def __init__(
        self, seed: int, error: float, coverage: float, typicality: float, inverse: float, style: str
    ):
        self.seed, self.error, self.coverage = seed, error, coverage
        self.typicality, self.inverse, self.style = typicality, inverse, style

    def __repr__(self) -> str:
        knobs = f"error={self.error:g}, coverage={self.coverage:g}, typicality={self.typicality:g}"
        return f"oracle({self.seed}, {knobs}, inverse={self.inverse:g}, style={self.style!r})"

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """One completion per prompt. Words count as tokens; temperature changes nothing, the knobs do.

        Raises ValueError for a prompt that ``labkit.llm.prompts`` does not build, or a text of another
        kind than the oracle speaks.
        """
        asked, stop = check_request(prompts, max_tokens, temperature, stop, seed)
        return [self._complete(prompt, max_tokens, stop, seed) for prompt in asked]

    def _complete(self, prompt: str, max_tokens: int, stop: tuple[str, ...], seed: int) -> Completion:
        request = prompts.read(prompt)
        rng = stream(self.seed, "oracle", str(seed), prompt)
        text = getattr(self, f"_{request.instruction}")(rng, **request.fields)
        cuts = [text.find(each) for each in stop if each in text]
        text = text[: min(cuts)].strip() if cuts else text
        words = text.split(" ")
        finish = "length" if len(words) > max_tokens else "stop"
        text = " ".join(words[:max_tokens])
        return Completion(text, len(prompt.split()), len(text.split()), finish)

    # One method per instruction; its arguments are those of the builder.

    def _rewrite(self, rng, *, text: str, style: str) -> str:
        return self._retell(text, style, language_of(text), rng)

    def _translate(self, rng, *, text: str, language: str) -> str:
        return self._retell(text, self.style, language.lower(), rng)

    def _answer(self, rng, *, passages: list[str], question: str) -> str:
        asked = facts.read_question(question)
        known = [fact for passage in passages for fact in facts.read(passage)]
        if asked is None:
            understood(question)
            return prompts.UNKNOWN
        given, wanted = ("subject", "object") if asked.ask == "object" else ("object", "subject")
        found = [f for f in known if f.relation == asked.relation and getattr(f, given) == asked.given]
        if not found or rng.random() >= self.coverage:
            return prompts.UNKNOWN
        fact = falsify(found[0], known, rng, part=wanted) if rng.random() < self.error else found[0]
        return facts.question(fact, ask=asked.ask, language=language_of(question), rng=rng).answer

    def _entities(self, rng, *, text: str) -> str:
        names = [name for name in names_in(text) if rng.random() < self.coverage]
        names = [invent(name, names, rng) if rng.random() < self.error else name for name in names]
        return ", ".join(dict.fromkeys(names))

    def _relate(self, rng, *, text: str, names: list[str]) -> str:
        """What connects the names: facts on the shortest ways between them, else what is said of each."""
        known = facts.read_statements(text)
        years = {each.fact: each.year for each in known if each.year is not None}
        said = graph.connecting([each.fact for each in known], names)
        said = self._heard([said[i] for i in rng.permutation(len(said))], years, rng)
        if not said:
            return prompts.UNKNOWN
        return self._text(said, rng, language=language_of(text), inverse=0.5, years=years)

    def _judge(self, rng, *, text: str, statement: str) -> str:
        shown, claimed = captions.parse(text), captions.parse(statement)
        if shown is not None and claimed is not None:
            true = set(claimed.things) <= set(shown.things) and claimed.ground in ("", shown.ground)
        else:
            claims = facts.read(statement)
            if not claims:
                understood(statement)
            true = bool(claims) and set(claims) <= set(facts.read(text))
        wrong = rng.random() < self.error
        return "yes" if true != wrong else "no"

    def _write(self, rng, *, label: str, examples: list[str]) -> str:
        if label in facts.TOPICS:
            return self._message(rng, label)
        said = topic(label, examples, 3, rng, typicality=self.typicality)
        return self._text(said, rng)

    def _mix(self, rng, *, label_a: str, label_b: str, share: float, examples_a, examples_b) -> str:
        if label_a in facts.TOPICS and label_b in facts.TOPICS:
            return self._message(rng, label_a, other=label_b, share=share)
        count = min(3, max(1, round(4 * share)))  # of four sentences
        said = topic(label_a, examples_a, count, rng, typicality=self.typicality)
        said += topic(label_b, examples_b, 4 - count, rng, typicality=self.typicality)
        return self._text([said[i] for i in rng.permutation(len(said))], rng)

    def _message(self, rng, label: str, **mixture) -> str:
        """A text of a topic; by error, of the one that is easily confused with it."""
        label = NEIGHBOUR[label] if rng.random() < self.error else label
        if mixture.get("other") == label:
            mixture = {}
        # As usual as the labelled texts at 0; at 1 more of the topic's words, and the most frequent of them.
        usual = {"typicality": 0.4 + 0.4 * self.typicality, "power": 1 + self.typicality}
        return facts.message(label, **mixture, **usual, rng=rng)

    def _classify(self, rng, *, text: str, labels: list[str]) -> str:
        """The topic with the highest posterior among the labels; by error, another one of them."""
        unknown = [label for label in labels if label not in facts.TOPICS]
        if unknown:
            raise ValueError(f"the oracle tells topics apart ({', '.join(facts.TOPICS)}), not {unknown}")
        understood(text)
        chances = facts.posterior([text])[0]
        best = max(labels, key=lambda label: chances[facts.TOPICS.index(label)])
        if rng.random() < self.error:
            return [label for label in labels if label != best][rng.integers(len(labels) - 1)]
        return best

    def _caption(self, rng, *, text: str, style: str) -> str:
        scene = captions.parse(text)
        if scene is None:
            raise ValueError(f"the oracle rewrites captions of scenes only, got {text[:80]!r}")
        things = [thing for thing in scene.things if rng.random() < self.coverage] or [scene.things[0]]
        things = [captions.alter(thing, rng) if rng.random() < self.error else thing for thing in things]
        return captions.say(scene._replace(things=tuple(things)), style)

    def _describe(self, rng, *, label: str) -> str:
        return captions.say(captions.imagine(label, self.typicality, rng))

    def _retell(self, text: str, style: str, language: str, rng) -> str:
        known = facts.read_statements(text)
        if not known:
            understood(text)
        years = {each.fact: each.year for each in known if each.year is not None}
        said = self._heard([each.fact for each in known], years, rng)
        return self._text(said, rng, style=style, language=language, inverse=self.inverse, years=years)

    def _text(self, said: list[Fact], rng, **settings) -> str:
        return facts.document(said, **{"style": self.style} | settings, rng=Typical(self.typicality, rng))

    def _heard(self, said: list[Fact], years: dict[Fact, str], rng) -> list[Fact]:
        """The facts as this oracle passes them on: some left out, some changed."""
        kept = [fact for fact in said if rng.random() < self.coverage]
        passed = [falsify(fact, said, rng) if rng.random() < self.error else fact for fact in kept]
        years |= {new: years[old] for old, new in zip(kept, passed, strict=True) if old in years}
        return passed


def oracle(
    seed: int = 0,
    *,
    error: float = 0.0,
    coverage: float = 1.0,
    typicality: float = 0.0,
    inverse: float = 0.0,
    style: str = "plain",
) -> Oracle:
    """A role that follows every instruction of ``labkit.llm.prompts`` over ``facts`` and ``scenes``.

    seed: of all it draws, together with the seed of the request and the prompt.
    error: the share of facts whose object it replaces by another one of the same kind (of answers, names
    and labels it gets wrong; of yes and no it turns round); in [0, 1].
    coverage: the share of facts, names and answers that it passes on; in [0, 1]. An answer left out is
    "unknown".
    typicality: how often it takes the most usual wording, and content where it invents, instead of
    drawing one; in [0, 1].  It writes about the topics of labelled texts, relations and kinds of things,
    and for other labels what the examples are about.
    inverse: the share of sentences of a rewritten text that start from the object; explanations of how
    names are related have half of each.
    style: of texts for which the instruction names none.

    >>> from labkit.llm import prompts
    >>> text = "Nobur elected Balen. Balen lives in Dudal."
    >>> for wanted in (prompts.entities(text), prompts.answer("who is the mayor of Nobur?", [text])):
    ...     print(oracle().complete([wanted])[0].text)
    Nobur, Balen, Dudal
    Balen
    """
    if style not in facts.STYLES:
        raise ValueError(f"style must be one of {', '.join(facts.STYLES)}, got {style!r}")
    knobs = {"error": error, "coverage": coverage, "typicality": typicality, "inverse": inverse}
    return Oracle(check_seed(seed), style=style, **{k: real(k, v, 0, 1) for k, v in knobs.items()})
