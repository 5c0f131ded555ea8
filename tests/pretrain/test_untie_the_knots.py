"""Untie the Knots: tying against the authors' code, its inverse, sampling, the mask; needles; rotary base."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from labkit import language
from labkit.language import long_context
from labkit.language.long_context import Needle, needle_suite, raise_rope_base, text_needles
from labkit.pretrain import untie_the_knots as module
from labkit.pretrain.untie_the_knots import (
    Backtrace,
    Tangled,
    interleave_round_robin,
    tie_windows,
    untie,
)

END, KNOTS = 0, (1, 2, 3, 4)
NAMES = Backtrace(5, 6, 7, 8, 9, alphabet=(90, 91, 92, 93), length=3)
WHOLE = 10_000  # longer than any tied window here


@pytest.fixture
def tie_knots():
    """The function under test; a reader's own version runs through the same tests."""
    return module.tie_knots


def rng(seed=0):
    return np.random.default_rng(seed)


def window(seed=0, length=60, ends=0.1):
    """Random tokens from 10 to 89 with document ends among them."""
    draws = rng(10_000 + seed)
    tokens = draws.integers(10, 90, length)
    tokens[draws.random(length) < ends] = END
    return tokens


def documents(tokens):
    parts = np.split(tokens, np.flatnonzero(tokens == END) + 1)
    return [part.tolist() for part in parts if len(part)]


# Against the authors' code: for one generator, cuts and order are those of its `denoise_text_multi_hop`.

PEER_WINDOW = [11, 12, 13, 14, 15, 16, 0, 21, 22, 23, 24, 25, 0, 31, 32, 33, 34, 35, 36]
PEER_SEED = 6
PEER = [
    ("random", False, [2, 0, 31, 1, 11, 12, 13, 14, 15, 16, 1, 21, 22, 1, 2, 32, 33, 34, 3]),
    ("random", True, [11, 12, 13, 14, 15, 16, 1, 31, 1, 2, 0, 21, 22, 1, 2, 32, 33, 34, 3]),
    ("equal", False, [2, 14, 15, 16, 0, 21, 22, 23, 1, 11, 12, 13, 1, 31, 32, 33, 1, 2, 24]),
    ("equal", True, [11, 12, 13, 1, 21, 22, 23, 1, 2, 14, 15, 16, 0, 31, 32, 33, 1, 2, 24]),
]
PEER_TURNS = [11, 12, 13, 14, 15, 16, 21, 22, 31, 0, 23, 24, 25, 0, 32, 33, 34, 35, 36]


@pytest.mark.parametrize(("cut", "keep_order", "expected"), PEER)
def test_the_same_draws_give_the_tokens_of_the_authors_code(tie_knots, cut, keep_order, expected):
    made = tie_knots(
        np.array(PEER_WINDOW),
        eod=END,
        knots=KNOTS,
        tied=0.7,
        chunks=(0.2, 0.3, 0.5),
        cut=cut,
        keep_order=keep_order,
        rng=rng(PEER_SEED),
    )
    assert made.tokens.tolist() == expected


def test_round_robin_is_the_interleaving_of_the_authors_code():
    chances = {"tied": 0.7, "chunks": (0.2, 0.3, 0.5), "rng": rng(PEER_SEED)}
    made = interleave_round_robin(np.array(PEER_WINDOW), eod=END, **chances)
    assert made.tokens.tolist() == PEER_TURNS


# What tying is


@pytest.mark.parametrize("backtrace", [None, NAMES])
@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_untying_gives_the_documents_back(tie_knots, backtrace, keep_order, shuffle):
    for seed in range(40):
        tokens = window(seed)
        made = tie_knots(
            tokens,
            eod=END,
            knots=KNOTS,
            tied=0.8,
            chunks=(0.2, 0.3, 0.5),
            backtrace=backtrace,
            keep_order=keep_order,
            shuffle=shuffle,
            length=WHOLE,
            rng=rng(seed),
        )
        assert [part.tolist() for part in untie(made)] == documents(tokens)
        inserted = made.provenance[:, 0] < 0
        reserved = set(KNOTS) | {*NAMES[:5], *NAMES.alphabet}
        assert set(made.tokens[inserted].tolist()) <= reserved
        assert len(made.tokens) == len(made.mask) == len(made.provenance)


