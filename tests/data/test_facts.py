"""The world of facts: what is written can be read back, and every view says what is true."""

import itertools
import sqlite3

import numpy as np
import pytest

from labkit.data import build, facts
from labkit.data.facts import loader, wordings
from labkit.data.facts.names import ENDINGS, OPENINGS, kind_of_name, pieces
from labkit.data.facts.pages import RATINGS, SECTIONS
from labkit.data.facts.topics import NEIGHBOUR, topic_words

HERE = facts.world(0)
EVERY = list(itertools.product(facts.LANGUAGES, facts.STYLES, (False, True)))


@pytest.fixture
def read():
    """Another reader can be run through the same tests."""
    return facts.read


@pytest.fixture
def rng():
    return build.stream(0, "test")


# Writing and reading


@pytest.mark.parametrize(("language", "style", "inverse"), EVERY)
def test_what_is_said_is_read_back(read, rng, language, style, inverse):
    for fact in HERE.facts * 2:
        text = facts.say(fact, style=style, language=language, inverse=inverse, rng=rng)
        assert read(text) == [fact], text


@pytest.mark.parametrize(("language", "style", "inverse"), EVERY)
def test_every_wording_says_one_thing(language, style, inverse):
    for relation in facts.RELATIONS:
        texts = wordings.templates(language)[relation, style, inverse]
        assert len(texts) >= 3
        assert all(text.count("{s}") == 1 or style == "qa" for text in texts)
        for text in texts:
            subject = "{s}" in text and text.index("{s}") < text.index("{o}")
            if style in ("plain", "encyclopedia", "dialogue") and language == "english":
                assert subject is not inverse or text.startswith(("the ", "among", "oh", "listen")), text


def test_inverse_starts_from_the_object(rng):
    fact = next(fact for fact in HERE.facts if fact.relation == "led_by")
    for _ in range(20):
        forward = facts.say(fact, rng=rng)
        back = facts.say(fact, inverse=True, rng=rng)
        assert forward.index(fact.subject) < forward.index(fact.object)
        assert back.index(fact.object) < back.index(fact.subject)


@pytest.mark.parametrize(("language", "style"), list(itertools.product(facts.LANGUAGES, facts.STYLES)))
def test_documents_are_read_back_with_their_places(rng, language, style):
    for name in list(HERE.entities)[::3]:
        about = HERE.about(name)
        years = {about[0]: "1987"} if about else {}
        written = facts.passage(
            about, style=style, language=language, inverse=0.4, reference=0.5, years=years, rng=rng
        )
        assert facts.read_statements(written.text) == written.statements
        assert facts.read(written.text) == about


def test_document_is_the_text_of_its_passage():
    about = HERE.about(HERE.named("company")[0])
    settings = {"style": "web", "inverse": 0.3}
    text = facts.document(about, rng=build.stream(1, "a"), **settings)
    assert text == facts.passage(about, rng=build.stream(1, "a"), **settings).text


@pytest.mark.parametrize("language", facts.LANGUAGES)
def test_a_year_is_read_with_its_statement(rng, language):
    for fact, style in itertools.product(HERE.facts[::7], facts.STYLES):
        text = facts.say(fact, style=style, language=language, year=1999, rng=rng)
        (statement,) = facts.read_statements(text)
        assert (statement.fact, statement.year) == (fact, "1999"), text
        assert text[statement.start : statement.end] == text


def test_reading_passes_over_what_the_grammar_cannot_write(read, rng):
    fact = HERE.facts[0]
    text = facts.say(fact, rng=rng)
    prompt = f"Rewrite the text below in the style of an encyclopedia.\n\n1. {text}\n\nAnswer:"
    assert read(prompt) == [fact]
    assert read("Nobody knows who runs what. " + text.upper()) == []
    assert read("") == []
    assert read(f"- {text}\n* {text}") == [fact, fact]


