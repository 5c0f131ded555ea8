"""Few-shot extraction: counted queries, written histories, both losses, and the recommenders they act on."""

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit import training
from labkit.distill import click_histories
from labkit.distill import few_shot_model_extraction as module
from labkit.distill import sequential_recommenders as recommenders
from labkit.distill.black_box_recommender import BlackBoxRecommender, BudgetExceeded, agreement_at_k
from labkit.distill.click_histories import PAD
from labkit.distill.few_shot_model_extraction import (
    InteractionSampler,
    SourceSignal,
    extraction_loss,
    fit_generator,
    generate_sequences,
    negatives,
    pieces,
)
from labkit.seeding import generator

ITEMS = 12


@pytest.fixture
def repair():
    """The function under test; put your own version here."""
    return module.bidirectional_repair_loss


@pytest.fixture
def listwise():
    return module.listwise_margin_loss


@pytest.fixture
def write():
    return module.generate_sequences


def victim(seed=0, items=ITEMS):
    return recommenders.recurrent(items, width=8, seed=seed)


def histories(rows=6, length=5, seed=0, items=ITEMS):
    """Histories of different lengths, 1 to ``length`` clicks."""
    draws = generator(seed)
    found = torch.randint(items, (rows, length), generator=draws)
    sizes = torch.randint(1, length + 1, (rows, 1), generator=draws)
    sizes[0] = length
    return torch.where(torch.arange(length) < sizes, found, PAD)


def p_value(counts, expected):
    from scipy.stats import chisquare

    return chisquare(counts, np.asarray(expected) * np.sum(counts) / np.sum(expected)).pvalue


# The black box


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_a_list_after_each_click_is_the_list_after_that_prefix(kind):
    """One causal pass answers for all prefixes, and what fills a history up changes nothing."""
    model, rows = getattr(recommenders, kind)(ITEMS, width=8, seed=1), histories()
    box = BlackBoxRecommender(model, k=4)
    lists = box.query_prefixes(rows)
    for row, size in product(range(len(rows)), range(1, rows.shape[1] + 1)):
        if rows[row, size - 1] == PAD:
            assert (lists[row, size - 1] == PAD).all()
            continue
        alone = box.query(rows[row : row + 1, :size])[0]
        scores = model(rows[row : row + 1, :size])[0, -1]
        assert alone.tolist() == lists[row, size - 1].tolist() == scores.argsort(descending=True)[:4].tolist()
    last = box.query(rows)
    sizes = (rows != PAD).sum(dim=1)
    assert torch.equal(last, lists[torch.arange(len(rows)), sizes - 1])


def test_every_list_is_counted_and_none_is_given_beyond_the_budget():
    rows = histories()
    clicks = int((rows != PAD).sum())
    box = BlackBoxRecommender(victim(), k=3, budget=clicks + len(rows))
    box.query(rows)
    assert box.queries == len(rows)
    box.query_prefixes(rows)
    assert box.queries == box.budget
    with pytest.raises(BudgetExceeded, match=f"1 queries asked, 0 of {box.budget} left"):
        box.query(rows[:1])
    assert box.queries == box.budget
    assert set(vars(box)) == {"_score", "k", "budget", "queries"}  # no scores are kept or handed out


# Writing histories


def constant_box(answer):
    """A black box that always gives the same list."""
    scores = torch.zeros(ITEMS).scatter(0, torch.tensor(answer), torch.arange(len(answer), 0.0, -1))
    return BlackBoxRecommender(lambda rows: scores.expand(*rows.shape, ITEMS), k=len(answer))


def test_rho_is_the_share_of_clicks_from_the_list(write):
    box = constant_box([4, 7, 1])
    for rho in (0.0, 0.3, 1.0):
        made = write(
            box,
            None,
            rho,
            torch.zeros(4000, 1, dtype=torch.long),
            length=2,
            items=ITEMS,
            generator=generator(1),
        )
        inside = torch.isin(made.sequences[:, 1], torch.tensor([4, 7, 1]))
        assert torch.equal(inside, made.listed[:, 1]) and not made.listed[:, 0].any()
        count = int(inside.sum())
        if rho in (0.0, 1.0):
            assert count == 4000 * rho
        else:
            assert p_value([count, 4000 - count], [rho, 1 - rho]) > 1e-3


