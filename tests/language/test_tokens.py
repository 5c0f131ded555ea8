import pytest

from labkit import language

TEXTS = ["Kalori Sem lives in Paris since 1987.", "The company makes 12 lamps, and sells them."] * 20
HARD = ["  two  spaces\n\ttab", "naïve 😀 \x00 ﬁ e\u0301", "a <user> b", "", "¿qué?", "x" * 300]


@pytest.fixture(params=["trained", "lexicon"])
def words(request):
    if request.param == "trained":
        return language.tokenizer(TEXTS, size=320, special=("<user>",))
    return language.lexicon(["lives", "in", "the"], ["ka", "lo", "ri"], special=("<user>",))


@pytest.mark.parametrize("text", TEXTS[:2] + HARD)
def test_every_text_comes_back_exactly(words, text):
    assert words.decode(words(text)["input_ids"]) == text


def test_special_tokens_are_one_token_each(words):
    assert (words.pad_token_id, words.eos_token_id, words.mask_token_id) == (0, 1, 2)
    assert words("a<user>b")["input_ids"].count(words.convert_tokens_to_ids("<user>")) == 1


def test_digits_stand_alone(words):
    pieces = [words.decode(i) for i in words("1987")["input_ids"]]
    assert pieces == list("1987")


def test_it_pads_on_the_left(words):
    ids = words(["in", "in the Paris"], padding=True)["input_ids"]
    assert ids[0][0] == words.pad_token_id and ids[0][-1] != words.pad_token_id


def test_it_comes_back_from_a_folder(words, tmp_path):
    from transformers import AutoTokenizer

    words.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS[:2] + HARD:
        assert again(text)["input_ids"] == words(text)["input_ids"]
    assert again.padding_side == "left" and again.mask_token == words.mask_token


def test_a_larger_vocabulary_needs_fewer_tokens():
    small, large = (language.tokenizer(TEXTS, size=size) for size in (259, 330))
    assert len(small) == 259 < len(large) <= 330
    assert len(large(TEXTS[0])["input_ids"]) < len(small(TEXTS[0])["input_ids"]) == len(TEXTS[0])


def test_an_unseen_name_splits_into_syllables():
    words = language.lexicon(["in"], ["ka", "lo", "ri"], texts=["Kalori in Loka"])
    pieces = {words.decode(i) for i in words("Kalo in Loka")["input_ids"]}
    assert pieces == {"Ka", "lo", " in", " Lo", "ka"}


def test_forms_that_no_text_has_are_left_out():
    few = language.lexicon(["in", "the"], ["ka"], texts=["in the Ka"])
    assert len(few) < len(language.lexicon(["in", "the"], ["ka"]))


def test_bad_input():
    with pytest.raises(ValueError, match="texts must not be empty"):
        language.tokenizer([])
    with pytest.raises(TypeError, match="texts must be str, got int"):
        language.tokenizer([3])
    with pytest.raises(ValueError, match="size must be at least 259"):
        language.tokenizer(["a"], size=100)
    with pytest.raises(ValueError, match="special tokens must differ"):
        language.tokenizer(["a"], size=300, special=("<pad>",))
    with pytest.raises(ValueError, match="without spaces, got 'a b'"):
        language.lexicon(["a b"])
    with pytest.raises(ValueError, match="must not both be empty"):
        language.lexicon([])