def test_references_need_an_antecedent(read):
    assert read("this city elected Balen.") == []
    assert read("Nobur is known for salt. this city elected Balen.")[1].subject == "Nobur"


def test_styles_differ_in_words(rng):
    def vocabulary(style):
        said = (facts.say(fact, style=style, rng=rng) for fact in HERE.facts)
        return {word for text in said for word in wordings.tokens(text) if word.islower() and word.isalpha()}

    found = {style: vocabulary(style) for style in facts.STYLES}
    for a, b in itertools.combinations(facts.STYLES, 2):
        if {a, b} != {"plain", "web"}:  # noisy pages say what everybody says, with noise
            overlap = len(found[a] & found[b]) / len(found[a] | found[b])
            assert overlap < 0.62, (a, b, overlap)
    assert found["web"] - found["plain"] - found["dialogue"] > {"lol", "teh"}


def test_languages_share_names_and_numbers_only(rng):
    english = {w for v in wordings.templates("english").values() for t in v for w in wordings.tokens(t)}
    invented = {
        language: {w for v in wordings.templates(language).values() for t in v for w in wordings.tokens(t)}
        for language in facts.LANGUAGES[1:]
    }
    tavi, orsk = invented.values()
    for a, b in ((english, tavi), (english, orsk), (tavi, orsk)):
        assert {word for word in a & b if word.isalpha()} <= {"s", "o"}
    values = set(sum((facts.VALUES[kind] for kind in ("profession", "good", "sort")), ()))
    text = facts.say(facts.Fact("Balen", "profession", "baker"), language="tavi", rng=rng)
    assert "Balen" in text and not set(wordings.tokens(text)) & values


# Names and words


def test_names_split_into_known_pieces_in_one_way(rng):
    assert len(set(facts.SYLLABLES)) == len(facts.SYLLABLES) == 80
    for kind, syllables in itertools.product(facts.KINDS, (2, 3, 4)):
        for name in facts.names(kind, 50, rng, syllables=syllables):
            parts = pieces(name)
            assert "".join(parts) == name and len(parts) == syllables
            assert kind_of_name(name) == kind
            assert all(part in facts.SYLLABLES for part in parts)


def test_all_two_syllable_names_can_be_drawn(rng):
    found = facts.names("city", len(OPENINGS) * len(ENDINGS["city"]), rng)
    assert len(set(found)) == 400
    with pytest.raises(ValueError, match="take syllables=3"):
        facts.names("city", 401, rng)


def test_words_are_all_words_and_no_word_is_a_name(rng):
    known = set(facts.WORDS)
    for language, style in itertools.product(facts.LANGUAGES, facts.STYLES):
        for fact in HERE.facts[::5]:
            text = facts.document([fact], style=style, language=language, rng=rng)
            words = {w for w in wordings.tokens(text) if w.isalpha() and w not in HERE.entities}
            assert words <= known, words - known
    for page in HERE.pages(30, rng=rng):
        words = {w for w in wordings.tokens(page.text) if w.isalpha() and w not in HERE.entities}
        assert words <= known | set(facts.PAGE_WORDS) | set(facts.TOPIC_WORDS)
    for word in known | set(facts.PAGE_WORDS) | set(facts.TOPIC_WORDS):
        assert word.islower()
        with pytest.raises(ValueError, match="not made of the syllables"):
            pieces(word.capitalize())
    assert len(known) < 500


# Questions


@pytest.mark.parametrize("language", facts.LANGUAGES)
def test_questions_are_understood(rng, language):
    for fact, ask in itertools.product(HERE.facts, ("object", "subject")):
        asked = facts.question(fact, ask=ask, language=language, rng=rng)
        given = fact.subject if ask == "object" else fact.object
        assert facts.read_question(asked.text) == (fact.relation, ask, given)
        assert facts.read(asked.text) == []
    assert facts.read_question("who knows?") is None


