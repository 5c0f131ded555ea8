import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit import language
from labkit.distill import kd_elicit, kd_llm_survey, kd_losses
from labkit.distill.kd_elicit import Example, Teacher, curation, expansion, features, labelling, renamed
from labkit.distill.kd_llm_survey import distill, on_policy, preferences, rank, reinforce
from labkit.distill.kd_losses import forward_kl, ranking, reverse_kl, similarity, smoothed
from labkit.distill.kd_side_by_side import distill_side_by_side
from labkit.seeding import generator

WORDS = ["red", "blue", "green", "one", "two", "three"]
TEXTS = [f" {a} {b}" for a in WORDS for b in WORDS]
TOKENIZER = language.lexicon(WORDS, texts=TEXTS, special=["<more>", "<turn>"])
TEMPLATES = {"answer": "{input}<turn>", "more": "{seed}<more>", "about": "{topic}<more>"}


@pytest.fixture
def generalized_jsd():
    """The function under test; a reader's own version runs through the same tests."""
    return kd_losses.generalized_jsd


def model(seed=0, width=16):
    return language.causal(TOKENIZER, width=width, layers=1, heads=2, seed=seed)


@pytest.fixture(scope="module")
def skilled():
    """A teacher that turns two words round, and writes two words when shown two."""
    rng = np.random.default_rng(0)
    prompts, answers = [], []
    for turn in range(600):
        a, b = (WORDS[i] for i in rng.integers(6, size=2))
        prompts.append(f" {a} {b}<turn>" if turn % 2 else f" {a} {b}<more>")
        answers.append(f" {b} {a}" if turn % 2 else TEXTS[rng.integers(36)])
    rows = language.pairs(prompts, answers, TOKENIZER)
    made = language.causal(TOKENIZER, width=32, layers=1, heads=2)
    language.fit(made, rows.tokens, mask=rows.mask, steps=150, batch_size=32, lr=0.01)
    return made


def teacher(made, **settings):
    return Teacher(made, TOKENIZER, templates=TEMPLATES, max_tokens=4, **settings)


def drawn(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def rows(count=8, seed=0):
    rng = np.random.default_rng(seed)
    texts = [TEXTS[i] for i in rng.integers(36, size=(count,))]
    return language.pairs([f"{text}<turn>" for text in texts], texts[::-1], TOKENIZER)


# Divergences


def test_the_divergences_are_those_of_torch_the_right_way_round():
    student, other = drawn(5, 7), drawn(5, 7, seed=1)
    ours, theirs = student.log_softmax(-1), other.log_softmax(-1)
    given = dict(log_target=True, reduction="batchmean")
    # kl_div(input, target) is KL(target || input)
    assert forward_kl(student, other).item() == pytest.approx(F.kl_div(ours, theirs, **given).item())
    assert reverse_kl(student, other).item() == pytest.approx(F.kl_div(theirs, ours, **given).item())
    by_hand = (theirs.exp() * (theirs - ours)).sum(-1).mean()
    assert forward_kl(student, other).item() == pytest.approx(by_hand.item())


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
def test_jensen_shannon_is_its_definition(generalized_jsd, beta):
    student, other = drawn(5, 7), drawn(5, 7, seed=1)
    ours, theirs = student.softmax(-1), other.softmax(-1)
    mixed = beta * theirs + (1 - beta) * ours
    kl = lambda p, q: (p * (p / q).log()).sum(-1)  # noqa: E731
    wanted = (beta * kl(theirs, mixed) + (1 - beta) * kl(ours, mixed)).mean()
    assert generalized_jsd(student, other, beta=beta).item() == pytest.approx(wanted.item())


def test_jensen_shannon_is_bounded_symmetric_at_one_half_and_zero_only_where_equal(generalized_jsd):
    student, other = drawn(50, 7), drawn(50, 7, seed=1)
    value = generalized_jsd(student, other).item()
    assert 0 < value < math.log(2)
    assert value == pytest.approx(generalized_jsd(other, student).item())
    assert generalized_jsd(student, student + 3).item() == pytest.approx(0, abs=1e-12)


def test_the_limits_are_the_two_divergences(generalized_jsd):
    student, other = drawn(5, 7), drawn(5, 7, seed=1)
    small = 1e-5
    for beta, limit in ((small, forward_kl), (1 - small, reverse_kl)):
        value = generalized_jsd(student, other, beta=beta) / (beta * (1 - beta))
        assert value.item() == pytest.approx(limit(student, other).item(), rel=1e-3)


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, similarity])
def test_only_what_counts_counts_and_padding_does_not_dilute(loss):
    student, other = drawn(2, 4, 5), drawn(2, 4, 5, seed=1)
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    assert loss(student, other, mask).item() == pytest.approx(loss(student[mask], other[mask]).item())
    other[~mask] = 50
    assert loss(student, other, mask).item() == pytest.approx(loss(student[mask], other[mask]).item())


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, kd_losses.generalized_jsd])
def test_gradients_are_right_and_reach_the_student_alone(loss):
    student, other = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda s: loss(s, other), student)


