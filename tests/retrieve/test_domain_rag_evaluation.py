"""Token scores against sets and against Chroma's code as it was read; chunks; questions that are checked."""

import itertools
import json
import math

import numpy as np
import pytest

from labkit.llm import LLM, Completion
from labkit.retrieve import domain_rag_evaluation as module
from labkit.retrieve import span_chunks, span_questions
from labkit.retrieve.domain_rag_evaluation import chunk_sweep, cut_to_budget, evaluate
from labkit.retrieve.span_chunks import chunk_texts, fixed_chunks, sentence_chunks, tokens_of
from labkit.retrieve.span_questions import KeywordWriter, generate, instruction, locate, read


@pytest.fixture
def token_scores():
    return module.token_scores


@pytest.fixture
def precision_omega():
    return module.precision_omega


@pytest.fixture
def semantic_chunks():
    return span_chunks.semantic_chunks


def spans(rng, count, longest=9, limit=40):
    starts = rng.integers(0, limit - longest, count)
    return [(int(a), int(a + rng.integers(1, longest + 1))) for a in starts]


def apart(rng, count):
    """Spans with at least one token between them."""
    places = np.sort(rng.permutation(np.arange(0, 60, 2))[: 2 * count]).tolist()
    return list(zip(places[::2], places[1::2], strict=True))


def places(some):
    return {i for a, b in some for i in range(a, b)}


# Metrics


@pytest.mark.parametrize("seed", range(40))
def test_scores_are_those_of_sets(token_scores, seed):
    rng = np.random.default_rng(seed)
    needed, found = spans(rng, 1 + seed % 3), spans(rng, seed % 6)
    r, t = places(needed), places(found)
    wanted = (len(r & t) / len(r), len(r & t) / max(1, len(t)), len(r & t) / len(r | t))
    assert token_scores(needed, found) == pytest.approx(wanted)


def chroma(references, retrieved):
    """``_scores_from_dataset_and_retrievals`` of chunking_evaluation, its arithmetic on one question.

    Written anew from the published definitions: intersections are put together, what no chunk holds is left
    over, and the sizes of retrieved chunks are summed.
    """
    found, unused = set(), places(references)
    for (a, b), (c, d) in itertools.product(retrieved, references):
        both = range(max(a, c), min(b, d))
        found |= set(both)
        unused -= set(both)
    brought = sum(b - a for a, b in retrieved)
    return (
        len(found) / sum(b - a for a, b in references),
        len(found) / brought,
        len(found) / (brought + len(unused)),
    )


@pytest.mark.parametrize("seed", range(40))
def test_mode_sum_is_chromas(token_scores, seed):
    rng = np.random.default_rng(seed)
    needed, found = apart(rng, 1 + seed % 4), spans(rng, 1 + seed % 5)
    assert token_scores(needed, found, overlap="sum") == pytest.approx(chroma(needed, found))


def test_the_two_modes_differ_where_chunks_overlap_and_nowhere_else(token_scores):
    needed, once, twice = [(2, 6)], [(0, 4), (4, 8)], [(0, 6), (4, 8)]
    assert token_scores(needed, once) == token_scores(needed, once, overlap="sum")
    assert token_scores(needed, twice).precision == 4 / 8
    assert token_scores(needed, twice, overlap="sum").precision == 4 / 10


@pytest.mark.parametrize("seed", range(20))
def test_with_equally_much_text_the_three_scores_say_the_same(token_scores, seed):
    """At a fixed budget there is no trade-off: whoever finds more evidence is ahead in all three."""
    rng = np.random.default_rng(seed)
    needed = apart(rng, 3)
    ways = [cut_to_budget(fixed_chunks(60, size)[rng.integers(0, 2) :], 20) for size in (3, 5, 10, 20)]
    scores = np.array([token_scores(needed, way) for way in ways])
    ranks = [np.unique(column, return_inverse=True)[1].tolist() for column in scores.T]
    assert ranks[0] == ranks[1] == ranks[2]


