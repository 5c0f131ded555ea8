"""ProX: the interpreter against a naive one, the authors' guards, chunks, the refiner on top of any model."""

import random
from types import SimpleNamespace

import pytest
import torch

from labkit import language, llm
from labkit.pretrain import prox
from labkit.pretrain.prox import (
    Normalize,
    Program,
    Refiner,
    RemoveLines,
    number_lines,
    parse_program,
    refine_corpus,
    split_chunks,
    train_refiner,
    write_program,
)

GOOD = "the mill was built of grey stone in the north of the old city"  # 14 words: above the guard
PAGE = "\n".join(["Home | About", GOOD, "Share this", GOOD + " again", "All rights"])


@pytest.fixture
def execute():
    """The function under test; a reader's own version runs through the same tests."""
    return prox.execute


class Scripted:
    """A language model that says what it was told to, and keeps the prompts."""

    def __init__(self, *replies):
        self.replies, self.prompts = list(replies), []

    def complete(self, prompts, **settings):
        self.prompts += prompts
        return [SimpleNamespace(text=self.replies.pop(0)) for _ in prompts]


# Programs are read, never evaluated


def test_every_kind_of_call_is_read():
    text = """keep_chunk()
    remove_lines(line_start=3, line_end=7)
    normalize(source_str="Read more")
    normalize(source_str="a, b) = (c", target_str="x") # a comment
    remove_lines(all=True)"""
    assert parse_program(text) == Program(
        [RemoveLines(3, 7), Normalize("Read more"), Normalize("a, b) = (c", "x"), RemoveLines()], 0
    )


@pytest.mark.parametrize(
    "line",
    [
        "remove_lines(line_start=3",
        "remove_lines(3, 7)",
        "remove_lines(line_start=x, line_end=7)",
        "remove_lines(line_start=-1, line_end=7)",
        "remove_lines(line_start=7, line_end=3)",
        "remove_lines",
        "normalize(source_str=plain)",
        'normalize(source_str="open)',
        'normalize("a", "b")',
    ],
)
def test_a_malformed_call_is_counted_and_does_nothing(line):
    assert parse_program(f"{line}\nremove_lines(line_start=0, line_end=0)") == Program([RemoveLines(0, 0)], 1)


def test_other_lines_are_passed_over():
    assert parse_program("Sure, here is the program:\n\n```python\nkeep_doc()") == Program([], 0)


def test_code_is_not_evaluated(tmp_path):
    target = tmp_path / "written"
    line = f"remove_lines(line_start=open('{target}', 'w').write('x'), line_end=0)"
    assert parse_program(line).errors == 1 and not target.exists()


def test_nothing_raises_whatever_is_written():
    draws = random.Random(0)
    letters = 'remove_lines(normalize=source_str"target0123 ,)\n'
    for _ in range(2000):
        text = "".join(draws.choices(letters, k=60))
        program = parse_program(text)
        assert prox.execute(PAGE, program).outcome in ("applied", "ignored", "emptied")


@pytest.mark.parametrize(
    ("text", "drop"), [("drop_doc()", True), ("I would drop it", True), ("keep_doc()", False)]
)
def test_the_document_level_asks_for_one_word(text, drop):
    assert parse_program(text, level="doc") == Program([], 0, drop)


def test_what_is_written_is_read_back():
    operations = [Normalize('say "x", y', "z"), RemoveLines(2, 5), RemoveLines(), Normalize("gone")]
    assert parse_program(write_program(operations)).operations == operations
    assert write_program([]) == "keep_chunk()"


# The interpreter


def naive(text, operations):
    """Line by line, without intervals: what replacements and removals mean."""
    for each in operations:
        if isinstance(each, Normalize):
            text = text.replace(each.source, each.target)
    kept = []
    for i, line in enumerate(text.split("\n")):
        removals = [each for each in operations if isinstance(each, RemoveLines)]
        if not any(each.start <= i and (each.end is None or i <= each.end) for each in removals):
            kept.append(line)
    return "\n".join(kept)


