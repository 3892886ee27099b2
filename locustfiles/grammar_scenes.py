"""Everyday scenes, told as a photo caption tells them."""

from locustfiles import scene_settings
from locustfiles import scene_words as words
from locustfiles.grammar import Template, at_most, combine, phrases, template, with_articles
from locustfiles.scene_settings import Settings


def agree(table: tuple[str, ...], their: str) -> tuple[str, ...]:
    """Take each entry's form for one person or for several, with the possessive filled in."""
    form = -1 if their == "their" else 0
    return tuple(entry.split(" | ")[form].replace("{their}", their) for entry in table)


def activities(settings: Settings, their: str) -> tuple[str, ...]:
    """Name every activity of the settings once."""
    acts = (act for doing, _ in settings.values() for act in agree(phrases(doing), their))
    return tuple(dict.fromkeys(acts))


def scenes(settings: Settings, their: str) -> tuple[str, ...]:
    """Name every activity together with each place of its own setting, once."""
    pairs = (
        pair
        for doing, where in settings.values()
        for pair in combine(
            "{act} {place}", act=agree(phrases(doing), their), place=agree(phrases(where), their)
        )
    )
    return tuple(dict.fromkeys(pairs))


def _clothes(garments: tuple[str, ...], several: bool = False) -> tuple[str, ...]:
    """Name each garment in each colour, as one person or several wear it."""
    named = combine("{color} {garment}", color=words.COLORS, garment=garments)
    return tuple(f"{name}s" for name in named) if several else with_articles(named)


def _people(who: tuple[str, ...], their: str, settings: Settings) -> list[Template]:
    """Build the templates of one kind of subject."""
    several = their == "their"
    be = "are" if several else "is"
    scene = scenes(settings, their)
    tables = {
        "who": who,
        "anyone": who + combine("{who} {hair}", who=who, hair=words.HAIR),
        "top": _clothes(words.TOPS, several),
        "more": _clothes(words.HATS, several)
        + combine("{color} {garment}", color=words.COLORS, garment=words.TROUSERS),
        "act": activities(settings, their),
        "scene": scene,
        "short_scene": at_most(8, scene),
        "shortest_scene": at_most(7, scene),
        "posture": agree(words.POSTURES, their),
        "small_act": agree(words.SMALL_ACTS, their),
        "tail": words.TAILS,
        "short_tail": at_most(5, words.TAILS),
        "onlooker": words.ONLOOKERS,
        "onlooker_top": _clothes(words.TOPS),
        "watching": words.WATCHING,
    }
    patterns = {
        f"{{anyone}} {be} {{scene}}.": 6,
        f"{{who}} in {{top}} {be} {{act}}.": 6,
        f"{{who}} in {{top}} {be} {{scene}}.": 3,
        f"{{who}} {be} {{act}} while {{tail}}.": 2,
        "{who} in {top} {posture}.": 1,
        "{who} in {top} {posture} and {small_act}.": 1,
        f"{{who}} in {{top}} and {{more}} {be} {{scene}}.": 1,
        f"{{who}} in {{top}} {be} {{scene}} while {{tail}}.": 1,
        f"{{who}} in {{top}} and {{more}} {be} {{short_scene}} while {{short_tail}}.": 1,
        f"{{who}} in {{top}} {be} {{shortest_scene}} while {{onlooker}} in {{onlooker_top}} {{watching}}.": 1,
    }
    return [template(pattern, weight, tables) for pattern, weight in patterns.items()]


def _others() -> list[Template]:
    """Build the templates about animals and vehicles."""
    tables = {
        "dog": words.DOGS,
        "scene": scenes(scene_settings.ANIMALS, "its"),
        "tail": combine("{who} {act}", who=words.ONLOOKERS, act=words.WATCHING),
        "vehicle": with_articles(combine("{color} {vehicle}", color=words.COLORS, vehicle=words.VEHICLES)),
        "spot": words.VEHICLE_PLACES,
    }
    patterns = {
        "{dog} is {scene}.": 2,
        "{dog} is {scene} while {tail}.": 1,
        "{vehicle} is parked {spot} while {tail}.": 1,
    }
    return [template(pattern, weight, tables) for pattern, weight in patterns.items()]


TEMPLATES: tuple[Template, ...] = (
    *_people(words.MEN, "his", scene_settings.ADULTS),
    *_people(words.WOMEN, "her", scene_settings.ADULTS),
    *_people(words.ADULTS, "their", scene_settings.ADULTS),
    *_people(words.BOYS, "his", scene_settings.CHILDREN),
    *_people(words.GIRLS, "her", scene_settings.CHILDREN),
    *_people(words.CHILDREN, "their", scene_settings.CHILDREN),
    *_others(),
)
