import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from labkit import language
from labkit.data import facts
from labkit.llm import Completion, oracle
from labkit.pretrain import wrap as module
from labkit.pretrain.wrap import (
    STYLES,
    Domain,
    clean,
    domain_perplexity,
    mean_perplexity,
    rephrase,
    split_passages,
    token_noise,
    tokens_to_reach,
    wrap,
)

WORLD = facts.world(0, people=6, companies=4, cities=4, products=0)


@pytest.fixture
def mixture():
    """The function under test; a reader's own version runs through the same tests."""
    return module.mixture


class Parrot:
    """A role with fixed replies, in order."""

    name = "parrot"

    def __init__(self, replies, finish="stop"):
        self.replies, self.finish, self.asked = replies, finish, []

    def complete(self, prompts, **parameters):
        self.asked += prompts
        return [Completion(text, 1, 1, self.finish) for text in self.replies]


def pages(style="web", seed=0):
    rng = np.random.default_rng(seed)
    return [
        facts.document([fact for fact in WORLD.facts if fact.subject == name], style=style, rng=rng)
        for name in WORLD.named("person")
    ]


def rows(count, value):
    """Rows that tell which they are and of which kind."""
    return torch.stack([torch.tensor([value, k] * 4) for k in range(count)]) if count else torch.empty(0, 8)


# Passages


@pytest.mark.parametrize("longest", [1, 2, 7, 300])
@pytest.mark.parametrize("seed", range(5))
def test_passages_lose_nothing_and_are_short_enough(longest, seed):
    rng = np.random.default_rng(seed)
    marks = ["", "", "", ".", "!", "?!", "\n", "...\n\n"]
    text = " ".join(f"w{k}" + marks[rng.integers(len(marks))] for k in range(60))
    passages = split_passages(text, max_tokens=longest)
    assert " ".join(passages).split() == text.split()
    assert all(1 <= len(passage.split()) <= longest for passage in passages)
    # as few as can be from left to right: the next sentence, or word, never had room
    for before, after in pairwise(passages):
        assert longest < 7 or len(before.split()) + len(after.split()) > longest


def test_passages_end_where_sentences_do():
    text = "One two. Three four five. Six"
    assert split_passages(text, max_tokens=5) == ["One two. Three four five.", "Six"]
    assert split_passages(text, max_tokens=4) == ["One two.", "Three four five. Six"]
    assert split_passages(text, max_tokens=9, count=len) == ["One two.", "Three", "four", "five. Six"]
    assert split_passages("  ") == []


# Rephrasing


@pytest.mark.parametrize("style", [*STYLES, "web", "dialogue"])
def test_rephrases_say_the_same_facts_in_another_style(style):
    said = rephrase(oracle(), pages(), style)
    assert [each.source for each in said.kept] == list(range(6)) and not said.left_out
    for page, each in zip(pages(), said.kept, strict=True):
        assert facts.read(each.text) == facts.read(page)
        assert each.text != page and each.style == style


def test_the_styles_are_those_of_the_paper():
    qa, hard = (rephrase(oracle(), pages()[:1], style).kept[0].text for style in ("qa", "hard"))
    assert qa.count("?") == len(facts.read(qa)) and ("answer:" in qa or "a:" in qa)
    assert len(hard) < len(pages()[0])


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Here is the text in simple words: A is B.", "A is B."),
        ("Sure, here you go:\n\nA is B.", "A is B."),
        ("Certainly!\nA is B.", "A is B."),
        ('"A is B."', "A is B."),
        ("A is here: B.", "A is here: B."),
        ("Surely A is B: yes.", "Surely A is B: yes."),
        ("  ", ""),
    ],
)
def test_announcements_are_taken_off(reply, found):
    assert clean(reply) == found


def test_bad_replies_are_left_out_and_named():
    passages = ["one two three four five six seven eight"] * 3
    said = rephrase(Parrot(["Sure: ", "one", "one two three"]), passages, "easy")
    assert said.left_out == {0: "empty", 1: "short"}
    assert [(each.text, each.source) for each in said.kept] == [("one two three", 2)]
    cut = rephrase(Parrot(["one two three"] * 3, finish="length"), passages, "easy")
    assert cut.left_out == {0: "cut", 1: "cut", 2: "cut"}
    assert len(rephrase(Parrot(["a b c"] * 3, finish="length"), passages, "easy", keep_cut=True).kept) == 3
    assert len(rephrase(Parrot(["one"] * 3), passages, "easy", shortest=0).kept) == 3


def test_the_rephraser_is_asked_for_form_and_nothing_else():
    role = Parrot(["Nobur elected Balen."])
    rephrase(role, ["Balen won the vote in Nobur lol!"], "wikipedia")
    assert "encyclopedia" in role.asked[0] and "add none" in role.asked[0]


# Mixing


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("real", "made", "count"), [(7, 5, 40), (50, 3, 20), (4, 4, 1)])
def test_the_share_is_exact_and_passes_are_even(mixture, share, real, made, count):
    mixed = mixture(rows(real, 1), rows(made, 2), rows=count, share=share, seed=3)
    kinds = mixed.tokens[:, 0] == 2
    assert mixed.tokens.shape == (count, 8) and torch.equal(kinds, mixed.synthetic)
    assert kinds.sum() == round(share * count)
    for kind, total, passes in ((1, real, mixed.passes_real), (2, made, mixed.passes_synthetic)):
        chosen = mixed.tokens[mixed.tokens[:, 0] == kind, 1]
        seen = torch.bincount(chosen.long(), minlength=total)
        assert passes == len(chosen) / total
        assert seen.max() - seen.min() <= 1  # none again before all once


