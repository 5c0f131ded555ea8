"""EntiGraph: grounding, the groups it asks for, equal corpora, replay, continued pretraining, questions."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare

from labkit import language
from labkit.data import facts
from labkit.data.build import stream
from labkit.llm import Completion, oracle, prompts
from labkit.pretrain import entigraph
from labkit.pretrain.entigraph import (
    Choice,
    EntiGraph,
    Rephrase,
    ReplayMix,
    SynthText,
    closed_book_accuracy,
    continued_pretrain,
    corpus,
    extract_entities,
)
from labkit.seeding import generator

PLACE = facts.world(0, people=3, companies=2, cities=2, products=2, relations=("mayor", "led_by", "makes"))
DOCUMENT = facts.document(PLACE.facts, rng=stream(0, "document"))
NAMES = {name for fact in PLACE.facts for name in (fact.subject, fact.object)}


class Scripted:
    """A model that lists ``names``, answers all else with the request, and keeps the prompts."""

    name = "scripted"

    def __init__(self, names):
        self.names, self.asked, self.seeds = names, [], []

    def complete(self, prompts, *, max_tokens=128, temperature=0.0, stop=(), seed=0):
        self.asked += prompts
        self.seeds.append(seed)
        listed = [prompt.startswith("List the names") for prompt in prompts]
        replies = [
            ", ".join(self.names) if yes else p.split("\n")[0] for yes, p in zip(listed, prompts, strict=True)
        ]
        return [Completion(reply, 1, 1) for reply in replies]


@pytest.fixture
def method():
    """The class under test; replace it to test your own."""
    return entigraph.EntiGraph


@pytest.fixture(scope="module")
def words():
    return language.lexicon([*facts.WORDS, *NAMES], texts=[DOCUMENT] * 2)


def rng(seed=0):
    return np.random.default_rng(seed)


# Entities


def test_the_entities_are_the_names_in_the_document():
    assert set(extract_entities(DOCUMENT, oracle(0))) == NAMES


def test_a_name_that_the_document_does_not_hold_is_dropped():
    assert extract_entities("Balo met Ona.", Scripted(["Balo", "Tirix", "Ona", "Balo"])) == ["Balo", "Ona"]
    invented = extract_entities(DOCUMENT, oracle(0, error=0.5))
    assert invented and set(invented) < NAMES


# Relations


def test_every_pair_and_triple_is_asked_once_with_the_document_in_the_prompt(method):
    writer, names = Scripted(["Balo", "Ona", "Tir", "Ur"]), ["Balo", "Ona", "Tir", "Ur"]
    document = "Balo and Ona went from Tir to Ur."
    texts = method(writer, pairs="all", triples="all").synthesize(document, rng())
    groups = Counter(frozenset(each.entities) for each in texts)
    assert len(texts) == 6 + 4 and set(groups.values()) == {1}
    assert Counter(len(group) for group in groups) == {2: 6, 3: 4}
    assert set().union(*groups) == set(names)
    requests = [prompts.read(prompt) for prompt in writer.asked[1:]]
    assert all(r.instruction == "relate" and r.fields["text"] == document for r in requests)
    assert [tuple(r.fields["names"]) for r in requests] == [each.entities for each in texts]


def test_some_pairs_are_drawn_evenly_and_either_name_comes_first(method):
    document, names = "Balo, Ona, Tir, Ur.", ["Balo", "Ona", "Tir", "Ur"]
    drawn = [
        each.entities
        for seed in range(400)
        for each in method(Scripted(names), pairs=2).synthesize(document, rng(seed))
    ]
    counts = Counter(frozenset(pair) for pair in drawn)
    assert len(counts) == 6 and chisquare(list(counts.values())).pvalue > 0.01
    first = sum(pair == ("Balo", "Ona") for pair in drawn)
    assert binomtest(first, counts[frozenset({"Balo", "Ona"})]).pvalue > 0.01


def test_everything_it_writes_stands_in_the_document_and_both_sides_are_told(method):
    texts = method(oracle(0), triples=20).synthesize(DOCUMENT, rng())
    told = [fact for each in texts for fact in facts.read(each.text)]
    assert set(told) == set(PLACE.facts)
    forward = [
        each.text.index(f.subject) < each.text.index(f.object)
        for each in texts
        for f in facts.read(each.text)
        if len(facts.read(each.text)) == 1
    ]
    assert 0.3 < np.mean(forward) < 0.7


def test_the_writer_gets_new_seeds_and_the_same_rng_gives_the_same_texts(method):
    writer = Scripted(["Balo", "Ona"])
    draws = rng()
    for _ in range(3):
        method(writer).synthesize("Balo met Ona.", draws)
    assert len(set(writer.seeds)) == 6
    one, other = (method(oracle(0), triples=5).synthesize(DOCUMENT, rng(3)) for _ in range(2))
    assert one == other


def test_a_group_the_document_says_nothing_of_gives_no_text(method):
    class Silent(Scripted):
        def complete(self, prompts, **settings):
            return (
                [
                    reply if i % 2 else reply._replace(text="")
                    for i, reply in enumerate(super().complete(prompts, **settings))
                ]
                if len(prompts) > 1
                else super().complete(prompts, **settings)
            )

    assert len(method(Silent(["Balo", "Ona", "Tir"])).synthesize("Balo Ona Tir", rng())) == 1


# The baseline and corpora


def test_rephrasing_keeps_all_facts_in_their_order():
    texts = Rephrase(oracle(0)).synthesize(DOCUMENT, rng())
    assert len({each.text for each in texts}) == 3 and all(each.entities == () for each in texts)
    assert all(facts.read(each.text) == PLACE.facts for each in texts)


@pytest.mark.parametrize("make", [lambda: EntiGraph(oracle(0)), lambda: Rephrase(oracle(0), ["plain"])])
def test_a_corpus_is_as_long_as_asked_give_or_take_one_text(make, words):
    texts = corpus(make(), [DOCUMENT] * 2, tokens=2000, tokenizer=words, rng=rng())
    lengths = [len(words(each.text)["input_ids"]) for each in texts]
    assert 2000 <= sum(lengths) < 2000 + max(lengths)
    assert len({each.text for each in texts}) > 0.5 * len(texts)


# Replay and training


def test_each_block_is_replaced_with_the_replay_probability():
    blocks, replay = torch.arange(100)[:, None].repeat(1, 3), -1 - torch.arange(7)[:, None].repeat(1, 3)
    tokens = ReplayMix(blocks, replay, rate=0.2).draw(5000, generator=generator(0))[:, 0]
    replayed = tokens[tokens < 0]
    assert binomtest(len(replayed), 5000, 0.2).pvalue > 0.01
    assert chisquare(torch.bincount(-1 - replayed, minlength=7).numpy()).pvalue > 0.01


def test_without_replay_every_epoch_has_every_block_once_in_an_order_of_its_own():
    blocks = torch.arange(30)[:, None].repeat(1, 2)
    tokens = ReplayMix(blocks, blocks[:1], rate=0.0).draw(75, generator=generator(1))[:, 0]
    one, two, rest = tokens.split(30)
    assert sorted(one.tolist()) == sorted(two.tolist()) == list(range(30)) and len(set(rest.tolist())) == 15
    assert one.tolist() != two.tolist()


def test_the_replaced_block_differs_from_epoch_to_epoch():
    blocks = torch.arange(50)[:, None].repeat(1, 2)
    tokens = ReplayMix(blocks, torch.full((1, 2), -1), rate=0.3).draw(100, generator=generator(2))[:, 0]
    first, second = (set(range(50)) - set(part.tolist()) for part in tokens.split(50))
    assert first and second and first != second
    assert torch.equal(blocks[:, 0], torch.arange(50))  # the input stays


def test_continued_pretraining_learns_the_new_text_and_replay_keeps_the_old(words):
    old = language.pack(["Balo lives in Tir."] * 60, words, length=16)[:-1]
    new = language.pack([DOCUMENT] * 8, words, length=16)[:-1]
    started = language.causal(words, width=32, layers=1, context=16)
    language.fit(started, old, steps=60, batch_size=8, lr=1e-2)
    losses = {}
    for rate in (0.0, 0.4):
        model = language.causal(words, width=32, layers=1, context=16)
        model.load_state_dict(started.state_dict())
        fitted = continued_pretrain(model, new, old, steps=80, batch_size=8, lr=1e-2, rate=rate)
        assert fitted.losses[-10:].mean() < 0.7 * fitted.losses[:3].mean() or rate
        losses[rate] = [language.nats_per_token(fitted.model, part) for part in (old, new)]
    assert losses[0.4][0] < 0.5 * losses[0.0][0]
    assert losses[0.0][1] < language.nats_per_token(started, new)


def test_accuracy_counts_the_likeliest_options(words):
    model = language.causal(words, width=32, layers=1, context=16)
    lines = language.pack(["who leads? Balo."] * 40, words, length=8)[:-1]
    language.fit(model, lines, steps=60, batch_size=8, lr=1e-2)
    right = Choice("who leads?", (" Balo.", " Ona."), 0)
    assert closed_book_accuracy(model, words, [right, right._replace(answer=1), right, right]) == 75.0


# Bad input


@pytest.mark.parametrize(
    "call",
    [
        extract_entities,
        lambda d, w: EntiGraph(w).synthesize(d, rng()),
        lambda d, w: Rephrase(w).synthesize(d, rng()),
    ],
)
def test_an_empty_document_is_refused(call):
    with pytest.raises(ValueError, match="document must not be empty"):
        call(" \n", oracle(0))
    with pytest.raises(TypeError, match="document must be text, got 3"):
        call(3, oracle(0))


def test_one_entity_has_no_relation():
    with pytest.raises(ValueError, match="two entities or more"):
        EntiGraph(Scripted(["Balo"])).synthesize("Balo is here.", rng())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": 0}, "both 0"),
        ({"pairs": -1}, "pairs must"),
        ({"triples": -2}, "triples must"),
    ],
)
def test_bad_numbers_of_groups_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        EntiGraph(oracle(0), **settings)


@pytest.mark.parametrize("settings", [{"pairs": 4}, {"triples": 2}])
def test_more_groups_than_there_are_are_refused(settings):
    with pytest.raises(ValueError, match="asked for, 3 entities have"):
        EntiGraph(Scripted(["Balo", "Ona", "Tir"]), **settings).synthesize("Balo Ona Tir", rng())


@pytest.mark.parametrize("styles", [[], ["medium"]])
def test_unknown_styles_are_refused(styles):
    with pytest.raises(ValueError, match="styles must be some of plain"):
        Rephrase(oracle(0), styles)


class Mute:
    def synthesize(self, document, rng):
        return []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens must"),
        ({"documents": []}, "documents must"),
        ({"method": Mute()}, "wrote nothing"),
    ],
)
def test_a_corpus_of_nothing_is_refused(settings, message, words):
    given = {"method": EntiGraph(oracle(0)), "documents": [DOCUMENT], "tokens": 10} | settings
    with pytest.raises(ValueError, match=message):
        corpus(given["method"], given["documents"], tokens=given["tokens"], tokenizer=words, rng=rng())


@pytest.mark.parametrize(
    ("blocks", "replay", "rate", "message"),
    [
        ((4, 3), (2, 3), 1.0, "rate must"),
        ((4, 3), (2, 3), -0.1, "rate must"),
        ((4, 3), (2, 4), 0.1, "blocks and replay"),
        ((0, 3), (2, 3), 0.1, "blocks and replay"),
        ((4, 3), (0, 3), 0.1, "blocks and replay"),
    ],
)
def test_bad_replay_is_refused(blocks, replay, rate, message):
    with pytest.raises(ValueError, match=message):
        ReplayMix(torch.zeros(blocks, dtype=torch.long), torch.zeros(replay, dtype=torch.long), rate=rate)


def test_bad_draws_steps_and_questions_are_refused(words):
    blocks = torch.zeros(4, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="count must"):
        ReplayMix(blocks, blocks).draw(0)
    with pytest.raises(ValueError, match="steps must"):
        continued_pretrain(None, blocks, blocks, steps=0, lr=1e-3)
    for questions in ([], [Choice("who?", (" Balo",), 1)]):
        with pytest.raises(ValueError, match="questions must not be empty"):
            closed_book_accuracy(None, words, questions)


def test_a_text_without_entities_has_none():
    assert SynthText("x").entities == () and re.match("EntiGraph", repr(EntiGraph(oracle(0))))