def test_questions_of_a_world_have_one_answer(rng):
    for text, answer, fact in HERE.questions(rng=rng):
        relation, ask, given = facts.read_question(text)
        right = {
            f.object if ask == "object" else f.subject
            for f in HERE.facts
            if f.relation == relation and given == (f.subject if ask == "object" else f.object)
        }
        assert right == {answer} and fact in HERE.facts


@pytest.mark.parametrize("style", facts.STYLES)
def test_evidence_spans_slice_to_the_answer(rng, style):
    count = 0
    for document in HERE.documents(style=style, inverse=0.5, rng=rng):
        for ask in ("object", "subject"):
            for each in facts.evidence(document, ask=ask, rng=rng):
                assert each.context[each.answer_start : each.answer_end] == each.answer
                assert each.start <= each.answer_start < each.answer_end <= each.end
                assert facts.read(each.context[each.start : each.end]) == [each.fact]
                count += 1
    assert count == 2 * len(HERE.facts)


def test_evidence_is_not_the_year_in_front(rng):
    fact = facts.Fact("Bocor", "founded", "1987")
    for year, style in itertools.product(("1987", "1990"), facts.STYLES):
        written = facts.passage([fact], style=style, years={fact: year}, rng=rng)
        (each,) = facts.evidence(written, rng=rng)
        assert each.answer_start > 7 and each.context[each.answer_start : each.answer_end] == "1987"


# Worlds


def test_a_world_is_its_seed():
    assert facts.world(3).facts == facts.world(3).facts
    assert facts.world(3).facts != facts.world(4).facts
    fewer = facts.world(3, relations=["mayor"])
    assert fewer.facts == [fact for fact in facts.world(3).facts if fact.relation == "mayor"]


def test_relations_hold_what_they_promise():
    here = facts.world(1, people=50, companies=60, cities=20, products=70)
    for relation, about in facts.RELATIONS.items():
        found = [fact for fact in here.facts if fact.relation == relation]
        assert found and all(here.entities[fact.subject] == about.subject_kind for fact in found)
        if about.one_object:
            assert len({fact.subject for fact in found}) == len(found)
        if about.one_subject:
            assert len({fact.object for fact in found}) == len(found)
        assert all(fact.subject != fact.object for fact in found)
    assert sum(fact.relation == "makes" for fact in here.facts) == 70
    assert sum(fact.relation == "led_by" for fact in here.facts) == 50  # not enough people for 60


def test_held_entities_are_in_the_store_only():
    here = facts.world(2, held_out=0.25)
    known, stored = here.split()
    assert len(known) + len(stored) == len(here.facts) and stored
    assert not {name for fact in known for name in (fact.subject, fact.object)} & here.held
    assert sum(here.entities[name] == "person" for name in here.held) == 10


def test_worlds_can_avoid_each_other():
    a = facts.world(0, people=150)
    b = facts.world(1, people=150, avoid=a)
    assert not set(a.entities) & set(b.entities)


def test_tables_agree_with_the_facts():
    tables = HERE.tables()
    connection = sqlite3.connect(":memory:")
    facts.to_sqlite(tables, connection)
    said = set()
    for kind, columns in tables.items():
        assert len({len(values) for values in columns.values()}) == 1
        for column, values in columns.items():
            for name, value in zip(columns["name"], values, strict=True):
                if column == "maker" and value is not None:
                    said.add((value, "makes", name))
                elif column != "name" and value is not None:
                    said.add((name, column, str(value)))
        count = connection.execute(f'SELECT COUNT(*) FROM "{kind}"').fetchone()[0]
        assert count == len(HERE.named(kind))
    assert said == {tuple(fact) for fact in HERE.facts}
    total = connection.execute("SELECT SUM(costs) FROM product").fetchone()[0]
    assert total == sum(int(fact.object) for fact in HERE.facts if fact.relation == "costs")


