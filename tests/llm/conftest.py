import pytest

from labkit import language, llm
from tests.llm.server import trained


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