@pytest.mark.parametrize("seed", range(30))
def test_precision_omega_bounds_the_precision_at_full_recall(precision_omega, token_scores, seed):
    rng = np.random.default_rng(seed)
    needed, chunks = apart(rng, 2), fixed_chunks(60, 1 + seed % 7)
    touched = [each for each in chunks if places([each]) & places(needed)]
    value = precision_omega(needed, chunks)
    assert value == pytest.approx(len(places(needed)) / len(places(touched)))
    best = 0.0
    for extra in itertools.combinations([c for c in chunks if c not in touched], 1):
        scores = token_scores(needed, touched + list(extra))
        assert scores.recall == 1
        best = max(best, scores.precision)
    assert best < value == token_scores(needed, touched).precision


def test_a_chunk_that_only_touches_a_reference_does_not_count(precision_omega):
    """Chroma's code lets the empty intersection of neighbours count."""
    assert precision_omega([(4, 8)], [(0, 4), (4, 8), (8, 12)]) == 1.0


def test_one_token_chunks_have_a_precision_omega_of_one(precision_omega):
    assert precision_omega([(3, 9), (20, 22)], fixed_chunks(40, 1)) == 1.0


@pytest.mark.parametrize("budget", range(1, 30))
def test_a_budget_is_used_up_and_never_passed(budget):
    kept = cut_to_budget([(10, 20), (0, 7), (30, 45)], budget)
    assert sum(b - a for a, b in kept) == budget
    assert all(old[0] == new[0] for old, new in zip([(10, 20), (0, 7), (30, 45)], kept, strict=False))


def test_evaluate_takes_chunks_in_order():
    chunks, ranking = fixed_chunks(20, 5), np.array([[2, 0, 1, 3], [3, 2, 1, 0]])
    references = [[(0, 5)], [(0, 2), (15, 17)]]
    assert evaluate(references, chunks, ranking, k=1).recall.tolist() == [0, 0.5]
    assert evaluate(references, chunks, ranking, k=4).recall.tolist() == [1, 1]
    assert evaluate(references, chunks, ranking, budget=7).recall.tolist() == [0.4, 0.5]
    assert evaluate(references, chunks, ranking, k=4).mean().precision == pytest.approx((5 + 4) / 40)


def test_sweep_against_single_steps():
    text = "alpha beta gamma. delta epsilon zeta. eta theta iota. kappa lambda mu."
    asked = [span_questions.SpanQA("delta zeta", [(4, 7)]), span_questions.SpanQA("mu", [(14, 15)])]

    def words(passages):
        def search(queries, k):
            hits = [[sum(w in p for w in q.split()) for p in passages] for q in queries]
            return np.argsort(-np.array(hits), axis=1, kind="stable")[:, :k]

        return search

    cuts = {"four": fixed_chunks(16, 4), "eight": fixed_chunks(16, 8)}
    rows = chunk_sweep(text, asked, cuts, {"words": words}, k=1)
    assert [row["chunks"] for row in rows] == ["four", "eight"]
    assert [row["recall"] for row in rows] == [1, 1]
    assert rows[0]["precision"] == pytest.approx((3 / 4 + 1 / 4) / 2) == rows[0]["omega"]
    assert rows[1]["iou"] == pytest.approx((3 / 8 + 1 / 8) / 2)


# Chunks


@pytest.mark.parametrize(("size", "overlap"), [(1, 0), (4, 0), (4, 1), (5, 3), (30, 2)])
@pytest.mark.parametrize("count", [1, 4, 7, 20])
def test_fixed_chunks_cover_all_and_repeat_what_they_are_told_to(count, size, overlap):
    made = fixed_chunks(count, size, overlap)
    assert places(made) == set(range(count))
    for one, other in itertools.pairwise(made):
        assert one[1] - other[0] == overlap and other[1] > one[1]


TEXT = "Sort a list: use sorted. It takes a key!\n\n  - reverse: from last to first\n  - key; a function. End"


@pytest.mark.parametrize("size", [None, 1, 4, 6, 50])
def test_sentences_cover_the_text_in_order(size):
    made = sentence_chunks(TEXT, size=size)
    assert list(itertools.chain(*(range(a, b) for a, b in made))) == list(range(len(tokens_of(TEXT))))
    assert size is None or max(b - a for a, b in made) <= size
    if size is None:
        assert chunk_texts(TEXT, made)[:3] == ["Sort a list:", "use sorted.", "It takes a key!"]


