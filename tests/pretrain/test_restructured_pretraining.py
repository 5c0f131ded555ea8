"""reStructured pre-training: mining, prompting, mixing, the shuffled control, and asking."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from labkit import language
from labkit.data import build, facts
from labkit.data.facts.pages import SECTIONS
from labkit.pretrain import restructured_pages as pages_
from labkit.pretrain import restructured_pretraining as rst
from labkit.pretrain.restructured_pretraining import (
    Pair,
    PromptForm,
    Signal,
    mix,
    shuffle_targets,
    signal_shares,
)
from labkit.pretrain.restructured_tasks import best_form, target_loss, zero_shot


@pytest.fixture
def restructure():
    """The function under test; a reader's own version runs through the same tests."""
    return rst.restructure


@pytest.fixture
def rng():
    return build.stream(0, "test")


def lines(key):
    """Tuples of a text and the value of its ``key: value`` line."""

    def extract(document):
        found = re.search(rf"^{key}: (\w+)$", document, re.M)
        return [{"text": document.split("\n")[0], key: found[1]}] if found else []

    return extract


STARS = Signal("rating", ("text", "stars"), lines("stars"))
TOPIC = Signal("topic", ("text", "topic"), lines("topic"))
FORMS = [
    PromptForm("rating", "{text} how many stars?", " {stars}", (" 1", " 5")),
    PromptForm("rating", "stars of: {text}", " {stars}"),
    PromptForm("topic", "{text} about?", " {topic}"),
    PromptForm("topic", "write on {topic}:", " {text}"),  # fields may change roles
]
PAGES = ["awful\nstars: 1", "great\nad\nstars: 5", "a song\ntopic: music", "nothing here"]


# Mining and prompting


def test_pairs_are_those_one_would_write_by_hand(restructure, rng):
    pairs = restructure(PAGES, [STARS, TOPIC], FORMS, rng=rng)
    assert pairs == [
        Pair("awful how many stars?", " 1", "rating"),
        Pair("stars of: awful", " 1", "rating"),
        Pair("great how many stars?", " 5", "rating"),
        Pair("stars of: great", " 5", "rating"),
        Pair("a song about?", " music", "topic"),
        Pair("write on music:", " a song", "topic"),
    ]


def test_the_cap_is_per_signal_and_keeps_what_there_is(restructure, rng):
    pages = PAGES * 20
    everything = Counter(restructure(pages, [STARS, TOPIC], FORMS, rng=rng))
    kept = restructure(pages, [STARS, TOPIC], FORMS, per_signal_cap=30, rng=rng)
    assert Counter(pair.signal for pair in kept) == {"rating": 30, "topic": 30}
    assert all(count <= everything[pair] for pair, count in Counter(kept).items())
    again = restructure(pages, [STARS, TOPIC], FORMS, per_signal_cap=30, rng=build.stream(1, "x"))
    assert Counter(again) != Counter(kept)


def test_signals_are_mined_from_pages_without_error(restructure, rng):
    def filed(page):
        body = max(page.split("\n"), key=len)
        marks = "|".join(re.escape(each).replace(r"\{t\}", r"(\w+)") for each in SECTIONS)
        for found in re.finditer(f"^(?:{marks})$", page, re.M):
            return [{"text": body, "topic": next(each for each in found.groups() if each)}]
        return []

    pages = facts.world(0).pages(60, junk=0.3, rng=rng)
    signal = Signal("topic", ("text", "topic"), filed)
    form = PromptForm("topic", "{text}", " {topic}", tuple(f" {each}" for each in facts.TOPICS))
    pairs = restructure([page.text for page in pages], [signal], [form], rng=rng)
    true = [Pair(page.body, f" {page.topic}", "topic") for page in pages if page.kind == "article"]
    assert pairs == true


# The control


def test_shuffling_keeps_all_but_who_belongs_to_whom(rng):
    pairs = [Pair(f"s{i}", f"t{i}", "ab"[i % 2]) for i in range(400)]
    out = shuffle_targets(pairs, rng=rng)
    assert [(pair.source, pair.signal) for pair in out] == [(pair.source, pair.signal) for pair in pairs]
    for signal in "ab":
        targets = [sorted(pair.target for pair in each if pair.signal == signal) for each in (pairs, out)]
        assert targets[0] == targets[1]
    assert sum(a == b for a, b in zip(pairs, out, strict=True)) < 12  # two fixed points are expected


# Mixing


def test_shares_follow_cap_and_temperature():
    pairs = [Pair("", "", "a")] * 1600 + [Pair("", "", "b")] * 100
    assert signal_shares(pairs) == {"a": 16 / 17, "b": 1 / 17}
    assert signal_shares(pairs, temperature=2)["a"] == pytest.approx(40 / 50)
    assert signal_shares(pairs, cap=100) == {"a": 0.5, "b": 0.5}
    assert signal_shares(pairs, temperature=1e9)["a"] == pytest.approx(0.5, abs=1e-6)