def test_clicks_are_drawn_by_the_samplers_scores_within_the_list_and_by_popularity_outside(write):
    """The exact distribution of one step, against counts: drawn, not the likeliest."""
    sampler, listed = InteractionSampler(ITEMS, width=8, seed=3), [4, 7, 1]
    with torch.no_grad():
        sampler.reader.bias.copy_(torch.linspace(-1, 1, ITEMS))
        scores = sampler(torch.zeros(1, 1, dtype=torch.long))[0, 0]
    popularity = torch.arange(1.0, ITEMS + 1)
    inside = torch.zeros(ITEMS, dtype=torch.bool).scatter(0, torch.tensor(listed), True)
    within = torch.where(inside, scores, -torch.inf).softmax(0)
    outside = torch.where(inside, 0, popularity)
    expected = 0.4 * within + 0.6 * outside / outside.sum()
    made = write(
        constant_box(listed),
        sampler,
        0.4,
        torch.zeros(20_000, 1, dtype=torch.long),
        length=2,
        items=ITEMS,
        popularity=popularity,
        generator=generator(2),
    )
    counts = made.sequences[:, 1].bincount(minlength=ITEMS)
    assert p_value(counts.numpy(), expected.numpy()) > 1e-3
    assert p_value(counts.numpy(), np.full(ITEMS, 1 / ITEMS)) < 1e-6  # the test can tell


def test_lists_are_those_of_the_written_prefixes_and_cost_one_query_a_click(write):
    model = victim()
    box, seeds = BlackBoxRecommender(model, k=3, budget=5 * 6), torch.tensor([[1, 2]]).expand(5, 2)
    sampler, signal = InteractionSampler(ITEMS, width=8), SourceSignal(8)
    made = write(box, sampler, signal, seeds, length=6, items=ITEMS, generator=generator(0))
    assert box.queries == 30
    assert torch.equal(made.sequences[:, :2], seeds)
    assert torch.equal(made.lists, BlackBoxRecommender(model, k=3).query_prefixes(made.sequences))
    before = (made.lists[:, :-1] == made.sequences[:, 1:, None]).any(dim=-1)
    assert torch.equal(before[:, 1:], made.listed[:, 2:])
    again = write(
        BlackBoxRecommender(model, k=3), sampler, signal, seeds, length=6, items=ITEMS, generator=generator(0)
    )
    assert torch.equal(again.sequences, made.sequences)
    assert len({tuple(row) for row in made.sequences.tolist()}) > 1
    with pytest.raises(BudgetExceeded):
        write(box, sampler, signal, seeds, length=3, items=ITEMS)


def test_the_signal_learns_when_the_next_click_is_in_the_list():
    """Users whose first item is even follow the list, the others never do."""
    listed, rows = [8, 9, 10], []
    draws = generator(0)
    for first in torch.randint(8, (200,), generator=draws).tolist():
        source = torch.tensor(listed if first % 2 == 0 else range(8))
        rows.append([first, *source[torch.randint(len(source), (3,), generator=draws)].tolist()])
    rows, box = torch.tensor(rows), constant_box(listed)
    sampler, signal = InteractionSampler(ITEMS, width=8, seed=0), SourceSignal(8)
    assert signal(sampler.hidden(rows)).sigmoid().unique().tolist() == [0.5]
    fit_generator(sampler, signal, rows, box.query_prefixes(rows), steps=150, lr=0.02)
    rho = signal(sampler.hidden(rows[:, :-1])).sigmoid().detach()
    even = rows[:, 0] % 2 == 0
    assert rho[even].mean() > 0.9 and rho[~even].mean() < 0.1
    made = generate_sequences(
        box, sampler, signal, rows[:, :1], length=4, items=ITEMS, generator=generator(1)
    )
    assert made.listed[even, 1:].float().mean() > 0.85 and made.listed[~even, 1:].float().mean() < 0.15