def test_history_ends_with_the_world(rng):
    past = HERE.history(changes=2, rng=rng)
    years = [year for _, year in past]
    assert years == sorted(years)
    latest = {(fact.subject, fact.relation): fact for fact, _ in past}
    dated = [fact for fact in HERE.facts if facts.RELATIONS[fact.relation].dated]
    assert sorted(latest.values()) == sorted(dated) and len(past) == 3 * len(dated)


def test_sources_err_as_often_as_they_are_unreliable(rng):
    sources = {f"source {k}": k / 4 for k in range(5)}
    said = [each for fact in HERE.facts for each in HERE.reports(fact, sources, rng=rng)]
    for name, reliability in sources.items():
        true = [each.true for each in said if each.source == name]
        assert abs(np.mean(true) - reliability) < 4 * 0.5 / len(true) ** 0.5
    for each in said:
        assert facts.read(each.text) == [each.said] and (each.said in HERE.facts) >= each.true
    one = HERE.reports(HERE.facts[0], dict.fromkeys(sources, 0.0), rng=rng)
    assert len({each.said for each in one}) == 1  # false reports agree
    many = [
        HERE.reports(HERE.facts[0], dict.fromkeys(sources, 0.0), agree=False, wrong=3, rng=rng)
        for _ in range(5)
    ]
    assert max(len({each.said for each in group}) for group in many) > 1


def test_pairs_are_as_noisy_as_asked(rng):
    names = HERE.aliases(2)
    back = {alias: name for name, others in names.items() for alias in (name, *others)}
    assert len(back) == 3 * len(HERE.entities)
    drawn = HERE.pairs(1500, noise=0.3, aliases=names, rng=rng)
    assert abs(np.mean([each.right for each in drawn]) - 0.7) < 0.05
    for each in drawn:
        (fact,) = facts.read(each.passage)
        named = facts.Fact(back[fact.subject], fact.relation, back.get(fact.object, fact.object))
        assert named == each.stated and each.right == (each.stated == each.fact)


def test_pages_carry_their_annotations(rng):
    below = 0
    for page in HERE.pages(200, below=0.3, rng=rng):
        assert sorted(facts.read(page.text)) == sorted(page.told + page.facts)
        assert facts.read(page.body) == page.told and set(page.told) <= set(page.facts)
        assert set(page.facts) <= set(HERE.about(page.entity)) and page.year in page.text
        lines = page.text.split("\n")
        if page.kind == "review":
            mark = RATINGS[page.site].replace("{k}", str(page.stars))
            assert page.topic is None
        else:
            mark = SECTIONS[page.site].replace("{t}", page.topic)
            assert page.stars is None and page.topic not in wordings.tokens(page.body)
        assert page.title == lines[0] and lines.count(mark) == lines.count(page.body) == 1
        below += lines.index(mark) > lines.index(page.body)
    assert 35 < below < 85
    assert {page.site for page in HERE.pages(40, sites=2, rng=rng)} == {0, 1}


def test_stars_count_the_good_sentences(rng):
    good = {word for word in wordings.tokens(" ".join(facts.review(5, rng=rng) for _ in range(200)))}
    bad = {word for word in wordings.tokens(" ".join(facts.review(1, rng=rng) for _ in range(200)))}
    for stars in range(1, 6):
        words = wordings.tokens(facts.review(stars, rng=rng))
        assert sum(word in good - bad for word in words) == stars - 1
        assert sum(word in bad - good for word in words) == 5 - stars


# Labelled texts


def test_posterior_is_bayes_rule_by_enumeration(rng):
    texts = [each.text for each in facts.labelled(40, rng=rng)]
    table = topic_words(0.5)
    content = facts.TOPIC_WORDS[: table.shape[1]]
    for text, got in zip(texts, facts.posterior(texts), strict=True):
        joint = np.ones(8)
        for word in wordings.tokens(text):
            if word in content:
                joint = joint * table[:, content.index(word)]
        np.testing.assert_allclose(got, joint / joint.sum(), atol=1e-12)


