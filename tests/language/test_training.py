import pytest
import torch
import torch.nn.functional as F

from labkit import language
from labkit.seeding import generator

TEXTS = ["the cat sat on the mat", "a dog ran", "", "the dog sat"]


@pytest.fixture
def words():
    return language.tokenizer(TEXTS, size=280)


@pytest.fixture
def pack():
    return language.pack


@pytest.mark.parametrize("length", [2, 5, 7, 64])
def test_packing_keeps_every_token_with_an_end_after_each_text(pack, words, length):
    rows = pack(TEXTS, words, length=length)
    assert rows.shape[1] == length and rows.dtype == torch.int64
    stream = rows.flatten().tolist()
    wanted = []
    for text in TEXTS:
        wanted += words(text)["input_ids"] + [words.eos_token_id]
    assert stream[: len(wanted)] == wanted
    assert len(stream) - len(wanted) < length and set(stream[len(wanted) :]) <= {words.pad_token_id}


def test_pairs_count_the_answer_and_its_end_and_nothing_else(words):
    rows = language.pairs(["the cat", "a dog ran"], [" sat", " on the mat"], words)
    for tokens, mask, answer in zip(*rows, [" sat", " on the mat"], strict=True):
        assert tokens[mask].tolist() == [*words(answer)["input_ids"], words.eos_token_id]
        after = mask.nonzero().max() + 1
        assert (tokens[after:] == words.pad_token_id).all()


@pytest.mark.parametrize("mixing", [True, False])
def test_the_loss_is_that_of_transformers(mixing):
    model = language.causal(50, width=32, layers=1, heads=2, mixing=mixing)
    tokens = torch.randint(3, 50, (4, 9), generator=generator(0))
    mask = torch.rand(4, 9, generator=generator(1)) < 0.5
    mask[:, 6:] = False  # the loss leaves these columns out
    labels = language.targets(model, tokens, mask)
    ours = language.next_token_loss(model, tokens, labels)
    torch.testing.assert_close(ours, model(input_ids=tokens, labels=labels).loss)


def test_padding_does_not_count():
    model = language.causal(50, width=32, layers=1, heads=2)
    tokens = torch.tensor([[5, 6, 7, 0, 0]])
    assert language.targets(model, tokens).tolist() == [[5, 6, 7, -100, -100]]
    model.config.eos_token_id = [0, 1]  # where padding ends texts as well, it counts
    assert language.targets(model, tokens).tolist() == tokens.tolist()


def test_fit_lowers_the_loss_of_what_counts_alone():
    tokens = torch.randint(3, 50, (64, 8), generator=generator(0))
    tokens[:, 5] = tokens[:, 4]
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, 5] = True
    model = language.causal(50, width=32, layers=1, heads=2)
    before = language.nats_per_token(model, tokens, ~mask)
    losses = language.fit(model, tokens, mask=mask, steps=60, batch_size=32, lr=1e-2).losses
    assert losses[-1] < 0.5 * losses[0]
    assert language.nats_per_token(model, tokens, ~mask) > before


def test_the_same_seed_trains_the_same_model():
    tokens = torch.randint(3, 50, (64, 8), generator=generator(0))

    def trained(seed):
        model = language.causal(50, width=32, layers=1, heads=2)
        return language.fit(model, tokens, steps=5, batch_size=16, seed=seed).losses

    assert torch.equal(trained(0), trained(0)) and not torch.equal(trained(0), trained(1))


def test_another_loss_and_schedule_pass_through():
    tokens = torch.randint(3, 50, (8, 8), generator=generator(0))
    seen = []

    def loss(model, rows, labels, *, progress, generator):
        seen.append(progress)
        return F.cross_entropy(model(rows).logits[:, -2], labels[:, -1])

    language.fit(language.causal(50, width=32, layers=1, heads=2), tokens, steps=4, loss=loss)
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_bad_input(words):
    model, tokens = language.causal(300, width=32, layers=1, heads=2), torch.ones(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="texts must be a sequence"):
        language.pack([], words, length=4)
    with pytest.raises(ValueError, match="texts must be a sequence"):
        language.pack("one text", words, length=4)
    with pytest.raises(ValueError, match="length must be at least 2"):
        language.pack(["a"], words, length=1)
    with pytest.raises(ValueError, match="prompts and answers must be as many"):
        language.pairs(["a"], [], words)
    with pytest.raises(ValueError, match="length must be at least"):
        language.pairs(["a dog"], ["ran"], words, length=3)
    with pytest.raises(ValueError, match="mask must have the shape of tokens"):
        language.fit(model, tokens, mask=torch.ones(2, 3), steps=1)
    with pytest.raises(ValueError, match="must have one that counts"):
        language.fit(model, tokens, mask=torch.zeros(2, 4, dtype=torch.bool), steps=1)
    with pytest.raises(ValueError, match="tokens must be int64"):
        language.fit(model, tokens[0], steps=1)


def test_a_row_in_which_nothing_counts_is_left_out():
    """A single token at the end of a packed corpus has nothing to predict, and is no reason to stop."""
    rows = torch.tensor([[5, 6, 7, 8], [9, 0, 0, 0]])
    fits = []
    for tokens in (rows, rows[:1]):
        model = language.causal(16, width=16, layers=1, heads=2, seed=0)
        fits.append(language.fit(model, tokens, steps=3, batch_size=1, seed=0).losses)
    assert torch.equal(*fits)