def test_pieces_are_of_real_histories():
    rows = histories(rows=5, length=6, seed=2)
    real = {
        tuple(row[at : at + 3]) for row in rows.tolist() for at in range(4) if PAD not in row[at : at + 3]
    }
    drawn = {tuple(each) for each in pieces(rows, 300, 3, generator=generator(0)).tolist()}
    assert drawn == real


# The losses


def repair_by_hand(scores, lists, margin):
    total = 0.0
    for row, wanted in zip(scores.tolist(), lists.tolist(), strict=True):
        own = sorted(range(len(row)), key=lambda i: -row[i])[: len(wanted)]
        bar = row[own[-1]]
        shared = [i for i in wanted if i in own] or wanted
        level = sum(row[i] for i in shared) / len(shared)
        total += sum(max(0, bar - row[i] + margin) for i in wanted if i not in own)
        total += sum(max(0, row[j] - level + margin) for j in own if j not in wanted)
    return total / len(scores)


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_repair_is_the_sum_over_both_differences(repair, margin):
    draws = generator(0)
    scores = torch.randn(20, ITEMS, generator=draws)
    lists = torch.stack([torch.randperm(ITEMS, generator=draws)[:4] for _ in range(20)])
    assert repair(scores, lists, margin=margin).item() == pytest.approx(
        repair_by_hand(scores, lists, margin), rel=1e-5
    )


def test_repair_lifts_what_is_missed_lowers_what_is_too_much_and_touches_nothing_else(repair):
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]], requires_grad=True)
    repair(scores, torch.tensor([[4, 0, 1]]), margin=0.5).backward()  # own list 0, 1, 2
    assert scores.grad[0].tolist() == [0, 0, 0, 0, -1, 0]  # item 2 lies more than a margin below the shared
    scores.grad = None
    repair(scores, torch.tensor([[4, 0, 1]]), margin=2.0).backward()
    assert scores.grad[0].tolist() == [0, 0, 1, 0, -1, 0]


def test_repair_is_nothing_where_the_lists_hold_the_same_items(repair):
    scores = torch.randn(6, ITEMS, generator=generator(0), requires_grad=True)
    lists = scores.detach().topk(5).indices.flip(-1)  # the order does not matter
    value = repair(scores, lists)
    value.backward()
    assert value.item() == 0 and not scores.grad.any()


def test_repair_alone_makes_the_lists_the_same(repair):
    draws = generator(0)
    scores = torch.randn(30, ITEMS, generator=draws, requires_grad=True)
    lists = torch.stack([torch.randperm(ITEMS, generator=draws)[:4] for _ in range(30)])
    before = agreement_at_k(scores.topk(4).indices, lists).mean()
    stepper = torch.optim.SGD([scores], lr=1.0)
    for _ in range(200):
        stepper.zero_grad()
        repair(scores, lists).backward()
        stepper.step()
    assert before < 0.5 and agreement_at_k(scores.topk(4).indices, lists).mean() == 1


def test_listwise_loss_is_that_of_torch(listwise):
    """Yue and others' code calls ``MarginRankingLoss`` on neighbours and on negatives."""
    draws = generator(0)
    scores = torch.randn(9, ITEMS, generator=draws)
    lists = torch.stack([torch.randperm(ITEMS, generator=draws)[:4] for _ in range(9)])
    others = negatives(lists, ITEMS, generator=draws)
    ranked, apart = scores.gather(1, lists), scores.gather(1, others)
    ones = torch.ones(9, 3)
    wanted = F.margin_ranking_loss(ranked[:, :-1], ranked[:, 1:], ones, margin=0.3)
    wanted = wanted + F.margin_ranking_loss(ranked, apart, torch.ones(9, 4), margin=0.7)
    torch.testing.assert_close(listwise(scores, lists, others, margin_order=0.3, margin_others=0.7), wanted)