def test_posterior_is_calibrated(rng):
    drawn = facts.labelled(3000, rng=rng)
    p = facts.posterior([each.text for each in drawn])
    assert np.allclose(p.sum(axis=1), 1)
    right = np.mean(p.argmax(axis=1) == [each.truth for each in drawn])
    assert abs(right - p.max(axis=1).mean()) < 0.025 and 0.84 < right < 0.96


def test_word_frequencies_follow_the_table(rng):
    text = facts.message("film", words=(20000, 20000), rng=rng)
    table = topic_words(0.5)
    place = {word: i for i, word in enumerate(facts.TOPIC_WORDS[: table.shape[1]])}
    counts = np.bincount([place[w] for w in wordings.tokens(text) if w in place], minlength=len(place))
    expected = table[facts.TOPICS.index("film")] * 20000
    kept = expected > 0
    assert counts[~kept].sum() == 0
    assert ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum() < kept.sum() + 5 * (
        2 * kept.sum()
    ) ** 0.5


def test_mixtures_lie_between_and_power_makes_texts_typical(rng):
    a, b = facts.TOPICS.index("music"), facts.TOPICS.index("film")
    assert NEIGHBOUR["music"] == "film"
    sides = {}
    for share in (0.2, 0.5, 0.8):
        texts = [facts.message("music", other="film", share=share, rng=rng) for _ in range(300)]
        p = facts.posterior(texts)[:, [a, b]]
        sides[share] = p[:, 0].mean() - p[:, 1].mean()
    assert abs(sides[0.5]) < 0.12 and sides[0.2] < -0.15 and sides[0.8] > 0.15
    usual = facts.posterior([facts.message("music", power=3.0, typicality=0.8, rng=rng) for _ in range(200)])
    assert (usual.argmax(axis=1) == a).mean() > 0.95


def test_label_noise_is_exact_about_the_truth(rng):
    drawn = facts.labelled(2000, topics=4, label_noise=0.3, rng=rng)
    wrong = np.mean([each.label != each.truth for each in drawn])
    assert abs(wrong - 0.3) < 0.05 and {each.label for each in drawn} == set(range(4))
    assert np.ptp(np.bincount([each.truth for each in drawn])) <= 1


# Loading


@pytest.mark.parametrize("view", loader.VIEWS)
def test_views_load_as_asked_and_by_seed(view):
    def load(seed):
        return loader.load(view=view, size=60, test_size=20, seed=seed)

    a, b, c = load(1), load(1), load(2)
    assert (len(a["train"]), len(a["test"])) == (60, 20)
    assert a["train"].to_dict() == b["train"].to_dict() != c["train"].to_dict()
    assert a["train"]._fingerprint == b["train"]._fingerprint != c["train"]._fingerprint


def test_loaded_columns_are_true():
    documents = loader.load(size=50, test_size=10, style="web", test_language="orsk")
    for row in documents["train"]:
        said = list(zip(row["subjects"], row["relations"], row["objects"], strict=True))
        assert facts.read(row["text"]) == said
    assert not set(documents["train"]["title"]) & set(documents["test"]["title"])
    for row in loader.load(view="qa", size=50, test_size=10, ask="subject")["train"]:
        assert row["context"][row["answer_start"] : row["answer_end"]] == row["answer"]
    labelled = loader.load(view="labelled", size=400, test_size=100, label_noise=0.5)
    assert labelled["train"]["label"] != labelled["train"]["truth"]
    assert labelled["test"]["label"] == labelled["test"]["truth"]


def test_card_is_computed():
    card = loader.card()
    assert card.composition.splits == {"train": 1000, "test": 200}
    assert "documents" in str(loader.SOURCE.settings()) or "view" in loader.SOURCE.settings()
    assert len(loader.fingerprint()) == 16


# Bad input

