import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare, kstest

from labkit import data, models, operations, training
from labkit.distill import dataset_reinforcement, replayable_views
from labkit.distill.dataset_reinforcement import (
    ReinforcedDataset,
    calibration_error,
    kl_to_soft_targets,
    reinforce,
    sparsify,
)
from labkit.distill.replayable_views import DIRECTED, Family, Views, sample
from labkit.seeding import generator

EVERYTHING = Family(erase=0.5, mixup=0.3, cutmix=0.3)
PLAIN = Family(crop=(1.0, 1.0), ratio=(1.0, 1.0), mirror=0.0, count=0, erase=0.0)


@pytest.fixture
def replay():
    """The function under test; a reader's own version runs through the same tests."""
    return replayable_views.replay


@pytest.fixture
def densify():
    return dataset_reinforcement.densify


def pictures(count=40, channels=3, height=16, width=16, seed=0):
    return torch.rand(count, channels, height, width, generator=generator(seed))


def views_of(count, family=PLAIN, **changes):
    return sample((count,), family, images=count, generator=generator(1))._replace(**changes)


# Replaying


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 16, 16), (3, 33, 20)])
def test_the_same_numbers_give_the_same_bits_in_any_batch(replay, channels, height, width):
    images = pictures(120, channels, height, width)
    views = sample((120,), EVERYTHING, images=120, generator=generator(1))
    partners = images[views.partner.clamp(min=0)]
    whole = replay(images, views, partners=partners)
    order = torch.randperm(120, generator=generator(2))
    assert torch.equal(replay(images[order], views.at(order), partners=partners[order]), whole[order])
    for i in range(120):
        part = slice(i, i + 1)
        assert torch.equal(replay(images[part], views.at(part), partners=partners[part])[0], whole[i])


def test_replaying_draws_nothing_and_leaves_its_input(replay):
    images = pictures()
    views = sample((40,), EVERYTHING, images=40, generator=generator(1))
    before, state = images.clone(), torch.get_rng_state()
    first = replay(images, views, partners=images)
    torch.manual_seed(7)
    torch.rand(3)
    assert torch.equal(replay(images, views, partners=images), first)
    assert torch.equal(images, before)
    torch.set_rng_state(state)
    replay(images, views, partners=images)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_whole_image_is_the_image(replay):
    assert torch.equal(replay(pictures(), views_of(40)), pictures())


def test_a_crop_is_resized_as_torch_resizes_it(replay):
    """A box of whole pixels, away from its border, where torch has no neighbours outside the box."""
    images = pictures()
    box = torch.tensor([4 / 16, 2 / 16, 8 / 16, 8 / 16]).expand(40, 4)
    large = F.interpolate(images[:, :, 4:12, 2:10], size=(16, 16), mode="bilinear", align_corners=False)
    shown = replay(images, views_of(40, crop=box))
    assert torch.allclose(shown[:, :, 1:-1, 1:-1], large[:, :, 1:-1, 1:-1], atol=1e-6)
    mirrored = replay(images, views_of(40, crop=box, mirrored=torch.ones(40, dtype=torch.bool)))
    assert torch.allclose(mirrored, shown.flip(3), atol=1e-6)


@pytest.mark.parametrize("name", DIRECTED)
def test_each_operation_is_the_librarys_own_with_its_sign(replay, name):
    images, position = pictures(), list(DIRECTED).index(name)
    views = views_of(40, operations=torch.full((40, 1), position), magnitudes=torch.full((40, 1), 0.4))
    base, _, sign = name.partition(" ")
    operation = operations.OPERATIONS[base]
    if operation.start is None:
        expected = operation.function(images)
    else:
        way = 0.4 * (operation.end - operation.start) * (-1 if sign == "-" else 1)
        options = {"resample": "bilinear"} if base[:5] in ("rotat", "shear", "trans") else {}
        expected = operation.function(images, operation.start + way, **options)
    assert torch.allclose(replay(images, views), expected, atol=1e-6)