def test_negatives_are_all_other_items_alike():
    lists = torch.tensor([[3, 0, 7, 1]]).expand(6000, 4)
    drawn = negatives(lists, ITEMS, generator=generator(0)).flatten().bincount(minlength=ITEMS)
    assert not drawn[[0, 1, 3, 7]].any()
    rest = [item for item in range(ITEMS) if item not in (0, 1, 3, 7)]
    assert p_value(drawn[rest].numpy(), np.ones(8)) > 1e-3


def test_gamma_adds_the_repair_and_filled_up_places_count_for_nothing():
    rows, model = histories(), recommenders.attention(ITEMS, width=8, seed=2)
    lists = BlackBoxRecommender(victim(), k=3).query_prefixes(rows)
    values = [
        extraction_loss(gamma)(model, rows, lists, generator=generator(0)).item() for gamma in (0, 0.1, 1.0)
    ]
    known = rows != PAD
    term = module.bidirectional_repair_loss(model(rows)[known], lists[known]).item()
    assert values[1] == pytest.approx(values[0] + 0.1 * term, rel=1e-5)
    assert values[2] == pytest.approx(values[0] + term, rel=1e-5)
    wider = F.pad(rows, (0, 2), value=PAD), F.pad(lists, (0, 0, 0, 2), value=PAD)
    assert extraction_loss(0)(model, *wider, generator=generator(0)).item() == pytest.approx(values[0])


def test_a_surrogate_of_another_architecture_comes_to_agree():
    rows = histories(rows=60, length=6, items=30)
    box, new = BlackBoxRecommender(victim(items=30), k=5), histories(rows=60, length=6, seed=9, items=30)
    surrogate = recommenders.attention(30, width=16, seed=5)

    def agreement():
        known = new != PAD
        return agreement_at_k(surrogate(new).topk(5).indices, box.query_prefixes(new))[known].mean().item()

    before = agreement()
    training.fit(surrogate, rows, box.query_prefixes(rows), steps=150, lr=0.02, loss=extraction_loss())
    assert agreement() > before + 0.3


def test_agreement_is_the_intersection():
    draws = generator(0)
    first, second = (
        torch.stack([torch.randperm(9, generator=draws)[:5] for _ in range(20)]) for _ in range(2)
    )
    for k in (1, 3, 5):
        found = agreement_at_k(first, second, k)
        wanted = [
            len(set(a[:k]) & set(b[:k])) / k for a, b in zip(first.tolist(), second.tolist(), strict=True)
        ]
        assert found.tolist() == pytest.approx(wanted)
    assert agreement_at_k(first, first.flip(-1)).eq(1).all()


# Recommenders and clicks


def test_clicks_are_as_described():
    drawn = click_histories.clicks(3, users=400, test_users=50)
    assert drawn.train.shape == (400, 15) and drawn.test.shape == (50, 15)
    sizes = (drawn.train != PAD).sum(dim=1)
    assert sizes.min() == 8 and sizes.max() == 15
    assert ((drawn.train == PAD).int().diff(dim=1) >= 0).all()  # filled up at the end only
    assert drawn.categories.bincount().tolist() == [20] * 15
    again = click_histories.clicks(3, users=400, test_users=50)
    assert torch.equal(again.train, drawn.train)
    assert not torch.equal(click_histories.clicks(4, users=400, test_users=50).train, drawn.train)
    # A user who never explores stays within three interests.
    calm = click_histories.clicks(3, users=100, explore=0.0).train
    kinds = [{int(drawn.categories[item]) for item in row if item >= 0} for row in calm.tolist()]
    assert (
        max(map(len, kinds))
        <= 3
        < max(len({int(drawn.categories[item]) for item in row if item >= 0}) for row in drawn.train.tolist())
    )