CITY, PERSON = "Nobur", "Balen"
GOOD = facts.Fact(CITY, "mayor", PERSON)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: facts.say(GOOD, style="webb", rng=r), "did you mean 'web'"),
        (lambda r: facts.say(GOOD, language="latin", rng=r), "language 'latin'"),
        (lambda r: facts.say(GOOD, year=1950, rng=r), "year must be from 1960 to 2019, got 1950"),
        (lambda r: facts.say(facts.Fact(CITY, "major", PERSON), rng=r), "did you mean 'mayor'"),
        (lambda r: facts.say(facts.Fact(PERSON, "mayor", CITY), rng=r), "names a person, not a city"),
        (lambda r: facts.say(facts.Fact("Oslo", "mayor", PERSON), rng=r), "'Oslo' is not made of"),
        (lambda r: facts.say(facts.Fact(CITY, "known_for", "gold"), rng=r), "'gold' is no good"),
        (lambda r: facts.document([GOOD], style="?", rng=r), "style '\\?'"),
        (lambda r: facts.question(GOOD, ask="both", rng=r), "ask must be"),
        (lambda r: facts.question(GOOD, language="x", rng=r), "language 'x'"),
        (lambda r: facts.name("river", r), "kind 'river'"),
        (lambda r: facts.name("city", r, syllables=1), "syllables must be 2, 3 or 4, got 1"),
        (lambda r: facts.world(-1), "seed must be 0 or more"),
        (lambda r: facts.world(0, people=-1), "people must be"),
        (lambda r: facts.world(0, held_out=1.5), "held_out must lie"),
        (lambda r: facts.world(0, relations=["owns"]), "'owns' is none of"),
        (lambda r: HERE.about("Nobody"), "no 'Nobody' in this world"),
        (lambda r: HERE.named("river"), "kind must be one of"),
        (lambda r: HERE.questions(ask="x", rng=r), "ask must be"),
        (lambda r: HERE.reports(HERE.facts[0], {"a": 0.5}, count=2, rng=r), "count must be"),
        (lambda r: HERE.reports(HERE.facts[0], {"a": 2}, count=1, rng=r), "reliability must lie"),
        (lambda r: HERE.history(changes=60, rng=r), "changes must be"),
        (lambda r: HERE.pairs(3, noise=-1, rng=r), "noise must lie"),
        (lambda r: HERE.pairs(3, facts=[], rng=r), "two facts or more, got 0"),
        (lambda r: HERE.pages(3, kinds=("blog",), rng=r), "'blog'"),
        (lambda r: facts.world(0, products=0).pages(2, rng=r), "nobody to write a review about"),
        (lambda r: HERE.pages(3, sites=5, rng=r), "sites must be"),
        (lambda r: HERE.pages(3, below=2, rng=r), "below must lie"),
        (lambda r: facts.review(6, rng=r), "stars must be an integer from 1 to 5"),
        (lambda r: facts.message("muzic", rng=r), "did you mean 'music'"),
        (lambda r: facts.message(8, rng=r), "topic must be"),
        (lambda r: facts.message("music", share=2, rng=r), "share must lie"),
        (lambda r: facts.labelled(10, topics=1, rng=r), "topics must be"),
        (lambda r: facts.labelled(10, topics=("film", "film"), rng=r), "two different ones"),
        (lambda r: facts.posterior(["rain song."], typicality=1), "cannot be at typicality 1"),
        (lambda r: loader.load(view="graph"), "view 'graph'"),
        (lambda r: loader.load(table="river"), "table 'river'"),
        (lambda r: loader.load(test_style="x"), "test_style 'x'"),
    ],
)
def test_bad_values_are_named(rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(rng)


def test_bad_types_are_named(rng):
    with pytest.raises(TypeError, match="texts must be a list"):
        facts.posterior("rain")
    with pytest.raises(TypeError, match="no setting 'test_junk'"):
        loader.load(test_junk=0.1)
    with pytest.raises(TypeError, match="count must be an integer"):
        facts.labelled(2.5, rng=rng)