W = [f"w{a}{b}" for a in "abcde" for b in "klmnop"]  # words without digits, which would stand alone


@pytest.fixture(scope="module")
def tokens():
    texts = [" ".join(W), "yes no stars about how many ?"]
    return language.lexicon(sorted({word for text in texts for word in re.findall(r"\w+", text)}))


def test_rows_hold_whole_texts_and_whole_pairs(tokens, rng):
    texts = [f"{W[i]} {W[i + 1]} {W[i + 2]}" for i in range(10)]
    pairs = [Pair(f"{W[i]} how", f" {W[i + 3]}", "a") for i in range(10)]
    rows = mix(pairs, texts, tokens, rows=40, length=25, share=0.5, rng=rng)
    assert rows.tokens.shape == rows.mask.shape == (40, 25)
    of_pairs, seen = 0, Counter()
    ends = tokens.eos_token_id
    for row, mask in zip(rows.tokens, rows.mask, strict=True):
        row, mask = row[row != tokens.pad_token_id], mask[row != tokens.pad_token_id]
        assert row[-1] == ends
        items = tokens.decode(row).split(tokens.eos_token)[:-1]
        seen.update(items)
        if "how" in items[0]:
            of_pairs += 1
            assert set(items) <= {pair.source + pair.target for pair in pairs}
            counted = [tokens.decode(part) for part in row[mask].tolist()]
            assert counted == [part for item in items for part in (" " + item.split()[-1], tokens.eos_token)]
        else:
            assert mask.all() and set(items) <= set(texts)
    assert of_pairs == 20
    assert not rows.mask[rows.tokens == tokens.pad_token_id].any()
    counts = [seen[text] for text in texts]
    assert max(counts) - min(counts) <= 1  # each once before one comes again


def test_share_is_of_rows_and_zero_is_plain_pretraining(tokens, rng):
    texts = ["wal wam", "wan wao"]
    plain = mix([], texts, tokens, rows=10, length=9, share=0.0, rng=rng)
    assert (plain.mask == (plain.tokens != tokens.pad_token_id)).all()
    only = mix([Pair("wal", " wam", "a")], [], tokens, rows=10, length=9, share=1.0, rng=rng)
    assert only.mask.sum() == 2 * (only.tokens == tokens.eos_token_id).sum()


def test_signals_appear_as_often_as_their_shares(tokens, rng):
    pairs = [Pair("wal", " yes", "a")] * 50 + [Pair("wam", " no", "b")] * 5
    rows = mix(pairs, [], tokens, rows=400, length=12, share=1.0, cap=10, rng=rng)
    yes, no = (int((rows.tokens == tokens(f" {word}")["input_ids"][0]).sum()) for word in ("yes", "no"))
    expected = signal_shares(pairs, cap=10)["a"]
    assert abs(yes / (yes + no) - expected) < 4 * (0.25 / (yes + no)) ** 0.5


# Asking


class Fixed(nn.Module):
    """A model that finds the token after the last one the likeliest: wal is followed by wam."""

    def __init__(self, size):
        super().__init__()
        self.size, self.scale = size, nn.Parameter(torch.tensor(5.0))

    def forward(self, input_ids, **_):
        after = nn.functional.one_hot((input_ids + 1) % self.size, self.size)
        return type("Output", (), {"logits": self.scale * after.float()})()


def test_zero_shot_takes_the_likeliest_option(tokens):
    place = tokens(f" {W[10]}")["input_ids"][0]
    word, following, other = (tokens.decode([place + k]) for k in range(3))
    assert all(tokens(each)["input_ids"] == [place + k] for k, each in enumerate((word, following, other)))
    form = PromptForm("a", "wal{word}", "{right}", (following, other))
    model = Fixed(len(tokens))
    assert zero_shot(model, tokens, [{"word": word, "right": following}], form) == 100
    both = [{"word": word, "right": following}, {"word": word, "right": other}]
    assert zero_shot(model, tokens, both, form) == 50
    worse = PromptForm("a", "wal{word} wan", "{right}", (other, following))
    assert best_form(model, tokens, both[:1], [worse, form]) == form


def test_one_pass_and_full_likelihood_agree(tokens, rng):
    model = language.causal(tokens, width=16, layers=1, heads=2)
    options = (" yes", " no", " stars")
    examples = [{"x": f"{W[i]} {W[i + 1]}" * (1 + i % 2), "y": "yes"} for i in range(25)]
    form = PromptForm("a", "{x} how", " {y}", options)
    chosen = language.choose(model, tokens, [f"{each['x']} how" for each in examples], list(options))
    assert zero_shot(model, tokens, examples, form, batch_size=4) == 4 * int((chosen == 0).sum())
    longer = PromptForm("a", "{x} how", " {y}", (" yes", " no no"))
    assert 0 <= zero_shot(model, tokens, examples, longer) <= 100