def test_quality_is_that_of_a_plain_count():
    model, rows, hits, gains = victim(), histories(rows=30), [], []
    for row in rows.tolist():
        size = sum(item != PAD for item in row)
        for at in range(1, size):
            best = model(torch.tensor([row[:at]]))[0, -1].argsort(descending=True)[:4].tolist()
            hits.append(row[at] in best)
            gains.append(1 / math.log2(best.index(row[at]) + 2) if hits[-1] else 0)
    found = recommenders.ranking_quality(model, rows, k=4)
    assert found == pytest.approx((np.mean(hits), np.mean(gains)), abs=1e-5)


def test_training_learns_what_follows():
    rows = torch.tensor([[(start + 5 * place) % ITEMS for place in range(6)] for start in range(ITEMS)])
    for build in (recommenders.recurrent, recommenders.attention):
        model = recommenders.fit(build(ITEMS, width=16, seed=0), rows, steps=120)
        assert recommenders.ranking_quality(model, rows, k=1)[0] == 1


def test_interactions_are_read_in_order(tmp_path):
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\nu\tx\nv\ty\nu\tz\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("time,item,user\n1,x,u\n2,y,v\n3,z,u\n", encoding="utf-8")
    read = click_histories.read_interactions
    assert read(tmp_path / "a.inter") == [["x", "z"], ["y"]]
    assert read(tmp_path / "a.csv", user="user", item="item") == [["x", "z"], ["y"]]
    with pytest.raises(ValueError, match=r"a\.csv has no column 'user_id'; it has time, item, user"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("user_id,item_id\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"b\.csv has no rows"):
        read(tmp_path / "b.csv")


# Bad input

ROWS = torch.tensor([[1, 2, 3]])
BOX = constant_box([4, 7, 1])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: BlackBoxRecommender(victim(), k=0), "k must be an integer from 1 up"),
        (lambda: BlackBoxRecommender(victim(), budget=0), "budget must be an integer from 1 up"),
        (lambda: BOX.query(torch.tensor([[PAD]])), "histories of one click or more"),
        (lambda: generate_sequences(BOX, None, 1.0, ROWS, length=3, items=ITEMS), "0 < S < 3"),
        (lambda: generate_sequences(BOX, None, 1.0, ROWS[0], length=9, items=ITEMS), r"items \[B, S\]"),
        (lambda: generate_sequences(BOX, None, 1.5, ROWS, length=9, items=ITEMS), "signal must lie in"),
        (
            lambda: generate_sequences(BOX, None, SourceSignal(8), ROWS, length=9, items=ITEMS),
            "give a sampler, or a number as signal",
        ),
        (
            lambda: generate_sequences(
                BOX, None, 0.5, ROWS, length=9, items=ITEMS, popularity=torch.zeros(ITEMS)
            ),
            f"popularity must be {ITEMS} numbers above 0",
        ),
        (lambda: pieces(ROWS, 1, 4), "length must be that of a piece of some history, got 4"),
        (lambda: negatives(ROWS, 3), "items must be more than a list has, got 3 and 3"),
        (lambda: extraction_loss(-0.1), "gamma must lie in"),
        (lambda: agreement_at_k(ROWS, ROWS[:, :2]), "both must have one shape"),
        (lambda: agreement_at_k(ROWS, ROWS, 4), "k must be an integer from 1 to 3"),
        (lambda: recommenders.recurrent(1), "items must be an integer from 2 up"),
        (lambda: recommenders.attention(9, width=9), "width must be a multiple of heads, got 9 and 2"),
        (lambda: recommenders.attention(9, categories=torch.zeros(8)), "categories must be 9 numbers"),
        (lambda: recommenders.attention(9, length=2)(ROWS), "at most 2 clicks, got 3"),
        (lambda: click_histories.clicks(0, items=20), "items must be an integer from 60 up"),
        (lambda: click_histories.clicks(0, explore=0.6), "explore must lie in"),
        (lambda: click_histories.clicks(0, stay=-0.1), "stay must lie in"),
        (lambda: click_histories.pad([]), "histories must not be empty"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()
