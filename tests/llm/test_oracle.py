"""The oracle: it passes on what the text says and nothing else, and its knobs do what they say."""

from itertools import pairwise

import numpy as np
import pytest

from labkit import data, llm
from labkit.data import facts
from labkit.data.build import stream
from labkit.data.facts.topics import NEIGHBOUR
from labkit.llm import captions, graph, prompts

WORLD = facts.world(7)
RNG = stream(7, "use")
ABOUT = [WORLD.about(name) for name in WORLD.entities]
GROUPS = [group for group in ABOUT if len(group) >= 2]
DOCUMENTS = [facts.document(group, style="web", rng=RNG) for group in GROUPS]


@pytest.fixture
def oracle():
    return llm.oracle


def say(role, prompt, **parameters) -> str:
    return role.complete([prompt], **{"max_tokens": 1000} | parameters)[0].text


@pytest.mark.parametrize("style", facts.STYLES)
def test_a_rewrite_says_the_same(oracle, style):
    for group, text in zip(GROUPS, DOCUMENTS, strict=True):
        assert facts.read(say(oracle(1), prompts.rewrite(text, style))) == group


@pytest.mark.parametrize("language", facts.LANGUAGES)
def test_a_translation_says_the_same_in_that_language_and_is_rewritten_in_it(oracle, language):
    everything = facts.document(WORLD.facts, language=language, rng=RNG)
    words = {word for word in everything.split() if word.islower()}
    for group, text in zip(GROUPS[:20], DOCUMENTS, strict=False):
        there = say(oracle(1), prompts.translate(text, language))
        again = say(oracle(2), prompts.rewrite(there, "plain"))
        assert facts.read(there) == facts.read(again) == group
        assert sum(word in words for word in again.split() if word.islower()) > 0


def test_years_stay(oracle):
    fact = facts.Fact(*next(fact for fact in WORLD.facts if fact.relation == "led_by"))
    text = facts.document([fact], years={fact: "1987"}, rng=RNG)
    [found] = facts.read_statements(say(oracle(), prompts.rewrite(text, "encyclopedia")))
    assert (found.fact, found.year) == (fact, "1987")


@pytest.mark.parametrize("ask", ["object", "subject"])
@pytest.mark.parametrize("language", facts.LANGUAGES)
def test_answers_come_from_whichever_passage_has_them(oracle, ask, language):
    asked = 0
    for place, fact in enumerate(WORLD.facts[::7]):
        if ask == "subject" and not facts.RELATIONS[fact.relation].one_subject:
            continue
        others = [text for text in DOCUMENTS if fact not in facts.read(text)][:7]
        passages = [*others[: place % 8], facts.say(fact, rng=RNG), *others[place % 8 :]]
        question = facts.question(fact, ask=ask, language=language, rng=RNG)
        assert say(oracle(), prompts.answer(question.text, passages)) == question.answer
        assert say(oracle(), prompts.answer(question.text, others)) == "unknown"
        asked += 1
    assert asked > 5


def test_judgements_and_names(oracle):
    for group, text, other in zip(GROUPS, DOCUMENTS, GROUPS[9:] + GROUPS[:9], strict=True):
        named = say(oracle(), prompts.entities(text)).split(", ")
        assert set(named) == {n for fact in group for n in (fact.subject, fact.object) if n in WORLD.entities}
        for fact in (group[0], other[-1]):
            said = say(oracle(), prompts.judge(text, facts.say(fact, style="simple", rng=RNG)))
            assert said == ("yes" if fact in group else "no")


def test_relations_use_the_text_alone_and_go_both_ways(oracle):
    turned = 0
    for group, text in zip(GROUPS, DOCUMENTS, strict=True):
        names = say(oracle(), prompts.entities(text)).split(", ")
        for a, b in pairwise(names):
            reply = say(oracle(3), prompts.relate(text, a, b))
            said = facts.read(reply)
            assert said and set(said) <= set(group) and len(said) == len(set(said))
            assert set(said) == set(graph.connecting(group, [a, b]))
            turned += reply.startswith(said[0].object)
    assert turned > 20


def test_the_shortest_way_against_a_peer(oracle):
    networkx = pytest.importorskip("networkx")
    peer = networkx.Graph((fact.subject, fact.object) for fact in WORLD.facts)
    names = list(WORLD.entities)
    for a, b in zip(names[::3], names[::-5], strict=False):
        way = graph.path(WORLD.facts, a, b)
        if way is None or a == b:
            assert a == b or a not in peer or b not in peer or not networkx.has_path(peer, a, b)
            continue
        assert len(way) == networkx.shortest_path_length(peer, a, b)
        ends = [{fact.subject, fact.object} for fact in way]
        assert a in ends[0] and b in ends[-1] and all(x & y for x, y in pairwise(ends))