def test_the_loss_on_targets_alone_is_the_same_loss(tokens, rng):
    pairs = [Pair(f"{W[i]} {W[i + 1]}", f" {W[i + 2]}", "a") for i in range(9)]
    rows = mix(pairs, [], tokens, rows=6, length=11, share=1.0, rng=rng)
    model = language.causal(tokens, width=16, layers=1, heads=2)
    labels = language.targets(model, rows.tokens, rows.mask)
    losses = [loss(model, rows.tokens, labels) for loss in (target_loss, language.next_token_loss)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for a, b in zip(*(torch.autograd.grad(each, list(model.parameters())) for each in losses), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_signals_of_pages_say_what_is_true(restructure, rng):
    here = facts.world(1, relations=[*pages_.RELATIONS, "kind_of", "costs"])
    found = here.pages(150, told=1, topics=pages_.TOPICS, junk=0.4, rng=rng)
    true = pages_.examples(found)
    for signal in pages_.SIGNALS:
        mined = {tuple(sorted(each.items())) for page in found for each in signal.tuples(page.text)}
        said = {tuple((k, each[k]) for k in sorted(signal.fields)) for each in true[signal.name]}
        assert said and said <= mined
        wrong = mined - said  # only where one city has two parts in somebody's life
        for each in map(dict, wrong):
            assert signal.name == "relation"
            lines = [fact for fact in here.about(each["subject"]) if fact.object == each["object"]]
            assert len(lines) == 2
    for form in (*pages_.FORMS, *pages_.CLOZE):
        assert all(form.fill(each)[1] in form.options for each in true[form.signal])
    for form in pages_.CLOZE:  # a page of some site goes on in just this way
        starts = [form.fill(each)[0].split("\n")[-1] for each in true[form.signal]]
        lines = [line for page in found for line in page.text.split("\n")]
        assert any(line.startswith(start) for start in starts for line in lines)


def test_restructured_signals_are_learnt(tokens, rng):
    """The whole way: a signal that only restructuring puts next to its text."""
    pages = [f"{W[i]} {W[(i * 7) % 20]}\ntopic: {'yes' if i < 10 else 'no'}" for i in range(20)]
    form = PromptForm("topic", "{text} about", " {topic}", (" yes", " no"))
    pairs = rst.restructure(pages, [TOPIC], [form], rng=rng)
    model = language.causal(tokens, width=16, layers=1, heads=2)
    rows = mix(pairs, [], tokens, rows=40 * 16, length=8, share=1.0, rng=rng)
    language.fit(model, rows.tokens, mask=rows.mask, steps=40, batch_size=16, lr=2e-2)
    examples = [each for page in pages for each in TOPIC.tuples(page)]
    assert zero_shot(model, tokens, examples, form) > 90


# Bad input

GOOD = [Pair("wal", " wam", "a")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, r: PromptForm("a", "", " {y}"), "needs a source"),
        (lambda t, r: PromptForm("a", "{x}", " y"), "a field in its target"),
        (lambda t, r: PromptForm("a", "{x}", " {z}").fill({"x": "1"}), "needs z, got x"),
        (lambda t, r: FORMS[0].fill({"text": "a", "stars": "3"}), "' 3' of 'rating' is none of its options"),
        (lambda t, r: Signal("a", ("x",), lambda d: [{"y": d}]).tuples("d"), "must extract x, got y"),
        (lambda t, r: rst.restructure(PAGES, [STARS], FORMS, rng=r), "a form is for 'topic'"),
        (lambda t, r: rst.restructure(PAGES, [STARS, TOPIC], FORMS[:2], rng=r), "'topic' has no form"),
        (lambda t, r: rst.restructure(PAGES[3:], [STARS], FORMS[:2], rng=r), "none of 1 documents"),
        (lambda t, r: signal_shares(GOOD, temperature=0), "temperature must be positive"),
        (lambda t, r: signal_shares(GOOD, cap=0), "cap 1 or more"),
        (lambda t, r: mix(GOOD, [], t, rows=2, length=9, share=2, rng=r), "share must lie"),
        (lambda t, r: mix(GOOD, [], t, rows=2, length=9, share=0.5, rng=r), "needs texts"),
        (lambda t, r: mix([], ["wal"], t, rows=2, length=9, share=0.5, rng=r), "needs pairs"),
        (lambda t, r: mix([], ["wal wam wan"], t, rows=2, length=3, share=0, rng=r), "4 tokens, length is 3"),
        (lambda t, r: zero_shot(None, t, [], FORMS[0]), "0 examples"),
        (lambda t, r: zero_shot(None, t, [{"text": "a"}], FORMS[1]), "options \\(\\)"),
        (lambda t, r: best_form(None, t, [], []), "a form to choose from"),
    ],
)
def test_bad_values_are_named(tokens, rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(tokens, rng)


def test_generator_decides_everything(tokens):
    def draw(seed):
        pairs = [Pair(f"{W[i]}", f" {W[i + 1]}", "a") for i in range(9)]
        rows = mix(pairs, ["wal wam"], tokens, rows=8, length=12, rng=np.random.default_rng(seed))
        return rows.tokens

    assert (draw(1) == draw(1)).all() and (draw(1) != draw(2)).any()