def worth(cut, pieces, vectors, mean):
    return sum(
        float(vectors[i] @ vectors[j]) - mean for a, b in cut for i in range(a, b) for j in range(i + 1, b)
    )


@pytest.mark.parametrize("seed", range(12))
def test_semantic_chunks_are_the_best_of_all(semantic_chunks, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, 7)
    ends = lengths.cumsum().tolist()
    pieces = list(zip([0, *ends[:-1]], ends, strict=True))
    vectors = rng.normal(size=(7, 3))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = float((unit[1:] * unit[:-1]).sum(axis=1).mean())
    size, values = int(rng.integers(5, 14)), {}
    for inner in itertools.product([False, True], repeat=6):
        marks = [0, *(i + 1 for i in range(6) if inner[i]), 7]
        cut = list(itertools.pairwise(marks))
        if all(b - a == 1 or pieces[b - 1][1] - pieces[a][0] <= size for a, b in cut):
            values[tuple((pieces[a][0], pieces[b - 1][1]) for a, b in cut)] = worth(cut, pieces, unit, mean)
    made = tuple(semantic_chunks(pieces, vectors, size=size))
    assert values[made] == pytest.approx(max(values.values()))


# Questions


class Scripted:
    """A model that gives the same replies whatever it is asked."""

    name = "scripted"

    def __init__(self, *replies):
        self.replies = replies

    def complete(self, prompts, *, max_tokens=1, temperature=0.0, stop=(), seed=0):
        return [Completion(reply, 0, 0) for reply in self.replies]


def reply(question, *excerpts):
    return json.dumps({"question": question, "excerpts": excerpts})


SOURCE = "The cat sleeps on the mat. The dog barks at night. The cat eats fish."


def made(*replies, **settings):
    settings = {"window": len(tokens_of(SOURCE)), "least": 0.0} | settings
    return generate(Scripted(*replies), SOURCE, len(replies), **settings)


def test_the_scripted_model_is_a_role():
    assert isinstance(Scripted(), LLM) and isinstance(KeywordWriter("some words here"), LLM)


def test_evidence_may_be_apart_and_comes_in_order():
    found = made(reply("what does the cat do", "The cat eats fish.", "cat sleeps"))
    assert found.kept[0].references == [(1, 3), (13, 18)]
    assert chunk_texts(SOURCE, found.kept[0].references) == ["cat sleeps", "The cat eats fish."]
    assert not any(found.left_out.values())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["I cannot do that."], "no question"),
        (['{"question": "Who?"}'], "no question"),
        (['{"question": "", "excerpts": ["The dog"]}'], "no question"),
        (['{"question": "Who?", "excerpts": [3]}'], "no question"),
        ([reply("who")], "number of excerpts"),
        ([reply("who", "cat", "dog", "fish", "mat")], "number of excerpts"),
        ([reply("who", "The dog barks by night.")], "not verbatim"),
        ([reply("who", "The cat")], "not verbatim"),  # twice there: its place is not known
        ([reply("who", "dog barks", "barks at")], "overlapping"),
        ([reply("the dog barks", "dog barks"), reply("barks the dog", "barks at night")], "duplicate"),
        ([reply("where is the mat", "The dog barks")], "unlike"),
    ],
)
def test_what_is_left_out_and_why(said, reason):
    found = made(*said, least=0.6 if reason == "unlike" else 0.0)
    assert found.left_out[reason] == 1 and sum(found.left_out.values()) == 1
    assert len(found.kept) == len(said) - 1


def test_white_space_may_differ_and_half_words_do_not_count():
    assert locate("one  two\nthree", "one two three") == (0, 14)
    assert locate("catalogue", "log") is None
    assert read('Here: {"question": " a ", "excerpts": ["b"]} Done.') == ("a", ["b"])


def prose():
    words = ["table", "value", "index", "error", "string", "number", "object", "method", "module", "call"]
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.permutation(words)[:9].tolist()) + "." for _ in range(150)]
    return " ".join(lines)