def drawn(draws, lines):
    operations = []
    for _ in range(draws.randint(0, 4)):
        if draws.random() < 0.4:
            operations.append(Normalize(draws.choice(["b", "ab", "c a"]), draws.choice(["", "xy", "c"])))
        else:
            start = draws.randint(0, lines - 1)
            operations.append(RemoveLines(start, draws.randint(start, lines - 1)))
    return operations


def test_execution_is_the_naive_one(execute):
    draws = random.Random(1)
    for _ in range(500):
        lines = draws.randint(1, 8)
        text = "\n".join(" ".join(draws.choices(["a", "b", "ab", "c"], k=4)) for _ in range(lines))
        operations = drawn(draws, lines)
        done = execute(text, write_program(operations), min_words=0, empty_below=0)
        expected = naive(text, operations)
        assert done.text == (expected if expected.split() else "") and done.errors == 0


def test_a_call_for_every_line_is_the_same_program(execute):
    draws = random.Random(2)
    for _ in range(200):
        lines = draws.randint(1, 8)
        text = "\n".join(" ".join(draws.choices(["a", "b", "c"], k=12)) for _ in range(lines))
        operations = drawn(draws, lines)
        long = write_program(operations, lines=range(lines))
        assert long.count("_lines(") == lines
        assert execute(text, long).text == execute(text, write_program(operations)).text


def test_the_order_of_calls_does_not_matter_for_numbers(execute):
    """Numbers are those of the document, whatever was removed or replaced before."""
    calls = [
        "remove_lines(line_start=0, line_end=0)",
        'normalize(source_str=" again")',
        "remove_lines(line_start=2, line_end=2)",
        "remove_lines(line_start=4, line_end=4)",
    ]
    results = {execute(PAGE, "\n".join(random.Random(i).sample(calls, 4))).text for i in range(10)}
    assert results == {f"{GOOD}\n{GOOD}"}


def test_the_log_says_what_each_call_did(execute):
    program = [RemoveLines(0, 2), Normalize("stone"), RemoveLines(2, 4)]
    done = execute(PAGE, write_program(program), min_words=0, empty_below=0)
    assert done.log == [
        ('normalize(source_str="stone", target_str="")', 2),
        ("remove_lines(line_start=0, line_end=2)", 3),
        ("remove_lines(line_start=2, line_end=4)", 2),
    ]
    assert done.removed == [0, 1, 2, 3, 4] and done.text == ""


def test_a_blank_or_empty_source_is_left_alone(execute):
    done = execute(PAGE, 'normalize(source_str=" ")\nnormalize(source_str="", target_str="x")')
    assert done.text == PAGE and done.log == []


# The guards, with results of the authors' code


@pytest.mark.parametrize(
    ("program", "outcome", "errors"),
    [
        ("", "applied", 0),
        ("remove_lines(line_start=4, line_end=9)", "applied", 1),  # leaves the text: clipped, and counted
        ("remove_lines(line_start=7, line_end=9)", "applied", 1),
        ("remove_lines(line_start=7, line_end=9)\nremove_lines(line_start=12, line_end=13)", "ignored", 2),
        ("remove_lines(line_start=7, line_end=9)\nremove_lines(line_start=10, line_end=13)", "applied", 1),
        ("remove_lines(line_start=0, line_end=0)\nremove_lines(a)\nremove_lines(b)", "ignored", 2),
        ("remove_lines(all=True)", "emptied", 0),
        ("remove_lines(all=True)\nremove_lines(a)\nremove_lines(b)", "emptied", 2),
        ("remove_lines(line_start=1, line_end=3)", "emptied", 0),  # four words stay
    ],
)
def test_guards(execute, program, outcome, errors):
    done = execute(PAGE, program)
    assert (done.outcome, done.errors) == (outcome, errors)
    if outcome == "ignored":
        assert done.text == PAGE