def test_knots_stand_at_the_cuts_and_nowhere_else(tie_knots):
    """A chunk that goes on ends with its knot; the chunk after a cut begins with the pair's other one."""
    for seed in range(40):
        tokens = window(seed)
        made = tie_knots(
            tokens, eod=END, knots=KNOTS, tied=1, chunks=(0, 0.5, 0.5), length=WHOLE, rng=rng(seed)
        )
        chunks = {}
        for place, (part, chunk, _) in enumerate(made.provenance.tolist()):
            if part >= 0:
                chunks.setdefault((part, chunk), []).append(place)
        knots = 0
        for (part, chunk), places in chunks.items():
            assert places == list(range(places[0], places[-1] + 1))  # a chunk stays in one piece
            if (part, chunk + 1) in chunks:
                assert made.tokens[places[-1] + 1] == KNOTS[2 * chunk]
                knots += 1
            if chunk:
                assert made.tokens[places[0] - 1] == KNOTS[2 * chunk - 1]
                knots += 1
        assert knots == np.isin(made.tokens, KNOTS).sum()


def test_the_last_chunk_of_the_last_document_stays_last(tie_knots):
    for seed in range(60):
        tokens = window(seed)
        made = tie_knots(tokens, eod=END, knots=KNOTS, tied=1, chunks=(0, 0, 1), length=WHOLE, rng=rng(seed))
        assert made.tokens[-1] == tokens[-1]
        assert made.provenance[-1, 2] == len(documents(tokens)[-1]) - 1


def test_kept_order_means_that_chunks_never_run_backwards(tie_knots):
    backwards = 0
    for seed in range(40):
        for keep_order in (True, False):
            made = tie_knots(
                window(seed), eod=END, knots=KNOTS, tied=1, chunks=(0, 0, 1), keep_order=keep_order,
                length=WHOLE, rng=rng(seed),
            )  # fmt: skip
            own = made.provenance[made.provenance[:, 0] >= 0]
            falls = any((np.diff(own[own[:, 0] == part, 2]) < 0).any() for part in np.unique(own[:, 0]))
            assert not (keep_order and falls)
            backwards += falls
    assert backwards > 30


def test_in_place_has_the_cuts_of_the_tied_window(tie_knots):
    """The control differs from the method in the order of the chunks and in nothing else."""
    settings = {"eod": END, "knots": KNOTS, "tied": 0.6, "chunks": (0, 0.5, 0.5), "length": WHOLE}
    for seed in range(30):
        tied, placed = (
            tie_knots(window(seed), **settings, shuffle=shuffle, rng=rng(seed)) for shuffle in (True, False)
        )
        assert sorted(tied.tokens) == sorted(placed.tokens)
        assert sorted(map(tuple, tied.provenance)) == sorted(map(tuple, placed.provenance))
        own = placed.provenance[placed.provenance[:, 0] >= 0]
        assert (np.diff(own[:, 0]) >= 0).all()


def test_an_untied_window_in_place_is_the_window(tie_knots):
    tokens = window()
    made = tie_knots(tokens, eod=END, knots=KNOTS, tied=0, shuffle=False, rng=rng())
    assert np.array_equal(made.tokens, tokens) and made.mask.all()


def test_round_robin_takes_turns_and_loses_nothing():
    tokens = window(3)
    made = interleave_round_robin(tokens, eod=END, chunks=(0, 0, 1), rng=rng())
    assert sorted(made.tokens) == sorted(tokens) and made.mask.all()
    assert [part.tolist() for part in untie(made)] == documents(tokens)
    assert (np.diff(made.provenance[:, 1]) >= 0).all()