def test_forward_covers_and_reverse_seeks():
    """A student with one peak, a teacher with two: one spreads over both, the other takes the larger."""
    places = torch.arange(21.0)
    peaks = [-0.5 * ((places - at) / 1.2).square() for at in (5, 15)]
    target = torch.logaddexp(peaks[0] + math.log(0.6), peaks[1] + math.log(0.4))

    def fitted(loss):
        best = (math.inf, 0, 0)
        for at in np.linspace(0, 20, 41):
            for width in np.linspace(0.6, 8, 20):
                logits = -0.5 * ((places - at) / width).square()
                best = min(best, (loss(logits[None], target[None]).item(), at, width))
        return best[1:]

    covering, seeking = fitted(forward_kl), fitted(reverse_kl)
    assert 7 < covering[0] < 11 and covering[1] > 4  # the mean and the spread of the whole
    assert abs(seeking[0] - 5) < 1 and seeking[1] < 2  # the larger peak, and nothing else


def test_ranking_is_its_formula_and_moves_apart():
    better, worse = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])
    reference = torch.tensor([0.2, -1.0]), torch.tensor([0.3, -1.5])
    wanted = [-math.log(1 / (1 + math.exp(-0.7 * margin))) for margin in (0.8 - 0.2, -1.0 - 0.5)]
    got = ranking(better, worse, reference=reference, beta=0.7).item()
    assert got == pytest.approx(sum(wanted) / 2, rel=1e-5)
    better.requires_grad_(), worse.requires_grad_()
    ranking(better, worse, reference=reference).backward()
    assert (better.grad < 0).all() and torch.allclose(better.grad, -worse.grad)


def test_smoothing_is_a_mixture_with_uniform():
    logits, labels = drawn(6, 5), torch.arange(6) % 5
    plain, even = F.cross_entropy(logits, labels), -logits.log_softmax(-1).mean()
    assert smoothed(logits, labels, share=0.2).item() == pytest.approx((0.8 * plain + 0.2 * even).item())


# Eliciting