def test_five_percent_of_a_long_text_is_too_little(execute):
    words = " ".join(["word"] * 20)
    page = "\n".join([words] * 20)
    assert execute(page, "remove_lines(line_start=1, line_end=19)").outcome == "emptied"  # 20 of 400 words
    assert execute(page, "remove_lines(line_start=2, line_end=19)").outcome == "applied"


def test_a_short_text_goes_whatever_is_written(execute):
    assert execute("ten words or fewer are not worth a page", "keep_chunk()").outcome == "emptied"
    assert execute("", "keep_chunk()").text == ""


def test_dropping_empties_the_document(execute):
    done = execute(PAGE, Program([], 0, drop=True))
    assert (done.text, done.outcome) == ("", "dropped")


def test_a_huge_number_costs_nothing(execute):
    done = execute(PAGE, f"remove_lines(line_start=4, line_end={10**12})")
    assert done.removed == [4] and done.errors == 1


# Chunks


def test_chunks_hold_every_line_once_with_its_number():
    draws = random.Random(3)
    for _ in range(100):
        text = "\n".join(" ".join("x" * draws.randint(0, 9)) for _ in range(draws.randint(1, 12)))
        chunks = split_chunks(text, max_tokens=draws.randint(1, 12))
        assert "\n".join(chunks) == number_lines(text)


def test_chunks_are_full_but_not_more():
    chunks = split_chunks("\n".join(["a b c"] * 7), max_tokens=7)
    assert [chunk.count("\n") + 1 for chunk in chunks] == [2, 2, 2, 1]
    assert split_chunks("a b c d e\nf", max_tokens=2) == ["[000]a b c d e", "[001]f"]


# The refiner


def test_chunk_programs_are_joined_and_run_on_the_document():
    model = Scripted("remove_lines(line_start=0, line_end=0)", "remove_lines(line_start=2, line_end=2)", "")
    size = {"max_tokens": 2, "tokenize": lambda line: [line]}
    done = refine_corpus([PAGE], chunk=Refiner(model, **size))
    assert done.documents == [f"{GOOD}\n{GOOD} again\nAll rights"]
    assert model.prompts[1] == f"[doc]\n[002]Share this\n[003]{GOOD} again\n[/doc]\n"
    assert done.report() == {"applied": 1, "operations": 2, "malformed": 0}


def test_dropped_documents_get_no_second_program():
    whole, chunks = Scripted("drop_doc()", "keep_doc()"), Scripted("remove_lines(line_start=0, line_end=0)")
    done = refine_corpus([PAGE, PAGE], doc=Refiner(whole, level="doc"), chunk=Refiner(chunks))
    assert len(chunks.prompts) == 1 and done.documents[0] == "" and "Home" not in done.documents[1]
    assert [each.outcome for each in done.executed] == ["dropped", "applied"]


def test_the_document_level_alone_leaves_the_rest_untouched():
    done = refine_corpus([PAGE, "short"], doc=Refiner(Scripted("keep_doc()", "keep_doc()"), level="doc"))
    assert done.documents == [PAGE, "short"] and done.report()["kept"] == 2


def test_the_refiner_can_be_shown_less():
    few = Refiner(Scripted(), words=2)
    assert few.prompts("a b c\nd") == ["[doc]\n[000]a b\n[001]d\n[/doc]\n"]
    first = Refiner(Scripted(), level="doc", max_tokens=3)
    assert first.prompts("a b\nc\nd") == ["[doc]\na b\nc\n[/doc]\n"]


