"""Speculative decoding and the online distillation of its draft: lossless, greedy, counted, learnt from."""

import copy
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit import language
from labkit.distill import online_distillation, speculative_cost
from labkit.distill import online_speculative_decoding as module
from labkit.distill.online_distillation import DraftRouter, OnlineDistiller, divergence
from labkit.distill.online_speculative_decoding import (
    acceptance_rate,
    generate,
    probabilities,
    replay,
    residual,
    speculative_generate,
)
from labkit.seeding import generator

SIZE = 6
PROMPT = torch.tensor([3, 4, 2])


@pytest.fixture
def verify():
    """The function under test; put your own version here."""
    return module.verify


@pytest.fixture
def decode():
    return module.speculative_generate


@pytest.fixture
def expected_tokens():
    return speculative_cost.expected_tokens


def small(seed, mixing=False, width=8, layers=1, size=SIZE):
    """A random model whose distributions are neither flat nor certain."""
    model = language.causal(size, width=width, layers=layers, heads=2, mixing=mixing, seed=seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)
    return model


def rows(count, seed, size=SIZE, sharp=2.0):
    return (sharp * torch.randn(count, size, generator=generator(seed))).softmax(dim=-1)


def p_value(counts, expected):
    """Of the chi-square test, cells with an expectation below 5 put together."""
    from scipy.stats import chisquare

    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


def probability(model, prompt, text):
    """Of a text after a prompt, under a model."""
    whole = torch.tensor([*prompt.tolist(), *text])
    p = model(input_ids=whole[None], use_cache=False).logits[0].softmax(dim=-1)
    at = torch.arange(len(prompt) - 1, len(whole) - 1)
    return float(p[at, whole[at + 1]].prod())


# One call


@pytest.mark.parametrize("seed", range(5))
def test_kept_and_replaced_together_have_the_targets_distribution(seed):
    p, q = rows(1, seed)[0], rows(1, seed + 100)[0]
    kept = torch.minimum(p, q)
    assert kept.sum() == pytest.approx(float(acceptance_rate(p, q)))
    torch.testing.assert_close(kept + (1 - kept.sum()) * residual(p, q), p)


def test_nothing_is_left_where_both_agree():
    p = rows(3, 0)
    torch.testing.assert_close(residual(p, p), p)
    torch.testing.assert_close(acceptance_rate(p, p), torch.ones(3))


def draw(verify, p, q, count, draws):
    """The two tokens that one call with two guesses decides first, and how many guesses were kept."""
    pairs, kept = Counter(), Counter()
    for _ in range(count):
        guesses = torch.multinomial(q, 1, generator=draws)[:, 0]
        found = verify(p, q, guesses, generator=draws)
        kept[found.accepted] += 1
        pairs[tuple([*guesses.tolist()[: found.accepted], found.token][:1])] += 1
    return [pairs[(x,)] for x in range(p.shape[1])], [kept[n] for n in range(3)]


@pytest.mark.parametrize("seed", range(3))
def test_one_call_gives_the_targets_distribution(verify, seed):
    p, q, count = rows(3, seed), rows(2, seed + 50), 1500
    tokens, kept = draw(verify, p, q, count, generator(seed))
    assert p_value(tokens, count * p[0]) > 1e-3
    first, second = acceptance_rate(p[:2], q).tolist()
    expected = [1 - first, first * (1 - second), first * second]
    assert p_value(kept, count * np.array(expected)) > 1e-3


def test_the_test_finds_a_draw_from_the_target_in_place_of_the_residual():
    def wrong(p, q, guesses, *, generator):
        found = module.verify(p, q, guesses, generator=generator)
        token = torch.multinomial(p[found.accepted], 1, generator=generator)
        return found._replace(token=int(token))

    p, q = rows(3, 0), rows(2, 50)
    tokens, _ = draw(wrong, p, q, 4000, generator(0))
    assert p_value(tokens, 4000 * p[0]) < 1e-6


def test_probabilities_at_temperatures():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    torch.testing.assert_close(probabilities(logits, 0.5), (2 * logits).softmax(dim=-1))
    assert probabilities(logits, 0).tolist() == [[0, 1, 0]]


# Whole texts


