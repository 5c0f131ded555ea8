import copy

import numpy as np
import pytest
import torch

from labkit import language
from labkit.data import facts
from labkit.pretrain import xf2t, xf2t_examples
from labkit.pretrain.side_by_side import fit_side_by_side
from labkit.pretrain.xf2t_chrf import chrf

FACTS = [("Ba teacher", "employer", "Fi"), ("Ba teacher", "residence", "Go De")]


@pytest.fixture(scope="module")
def words():
    return language.lexicon(xf2t_examples.vocabulary(), special=xf2t.MARKERS)


@pytest.fixture
def linearize():
    """The function under test; a reader's own version runs through the same tests."""
    return xf2t.linearize


@pytest.fixture
def plain(words):
    return language.encoder_decoder(words, width=32, layers=1, heads=2)


def drawn(count=24, seed=0, **settings):
    return xf2t_examples.pairs(count, rng=np.random.default_rng(seed), **settings)


@pytest.mark.parametrize("markers", [True, False])
def test_the_role_of_a_piece_is_its_field(linearize, markers):
    fields = linearize(FACTS, "Tavi", markers=markers)
    flat = [text for fact in FACTS for text in fact]
    assert [f.text.strip() for f in fields if f.role] == flat
    assert [f.role for f in fields if f.role] == [1, 2, 3] * len(FACTS)
    assert fields[0] == ("rdf to Tavi text:", 0)
    marks = [f.text.strip() for f in fields[1:] if not f.role]
    assert marks == list(xf2t.MARKERS) * len(FACTS) * markers


def test_tokens_and_roles_go_together(words):
    encoded = xf2t.encode(words, [FACTS, FACTS[:1]], ["tavi", "orsk"])
    assert encoded.tokens.shape == encoded.roles.shape == encoded.mask.shape
    for row, given in enumerate([FACTS, FACTS[:1]]):
        for role in (1, 2, 3):
            ids = encoded.tokens[row][encoded.roles[row] == role]
            wanted = [each[role - 1] for each in given]
            assert words.decode(ids).split() == " ".join(wanted).split()
    assert (encoded.tokens[encoded.mask == 0] == words.pad_token_id).all()
    last = encoded.mask[1].sum() - 1
    assert encoded.tokens[1, last] == words.eos_token_id


def test_markers_stay_whole(words):
    encoded = xf2t.encode(words, [FACTS], ["tavi"])
    for marker in xf2t.MARKERS:
        assert int((encoded.tokens == words.convert_tokens_to_ids(marker)).sum()) == len(FACTS)


def test_two_readings_of_one_string_differ_in_their_roles_alone(words):
    one, other = [("Ba teacher", "employer", "Fi")], [("Ba", "teacher", "employer Fi")]
    a, b = (xf2t.encode(words, [each], ["tavi"], markers=False) for each in (one, other))
    assert torch.equal(a.tokens, b.tokens) and not torch.equal(a.roles, b.roles)


def test_roles_reach_the_encoder_by_addition_and_nothing_else(words, plain):
    """The model with roles is the plain model on embeddings to which the role's vector was added."""
    encoded = xf2t.encode(words, [FACTS, FACTS[:1]], ["tavi", "orsk"])
    wanted = xf2t.labels(words, ["Fi kavolo", "Go"])
    aware = xf2t.add_roles(copy.deepcopy(plain), seed=1)
    embeds = plain.shared.weight[encoded.tokens] + aware.roles.weight[encoded.roles]
    with torch.no_grad():
        by_hand = plain(inputs_embeds=embeds, attention_mask=encoded.mask, labels=wanted)
        got = aware(*encoded, wanted)
        torch.testing.assert_close(got.logits, by_hand.logits)
        aware.roles.weight.zero_()
        same = plain(input_ids=encoded.tokens, attention_mask=encoded.mask, labels=wanted)
        torch.testing.assert_close(aware(*encoded, wanted).logits, same.logits)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_reads_the_roles_too(words, plain, beams):
    """With role vectors of zero it writes what the plain model writes, by beams as well; then it does not."""
    data = drawn(12, ambiguity=0)
    encoded = xf2t.encode(words, data.facts, data.languages)
    aware = xf2t.add_roles(plain)
    settings = dict(beams=beams, max_tokens=8)
    with_roles = xf2t.write(aware, words, encoded, **settings)
    with torch.no_grad():
        aware.roles.weight.zero_()
    without = xf2t.write(aware, words, encoded, **settings)
    assert without == xf2t.write(plain, words, encoded, **settings)
    assert with_roles != without