def test_a_rectangle_is_erased_pixel_by_pixel(replay):
    images, family = pictures(), Family(**(vars(PLAIN) | {"erase": 1.0}))
    views = sample((40,), family, generator=generator(3))
    expected = images.clone()
    for i, (top, left, height, width) in enumerate(views.erased.double().tolist()):
        for row in range(16):
            for column in range(16):
                y, x = (row + 0.5) / 16, (column + 0.5) / 16
                if top <= y < top + height and left <= x < left + width:
                    expected[i, :, row, column] = 0.5
    assert torch.equal(replay(images, views), expected)
    area = (views.erased[:, 2] * views.erased[:, 3]).tolist()
    assert min(area) > 0.01 and max(area) < 0.34


def test_two_images_are_mixed_by_weight_or_by_box(replay):
    images = pictures()
    family = Family(**(vars(PLAIN) | {"mixup": 0.5, "cutmix": 0.5}))
    views = sample((40,), family, images=40, generator=generator(5))
    others = images[views.partner]
    shown = replay(images, views, partners=others)
    up = views.weight < 1
    assert 5 < up.sum() < 35
    weight = views.weight[up, None, None, None]
    assert torch.allclose(shown[up], weight * images[up] + (1 - weight) * others[up], atol=1e-6)
    for i in (~up).nonzero()[:, 0].tolist():
        top, left, height, width = views.pasted[i].tolist()
        y, x = (torch.arange(16) + 0.5) / 16, (torch.arange(16) + 0.5) / 16
        inside = ((y >= top) & (y < top + height))[:, None] & ((x >= left) & (x < left + width))
        assert torch.equal(shown[i], torch.where(inside, others[i], images[i]))


# Drawing


def test_crops_are_uniform_in_area_and_place():
    family = Family(crop=(0.1, 0.5), ratio=(1.0, 1.0))
    top, left, height, width = sample((4000,), family, generator=generator(0)).crop.unbind(1)
    assert kstest((height * width).numpy(), "uniform", args=(0.1, 0.4)).pvalue > 0.001
    assert kstest((top / (1 - height)).numpy(), "uniform").pvalue > 0.001
    assert kstest((left / (1 - width)).numpy(), "uniform").pvalue > 0.001


def test_operations_are_uniform_and_their_signs_even():
    drawn = sample((4000,), Family(count=2), generator=generator(0)).operations.flatten()
    names = list(DIRECTED)
    counts = dict.fromkeys(operations.OPERATIONS, 0)
    for position in drawn.tolist():
        counts[names[position].partition(" ")[0]] += 1
    assert chisquare(list(counts.values())).pvalue > 0.001
    ways = [(drawn == names.index(f"rotate {sign}")).sum().item() for sign in "+-"]
    assert chisquare(ways).pvalue > 0.001


def test_boxes_stay_inside_and_probabilities_are_kept():
    views = sample((50, 80), EVERYTHING, images=50, generator=generator(0))
    for boxes in (views.crop, views.erased, views.partner_crop, views.pasted):
        assert (boxes >= 0).all() and (boxes[..., :2] + boxes[..., 2:] <= 1 + 1e-6).all()
    assert views.mirrored.float().mean() == pytest.approx(0.5, abs=0.04)
    assert (views.erased[..., 2] > 0).float().mean() == pytest.approx(0.5, abs=0.04)
    assert (views.weight < 1).float().mean() == pytest.approx(0.3, abs=0.04)
    assert (views.pasted[..., 2] > 0).float().mean() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(views.partner >= 0, (views.weight < 1) | (views.pasted[..., 2] > 0))


# The labels


def test_top_k_is_that_of_a_sort():
    probabilities = torch.randn(7, 3, 10, generator=generator(0)).softmax(dim=2)
    values, indices = sparsify(probabilities, 4)
    ordered = probabilities.sort(dim=2, descending=True)
    assert torch.equal(values, ordered.values[..., :4]) and torch.equal(indices, ordered.indices[..., :4])


