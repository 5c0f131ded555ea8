import pytest

from labkit import language, llm


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A small model with random weights, saved as any other."""
    path = tmp_path_factory.mktemp("model") / "small"
    tokenizer = language.tokenizer(["Say something about the number of things."], size=300)
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def small(folder):
    return llm.local(folder, logprobs=True)