def test_the_stand_in_quotes_whole_sentences_and_makes_its_faults():
    text = prose()
    clean = generate(KeywordWriter(text, noise=0, misquote=0, astray=0), text, 60, most=1.0, least=0.0)
    sentences = sentence_chunks(text)
    assert len(clean.kept) > 50
    for each in clean.kept:
        assert len(each.references) == 2 and all(span in sentences for span in each.references)
        told = " ".join(chunk_texts(text, each.references))
        assert set(each.question.split()) <= set(told.replace(".", "").split())
    wrong = generate(KeywordWriter(text, noise=0, misquote=1, astray=0), text, 60, most=1.0, least=0.0)
    assert wrong.left_out["not verbatim"] > 50 and len(wrong.kept) < 10


def test_questions_beside_the_point_are_less_like_their_evidence():
    text = prose() + " " + " ".join(f"other{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600))
    near, far = (
        generate(KeywordWriter(text, noise=0, astray=a, misquote=0), text, 80, most=1.0, least=0.0)
        for a in (0.0, 1.0)
    )
    low, high = (np.mean([each.likeness for each in found.kept]) for found in (far, near))
    assert high > low + 0.1


def test_the_same_seed_gives_the_same_questions():
    text = prose()
    one, same, other = (generate(KeywordWriter(text), text, 20, seed=seed) for seed in (3, 3, 4))
    assert one == same != other


# Bad input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: module.token_scores([], [(0, 2)]), "references must not be empty"),
        (lambda: module.token_scores([(3, 3)], []), r"0 <= start < end, got \(3, 3\)"),
        (lambda: module.token_scores([(0, 3)], [(4, 2)]), r"got \(4, 2\)"),
        (lambda: module.token_scores([(-1, 3)], []), r"got \(-1, 3\)"),
        (lambda: module.token_scores([(0, 1)], [], overlap="both"), "overlap must be one of"),
        (lambda: module.precision_omega([], [(0, 1)]), "references must not be empty"),
        (lambda: module.precision_omega([(0, 1)], [(1, 2)]), "none does"),
        (lambda: evaluate([[(0, 1)]], [(0, 1)], np.array([[0]])), "give either k or budget"),
        (lambda: evaluate([[(0, 1)]], [(0, 1)], np.array([[0]]), k=1, budget=1), "give either k or budget"),
        (lambda: evaluate([[(0, 1)]], [(0, 1)], np.array([[0]]), k=2), "k must be an integer from 1 to 1"),
        (lambda: evaluate([[(0, 1)]], [(0, 1)], np.array([[0]]), budget=2), "fewer than 2"),
        (lambda: evaluate([[(0, 1)]], [(0, 1)], np.array([0]), k=1), r"ranking must be \[Q, n\]"),
        (lambda: chunk_sweep("a b", [], {}, {}), "questions must not be empty"),
        (lambda: cut_to_budget([(0, 1)], 0), "budget must be an integer from 1 up"),
        (lambda: fixed_chunks(9, 3, 3), "overlap must be from 0 to size - 1 = 2"),
        (lambda: fixed_chunks(0, 3), "n_tokens must be an integer"),
        (lambda: sentence_chunks(" \n"), "text must hold tokens"),
        (lambda: chunk_texts("a b", [(0, 3)]), "end <= 2"),
        (lambda: span_chunks.semantic_chunks([(0, 1)], [1.0], size=2), r"embeddings must be \[N, D\]"),
        (lambda: generate(KeywordWriter("words"), "words", 1), "window must be an integer from 1 to 1"),
        (lambda: generate(KeywordWriter("words"), "words", 1, window=1, n_spans=(2, 1)), "n_spans"),
        (lambda: KeywordWriter("1 2 3"), "text must hold words"),
        (lambda: KeywordWriter("words", noise=1.5), "noise must lie in"),
        (lambda: KeywordWriter("words", share=0), "share must lie in"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_the_prompt_holds_the_window():
    assert "Text:\none two\nJSON:" in instruction("one two", 3)
    assert math.isnan(span_questions.SpanQA("a", [(0, 1)]).likeness)