# Sampling


def cut_once(tie_knots, tokens, seed, **settings):
    return tie_knots(np.asarray(tokens), eod=END, knots=KNOTS, length=WHOLE, rng=rng(seed), **settings)


def test_windows_and_numbers_of_chunks_have_their_probabilities(tie_knots):
    """tied = 0.5, chunks (0.2, 0.3, 0.5): one chunk with 0.5 + 0.1, two with 0.15, three with 0.25."""
    counts = np.zeros(3)
    tokens = [*range(10, 20), END]
    for seed in range(2000):
        made = cut_once(tie_knots, tokens, seed, tied=0.5, chunks=(0.2, 0.3, 0.5))
        counts[made.provenance[:, 1].max()] += 1
    assert chisquare(counts, 2000 * np.array([0.6, 0.15, 0.25])).pvalue > 0.01


def test_the_coin_is_thrown_per_window_not_per_document(tie_knots):
    tokens = [10, 11, 12, END] * 6
    for seed in range(60):
        made = cut_once(tie_knots, tokens, seed, tied=0.5, chunks=(0, 1))
        own = made.provenance[made.provenance[:, 0] >= 0]
        cut = [own[own[:, 0] == part, 1].max() for part in range(6)]
        assert len(set(cut)) == 1


def test_random_cuts_are_uniform_over_all_pairs_of_places(tie_knots):
    tokens, seen = [*range(10, 14), END], {}
    for seed in range(3000):
        made = cut_once(tie_knots, tokens, seed, tied=1, chunks=(0, 0, 1))
        own = made.provenance[made.provenance[:, 0] >= 0]
        own = own[own[:, 2].argsort()]
        places = tuple(np.flatnonzero(np.diff(own[:, 1])) + 1)
        seen[places] = seen.get(places, 0) + 1
    assert sorted(seen) == [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    assert chisquare(list(seen.values())).pvalue > 0.01


def test_equal_cuts_are_equal_and_short_documents_stay_whole(tie_knots):
    made = cut_once(tie_knots, range(10, 20), 0, tied=1, chunks=(0, 0, 1), cut="equal", shuffle=False)
    own = made.provenance[made.provenance[:, 0] >= 0]
    assert np.bincount(own[:, 1]).tolist() == [3, 3, 4]
    short = cut_once(tie_knots, [10, END, 11, END], 0, tied=1, chunks=(0, 0, 1))
    assert short.provenance[:, 1].max() == 0


def test_the_shuffle_is_uniform_over_all_orders(tie_knots):
    """Three documents of one chunk, and the last: each of the six orders of the three is as likely."""
    tokens, seen = [10, END, 11, END, 12, END, 13], {}
    for seed in range(3000):
        order = tuple(cut_once(tie_knots, tokens, seed, tied=0).tokens[[0, 2, 4]])
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6 and chisquare(list(seen.values())).pvalue > 0.01


def test_where_the_first_of_many_pieces_lands_is_uniform(tie_knots):
    tokens = [10, END] * 40
    places = [
        np.flatnonzero(cut_once(tie_knots, tokens, seed, tied=0).provenance[:, 0] == 0)[0] / 78
        for seed in range(600)
    ]
    jitter = rng().random(600) / 39
    assert kstest(np.array(places) * 38 / 39 + jitter, "uniform").pvalue > 0.01


# Backtracing, and the mask


def backtraced(tie_knots, seed, **settings):
    settings = {"tied": 1, "chunks": (0, 0.5, 0.5), "length": WHOLE} | settings
    return tie_knots(window(seed), eod=END, knots=KNOTS, backtrace=NAMES, rng=rng(seed), **settings)


@pytest.mark.parametrize("keep_order", [False, True])
def test_the_list_names_a_documents_chunks_in_order_after_its_last_one(tie_knots, keep_order):
    for seed in range(30):
        made = backtraced(tie_knots, seed, keep_order=keep_order)
        tokens, origin = made.tokens.tolist(), made.provenance
        names, place = {}, 0
        for place, token in enumerate(tokens):
            if token == NAMES.open:
                assert tokens[place + 4] == NAMES.close
                follows = place + 5 + (tokens[place + 5] in KNOTS)
                names[tuple(origin[follows, :2])] = tuple(tokens[place + 1 : place + 4])
        many = {part for part, chunk in names if chunk > 0}
        assert len(set(names.values())) == len(names)  # all names differ
        assert {part for part, _ in names} == many  # a whole document has no name
        lists = 0
        for place, token in enumerate(tokens):
            if token == NAMES.start:
                before = origin[:place]
                part = before[before[:, 0] >= 0][-1, 0]
                assert (origin[place:, 0] != part).all()  # all of its chunks came before
                end = tokens.index(NAMES.end, place)
                said = tokens[place + 1 : end]
                kept = [said[i : i + 3] for i in range(0, len(said), 4)]
                assert [tuple(each) for each in kept] == [
                    names[key] for key in sorted(names) if key[0] == part
                ]
                assert all(said[i] == NAMES.between for i in range(3, len(said), 4))
                lists += 1
        assert lists == len(many)


def reference_mask(tokens):
    """The authors' rules, read as a loss over pairs of input and label; ours is by label."""
    inputs, labels = np.array(tokens[:-1]), np.array(tokens[1:])
    kept = ~np.isin(inputs, KNOTS) & ~np.isin(labels, KNOTS)
    inside = False
    for place, token in enumerate(inputs):
        inside = inside or token == NAMES.open
        kept[place] &= not inside
        inside = inside and token != NAMES.close
    return kept & (labels != NAMES.open) & (labels != NAMES.start) & (inputs != NAMES.end)


def test_the_mask_is_the_authors(tie_knots):
    for seed in range(40):
        for length in (60, WHOLE):  # the window's end may fall into a name
            made = backtraced(tie_knots, seed, length=length)
            assert np.array_equal(made.mask[1:], reference_mask(made.tokens.tolist()))


def test_a_tied_window_is_as_long_as_it_was(tie_knots):
    made = backtraced(tie_knots, 0, length=None)
    whole = backtraced(tie_knots, 0)
    assert len(made.tokens) == 60 < len(whole.tokens)
    for short, long in zip(made, whole, strict=True):
        assert np.array_equal(short, long[:60])


# Many windows


def test_a_windows_result_does_not_hang_on_the_others(tie_knots):
    rows = torch.from_numpy(np.stack([window(seed) for seed in range(5)]))
    tie = partial(tie_knots, eod=END, knots=KNOTS, tied=1)
    tokens, mask = tie_windows(rows, tie, seed=7)
    assert tokens.shape == mask.shape == (5, 60) and tokens.dtype == torch.int64 and mask.dtype == torch.bool
    first, _ = tie_windows(rows[:2], tie, seed=7)
    other, _ = tie_windows(rows, tie, seed=8)
    assert torch.equal(first, tokens[:2]) and not torch.equal(other, tokens)


# Needles


class Reader(torch.nn.Module):
    """A model that finds needles up to a distance: it repeats what followed the last token there."""

    def __init__(self, reach, size=64):
        super().__init__()
        self.weight, self.reach, self.size = torch.nn.Parameter(torch.zeros(1)), reach, size

    def forward(self, input_ids, use_cache=None):
        logits = torch.zeros(*input_ids.shape, self.size)
        for row, tokens in enumerate(input_ids.tolist()):
            for now in range(len(tokens)):
                for then in range(max(0, now - self.reach), now):
                    if tokens[then] == tokens[now]:
                        logits[row, now, tokens[then + 1]] = 1.0
        return type("Output", (), {"logits": logits})


def pairs(length, depth, draws):
    """Needle 60, value in hay of other tokens; asked for at the end."""
    hay = draws.permutation(40)[: length - 4]
    place, value = round(depth * (length - 4)), 40 + draws.integers(10)
    tokens = np.array([*hay[:place], 60, value, *hay[place:], 60, value])
    return Needle(tokens, 1, length - 1 - place)


def test_the_suite_finds_how_far_a_model_reaches():
    scores = needle_suite(Reader(reach=15), pairs, lengths=[20, 30], depths=[0, 0.5, 1], n=8, batch_size=3)
    assert [(each.length, each.depth) for each in scores] == [(l, d) for l in (20, 30) for d in (0, 0.5, 1)]
    for each in scores:
        assert each.accuracy == (100 if each.distance - 1 <= 15 else 0)


def test_every_model_gets_the_same_needles():
    seen = []

    def watching(length, depth, draws):
        seen.append(pairs(length, depth, draws).tokens.tolist())
        return pairs(length, depth, draws)

    for depths in ([0.2, 0.8], [0.8]):
        needle_suite(Reader(3), watching, lengths=[20], depths=depths, n=2, seed=3)
    assert seen[2:4] == seen[4:6]


@pytest.fixture(scope="module")
def words():
    texts = ["The cat sat on the mat. A dog ran away! The bird sang.", "It rained all day. We stayed home."]
    return texts, language.tokenizer(texts, size=300)


def test_needles_in_text_read_as_they_should(words):
    texts, tokenizer = words
    make = text_needles(tokenizer, texts, digits=4, names=["Rana"])
    for depth in (0, 0.5, 1):
        tokens, answer, distance = make(200, depth, rng(1))
        text = tokenizer.decode(tokens)
        number = tokenizer.decode(tokens[-answer:]).strip()
        assert len(tokens) == 200 and len(number) == 4 and number.isdigit()
        assert text.count(f"The special number of Rana is {number}") == 2
        assert text.endswith(f"What is the special number of Rana? The special number of Rana is {number}")
        before = tokenizer.decode(tokens[: 200 - answer - distance])
        assert before == "" or before.endswith((".", "!", "\n"))


@pytest.mark.parametrize("mixing", [True, False])
def test_the_suite_runs_on_any_causal_model(words, mixing):
    texts, tokenizer = words
    model = language.causal(tokenizer, width=16, layers=1, heads=2, mixing=mixing)
    make = text_needles(tokenizer, texts)
    scores = needle_suite(model, make, lengths=[260], depths=[0.1, 0.9], n=2)
    assert all(0 <= each.accuracy <= 100 for each in scores) and scores[0].distance > scores[1].distance


def test_few_logits_say_the_same_as_all(words):
    """The suite asks transformers for the last logits only."""
    texts, tokenizer = words
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    needles = [text_needles(tokenizer, texts)(200, depth, rng(1)) for depth in (0.1, 0.9)]
    tokens = torch.tensor(np.stack([each.tokens for each in needles]))
    with torch.no_grad():
        said = model(input_ids=tokens).logits.argmax(dim=2)
    tokens[:, -needles[0].answer :] = said[:, -needles[0].answer - 1 : -1]
    right = [each._replace(tokens=row.numpy()) for each, row in zip(needles, tokens, strict=True)]
    found = long_context._found(model, [right[0]])
    with torch.no_grad():
        again = model(input_ids=tokens[:1]).logits.argmax(dim=2)
    assert found == [bool((again[0, -needles[0].answer - 1 : -1] == tokens[0, -needles[0].answer :]).all())]


# The rotary base


@pytest.mark.parametrize("mixing", [True, False])
def test_a_larger_rotary_base_turns_positions_more_slowly(mixing):
    model = language.causal(50, width=16, layers=1, heads=2, mixing=mixing)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    longer = raise_rope_base(model, 5, context=999)
    assert torch.equal(state, torch.get_rng_state())
    base = model.config.rope_parameters["rope_theta"]
    assert longer.config.rope_parameters["rope_theta"] == 5 * base
    assert longer.config.max_position_embeddings == 999 and model.config.max_position_embeddings == 256
    for name, value in longer.state_dict().items():
        assert torch.equal(value, before[name])
    size = model.config.hidden_size // 2
    expected = (5 * base) ** (-torch.arange(0, size, 2) / size)
    assert torch.allclose(longer.model.rotary_emb.inv_freq, expected)
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        assert not torch.allclose(model(tokens).logits, longer(tokens).logits)
        assert torch.allclose(model(tokens[:, :1]).logits, longer(tokens[:, :1]).logits, atol=1e-6)


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knots": (1, 2)}, "knots: 3 chunks take 4"),
        ({"knots": (1, 2, 3, 3)}, "different tokens"),
        ({"knots": (1, 2, 3, END)}, "different tokens"),
        ({"knots": (1, 2, 3, 11)}, "must not contain reserved ones, got"),
        ({"tied": 1.2}, "tied must lie in"),
        ({"chunks": (0.5, 0.4)}, "sum to 1"),
        ({"chunks": (1.5, -0.5)}, "sum to 1"),
        ({"chunks": ()}, "sum to 1"),
        ({"cut": "even"}, "cut must be"),
        ({"backtrace": NAMES._replace(alphabet=(90,))}, "1 names, .* are needed"),
    ],
)
def test_bad_options_of_tying_are_named(tie_knots, options, message):
    tokens = np.array([11, 12, 13, END, 14, 15, 16])
    settings = {"eod": END, "knots": KNOTS, "tied": 1, "rng": rng()} | options
    with pytest.raises(ValueError, match=message):
        tie_knots(tokens, **settings)


