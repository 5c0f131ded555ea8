import pytest

from labkit import language, llm

REPLIES = ("It is small.", "It is a number.", "I like it very much.")


def trained():
    """(model, tokenizer) that have learned a few sentences, in half a second."""
    texts = [f"Say something about the number {n}. {REPLIES[n % 3]}" for n in range(60)]
    tokenizer = language.tokenizer(texts, size=320)
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    rows = language.pack(texts, tokenizer, length=32)
    language.fit(model, rows, steps=80, batch_size=16, lr=1e-2)
    return model, tokenizer


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small model, saved as any other."""
    path = tmp_path_factory.mktemp("model") / "small"
    for part in trained():
        part.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def chatty(folder, tmp_path_factory):
    """The same model with a chat template, which ``transformers serve`` asks for."""
    path = tmp_path_factory.mktemp("model") / "chatty"
    model, tokenizer = language.load(str(folder))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def small(folder):
    return llm.local(folder, logprobs=True)