@pytest.mark.parametrize("way", ["labelling", "expansion", "curation"])
@pytest.mark.parametrize("budget", [8, 50, 333])
def test_the_budget_is_used_and_never_exceeded(skilled, way, budget):
    asked = teacher(skilled)
    found = getattr(kd_elicit, way)(asked, TEXTS[:5], budget=budget)
    assert asked.ledger.tokens <= budget
    assert budget - asked.ledger.tokens < max(8, budget // 50 + 1)
    assert asked.ledger.scored == 0 and asked.ledger.read > 0
    assert all(isinstance(each, Example) and each.input.strip() and each.answer.strip() for each in found)


def test_labelling_goes_round_evenly_and_the_teacher_answers(skilled):
    found = labelling(teacher(skilled), TEXTS[:5], budget=200)
    counts = [sum(each.input == text for each in found) for text in TEXTS[:5]]
    assert max(counts) - min(counts) <= 1 and sum(counts) == len(found) > 50
    right = [each.answer.split() == each.input.split()[::-1] for each in found]
    assert np.mean(right) > 0.8
    twice = labelling(teacher(skilled), TEXTS[:5], budget=200, passes=2)
    assert sorted(each.input for each in twice) == sorted(2 * TEXTS[:5])


def test_expansion_is_new_each_time_and_keeps_away_from_the_held_out(skilled):
    asked = teacher(skilled)
    found = expansion(asked, TEXTS[:4], budget=600, avoid=TEXTS[4:10])
    inputs = [each.input for each in found]
    assert len(set(inputs)) == len(inputs) > 10
    assert not set(inputs) & set(TEXTS[:10])
    assert asked.ledger.dropped > 0  # 26 can be new; the others were paid for


def test_draws_come_from_the_seed(skilled):
    first, again, other = (curation(teacher(skilled), TEXTS[:3], budget=100, seed=s) for s in (0, 0, 1))
    assert first == again != other


def test_renaming_changes_all_names_and_nothing_else():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text = renamed("Nobur met Kadal: Nobur won.", [["Nobur", "Kadal", "Lesto"]], rng=rng)
        names = text.replace(":", "").replace(".", "").split()
        assert names[1] == "met" and names[4] == "won" and names[0] == names[3] != names[2]
        assert names[0] != "Nobur" and names[2] != "Kadal"
    assert renamed("Nobur met", [["Nobur"]], rng=rng) == "Nobur met"  # nothing to take instead


def test_features_are_the_teachers_logits_at_the_counted_tokens(skilled):
    made, asked = rows(70), teacher(skilled)
    soft = features(asked, made)
    assert asked.ledger.scored == made.mask.sum() and asked.ledger.written == 0
    log_p = torch.stack([
        logits.log_softmax(-1).gather(1, tokens[mask][:, None]).sum()
        for logits, tokens, mask in zip(soft, *made, strict=True)
    ])  # fmt: skip
    texts = TOKENIZER.batch_decode(made.tokens, skip_special_tokens=False)
    prompts = [text[: text.index("<turn>") + 6] for text in texts]
    answers = [text[text.index("<turn>") + 6 :].replace("<pad>", "") for text in texts]
    wanted = language.log_likelihoods(skilled, TOKENIZER, prompts, answers)
    assert torch.allclose(log_p.double(), wanted, atol=1e-4)
    features(asked, made, written=True)
    assert asked.ledger.scored == made.mask.sum()  # what it wrote itself is not booked twice


# Distilling


def test_plain_distillation_is_next_token_training():
    made, one, two = rows(), model(), model()
    settings = dict(steps=4, batch_size=4, lr=0.01, seed=3)
    ours = distill(one, made, **settings).losses
    theirs = language.fit(two, made.tokens, mask=made.mask, **settings).losses
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_student_with_the_teachers_weights_has_nothing_to_learn(skilled):
    soft = features(teacher(skilled), rows())
    for loss in (forward_kl, reverse_kl, kd_losses.generalized_jsd):
        losses = distill(copy.deepcopy(skilled), rows(), loss=loss, soft=soft, steps=1).losses
        assert losses[0].abs() < 1e-5


def test_distributions_teach_what_samples_show_one_of(skilled):
    asked, student = teacher(skilled), model()
    examples = labelling(asked, TEXTS, budget=600)
    made = language.pairs(
        [asked.prompt(each.input) for each in examples], [each.answer for each in examples], TOKENIZER
    )
    soft = features(asked, made, written=True)
    losses = distill(student, made, loss=forward_kl, soft=soft, steps=120, batch_size=32, lr=0.01).losses
    assert losses[-10:].mean() < 0.3 * losses[:10].mean()


def test_hidden_states_of_another_width_are_drawn_near(skilled):
    made = rows(16)
    hidden = kd_elicit.hidden_states(teacher(skilled), made, written=True)
    assert hidden[0].shape[1] == 32  # the student has 16
    none = partial(lambda logits, labels: 0 * logits.sum())
    losses = distill(model(), made, loss=none, hidden=hidden, steps=80, lr=0.01).losses
    assert losses[-1] < 0.6 * losses[0] <= 1.2


def test_feedback_is_on_what_the_student_wrote(skilled, monkeypatch):
    seen, real = [], kd_llm_survey.features
    monkeypatch.setattr(kd_llm_survey, "features", lambda t, made: seen.append(made) or real(t, made))
    asked, student = teacher(skilled), model()
    losses = on_policy(
        student, asked, TEXTS, budget=400, loss=forward_kl, steps=80, rounds=4, lr=0.01, batch_size=16
    )
    assert losses[-1] < losses[0] and len(seen) == 4
    assert asked.ledger.written == 0 and 300 < asked.ledger.scored <= 400
    assert sum(int(made.mask.sum()) for made in seen) == asked.ledger.scored
    said = [TOKENIZER.decode(row[keep]).removesuffix("<eos>") for row, keep in zip(*seen[0], strict=True)]
    assert np.mean([text in TEXTS for text in said]) < 0.5  # a teacher's text would be among them


def test_preferences_follow_the_teacher_and_ranking_follows_them(skilled):
    asked = teacher(skilled)
    pairs = preferences(model(), asked, TEXTS, budget=400)
    assert asked.ledger.scored <= 400 and len(pairs.better.tokens) == len(pairs.worse.tokens) > 5
    scores = [
        torch.stack([
            logits.log_softmax(-1).gather(1, t[m][:, None]).sum()
            for logits, t, m in zip(features(asked, side), *side, strict=True)
        ])
        for side in pairs
    ]  # fmt: skip
    assert (scores[0] >= scores[1] - 1e-4).all()
    assert (pairs.better.tokens != pairs.worse.tokens).any(1).all()
    student = model()
    before = language.nats_per_token(student, *pairs.worse) - language.nats_per_token(student, *pairs.better)
    losses = rank(student, pairs, steps=30, lr=0.003, batch_size=16).losses
    after = language.nats_per_token(student, *pairs.worse) - language.nats_per_token(student, *pairs.better)
    assert losses[0].item() == pytest.approx(math.log(2), rel=1e-4)  # the student is the reference
    assert losses[-1] < losses[0] and after > before


def test_rewarded_answers_become_likelier(skilled):
    asked, student = teacher(skilled), model()
    settings = dict(steps=60, rounds=4, lr=0.01, batch_size=32)
    rewards = reinforce(student, asked, TEXTS, budget=1600, **settings)
    assert len(rewards) == 4 and rewards[-1] > rewards[0]
    assert asked.ledger.written == 0 and 1200 < asked.ledger.scored <= 1600


def test_the_policy_gradient_is_that_of_the_expected_reward():
    """Over all answers of one token, weighted by their probability: the gradient of the mean reward."""
    made, reward = rows(1), drawn(len(TOKENIZER)).float()
    student = model()
    start = made.tokens[:, :4]
    log_p = lambda: student(input_ids=start, use_cache=False).logits[0, -1].log_softmax(-1)  # noqa: E731
    exact = torch.autograd.grad((log_p().exp() * reward).sum(), list(student.parameters()), allow_unused=True)
    every = torch.cat([start.repeat(len(TOKENIZER), 1), torch.arange(len(TOKENIZER))[:, None]], 1)
    counted = torch.zeros_like(every, dtype=torch.bool)
    counted[:, -1] = True
    weights = log_p().exp().detach()
    scored = kd_llm_survey._log_p(student, every, counted)
    advantage = reward - (weights * reward).sum()  # a baseline changes nothing on the mean
    estimate = torch.autograd.grad(
        (weights * advantage * scored).sum(), list(student.parameters()), allow_unused=True
    )
    for one, other in zip(exact, estimate, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-5)


# Side by side


def test_students_side_by_side_learn_what_they_learn_one_by_one():
    """Plain descent, so that rounding stays rounding; three students with their own rows, rates and aims."""
    sgd = lambda parameters, *, lr, weight_decay: torch.optim.SGD(parameters, lr=lr)  # noqa: E731
    ones = [model(seed=k) for k in range(4)]
    others = [copy.deepcopy(student) for student in ones]
    sets, rates = [rows(30), rows(20, 1), rows(25, 2), rows(9, 3)], [0.3, 0.1, 0.2, 0.3]
    logits = [drawn(count, len(TOKENIZER)).float() for count in sets[2].mask[:, 1:].sum(1).tolist()]
    given = [{}, {"loss": partial(smoothed, share=0.1)}, {"soft": logits, "loss": forward_kl}, {}]
    settings = dict(steps=12, batch_size=8, optimizer=sgd, seed=3)
    for student, own, rate, extra in zip(ones, sets, rates, given, strict=True):
        distill(student, own, lr=rate, **settings, **extra)
    said = [line[1:][kept[1:]] for line, kept in zip(*sets[1], strict=True)]
    even = [0.9 * F.one_hot(each, len(TOKENIZER)).float() + 0.1 / len(TOKENIZER) for each in said]
    aims = [None, even, [each.softmax(-1) for each in logits], None]
    fits = distill_side_by_side(others, sets, aims=aims, lr=rates, **settings)
    for one, other, start in zip(ones, others, range(4), strict=True):
        for name, value in one.named_parameters():
            assert torch.allclose(value, other.get_parameter(name), atol=1e-5), (start, name)
    assert all(fit.losses.shape == (12,) and fit.losses[-1] < fit.losses[0] for fit in fits)


def test_side_by_side_without_aims_is_supervised_training():
    one, other = model(), model()
    alone = distill(one, rows(20), steps=5, batch_size=8, seed=1).losses
    fits = distill_side_by_side([other, model()], [rows(20), rows(12, 1)], steps=5, batch_size=8, seed=1)
    assert torch.allclose(fits[0].losses, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(steps=0), "steps must be at least 1"),
        (dict(rows=[rows()]), "must be as many"),
        (dict(lr=[0.1]), "must be as many"),
        (dict(students=[model(), model(width=32)]), "of one architecture"),
        (dict(batch_size=9), "from 1 to the 8 rows of student 0"),
        (dict(aims=[None, [drawn(1, 3)]]), "the aims of student 1 must be"),
    ],
)
def test_bad_input_side_by_side(change, said):
    given = dict(students=[model(), model()], rows=[rows(), rows()], steps=1, batch_size=4) | change
    with pytest.raises(ValueError, match=said):
        distill_side_by_side(given.pop("students"), given.pop("rows"), **given)