@torch.no_grad()
def test_texts_have_the_targets_distribution(decode):
    target, draft, draws, count = small(0), small(1), generator(0), 250
    found = Counter()
    for _ in range(count):
        made = decode(target, draft, PROMPT, max_tokens=3, k=2, generator=draws)
        found[tuple(made.tokens.tolist())] += 1
    texts = list(product(range(SIZE), repeat=3))
    expected = [count * probability(target, PROMPT, text) for text in texts]
    assert sum(expected) == pytest.approx(count, rel=1e-4)
    assert p_value([found[text] for text in texts], expected) > 1e-3
    other = [count * probability(draft, PROMPT, text) for text in texts]
    assert p_value([found[text] for text in texts], other) < 1e-6  # the test can tell


def reference(target, prompt, count, assistant=None, k=4):
    """What transformers writes greedily, with its number of calls of the target."""
    calls = []
    hook = target.register_forward_hook(lambda *_: calls.append(1))
    settings = dict(do_sample=False, max_new_tokens=count, eos_token_id=None, pad_token_id=0)
    if assistant is not None:
        own = assistant.generation_config
        own.num_assistant_tokens, own.num_assistant_tokens_schedule = k, "constant"
        own.assistant_confidence_threshold = 0.0
        settings["assistant_model"] = assistant
    mask = torch.ones_like(prompt[None])
    written = target.generate(input_ids=prompt[None], attention_mask=mask, **settings)
    hook.remove()
    return written[0, len(prompt) :].tolist(), len(calls)


def near(target, seed, noise=0.1):
    """A draft that often agrees with its target."""
    draft = copy.deepcopy(target)
    with torch.no_grad():
        for weight in draft.parameters():
            weight += noise * weight.std() * torch.randn(weight.shape, generator=generator(seed))
    return draft


@pytest.mark.parametrize("mixing", [False, True], ids=["llama", "lfm2"])
@pytest.mark.parametrize("k", [1, 4])
def test_greedy_text_is_that_of_plain_and_of_assisted_decoding(decode, mixing, k):
    for seed in range(2):
        target = small(seed, mixing, layers=2, size=40)
        draft = near(target, seed)
        prompt = torch.randint(2, 40, (5,), generator=generator(seed))
        made = decode(target, draft, prompt, max_tokens=17, k=k, temperature=0)
        plain, calls = reference(target, prompt, 17)
        assisted, assisted_calls = reference(target, prompt, 17, draft, k)
        assert made.tokens.tolist() == plain == assisted
        assert generate(target, prompt[None], max_tokens=17, temperature=0)[0].tolist() == plain
        assert calls == 17 and made.target_calls <= assisted_calls
        assert made.accepted + made.target_calls == 17
        assert 0 < made.accepted < made.proposed


@pytest.mark.parametrize("mixing", [False, True], ids=["llama", "lfm2"])
def test_no_token_is_read_twice_but_after_a_rejection(decode, mixing):
    target = small(3, mixing, size=40)
    read = {"target": 0, "draft": 0}
    draft = near(target, 3)
    for name, model in (("target", target), ("draft", draft)):

        def count(_, __, given, name=name):
            read[name] += given["input_ids"].shape[1]

        model.register_forward_pre_hook(lambda m, a, g, count=count: count(m, a, g), with_kwargs=True)
    made = decode(target, draft, PROMPT, max_tokens=30, k=3, generator=generator(1))
    # The last token is never read; what was proposed and not kept was read in vain, after it read anew.
    assert read["target"] == len(PROMPT) + 30 - 1 + made.proposed - made.accepted
    assert read["draft"] <= len(PROMPT) + 30 - 1 + made.proposed - made.accepted
    assert made.checked == made.accepted + len(made.rejected)


def test_a_draft_that_is_the_target_is_always_right(decode):
    target = small(0, size=40)
    made = decode(target, copy.deepcopy(target), PROMPT, max_tokens=20, k=4, generator=generator(0))
    assert made.accepted == made.checked == made.proposed == 16
    assert made.target_calls == 4 and made.tokens_per_call == 5
    assert made.acceptance == pytest.approx(1, abs=1e-5) and len(made.rejected) == 0


