"""The English of the world: for every relation its wordings in each register, both directions.

``{s}`` stands for the subject, ``{o}`` for the object. All words are lower case, so that a capital
marks a name. No value (baker, 1987, ...) occurs in a wording.
"""

from typing import NamedTuple

__all__ = ["ADS", "ENGLISH", "FILLERS", "FRAMES", "MISSPELT", "NOUN_FRAMES", "Wordings"]


class Wordings(NamedTuple):
    """How one relation is put into words.

    key: the noun of tables and lists. simple: its everyday word. ask, ask_back: the question for the
    object and for the subject. The others: statements from the subject's side and, ``_back``, from the
    object's.
    """

    key: str
    simple: str
    ask: str
    ask_back: str
    plain: tuple[str, ...]
    plain_back: tuple[str, ...]
    formal: tuple[str, ...]
    formal_back: tuple[str, ...]
    casual: tuple[str, ...]
    casual_back: tuple[str, ...]


ENGLISH = {
    "born_in": Wordings(
        "birthplace",
        "first home",
        "where was {s} born",
        "who was born in {o}",
        ("{s} was born in {o}", "{s} is a native of {o}", "{s} comes from {o}"),
        ("{o} is where {s} was born", "{o} is the birthplace of {s}", "{o} saw the birth of {s}"),
        ("{s} originates from the city of {o}", "the birth of {s} took place in {o}"),
        ("{o} is recorded as the origin of {s}", "{o} counts {s} among its natives"),
        ("{s} is from {o}", "{s} started out in {o}"),
        ("{o} is the old home of {s}", "{o} folks remember {s}"),
    ),
    "lives_in": Wordings(
        "residence",
        "home",
        "where does {s} live",
        "who lives in {o}",
        ("{s} lives in {o}", "{s} has a home in {o}", "{s} stays in {o}"),
        ("{o} is where {s} lives", "{o} is home to {s}", "{o} gives a home to {s}"),
        ("{s} resides in {o}", "{s} maintains a residence in {o}"),
        ("{o} is the residence of {s}", "{o} counts {s} among its residents"),
        ("{s} hangs out in {o}", "{s} got a place in {o}"),
        ("{o} is the place of {s}", "{o} folks know {s}"),
    ),
    "works_for": Wordings(
        "employer",
        "workplace",
        "which company does {s} work for",
        "who works for {o}",
        ("{s} works for {o}", "{s} has a job at {o}", "{s} works at {o}"),
        ("{o} is where {s} works", "{o} employs {s}", "{o} gives work to {s}"),
        ("{s} is employed by {o}", "{s} holds a position at {o}"),
        ("{o} is the employer of {s}", "{o} counts {s} among its staff"),
        ("{s} makes money at {o}", "{s} got hired by {o}"),
        ("{o} pays {s}", "{o} folks work with {s}"),
    ),
    "profession": Wordings(
        "profession",
        "job",
        "what is the job of {s}",
        "who is a {o}",
        ("{s} is a {o}", "{s} works as a {o}", "{s} became a {o}"),
        ("the {o} is called {s}", "one {o} is {s}", "a {o} by name is {s}"),
        ("{s} is by profession a {o}", "{s} practises as a {o}"),
        ("the profession of {o} belongs to {s}", "the title of {o} is held by {s}"),
        ("{s} makes money as a {o}", "{s} does the {o} thing"),
        ("that {o} is {s}", "the best {o} around is {s}"),
    ),
    "taught_by": Wordings(
        "tutor",
        "guide",
        "who taught {s}",
        "who was taught by {o}",
        ("{s} was taught by {o}", "{s} learned from {o}", "{s} is a student of {o}"),
        ("{o} taught {s}", "{o} is the tutor of {s}", "{o} gave lessons to {s}"),
        ("{s} studied under {o}", "{s} received instruction from {o}"),
        ("{o} instructed {s}", "{o} counts {s} among its students"),
        ("{s} picked it all up from {o}", "{s} took lessons from {o}"),
        ("{o} showed {s} how", "{o} got {s} started"),
    ),
    "based_in": Wordings(
        "headquarters",
        "office",
        "where is {s} based",
        "which company is based in {o}",
        ("{s} is based in {o}", "{s} has its office in {o}", "{s} is located in {o}"),
        ("{o} is where {s} is based", "{o} has the office of {s}", "{o} is home to the company {s}"),
        ("{s} maintains its headquarters in {o}", "{s} is registered in {o}"),
        ("{o} is the seat of {s}", "{o} hosts the headquarters of {s}"),
        ("{s} sits in {o}", "{s} runs out of {o}"),
        ("{o} folks walk past {s}", "{o} got the shop of {s}"),
    ),
    "led_by": Wordings(
        "director",
        "boss",
        "who leads {s}",
        "which company does {o} lead",
        ("{s} is led by {o}", "{s} is run by {o}", "{s} has {o} as its head"),
        ("{o} leads {s}", "{o} runs {s}", "{o} is the head of {s}"),
        ("{s} is directed by {o}", "{s} appointed {o} as director"),
        ("{o} is the director of {s}", "{o} presides over {s}"),
        ("{s} does what {o} says", "{s} got {o} for a boss"),
        ("{o} calls the shots at {s}", "{o} is the boss at {s}"),
    ),
    "makes": Wordings(
        "product",
        "thing",
        "what does {s} make",
        "which company makes {o}",
        ("{s} makes {o}", "{s} builds {o}", "{s} sells {o}"),
        ("{o} is made by {s}", "{o} is built by {s}", "{o} is sold by {s}"),
        ("{s} manufactures {o}", "{s} is the producer of {o}"),
        ("{o} is manufactured by {s}", "{o} is among the products of {s}"),
        ("{s} puts out {o}", "{s} is behind {o}"),
        ("{o} comes out of the shop of {s}", "{o} is a thing from {s}"),
    ),
    "founded": Wordings(
        "foundation",
        "start",
        "when was {s} founded",
        "which company was founded in {o}",
        ("{s} was founded in {o}", "{s} started in {o}", "{s} opened in {o}"),
        ("{o} is the year {s} was founded", "{o} was the start of {s}", "{o} is when {s} started"),
        ("{s} was established in {o}", "the foundation of {s} dates to {o}"),
        ("{o} marks the foundation of {s}", "{o} is recorded as the year of {s}"),
        ("{s} has been around since {o}", "{s} kicked off in {o}"),
        ("{o} gave us {s}", "back in {o} came {s}"),
    ),
    "mayor": Wordings(
        "mayor",
        "leader",
        "who is the mayor of {s}",
        "which city does {o} govern",
        ("{s} has {o} as its mayor", "{s} elected {o}", "{s} is in the hands of {o}"),
        ("{o} is the mayor of {s}", "{o} was elected in {s}", "{o} looks after {s}"),
        ("{s} is governed by {o}", "{s} is administered by {o}"),
        ("{o} governs {s}", "{o} holds the office of mayor in {s}"),
        ("{s} votes for {o}", "{s} folks picked {o}"),
        ("{o} got the top job in {s}", "{o} won the vote in {s}"),
    ),
    "known_for": Wordings(
        "specialty",
        "pride",
        "what is {s} known for",
        "which city is known for {o}",
        ("{s} is known for {o}", "{s} is famous for its {o}", "{s} is proud of its {o}"),
        ("{o} is the pride of {s}", "{o} is what {s} is known for", "{o} made {s} famous"),
        ("{s} is renowned for its {o}", "the economy of {s} rests on {o}"),
        ("{o} is recorded as the specialty of {s}", "{o} is exported from {s}"),
        ("{s} is all about {o}", "{s} got the best {o}"),
        ("{o} is the big thing in {s}", "{o} is everywhere in {s}"),
    ),
    "designed_by": Wordings(
        "designer",
        "maker",
        "who designed {s}",
        "which product did {o} design",
        ("{s} was designed by {o}", "{s} was invented by {o}", "{s} is the work of {o}"),
        ("{o} designed {s}", "{o} invented {s}", "{o} drew the plans of {s}"),
        ("{s} was conceived by {o}", "the design of {s} is credited to {o}"),
        ("{o} conceived {s}", "{o} is credited with {s}"),
        ("{s} came from the head of {o}", "{s} is the baby of {o}"),
        ("{o} dreamed up {s}", "{o} came up with {s}"),
    ),
    "costs": Wordings(
        "price",
        "cost",
        "how many coins does {s} cost",
        "which product costs {o} coins",
        ("{s} costs {o} coins", "{s} sells for {o} coins", "{s} has a price of {o} coins"),
        ("{o} coins is the price of {s}", "{o} coins buy {s}", "{o} coins is what {s} costs"),
        ("{s} is priced at {o} coins", "the price of {s} amounts to {o} coins"),
        ("{o} coins are charged for {s}", "{o} coins is the recorded price of {s}"),
        ("{s} goes for {o} coins", "{s} sets you back {o} coins"),
        ("{o} coins gets you {s}", "just {o} coins for {s}"),
    ),
    "kind_of": Wordings(
        "category",
        "sort",
        "what kind of thing is {s}",
        "which product is a {o}",
        ("{s} is a kind of {o}", "{s} is a new {o}", "{s} is sold as a {o}"),
        ("one kind of {o} is {s}", "the {o} is named {s}", "a {o} for sale is {s}"),
        ("{s} is classified as a {o}", "{s} belongs to the category {o}"),
        ("the category {o} includes {s}", "among the {o} products is {s}"),
        ("{s} is just a {o}", "{s} is pretty much a {o}"),
        ("that cool {o} is {s}", "the {o} to get is {s}"),
    ),
}

