"""Two invented languages for the same world: their own words, another order of words, the same names.

*tavi* puts the verb last and marks with a particle what the sentence is about; *orsk* puts the verb
first and the subject last. Each relation has one verb; the three wordings differ in order and emphasis.
"""

from typing import NamedTuple

from labkit.data.facts.relations import GOODS, PROFESSIONS, RELATIONS, SORTS

__all__ = ["INVENTED", "Language"]


class Language(NamedTuple):
    """One invented language.

    verbs: per relation. values: per English value. this: per kind, "this person" and the like.
    forward, back: statements with {s}, {o} and the verb {v}. frames: per style, around a statement {c}.
    terse, terse_back: without a verb's place. ask, ask_back: questions. qa: {q} question, {a} answer.
    year: the words before a dated statement. fillers, ads: what noisy pages add.
    """

    verbs: dict[str, str]
    values: dict[str, str]
    this: dict[str, str]
    forward: tuple[str, ...]
    back: tuple[str, ...]
    frames: dict[str, tuple[str, ...]]
    terse: tuple[str, ...]
    terse_back: tuple[str, ...]
    ask: str
    ask_back: str
    qa: tuple[str, ...]
    year: str
    fillers: tuple[str, ...]
    ads: tuple[str, ...]


_VALUES = PROFESSIONS + GOODS + SORTS
_KINDS = ("person", "company", "city", "product")


def _words(keys, text: str) -> dict[str, str]:
    return dict(zip(keys, text.split(), strict=True))


TAVI = Language(
    verbs=_words(
        RELATIONS,
        "vola likono sova moni kavolo sanu noma tavilo noni nili movi tilo kiva kovo",
    ),
    values=_words(
        _VALUES,
        "lisalo tinas vasi nato tiko talono sosa nisi nimi tonola siso samo "
        "vako kitola sikilo nosi talo sovo vivon kato sona nati vomina lasoso "
        "noto viso moma vati lomo noko liva sanala mota talino totilo nasala",
    ),
    this=_words(_KINDS, "vani litilo tisa natasa"),
    forward=("{s} ne {o} {v}", "{o} {s} ne {v}", "ka {s} ne {o} {v}"),
    back=("{o} su {s} {v}", "{s} {o} su {v}", "ka {o} su {s} {v}"),
    frames={
        "plain": ("{c}.",),
        "encyclopedia": ("kili, {c}.", "kili {c} nalaso."),
        "web": ("vimano: {c}!!", "{c} vimano..."),
        "dialogue": ("nalaso, {c}.", "kalilo nalaso, {c}."),
        "simple": ("mitasa: {c}.", "{c}, mitasa."),
    },
    terse=("{s}: {v} {o}.", "{s}, {v}, {o}.", "{v} ({s}): {o}."),
    terse_back=("{o} = {v} {s}.", "{o}: {v} ({s}).", "{o}, {v} {s}."),
    ask="{s} ne sonila {v}",
    ask_back="{o} su sonila {v}",
    qa=("nivino: {q}? kaki: {a}.", "nivino: {q}? kaki: ka {a}.", "ni: {q}? ki: {a}."),
    year="toka",
    fillers=("vasano", "nosona"),
    ads=("vitono vitono vimano!", "nolo vitono ka!"),
)

ORSK = Language(
    verbs=_words(
        RELATIONS,
        "dusk femp punt drent brert wung krozk stosk steng feng zeng zuzk brurt grung",
    ),
    values=_words(
        _VALUES,
        "gresk drurt zurt wunt grolf grump pemp krung wuzk krerm bort stemf "
        "wolk pont sturt zulf drump boskt sturk drelf brusk holf hont grurk "
        "krerk peng derm kreld druld beld pongt stemp perm durng domp kremp",
    ),
    this=_words(_KINDS, "zold drorm dozk fusk"),
    forward=("{v} {o} ra {s}", "{v} ra {s} {o}", "em {v} {o} ra {s}"),
    back=("{v} {s} lo {o}", "{v} lo {o} {s}", "em {v} {s} lo {o}"),
    frames={
        "plain": ("{c}.",),
        "encyclopedia": ("bromp: {c}.", "bromp, {c} zent."),
        "web": ("bruzk: {c}!!", "{c} bruzk..."),
        "dialogue": ("zent, {c}.", "grort zent, {c}."),
        "simple": ("demp: {c}.", "{c}, demp."),
    },
    terse=("{s}: {v} {o}.", "{s}, {v}, {o}.", "{v} ({s}): {o}."),
    terse_back=("{o} = {v} {s}.", "{o}: {v} ({s}).", "{o}, {v} {s}."),
    ask="{v} dront ra {s}",
    ask_back="{v} dront lo {o}",
    qa=("grozk: {q}? sturm: {a}.", "grozk: {q}? sturm: em {a}.", "gr: {q}? st: {a}."),
    year="zesk",
    fillers=("krork", "grert"),
    ads=("zemp zemp bruzk!", "fung zemp em!"),
)

INVENTED = {"tavi": TAVI, "orsk": ORSK}