@pytest.mark.parametrize("k", [1, 3, 9, 10])
def test_smooth_labels_by_the_papers_formula(densify, k):
    probabilities = torch.randn(6, 10, generator=generator(0)).softmax(dim=1)
    dense = densify(*sparsify(probabilities, k), 10)
    for row, given in zip(dense.tolist(), probabilities.tolist(), strict=True):
        kept = sorted(range(10), key=lambda c: -given[c])[:k]
        rest = 1 - sum(given[c] for c in kept)
        for c in range(10):
            assert row[c] == pytest.approx(given[c] if c in kept else rest / (10 - k), abs=1e-6)
    assert torch.allclose(dense.sum(dim=1), torch.ones(6))


def test_probabilities_that_exceed_one_by_rounding_leave_nothing(densify):
    dense = densify(torch.tensor([[0.75, 0.25 + 1e-4]]), torch.tensor([[3, 0]]), 5)
    assert (dense >= 0).all() and dense[0, 1] == 0
    zeros = densify(torch.tensor([[0.6, 0.2]]), torch.tensor([[3, 0]]), 5, method="zeros")
    assert torch.allclose(zeros, torch.tensor([[0.25, 0.0, 0.0, 0.75, 0.0]]))


def test_the_loss_on_hard_labels_is_cross_entropy_and_its_gradient_known():
    logits = torch.randn(8, 5, generator=generator(0), requires_grad=True)
    labels = torch.arange(8) % 5
    hard = F.one_hot(labels, 5).float()
    assert torch.allclose(kl_to_soft_targets(logits, hard), F.cross_entropy(logits, labels))
    soft = torch.randn(8, 5, generator=generator(1)).softmax(dim=1)
    (gradient,) = torch.autograd.grad(kl_to_soft_targets(logits, soft), logits)
    assert torch.allclose(gradient, (logits.softmax(dim=1) - soft) / 8, atol=1e-6)