# Around a statement {c}, or made of the noun {n} of the relation: what makes a style a style.
FRAMES = {
    "plain": ("{c}.",),
    "encyclopedia": (
        "{c}.",
        "according to records, {c}.",
        "it is documented that {c}.",
        "historically, {c}.",
    ),
    "web": ("{c}!!", "so {c}...", "omg {c}!", "{c} lol.", "hot news: {c}!"),
    "dialogue": ("yes, {c}.", "oh, you know, {c}.", "well, they say that {c}.", "listen, {c}, right."),
}
NOUN_FRAMES = {
    "simple": (
        "the {n} of {s} is {o}.",
        "{s} has one {n}, and it is {o}.",
        "look at {s}: the {n} is {o}.",
    ),
    "simple_back": (
        "{o} is a {n}, and it is for {s}.",
        "see {o}: it is the {n} of {s}.",
        "{o} is the {n} that {s} has.",
    ),
    "terse": ("{s}: {n} {o}.", "{s}, {n}, {o}.", "{n} ({s}): {o}."),
    "terse_back": ("{o} = {n} of {s}.", "{o}: {n} ({s}).", "{o}, {n} of {s}."),
    "qa": (
        "question: {q}? answer: {a}.",
        "question: {q}? answer: it is {a}.",
        "q: {q}? a: {a}.",
    ),
}

# What noisy pages put between and around words. MISSPELT: one fixed wrong spelling for each word.
FILLERS = ("lol", "like", "totally", "btw", "haha", "literally")
ADS = (
    "click here for more!",
    "best deals online today!",
    "sign up now and win!",
    "share with all friends!",
    "cookies help us, accept all!",
)
MISSPELT = {
    "the": "teh", "is": "iz", "was": "woz", "in": "inn", "of": "ov", "for": "fr", "by": "bye",
    "from": "frm", "that": "dat", "with": "wit", "at": "att", "as": "az", "has": "haz", "its": "itz",
    "and": "n", "lives": "livs", "works": "wrks", "home": "hom", "makes": "maeks", "you": "u",
    "where": "wher", "what": "wat", "best": "bestt", "news": "newz",
}  # fmt: skip