def test_generation_with_beams_scores_as_training_does(words, plain):
    """Beam search must rank by the model that training saw: its score is the likelihood under the roles."""
    encoded = xf2t.encode(words, [FACTS], ["tavi"])
    aware = xf2t.add_roles(plain, seed=1)
    with torch.no_grad():
        found = aware.generate(
            *encoded, num_beams=4, max_new_tokens=5, min_new_tokens=5, do_sample=False,
            length_penalty=0.0, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        ids = found.sequences[:, 1:]
        loss = aware(*encoded, ids).loss
    assert float(found.sequences_scores[0]) == pytest.approx(-float(loss) * ids.shape[1], rel=0.05)


def test_training_moves_the_role_vectors_and_learns(words, plain):
    data = drawn(48)
    encoded, wanted = xf2t.encode(words, data.facts, data.languages), xf2t.labels(words, data.sentences)
    aware = xf2t.add_roles(plain)
    before, start = aware.roles.weight.detach().clone(), xf2t.nats_per_token(aware, encoded, wanted)
    xf2t.fit(aware, encoded, wanted, steps=30, batch_size=16, lr=5e-3)
    assert (aware.roles.weight != before).any(dim=1).all()
    assert xf2t.nats_per_token(aware, encoded, wanted) < 0.8 * start


def test_side_by_side_as_one_by_one(words, plain):
    """With roles and without, inputs of different lengths, masks as attention adds them."""
    data = drawn(24)
    wanted, nets = xf2t.labels(words, data.sentences), [plain, copy.deepcopy(plain)]
    inputs = [xf2t.encode(words, data.facts, data.languages, markers=each) for each in (False, True)]
    alone = [copy.deepcopy(nets[0]), xf2t.add_roles(copy.deepcopy(nets[1]), seed=1)]
    shared = dict(steps=4, batch_size=8, lr=4e-3, seed=3)
    curves = [xf2t.fit(net, read, wanted, **shared).losses for net, read in zip(alone, inputs, strict=True)]
    nets = [xf2t.silent(nets[0]), xf2t.add_roles(nets[1], seed=1)]
    rows, labels = xf2t.packed(inputs, [wanted, wanted])
    assert rows[0].shape == rows[1].shape and labels[0].shape == labels[1].shape
    fits = fit_side_by_side(nets, rows, labels=labels, loss=xf2t.stacked_loss, **shared)
    for curve, each in zip(curves, fits, strict=True):
        torch.testing.assert_close(each.losses, curve, atol=1e-4, rtol=1e-4)
    assert (nets[0].roles.weight == 0).all() and (nets[1].roles.weight != 0).all()


def test_nats_per_token_is_the_loss_over_all(words, plain):
    data = drawn(9)
    encoded, wanted = xf2t.encode(words, data.facts, data.languages), xf2t.labels(words, data.sentences)
    with torch.no_grad():
        whole = plain(input_ids=encoded.tokens, attention_mask=encoded.mask, labels=wanted).loss
    got = xf2t.nats_per_token(plain, encoded, wanted, batch_size=4)
    assert got == pytest.approx(float(whole), rel=1e-4)


@pytest.mark.parametrize("roles", [True, False])
def test_attention_to_what_is_read(words, plain, roles):
    """Also where transformers chose an implementation that forms no weights; padding gets none."""
    assert plain.config._attn_implementation == "sdpa"
    encoded, wanted = (
        xf2t.encode(words, [FACTS, FACTS[:1]], ["tavi", "orsk"]),
        xf2t.labels(words, ["Fi", "Go"]),
    )
    before = xf2t.nats_per_token(plain, encoded, wanted)
    seen = xf2t.attention(xf2t.add_roles(plain) if roles else plain, encoded, wanted)
    assert seen.shape == (2, 2, *wanted.shape[1:], *encoded.tokens.shape[1:])
    torch.testing.assert_close(seen.sum(dim=-1), torch.ones(seen.shape[:-1]))
    assert (seen[1, :, :, encoded.mask[1] == 0] == 0).all()
    assert xf2t.nats_per_token(plain, encoded, wanted) == pytest.approx(before, rel=1e-4)


def test_attention_of_a_model_that_gives_none(words, plain, monkeypatch):
    encoded, wanted = xf2t.encode(words, [FACTS], ["tavi"]), xf2t.labels(words, ["Fi"])
    for part in (plain, plain.encoder, plain.decoder):
        monkeypatch.setattr(part, "set_attn_implementation", lambda name: None)
    with pytest.raises(ValueError, match="T5ForConditionalGeneration gives none"):
        xf2t.attention(plain, encoded, wanted)


def test_random_roles_hang_on_the_token_alone(words):
    data = drawn(30)
    encoded = xf2t.encode(words, data.facts, data.languages)
    random = xf2t.random_roles(encoded, vocabulary=len(words), seed=3)
    seen = {}
    for token, role in zip(random.tokens[random.mask > 0], random.roles[random.mask > 0], strict=True):
        assert seen.setdefault(int(token), int(role)) == int(role)
    assert set(seen.values()) == {0, 1, 2, 3}
    assert torch.equal(random.tokens, encoded.tokens) and not torch.equal(random.roles, encoded.roles)


def test_slots_are_counted_one_by_one():
    reference, names = "ka Ba Di ne Fe kavolo.", ["Ba Di", "Fe"]

    def score(text):
        return xf2t.slot_accuracy([text], [reference], [names])

    assert score(reference) == 100
    assert score("ka Ba ne Fe kavolo.") == 50
    assert score("ka Fe ne Ba Di kavolo.") == 0
    assert score("Ba Di lives in Fe.") == 0


def test_chrf_by_hand():
    """Worked out on paper: letters 3 of 4 and 3 of 3, pairs 2 of 3 and 2 of 2, triples 1 of 2 and 1 of 1."""
    precision, recall = (3 / 4 + 2 / 3 + 1 / 2) / 3, 1.0
    for beta in (1.0, 2.0):
        wanted = 100 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        assert chrf(["abcd"], ["a bc"], order=3, beta=beta) == pytest.approx(wanted)
    # Counts are of the whole set: letters 2 of 4 and 2 of 3; pairs 1 of 2 and 1 of 1.
    precision, recall = (2 / 4 + 1 / 2) / 2, (2 / 3 + 1 / 1) / 2
    wanted = 100 * 5 * precision * recall / (4 * precision + recall)
    assert chrf(["ab", "xy"], ["ab", "z"], order=2) == pytest.approx(wanted)
    # A letter that is written twice and wanted once is right once.
    assert chrf(["aa"], ["a"], order=1, beta=1) == pytest.approx(100 * 2 * 0.5 / 1.5)


def test_chrf_at_its_ends():
    said = ["ka Ba ne Fi sova.", "em dusk Go ra Ka."]
    assert chrf(said, said) == pytest.approx(100)
    assert chrf(["xyz"], ["abc"]) == 0 and chrf([""], ["abc"]) == 0
    assert chrf(["abc d"], ["a bcd"]) == pytest.approx(100)  # blanks do not count; short texts are no fault
    assert chrf(["ab"], ["abab"]) < chrf(["abab"], ["ab"])  # a lack weighs more than a surplus


def test_the_examples_say_their_facts():
    data = drawn(60, seed=2, ambiguity=0.5)
    for given, language_, sentence, names in zip(*data, strict=True):
        (subject, label, obj) = given[0]
        assert names == [subject, obj] and label in xf2t_examples.LABELS.values()
        assert subject in sentence and obj in sentence and language_ in facts.LANGUAGES


@pytest.mark.parametrize("ambiguity", [0.0, 0.3, 1.0])
def test_as_many_names_hold_a_label_as_asked_for(ambiguity):
    names = [name for row in drawn(1500, ambiguity=ambiguity).names for name in row]
    two = [name.split() for name in names if " " in name]
    share = np.mean([any(word in xf2t_examples.LABELS.values() for word in name) for name in two])
    assert len(two) / len(names) == pytest.approx(0.5, abs=0.05)
    assert share == pytest.approx(ambiguity, abs=0.06)


def test_every_word_of_an_example_is_one_token(words):
    data = drawn(60)
    for sentence in data.sentences:
        assert len(words(" " + sentence)["input_ids"]) == len(sentence.replace(".", " .").split())


def test_bad_input(words, plain):
    encoded = xf2t.encode(words, [FACTS], ["tavi"])
    with pytest.raises(ValueError, match="facts must not be empty"):
        xf2t.linearize([], "tavi")
    with pytest.raises(ValueError, match="language must not be empty"):
        xf2t.linearize(FACTS, " ")
    with pytest.raises(ValueError, match="must not be empty or contain one of"):
        xf2t.linearize([("a <R> b", "is", "c")], "tavi")
    with pytest.raises(ValueError, match="subject, relation, object"):
        xf2t.linearize([("a", "b")], "tavi")
    with pytest.raises(ValueError, match="inputs and languages must be as many"):
        xf2t.encode(words, [FACTS], [])
    with pytest.raises(TypeError, match="must be an encoder-decoder, got Lfm2ForCausalLM"):
        xf2t.add_roles(language.causal(words, width=32, layers=1, heads=2))
    with pytest.raises(ValueError, match="roles must have the shape of tokens"):
        xf2t.add_roles(plain).embed(encoded.tokens, encoded.roles[:, 1:])
    with pytest.raises(ValueError, match="beams must be at least 1"):
        xf2t.write(plain, words, encoded, beams=0)
    with pytest.raises(ValueError, match="must contain 'x'"):
        xf2t.slot_accuracy(["a"], ["b"], [["x"]])
    with pytest.raises(ValueError, match="as many"):
        xf2t.slot_accuracy(["a"], [], [])
    for wrong in ({"order": 0}, {"beta": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            chrf(["a"], ["a"], **wrong)
    with pytest.raises(ValueError, match="texts and references must be as many"):
        chrf([], [])
    with pytest.raises(ValueError, match="relation must be among"):
        xf2t_examples.sentence("eats", "Ba", "Fi", "tavi")
    with pytest.raises(ValueError, match="language must be among"):
        xf2t_examples.sentence("lives_in", "Ba", "Fi", "latin")
    for wrong in ({"count": 0}, {"ambiguity": 2}, {"languages": ("latin",)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            xf2t_examples.pairs(**{"count": 3, "rng": np.random.default_rng(0), **wrong})
    with pytest.raises(ValueError, match="share must lie in"):
        xf2t_examples.masked_copies(["a b"], share=2, rng=np.random.default_rng(0))