def test_calibration_error_bin_by_bin():
    probabilities = torch.randn(500, 4, generator=generator(0)).softmax(dim=1)
    labels = torch.randint(4, (500,), generator=generator(1))
    bins = [[] for _ in range(15)]
    for row, label in zip(probabilities.double().tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        number = next(b for b in range(15) if b / 15 < confidence <= (b + 1) / 15)
        bins[number].append((confidence, row.index(confidence) == label))
    expected = sum(abs(sum(hit - c for c, hit in each)) for each in bins) / 500
    assert calibration_error(probabilities, labels) == pytest.approx(100 * expected)


# The artefact


def digits(size=30):
    return data.load("digits", "train", size=size)


@pytest.fixture(scope="module")
def network():
    return models.cnn(classes=10, in_channels=1, channels=(4, 8))


@pytest.fixture(scope="module")
def reinforced(network):
    def teacher(images):
        return training.predict(network, images).softmax(dim=1)

    return reinforce(digits(), teacher, EVERYTHING, views=6, top_k=10, image_size=12, generator=generator(0))


def bits(store, seed=3):
    """A hash of what a training would see."""
    images, targets = store.batch(torch.arange(len(store)), generator=generator(seed))
    return hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()


def test_the_stored_label_is_the_teachers_word_on_that_view(reinforced, network):
    store = ReinforcedDataset(reinforced, image_size=12)
    image, view = (
        each.flatten() for each in torch.meshgrid(torch.arange(30), torch.arange(6), indexing="ij")
    )
    said = training.predict(network, store.shown(image, view)).softmax(dim=1)
    assert torch.allclose(store.targets(image, view), said, atol=1e-5)
    assert not torch.allclose(said, said.view(30, 6, 10)[:, :1].expand(30, 6, 10).reshape(-1, 10), atol=1e-3)


def test_a_copy_on_disk_replays_to_the_bit_in_another_process(reinforced, tmp_path):
    from datasets import load_from_disk

    reinforced.save_to_disk(tmp_path / "folder")
    store = ReinforcedDataset(reinforced, image_size=12)
    again = ReinforcedDataset(load_from_disk(tmp_path / "folder"), image_size=12)
    for one, other in zip(store.stored.views, again.stored.views, strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype
    code = (
        "import torch; torch.rand(5); torch.set_num_threads(1)\n"
        "from datasets import load_from_disk\n"
        "from labkit.distill.dataset_reinforcement import ReinforcedDataset\n"
        "from tests.distill.test_dataset_reinforcement import bits\n"
        f"print(bits(ReinforcedDataset(load_from_disk({str(tmp_path / 'folder')!r}), image_size=12)))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == bits(store) == bits(again)
    assert {path.suffix for path in (tmp_path / "folder").iterdir()} == {".arrow", ".json"}


def test_parquet_keeps_everything(reinforced, tmp_path):
    from datasets import Dataset

    reinforced.to_parquet(tmp_path / "digits.parquet")
    again = Dataset.from_parquet(str(tmp_path / "digits.parquet"), cache_dir=str(tmp_path))
    assert again.features == reinforced.features
    assert bits(ReinforcedDataset(again, image_size=12)) == bits(ReinforcedDataset(reinforced, image_size=12))


def test_rows_in_another_order_keep_their_partners(reinforced):
    store = ReinforcedDataset(reinforced, image_size=12)
    order = torch.randperm(30, generator=generator(0))
    shuffled = ReinforcedDataset(reinforced.select(order.tolist()), image_size=12)
    view = torch.arange(30) % 6
    assert torch.equal(shuffled.shown(torch.arange(30), view), store.shown(order, view))


def test_a_partner_that_is_gone_is_missed(reinforced):
    with pytest.raises(ValueError, match="are mixed into others and are not in this data set"):
        ReinforcedDataset(reinforced.select(range(5)))


def test_a_view_is_readable_as_it_stands(reinforced):
    view = reinforced[0]["views"][0]
    assert set(view) == {*Views._fields, "top_probabilities", "top_classes"}
    assert len(view["crop"]) == 4 and len(view["top_classes"]) == 10
    names = reinforced.features["views"].feature["operations"].feature
    assert all(name in DIRECTED for name in names.int2str(view["operations"]))


def test_views_are_drawn_uniformly_and_some_images_shown_as_they_are(reinforced):
    store = ReinforcedDataset(reinforced, image_size=12, original=0.25)
    index = torch.zeros(2000, dtype=torch.long)
    images, targets = store.batch(index, generator=generator(0))
    plain = (images == store.images[0]).flatten(1).all(dim=1)
    assert plain.float().mean() == pytest.approx(0.25, abs=0.03)
    own = F.one_hot(store.labels[0], 10).float()
    assert torch.equal(targets[plain], own.expand(int(plain.sum()), 10))
    each = store.targets(index[:6], torch.arange(6))
    counts = (targets[~plain, None] == each).all(dim=2).sum(dim=0)
    assert counts.sum() == (~plain).sum() and chisquare(counts).pvalue > 0.001


def test_bytes_are_those_of_the_numbers(reinforced):
    store = ReinforcedDataset(reinforced, image_size=12)
    boxes, one, each_operation, each_class = 4 * 4 * 4, 1 + 4 + 4 + 4, 8 + 4, 4 + 4
    assert store.nbytes == 30 * 6 * (boxes + one + 2 * each_operation + 10 * each_class)


def test_a_student_learns_from_the_stored_labels(reinforced):
    store = ReinforcedDataset(reinforced, image_size=12, original=0.0)
    order = torch.arange(30).repeat(40)
    images, targets = store.batch(order, generator=generator(0))

    def loss(model, images, targets, *, progress, generator):
        return kl_to_soft_targets(model(images), targets)

    student = models.mlp(classes=10, inputs=144, widths=(32,))
    training.fit(student, images, targets, steps=100, batch_size=30, loss=loss)
    with torch.no_grad():
        untaught = models.mlp(classes=10, inputs=144, widths=(32,))
        before, after = (kl_to_soft_targets(model(images), targets) for model in (untaught, student))
    assert after < 0.5 * before


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": (0.0, 1.0)}, "crop must satisfy"),
        ({"ratio": (2.0, 1.0)}, "ratio must satisfy"),
        ({"mirror": 1.5}, "mirror must lie"),
        ({"magnitude": -0.1}, "magnitude must lie"),
        ({"mixup": 0.6, "cutmix": 0.6}, "mixup \\+ cutmix"),
        ({"count": -1}, "count must be 0 or more"),
        ({"operations": ("rotate", "melt")}, "operations must be names"),
        ({"operations": ()}, "operations must be names"),
    ],
)
def test_a_family_that_is_none_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Family(**settings)


def test_replaying_asks_for_what_it_needs(replay):
    images, mixing = pictures(), Family(mixup=1.0)
    with pytest.raises(ValueError, match="one per image"):
        replay(images[:3], views_of(40))
    with pytest.raises(ValueError, match="partners must be given: 40"):
        replay(images, views_of(40, mixing))
    with pytest.raises(ValueError, match="one fill"):
        replay(images, views_of(40, fill=torch.linspace(0, 1, 40)))
    with pytest.raises(ValueError, match="size of the data set"):
        sample((3,), mixing)


def test_labels_that_cannot_be(densify):
    with pytest.raises(ValueError, match="k must lie from 1 to the 4 classes, got 5"):
        sparsify(torch.rand(2, 4), 5)
    with pytest.raises(ValueError, match="method must be"):
        densify(torch.rand(2, 3), torch.zeros(2, 3).long(), 5, method="soft")
    with pytest.raises(ValueError, match="one shape"):
        densify(torch.rand(2, 3), torch.zeros(2, 2).long(), 5)
    with pytest.raises(ValueError, match="at least the 3"):
        densify(torch.rand(2, 3), torch.zeros(2, 3).long(), 2)
    with pytest.raises(ValueError, match="as many"):
        calibration_error(torch.rand(3, 2), torch.zeros(2).long())


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (lambda images: torch.ones(len(images), 10), "off by 9"),
        (lambda images: torch.full((len(images), 10), torch.nan), "off by nan"),
        (lambda images: torch.ones(len(images), 7) / 7, "gave \\[60, 7\\]"),
        (lambda images: torch.ones(3, 10) / 10, "gave \\[3, 10\\]"),
    ],
)
def test_a_teacher_that_gives_no_probabilities(teacher, message):
    with pytest.raises(ValueError, match=message):
        reinforce(digits(), teacher, PLAIN, views=2)