def test_rejected_places_are_where_the_text_departs_from_the_guess(decode):
    target = small(0, size=40)
    draft = copy.deepcopy(target)
    draft.get_input_embeddings().weight.data = draft.get_input_embeddings().weight.data.roll(1, 0)
    made = decode(target, draft, PROMPT, max_tokens=12, k=3, temperature=0)
    whole = torch.cat([PROMPT, made.tokens])
    for place in made.rejected.tolist():
        guess = draft(input_ids=whole[None, :place], use_cache=False).logits[0, -1].argmax()
        assert guess != whole[place]
    assert len(made.rejected) > 3


def test_a_text_stops_at_its_end(decode):
    target = small(0, size=12)
    draft = near(target, 0)
    long = decode(target, draft, PROMPT, max_tokens=20, temperature=0).tokens.tolist()
    for end in set(long[1:]):
        made = decode(target, draft, PROMPT, max_tokens=20, temperature=0, end=end)
        assert made.tokens.tolist() == long[: long.index(end) + 1]
        assert all(place < len(PROMPT) + len(made.tokens) for place in made.rejected)


def test_the_same_generator_gives_the_same_text(decode):
    target, draft = small(0), small(1)
    texts = [
        decode(target, draft, PROMPT, max_tokens=9, generator=generator(seed)).tokens.tolist()
        for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]


# Replay


def distributions(target, draft, tokens):
    whole = torch.cat([PROMPT.expand(len(tokens), -1), tokens], dim=1)
    return [
        model(input_ids=whole, use_cache=False).logits[:, len(PROMPT) - 1 : -1].softmax(dim=-1)
        for model in (target, draft)
    ]