def test_a_small_model_learns_to_write_programs():
    """Lines with an x go: after a short training the model's programs say so, on pages it never saw."""
    draws = random.Random(4)
    pages = ["\n".join(draws.choice(["x y", "y z", "z y"]) for _ in range(3)) for _ in range(200)]

    def program(page):
        lines = page.split("\n")
        return write_program([RemoveLines(i, i) for i in range(3) if "x" in lines[i]], lines=range(3)) + "\n"

    texts = [number_lines(page) for page in pages] + [program(page) for page in pages]
    tokenizer = language.tokenizer(texts, size=300)
    calls = [f"{verb}_lines(line_start={i}, line_end={i})\n" for verb in ("keep", "remove") for i in range(3)]
    tokenizer.add_tokens([*calls, "[doc]\n[000]", "\n[001]", "\n[002]", "\n[/doc]\n"])
    model = language.causal(tokenizer, width=32, layers=1, heads=2)
    refiner = Refiner(llm.local(model, tokenizer), answer=8)
    pairs = [(*refiner.prompts(page), program(page)) for page in pages[:150]]
    fit = train_refiner(model, tokenizer, pairs, steps=100, batch_size=16, lr=0.01)
    written = refiner.program(pages[150:])
    right = sum(w.strip() == program(p).strip() for w, p in zip(written, pages[150:], strict=True))
    assert fit.losses[-1] < 0.3 * fit.losses[0] and right >= 45


def test_the_loss_counts_on_programs_alone():
    tokenizer = language.tokenizer(["abc"], size=300)
    rows = language.pairs(["abcabc"], ["c"], tokenizer)
    model = language.causal(tokenizer, width=32, layers=1, heads=2)
    alone = language.nats_per_token(model, rows.tokens, rows.mask)
    assert alone != pytest.approx(language.nats_per_token(model, rows.tokens), rel=1e-3)
    fit = train_refiner(model, tokenizer, [("abcabc", "c")], steps=1)
    assert fit.losses[0].item() == pytest.approx(alone, rel=1e-5)


def test_the_same_seed_trains_the_same_refiner():
    tokenizer, weights = language.tokenizer(["abc"], size=300), []
    for _ in range(2):
        model = language.causal(tokenizer, width=32, layers=1, heads=2)
        train_refiner(model, tokenizer, [("ab", "c"), ("c", "ab")], steps=3, batch_size=1, seed=5)
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(*weights)


# Bad input


@pytest.mark.parametrize("ends", [(3, 2), (-1, 2), (0.0, 2), (True, 2), (0, "2")])
def test_a_range_that_is_none_is_refused(ends):
    with pytest.raises(ValueError, match="takes whole numbers 0 <= start <= end, got"):
        RemoveLines(*ends)


def test_line_breaks_in_replacements_are_refused():
    with pytest.raises(ValueError, match="no line breaks"):
        Normalize("a", "b\nc")


@pytest.mark.parametrize("function", [parse_program, number_lines, split_chunks])
def test_what_is_no_text_is_refused(function):
    with pytest.raises(TypeError, match="text must be a string, got list"):
        function(["a"])


def test_bad_arguments_of_execute_are_named(execute):
    with pytest.raises(TypeError, match="text must be a string, got NoneType"):
        execute(None, "")
    for guard in ({"max_errors": 0}, {"min_words": -1}, {"empty_below": 1}):
        with pytest.raises(ValueError, match="takes max_errors >= 1"):
            execute(PAGE, "", **guard)


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="level must be 'doc' or 'chunk', got 'line'"):
        parse_program("", level="line")
    with pytest.raises(ValueError, match="level must be"):
        Refiner(Scripted(), level="line")


def test_bad_arguments_of_the_refiner_are_named():
    with pytest.raises(TypeError, match="llm must have a method complete"):
        Refiner(object())
    with pytest.raises(ValueError, match="words must be None or at least 1, got 0"):
        Refiner(Scripted(), words=0)
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        split_chunks("a", max_tokens=0)


def test_refiners_in_the_wrong_place_are_refused():
    for wrong in ({}, {"doc": Refiner(Scripted())}, {"chunk": Refiner(Scripted(), level="doc")}):
        with pytest.raises(ValueError, match="takes doc at level 'doc'"):
            refine_corpus([PAGE], **wrong)


def test_no_annotations_are_refused():
    with pytest.raises(ValueError, match="annotations must not be empty"):
        train_refiner(None, None, [])