def test_the_order_is_random_and_comes_from_the_seed(mixture):
    first, again, other = (mixture(rows(200, 1), rows(200, 2), rows=400, seed=s) for s in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens) and not torch.equal(first.tokens, other.tokens)
    halves = first.synthetic.float().view(2, 200).mean(dim=1)
    assert (halves - 0.5).abs().max() < 0.15


def test_real_text_alone(mixture):
    mixed = mixture(rows(4, 1), rows=10)
    assert not mixed.synthetic.any() and (mixed.passes_real, mixed.passes_synthetic) == (2.5, 0)


def test_the_whole_recipe():
    tokenizer = language.tokenizer(pages() + pages("qa") + pages("encyclopedia"), size=400)
    mixed = wrap(oracle(), pages(), tokenizer, rows=60, length=16)
    assert mixed.tokens.shape == (60, 16) and mixed.synthetic.sum() == 30
    made = tokenizer.decode(mixed.tokens[mixed.synthetic].flatten())
    real = tokenizer.decode(mixed.tokens[~mixed.synthetic].flatten())
    assert "answer" in made and "answer" not in real
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    language.fit(model, mixed.tokens, steps=2, batch_size=8)


# The control


@pytest.mark.parametrize("seed", range(3))
def test_deleted_words_have_the_share_that_was_asked_for(seed):
    text = " ".join(map(str, range(4000)))
    noisy = token_noise(text, rng=np.random.default_rng(seed), delete=0.2, swap=0, replace=0).split()
    assert abs(1 - len(noisy) / 4000 - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 4000)
    assert noisy == sorted(noisy, key=int)


def test_swaps_and_synonyms_keep_the_number_of_words():
    text = " ".join(["cat", "dog"] * 500)
    rng = np.random.default_rng(0)
    swapped = token_noise(text, rng=rng, delete=0, swap=0.5, replace=0).split()
    assert sorted(swapped) == sorted(text.split()) and swapped != text.split()
    synonyms = {"cat": ["lion", "tiger"]}
    other = token_noise(text, rng=rng, delete=0, swap=0, replace=0.5, synonyms=synonyms).split()
    assert 200 < sum(word in synonyms["cat"] for word in other) < 300 and other.count("dog") == 500


def test_one_word_always_stays():
    assert token_noise("word", rng=np.random.default_rng(0), delete=1) == "word"


# Measuring


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary():
    tokenizer = language.tokenizer(pages(), size=300)
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    found = domain_perplexity(model, tokenizer, {"web": pages(), "qa": pages("qa")}, length=32)
    assert found["web"].perplexity == pytest.approx(len(tokenizer), rel=1e-4)
    characters = sum(map(len, pages("qa")))
    tokens = sum(len(tokenizer(text)["input_ids"]) + 1 for text in pages("qa"))
    assert found["qa"].bits == pytest.approx(math.log2(len(tokenizer)) * tokens / characters, rel=1e-4)


def test_mean_perplexity_is_geometric_and_takes_a_choice():
    found = {"a": Domain(2.0, 1), "b": Domain(8.0, 1), "c": Domain(5.0, 1)}
    assert mean_perplexity(found, ["a", "b"]) == 4.0
    assert mean_perplexity(found) == pytest.approx(80 ** (1 / 3))


def test_tokens_to_reach_inverts_a_curve_that_is_straight_in_the_logarithm():
    curve = [(100 * 2**k, 10 - k) for k in range(6)]
    for k in (0.5, 1, 2.25, 5):
        assert tokens_to_reach(curve, 10 - k) == pytest.approx(100 * 2**k)
    assert tokens_to_reach(curve, 11) == 100
    assert tokens_to_reach(curve, 4) == math.inf
    assert tokens_to_reach([(1, 5), (2, 3), (4, 6), (8, 1)], 3) == 2  # the first time


# Bad input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: split_passages("a", max_tokens=0), "max_tokens must be at least 1"),
        (lambda: rephrase(oracle(), ["A."], "toddler"), "style must be one of easy, wikipedia"),
        (lambda: rephrase(oracle(), ["A."], "qa", shortest=2), r"shortest must lie in \[0, 1\]"),
        (lambda: rephrase(oracle(), [" "], "qa"), "text must not be empty"),
        (lambda: module.mixture(rows(2, 1), rows(2, 2), rows=0), "rows must be at least 1"),
        (lambda: module.mixture(rows(2, 1), rows(2, 2), rows=4, share=1.5), r"share must lie in \[0, 1\]"),
        (lambda: module.mixture(rows(0, 1), rows(2, 2), rows=4), "real must have rows"),
        (lambda: module.mixture(rows(2, 1), rows(0, 2), rows=4), "synthetic must have rows"),
        (
            lambda: module.mixture(rows(2, 1), rows(2, 2)[:, :4], rows=4),
            "rows of one length|rows of different",
        ),
        (lambda: wrap(oracle(), ["A."], None, rows=4, length=8, styles="qa"), "styles must be"),
        (lambda: token_noise("a", rng=np.random.default_rng(0), swap=-1), r"swap must lie in \[0, 1\]"),
        (lambda: mean_perplexity({}), "names must not be empty"),
        (lambda: tokens_to_reach([], 1), "curve must"),
        (lambda: tokens_to_reach([(0, 2)], 1), "rise from above 0"),
        (lambda: tokens_to_reach([(2, 2), (2, 1)], 1), "rise from above 0"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_no_rephrase_at_all():
    tokenizer = language.tokenizer(pages(), size=300)
    with pytest.raises(ValueError, match="none of 1 passages has a rephrase"):
        wrap(Parrot([""]), ["A b c."], tokenizer, rows=4, length=8, styles=["qa"])