def test_a_data_set_that_does_not_fit(reinforced):
    with pytest.raises(ValueError, match="views must be at least 1"):
        reinforce(digits(), len, views=0)
    with pytest.raises(ValueError, match="already"):
        reinforce(reinforced, lambda images: torch.full((len(images), 10), 0.1))
    with pytest.raises(ValueError, match="no columns"):
        ReinforcedDataset(digits())
    with pytest.raises(ValueError, match="original must lie"):
        ReinforcedDataset(reinforced, original=1.5)
    from datasets import ClassLabel, Features, List

    inner = reinforced.features["views"].feature | {"operations": List(ClassLabel(names=["a", "b"]))}
    table = reinforced.with_format("arrow")[:].to_pydict()
    for view in [view for row in table["views"] for view in row]:
        view["operations"] = [0, 1]
    other = type(reinforced).from_dict(
        table, features=Features({**reinforced.features, "views": List(inner)})
    )
    with pytest.raises(ValueError, match="other operations"):
        ReinforcedDataset(other)


def test_numbers_are_stored_as_numbers(reinforced):
    """No float is rounded on the way: the stored column has the drawn bits."""
    drawn = sample((30, 6), EVERYTHING, images=30, generator=generator(0))
    stored = ReinforcedDataset(reinforced, image_size=12).stored.views
    for name, one, other in zip(Views._fields, drawn, stored, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), name