@pytest.mark.parametrize("tokens", [np.zeros((2, 3), int), np.zeros(0, int), np.zeros(3)])
def test_a_window_is_a_row_of_whole_numbers(tie_knots, tokens):
    with pytest.raises(ValueError, match="tokens must be integers"):
        tie_knots(tokens, eod=END, knots=KNOTS, rng=rng())
    with pytest.raises(ValueError, match="tokens must be integers"):
        interleave_round_robin(tokens, eod=END, rng=rng())


def test_round_robin_names_bad_probabilities():
    with pytest.raises(ValueError, match="sum to 1"):
        interleave_round_robin(window(), eod=END, chunks=(0.5,), rng=rng())


def test_no_windows_are_an_error():
    with pytest.raises(ValueError, match="windows must not be empty"):
        tie_windows(np.zeros((0, 4), int), module.tie_knots, seed=0)


def test_nothing_to_untie_is_nothing():
    empty = np.zeros(0, int)
    assert untie(Tangled(empty, empty.astype(bool), np.zeros((0, 3), int))) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": [1.5]}, "depths must lie"),
        ({"n": 0}, "n and batch_size"),
        ({"batch_size": 0}, "n and batch_size"),
        ({"lengths": [21], "make": lambda l, d, r: pairs(20, d, r)}, "needles of 21 tokens, got"),
    ],
)
def test_bad_suites_are_named(options, message):
    settings = {"make": pairs, "lengths": [20], "depths": [0.5]} | options
    with pytest.raises(ValueError, match=message):
        needle_suite(Reader(3), settings.pop("make"), **settings)


def test_bad_text_needles_are_named(words):
    texts, tokenizer = words
    with pytest.raises(ValueError, match="at least one token"):
        text_needles(tokenizer, [])
    with pytest.raises(ValueError, match="digits must be"):
        text_needles(tokenizer, texts, digits=0)
    with pytest.raises(ValueError, match="tokens of 20"):
        text_needles(tokenizer, texts)(20, 0.5, rng())


def test_bad_rotary_bases_are_named():
    model = language.causal(50, width=16, layers=1, heads=2)
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        raise_rope_base(model, 0)
    with pytest.raises(ValueError, match="rotary positions of one base"):
        raise_rope_base(language.masked(50, width=16, layers=1, heads=2), 5)