def shares(role) -> tuple[float, float]:
    """(share of facts passed on as they were, share changed), over all rewritten documents."""
    passed = [facts.read(say(role, prompts.rewrite(text, "plain"))) for text in DOCUMENTS]
    total = sum(map(len, GROUPS))
    right = sum(fact in group for said, group in zip(passed, GROUPS, strict=True) for fact in said)
    return right / total, (sum(map(len, passed)) - right) / total


@pytest.mark.parametrize("knob", [0.0, 0.1, 0.4, 1.0])
def test_error_is_the_share_of_facts_falsified(oracle, knob):
    right, wrong = shares(oracle(5, error=knob))
    spread = 4 * np.sqrt(knob * (1 - knob) / sum(map(len, GROUPS)))
    # A wrong object may by chance make another true fact of the same document.
    assert right + wrong == pytest.approx(1) and knob - spread - 0.06 <= wrong <= knob + spread


@pytest.mark.parametrize("knob", [0.0, 0.3, 0.8, 1.0])
def test_coverage_is_the_share_of_facts_kept(oracle, knob):
    right, wrong = shares(oracle(5, coverage=knob))
    assert wrong == 0 and abs(right - knob) <= 4 * np.sqrt(knob * (1 - knob) / sum(map(len, GROUPS)))


def test_a_falsified_fact_keeps_its_kinds(oracle):
    for text, group in zip(DOCUMENTS, GROUPS, strict=True):
        for old, new in zip(
            group, facts.read(say(oracle(error=1), prompts.rewrite(text, "plain"))), strict=True
        ):
            assert new[:2] == old[:2] and new.object != old.object
            facts.say(new, rng=RNG)  # which refuses an object of another kind


@pytest.mark.parametrize(("knobs", "right"), [({"error": 1.0}, 0), ({"coverage": 0.0}, 0), ({}, 1)])
def test_the_knobs_also_reach_answers_and_judgements(oracle, knobs, right):
    for fact in WORLD.facts[::9]:
        text = facts.say(fact, rng=RNG)
        question = facts.question(fact, rng=RNG)
        assert (say(oracle(**knobs), prompts.answer(question.text, [text])) == question.answer) == right
    if "error" in knobs:
        assert say(oracle(**knobs), prompts.judge(text, text)) == "no"


def test_typicality_narrows_the_wording(oracle):
    fact = WORLD.facts[0]
    text = facts.say(fact, rng=RNG)

    def wordings(**knobs):
        return len({say(oracle(seed, **knobs), prompts.rewrite(text, "plain")) for seed in range(30)})

    assert wordings(typicality=1.0) == 1 < wordings(typicality=0.8) <= wordings() == 3


def test_inverse_turns_sentences_round(oracle):
    def first(**knobs):
        texts = [say(oracle(4, **knobs), prompts.rewrite(text, "terse")) for text in DOCUMENTS]
        return np.mean([text.startswith(group[0].subject) for text, group in zip(texts, GROUPS, strict=True)])

    assert first(inverse=1.0) < first(inverse=0.0)


def test_it_writes_mixes_and_tells_topics_apart(oracle):
    role = oracle(2)
    for one, other in NEIGHBOUR.items():
        pair = facts.TOPICS.index(one), facts.TOPICS.index(other)
        for typicality in (0.0, 1.0):
            writer = oracle(2, typicality=typicality)
            own = [writer.complete([prompts.write(one)], seed=seed)[0].text for seed in range(25)]
            both = [writer.complete([prompts.mix(one, other)], seed=seed)[0].text for seed in range(25)]
            chance = facts.posterior(own)[:, pair].mean(axis=0), facts.posterior(both)[:, pair].mean(axis=0)
            assert chance[0][0] > 0.5 and chance[0][0] > chance[1][0] > chance[0][1]
        best = facts.posterior(own).argmax(axis=1)
        said = [reply.text for reply in role.complete([prompts.classify(text, facts.TOPICS) for text in own])]
        assert said == [facts.TOPICS[i] for i in best]
        wrong = oracle(2, error=1.0).complete([prompts.classify(text, facts.TOPICS) for text in own])
        assert all(reply.text != right for reply, right in zip(wrong, said, strict=True))