def test_a_loss_that_is_not_finite_names_its_student():
    broken = model()
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="student 1 is not finite at step 0"):
        distill_side_by_side([model(), broken], [rows(), rows()], steps=1, batch_size=4)


# Bad input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: forward_kl(drawn(2, 3), drawn(2, 4)), "one shape, and one vocabulary"),
        (lambda: reverse_kl(drawn(2, 3), drawn(2, 3), torch.ones(3, dtype=torch.bool)), "mask must have"),
        (lambda: forward_kl(drawn(2, 3), drawn(2, 3), torch.zeros(2, dtype=torch.bool)), "nothing counts"),
        (lambda: kd_losses.generalized_jsd(drawn(2, 3), drawn(2, 3), beta=0), r"beta must lie in \(0, 1\)"),
        (lambda: ranking(drawn(2), drawn(2), reference=(drawn(2), drawn(3))), r"must be float\[B\]"),
        (lambda: ranking(drawn(2), drawn(2), reference=(drawn(2), drawn(2)), beta=0), "beta must be above 0"),
        (lambda: smoothed(drawn(2, 3), torch.tensor([0, 1]), share=1), r"share must lie in \[0, 1\)"),
        (lambda: Teacher(model(), TOKENIZER, templates={"reply": ""}), "templates must be from answer, more"),
        (lambda: teacher(model()).__class__(model(), TOKENIZER, max_tokens=0), "max_tokens must be at least"),
        (lambda: labelling(teacher(model()), TEXTS, budget=3), "budget must be at least 4"),
        (lambda: labelling(teacher(model()), TEXTS, budget=100, passes=0), "passes must be at least 1"),
        (lambda: expansion(teacher(model()), TEXTS, budget=7), "budget must be at least 8"),
        (lambda: labelling(teacher(model()), [], budget=100), "inputs must be strings, at least one"),
        (lambda: curation(teacher(model()), "topic", budget=100), "topics must be strings"),
        (lambda: expansion(teacher(model()), [" "], budget=100), "seeds must be strings"),
        (lambda: distill(model(), rows(), soft=[], steps=1), "soft needs a loss"),
        (
            lambda: distill(model(), rows(), loss=forward_kl, soft=[drawn(1, 3)], steps=1),
            "soft must have one",
        ),
        (lambda: distill(model(), rows(), hidden=[drawn(1, 3)], steps=1), "hidden must have one"),
        (
            lambda: on_policy(model(), teacher(model()), TEXTS, budget=9, loss=forward_kl, steps=1),
            "budget must be at least 5 tokens a round",
        ),
        (
            lambda: on_policy(model(), teacher(model()), [], budget=99, loss=forward_kl, steps=1),
            "count must be at least 1",
        ),
        (lambda: preferences(model(), teacher(model()), TEXTS, budget=9), "budget must be at least 10"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_a_black_box_gives_no_distributions():
    closed = teacher(model(), white_box=False)
    for call in (features, kd_elicit.hidden_states):
        with pytest.raises(TypeError, match="black box"):
            call(closed, rows())
    with pytest.raises(TypeError, match="black box"):
        on_policy(model(), closed, TEXTS, budget=100, loss=forward_kl, steps=1)
