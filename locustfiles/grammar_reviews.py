"""Reviews of films, books, restaurants and hotels, half of them with a label that is beyond doubt."""

import itertools

from locustfiles import review_words as words
from locustfiles.grammar import Template, phrases, template, with_articles

Tables = dict[str, tuple[str, ...]]


def _pairs(pattern: str, table: tuple[str, ...]) -> tuple[str, ...]:
    """Join each word with every other one, never with itself."""
    return tuple(pattern.format(*pair) for pair in itertools.permutations(table, 2))


COMMON: Tables = {
    "film": words.FILMS,
    "topic": words.TOPICS,
    "aspect": words.ASPECTS,
    "parts": words.PARTS,
    "with": words.COMPANIONS,
    "time": words.TIMES,
    "view": words.VIEWS,
    "place": words.PLACES,
    "hotel": words.HOTELS,
    "where": words.WHERE,
    "kind": words.KINDS,
    "saw": phrases("I saw; I just saw; I went to see; I finally saw; I watched"),
}


def _opinions(sentiment: dict[str, tuple[str, ...]], label: str) -> list[Template]:
    """Build the templates that hold one polarity only."""
    adjectives = sentiment["adjective"]
    tables = {
        **COMMON,
        **sentiment,
        "two": _pairs("{} and {}", adjectives),
        "a_two": with_articles(_pairs("{}, {}", adjectives)),
    }
    patterns = {
        "what {a_two} {film} about {topic}!": 3,
        "this {film} about {topic} is {very} {adjective}.": 3,
        "{aspect} {two}.": 2,
        "{aspect} {very} {adjective}, and {verdict}.": 3,
        "I {felt} this {film} because {aspect} {two}.": 3,
        "{a_two} {film} with {adjective} {parts}.": 3,
        "I watched this {film} with {with} {time}, and {verdict}.": 2,
        "this is {a_two} {film} about {topic}, and {aspect} {very} {adjective}.": 2,
        "{view} that this {film} about {topic} is {two} {throughout}.": 2,
        "I {felt} the {film} I saw {time}: {aspect} {very} {adjective}, and {verdict}.": 1,
        "the food at this {place} {where} was {food}, and the staff was {staff}.": 1,
        "the room was {room}, the breakfast was {food}, and the staff at the {hotel} {where} was {staff}.": 1,
    }
    return [template(pattern, weight, tables, label) for pattern, weight in patterns.items()]


def _undecided() -> list[Template]:
    """Build the templates that weigh both sides or none, and so carry no label."""
    half = len(words.ASPECTS) // 2
    tables = {
        **COMMON,
        "movie": words.MOVIES,
        "hero": words.HEROES,
        "other_hero": words.HEROES,
        "deed": words.NEUTRAL_DEEDS,
        "fact": words.FACTS,
        "good": words.PRAISE["adjective"],
        "bad": words.BLAME["adjective"],
        "first": words.ASPECTS[:half],
        "second": words.ASPECTS[half:],
        "food": words.PRAISE["food"],
        "staff": words.BLAME["staff"],
    }
    patterns = {
        "{first} {good}, but {second} {bad}.": 9,
        "{second} {bad}, while {first} {good}.": 6,
        "this {kind} {film} tells the story of {hero} who {deed}.": 7,
        "the {kind} {movie} about {topic} {fact}.": 4,
        "{saw} this {film} about {topic} with {with} {time}.": 8,
        "some people call this {film} about {topic} {good}, while others find it {bad}.": 7,
        "{saw} the {movie} with {with} {time}, and although {first} {good}, {second} rather {bad}.": 5,
        "this {movie} {fact} and follows {hero} who {deed} and meets {other_hero}.": 4,
        "the food at this {place} was {food}, but the staff was {staff} when I went with {with} {time}.": 5,
    }
    return [template(pattern, weight, tables) for pattern, weight in patterns.items()]


TEMPLATES: tuple[Template, ...] = (
    *_opinions(words.PRAISE, "POSITIVE"),
    *_opinions(words.BLAME, "NEGATIVE"),
    *_undecided(),
)