@torch.no_grad()
def test_replay_counts_what_decoding_counts():
    """Calls and places of rejections have one distribution, decoded or replayed on plain texts."""
    target, draft, draws, count = small(0), small(1), generator(2), 250
    decoded = Counter()
    for _ in range(count):
        made = speculative_generate(target, draft, PROMPT, max_tokens=4, k=2, generator=draws)
        places = tuple(place - len(PROMPT) for place in made.rejected.tolist())
        decoded[made.target_calls, places] += 1
    tokens = generate(target, PROMPT.expand(20_000, -1), max_tokens=4, generator=draws)
    p, q = distributions(target, draft, tokens)
    found = replay(p, q, tokens, k=2, generator=draws)
    replayed = Counter(
        (int(calls), tuple(row.nonzero()[:, 0].tolist()))
        for calls, row in zip(found.target_calls, found.rejected, strict=True)
    )
    cells = sorted({*decoded, *replayed})
    expected = [count * replayed[cell] / 20_000 for cell in cells]
    assert p_value([decoded[cell] for cell in cells], expected) > 1e-3


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_replay_of_perfect_and_of_hopeless_drafts(k, length):
    tokens = torch.randint(0, 3, (4, length), generator=generator(0))
    p = F.one_hot(tokens, SIZE).float()
    perfect = replay(p, p, tokens, k=k)
    assert perfect.target_calls.tolist() == [-(-length // (k + 1))] * 4
    assert not perfect.rejected.any()
    hopeless = replay(p, p.roll(3, dims=-1), tokens, k=k)
    assert hopeless.target_calls.tolist() == [length] * 4
    assert hopeless.rejected[:, :-1].all() and not hopeless.checked[:, -1].any()


# Learning


@pytest.mark.parametrize("kind", online_distillation.LOSSES)
def test_divergences_are_those_of_torch(kind):
    logits, targets = torch.randn(4, 9), torch.randn(4, 9)
    q, p = logits.log_softmax(-1), targets.log_softmax(-1)
    forward = F.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    reverse = F.kl_div(p, q, reduction="none", log_target=True).sum(-1)
    wanted = {"forward": forward, "reverse": reverse, "mixed": 0.9 * forward + 0.1 * reverse}[kind]
    torch.testing.assert_close(divergence(logits, targets, kind), wanted)
    assert divergence(targets, targets, kind).abs().max() < 1e-6


def fresh(positions="rejected", every=1, **settings):
    target, draft = small(0), small(1)
    return OnlineDistiller(target, draft, positions=positions, every=every, lr=1e-2, **settings)


TEXT = torch.tensor([3, 4, 2, 5, 3, 2, 4])


@pytest.mark.parametrize(
    ("positions", "learnt"), [("rejected", [3, 5]), ("after", [4, 6]), ("all", [2, 3, 4, 5, 6])]
)
def test_a_step_learns_the_tokens_of_its_places_from_the_logits_before_them(positions, learnt):
    distiller = fresh(positions)
    expected = copy.deepcopy(distiller.draft)
    before = [place - 1 for place in learnt]
    known = distiller.target(input_ids=TEXT[None]).logits[0, before].detach()
    value = divergence(expected(input_ids=TEXT[None]).logits[0, before], known).mean()
    stepper = torch.optim.AdamW(expected.parameters(), lr=1e-2, weight_decay=0.0)
    value.backward()
    stepper.step()
    distiller.observe(TEXT, [3, 5], 2)
    assert distiller.losses == [pytest.approx(value.item(), rel=1e-5)]
    for found, wanted in zip(distiller.draft.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_random_places_are_as_many_and_in_the_reply():
    distiller = fresh("random", every=99, generator=generator(0))
    for _ in range(40):
        distiller.observe(TEXT, [3, 5], 2)
    places = [tuple(each) for _, each, _ in distiller.buffer]
    assert all(len(set(each)) == 2 and each[0] >= 2 for each in places)
    assert {place for each in places for place in each} == {2, 3, 4, 5, 6}


def test_updates_come_after_every_so_many_requests_and_forget_them():
    distiller, before = fresh(every=3), None
    for number in range(1, 8):
        distiller.observe(TEXT[: 5 + number % 2], [3], 2)
        assert len(distiller.losses) == number // 3 and len(distiller.buffer) == number % 3
        weight = distiller.draft.get_input_embeddings().weight.detach().clone()
        if before is not None:
            assert torch.equal(weight, before) == (number % 3 != 0)
        before = weight
    distiller.update()
    assert len(distiller.losses) == 3
    distiller.observe(TEXT, [], 2)
    distiller.update()  # nothing was rejected, so there is nothing to learn
    assert len(distiller.losses) == 3 and not distiller.buffer


def test_logits_that_were_kept_are_as_good_as_those_computed_anew():
    kept, anew = fresh(every=2), fresh(every=2)
    for text, places in ((TEXT, [3, 6]), (TEXT[:5], [4])):
        logits = kept.target(input_ids=text[None]).logits[0].detach()
        kept.observe(text, places, 2, logits)
        anew.observe(text, places, 2)
    assert kept.losses == [pytest.approx(anew.losses[0], rel=1e-5)]


@pytest.mark.parametrize("loss", online_distillation.LOSSES)
def test_serving_and_learning_raise_the_acceptance_and_leave_the_target_alone(loss):
    target, draft, draws = small(0), small(1), generator(0)
    before = copy.deepcopy(target.state_dict())
    distiller = OnlineDistiller(target, draft, every=4, lr=2e-2, loss=loss)
    rates = []
    for _ in range(60):
        made = speculative_generate(target, draft, PROMPT, max_tokens=8, k=2, generator=draws)
        rates.append(made.acceptance)
        distiller.observe(torch.cat([PROMPT, made.tokens]), made.rejected.tolist(), len(PROMPT))
    assert np.mean(rates[-20:]) > np.mean(rates[:10]) + 0.1
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_a_router_picks_the_draft():
    router = DraftRouter({0: "a", 1: "b"}, lambda tokens: int(tokens[0]))
    assert [router(torch.tensor([kind, 9])) for kind in (1, 0)] == ["b", "a"]
    with pytest.raises(ValueError, match="no draft for 7"):
        router(torch.tensor([7]))


# What it is worth


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("k", [1, 4])
def test_expected_tokens_against_simulation_and_closed_form(expected_tokens, alpha, k):
    luck = np.random.default_rng(0).random((40_000, k)) < alpha
    found = 1 + np.cumprod(luck, axis=1).sum(axis=1).mean()
    assert expected_tokens(alpha, k) == pytest.approx(found, abs=0.03)
    if alpha < 1:
        assert expected_tokens(alpha, k) == pytest.approx((1 - alpha ** (k + 1)) / (1 - alpha))


def test_best_k_and_speedup():
    found = [speculative_cost.best_k(0.6, cost) for cost in (0.01, 0.02, 0.05, 0.1)]
    assert found == [7, 6, 4, 3]  # the published code's own check
    assert speculative_cost.speedup(0.0, 3, 0.5) == pytest.approx(0.4)
    assert speculative_cost.best_k(0.0, 0.1) == 1 and speculative_cost.best_k(1.0, 0.1, most=9) == 9


# Bad input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t, d: speculative_generate(t, d, PROMPT, max_tokens=0), "max_tokens must be at least 1"),
        (lambda t, d: speculative_generate(t, d, PROMPT, max_tokens=2, k=0), "k must be at least 1"),
        (lambda t, d: speculative_generate(t, d, PROMPT[None], max_tokens=2), r"prompt must be int64\[T\]"),
        (lambda t, d: speculative_generate(t, d, PROMPT[:0], max_tokens=2), "T of 1 or more"),
        (lambda t, d: speculative_generate(t, d, PROMPT, max_tokens=254), "fit a context of 256"),
        (
            lambda t, d: speculative_generate(t, d, PROMPT, max_tokens=2, temperature=-1),
            "temperature must lie",
        ),
        (
            lambda t, d: speculative_generate(t, small(0, size=9), PROMPT, max_tokens=2),
            "one vocabulary, they have 6 and 9",
        ),
        (lambda t, d: generate(t, PROMPT, max_tokens=2), r"prompt must be int64\[B, T\]"),
        (lambda t, d: probabilities(torch.zeros(2), -0.5), "temperature must lie"),
        (lambda t, d: acceptance_rate(rows(1, 0), rows(2, 0)), "p and q must have one shape"),
        (lambda t, d: residual(rows(1, 0), rows(2, 0)), "p and q must have one shape"),
        (
            lambda t, d: module.verify(rows(2, 0), rows(2, 0), torch.tensor([0, 1])),
            r"must be \[k \+ 1, V\]",
        ),
        (
            lambda t, d: replay(rows(2, 0)[None], rows(2, 0)[None], torch.tensor([[0]])),
            r"tokens \[B, T\]",
        ),
        (
            lambda t, d: replay(rows(1, 0)[None], rows(1, 0)[None], torch.tensor([[0]]), k=0),
            "k must be 1 or more",
        ),
        (lambda t, d: divergence(rows(1, 0), rows(1, 0), "sideways"), "loss must be one of forward"),
        (lambda t, d: divergence(rows(1, 0), rows(2, 0)), "one shape"),
        (lambda t, d: OnlineDistiller(t, d, every=0), "every must be at least 1"),
        (lambda t, d: OnlineDistiller(t, d, positions="some"), "positions must be one of rejected"),
        (lambda t, d: OnlineDistiller(t, d, loss="jsd"), "loss must be one of forward"),
        (lambda t, d: OnlineDistiller(t, d, lr=0), "lr must be above 0"),
        (lambda t, d: OnlineDistiller(t, d).observe(TEXT, [1], 2), "must lie in the reply, 2 to 6"),
        (lambda t, d: OnlineDistiller(t, d).observe(TEXT, [7], 2), "must lie in the reply, 2 to 6"),
        (lambda t, d: DraftRouter({}, len), "drafts must not be empty"),
        (lambda t, d: speculative_cost.expected_tokens(1.2, 2), r"acceptance must lie in \[0, 1\]"),
        (lambda t, d: speculative_cost.expected_tokens(0.5, 0), "k must be at least 1"),
        (lambda t, d: speculative_cost.speedup(0.5, 2, -1), "cost_ratio must lie"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call(small(0), small(1))


def test_a_model_that_cannot_be_cut_back_is_refused(monkeypatch):
    """Older versions of transformers keep no earlier states of convolutions."""
    from transformers import DynamicCache

    if hasattr(DynamicCache, "activate_past_recording"):
        monkeypatch.setattr(module._Reader, "__init__", _without_recording(module._Reader.__init__))
    target = small(0, mixing=True)
    with pytest.raises(ValueError, match=r"cannot cut back layers of .*conv"):
        speculative_generate(target, small(1), PROMPT, max_tokens=9, temperature=0)


def _without_recording(build):
    def changed(self, model):
        build(self, model)
        self.records = False

    return changed