@pytest.mark.parametrize("label", [*facts.KINDS, *facts.RELATIONS, "birthplace"])
def test_it_writes_about_what_the_world_has(oracle, label):
    for seed in range(5):
        said = facts.read(oracle(seed).complete([prompts.write(label)])[0].text)
        kinds = {facts.RELATIONS[fact.relation].subject_kind for fact in said}
        assert len(said) == 3 and (label not in facts.KINDS or kinds == {label})
        assert label not in facts.RELATIONS or {fact.relation for fact in said} == {label}
        one = [fact[:2] for fact in said if facts.RELATIONS[fact.relation].one_object]
        assert len(one) == len(set(one))  # nobody is born in two places


def test_it_writes_like_examples(oracle):
    examples = [facts.say(fact, rng=RNG) for fact in WORLD.facts if fact.relation == "costs"][:3]
    said = facts.read(say(oracle(), prompts.write("trade", examples=examples)))
    assert {fact.relation for fact in said} == {"costs"} and not set(said) & set(WORLD.facts)


@pytest.mark.parametrize("settings", [{}, {"names": "nouns"}, {"objects": 3, "object_size": 0.2}])
def test_captions_of_scenes_go_through_every_form_and_back(oracle, settings):
    looks = ("sketch", "night", "inverted", "pale", "outline", "checked", "striped", "flat")
    rows = data.load("scenes", size=60, test_size=2, style=looks, **settings)["train"]["caption"]
    for text in rows:
        scene = captions.parse(text)
        assert captions.say(scene) == text
        for form in captions.FORMS:
            there = say(oracle(), prompts.caption(text, form))
            known = (
                scene
                if form != "short"
                else scene._replace(things=tuple(t._replace(size="") for t in scene.things))
            )
            assert captions.parse(there) == known
            if form != "short":
                assert say(oracle(), prompts.caption(there, "caption")) == text
        changed = captions.parse(say(oracle(error=1), prompts.caption(text, "caption")))
        assert all(a != b for a, b in zip(changed.things, scene.things, strict=True))
        assert say(oracle(), prompts.judge(text, text)) == "yes"
        assert say(oracle(), prompts.judge(text, captions.say(changed))) == "no"


def test_it_describes_what_is_asked_for(oracle):
    seen = {say(oracle(seed), prompts.describe("a red star and a circle")) for seed in range(30)}
    for text in seen:
        star, circle = captions.parse(text).things
        assert (star.color, star.noun, circle.noun) == ("red", "star", "circle")
    assert len(seen) > 25


def test_replies_hang_on_prompt_parameters_and_seeds_only(oracle):
    asked = [prompts.rewrite(text, "web") for text in DOCUMENTS[:8]]
    replies = oracle(3).complete(asked)
    assert oracle(3).complete(asked[::-1])[::-1] == replies
    assert [oracle(3).complete([prompt])[0] for prompt in asked] == replies
    assert oracle(4).complete(asked) != replies and oracle(3).complete(asked, seed=1) != replies


def test_limits_cut_the_reply(oracle):
    prompt = prompts.rewrite(DOCUMENTS[0], "plain")
    whole = oracle().complete([prompt], max_tokens=1000)[0]
    cut = oracle().complete([prompt], max_tokens=5)[0]
    assert (whole.finish, cut.finish, cut.tokens_out) == ("stop", "length", 5)
    assert whole.text.startswith(cut.text)
    assert say(oracle(), prompt, stop=["."]) == whole.text.split(".")[0]


BAD = [
    (lambda o: o(error=1.5), ValueError, "error must lie in"),
    (lambda o: o(coverage="all"), TypeError, "coverage must be"),
    (lambda o: o(typicality=-1), ValueError, "typicality"),
    (lambda o: o(inverse=2), ValueError, "inverse"),
    (lambda o: o(style="loud"), ValueError, "style must be one of"),
    (lambda o: o(-1), ValueError, "seed"),
    (lambda o: say(o(), "Tell me a joke."), ValueError, "is none that labkit"),
    (
        lambda o: say(o(), prompts.rewrite("The quick brown fox jumps.", "web")),
        ValueError,
        "does not understand",
    ),
    (
        lambda o: say(o(), prompts.answer("How do foxes jump?", DOCUMENTS[:1])),
        ValueError,
        "does not understand",
    ),
    (lambda o: say(o(), prompts.write("philosophy")), ValueError, "without examples"),
    (lambda o: say(o(), prompts.caption("a nice day out", "tags")), ValueError, "captions of scenes"),
    (lambda o: say(o(), prompts.describe("nice weather")), ValueError, "describes shapes"),
    (lambda o: say(o(), prompts.classify("song day.", ["music", "x"])), ValueError, "tells topics apart"),
    (lambda o: say(o(), prompts.translate(DOCUMENTS[0], "klingon")), ValueError, "language"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(oracle, call, error, message):
    with pytest.raises(error, match=message):
        call(oracle)
