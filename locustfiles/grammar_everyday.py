"""Short everyday sentences about people and what they do; a verb is written as base/third person."""

from locustfiles import scene_settings
from locustfiles.grammar import Template, combine, phrases, template
from locustfiles.grammar_scenes import activities, scenes

PEOPLE = phrases(
    """my sister; my brother; my mother; my father; my wife; my husband; our teacher; my friend; my uncle;
    her son; the doctor; my boss; the old man; that woman; our daughter; your brother; his wife; her father;
    the student; the teacher; the lawyer; his friend; his son; my daughter; his brother; the man; his father;
    your mother; the nurse; the farmer; the police officer; your friend; his teacher; her sister;
    her brother; her mother; her uncle; his uncle; your wife; your husband; your son; your daughter;
    the cook; our friend; my teacher; my son; his sister; the woman; your sister; your father; his mother;
    the young man; the young woman; the old woman; his daughter; her daughter; that man; your teacher;
    their father; their mother"""
)
VERBS = phrases(
    """drink/drinks coffee; drink/drinks tea; drink/drinks milk; drink/drinks beer; drink/drinks wine;
    drink/drinks water; eat/eats meat; eat/eats fish; eat/eats apples; eat/eats bread; eat/eats an apple;
    eat/eats breakfast; eat/eats lunch; play/plays the piano; play/plays the guitar; play/plays soccer;
    play/plays tennis; play/plays cards; sing/sings a song; speak/speaks French; speak/speaks English;
    learn/learns French; study/studies English; take/takes the bus; walk/walks to school; go/goes to school;
    come/comes home; go/goes home; call/calls me; visit/visits us; help/helps us; buy/buys a book;
    buy/buys flowers; tell/tells the truth; make/makes coffee; bake/bakes a cake; wear/wears a hat;
    catch/catches a fish; take/takes a picture; cut/cuts the bread; paint/paints the wall;
    wear/wears glasses; write/writes a letter; fix/fixes the bike; buy/buys milk; buy/buys bread;
    help/helps Tom; call/calls Tom; understand/understands me; stay/stays at home; pay/pays the bill;
    eat/eats soup; eat/eats pizza; cook/cooks fish; cook/cooks soup; buy/buys a hat; eat/eats cheese;
    buy/buys fish; buy/buys apples; read/reads books; read/reads a book; visit/visits Tom; go/goes to Boston;
    cook/cooks meat; make/makes tea; play/plays chess; buy/buys a car; sell/sells the car;
    drive/drives to Boston"""
)
BASE, THIRD = (
    tuple(f"{verbs.split('/')[form]} {rest}" for verbs, rest in (verb.split(maxsplit=1) for verb in VERBS))
    for form in (0, 1)
)
MODALS = phrases("wants to; has to; can; must; will; needs to")
TABLES = {
    "who": PEOPLE,
    "habit": combine("{often} {third}", often=phrases("often; always; never; rarely; still"), third=THIRD),
    "base": BASE,
    "wish": MODALS + phrases("wanted to; likes to; had to; tried to; could"),
    "modal": MODALS,
    "later": phrases("today; tomorrow; tonight"),
    "act": activities(scene_settings.ADULTS, "the"),
    "now": phrases("now; today; again"),
    "scene": scenes(scene_settings.ADULTS, "the"),
}
PATTERNS = {
    "{who} {habit}.": 2,
    "{who} {wish} {base}.": 6,
    "{who} {modal} {base} {later}.": 9,
    "{who} is {act} {now}.": 4,
    "{who} is {scene}.": 10,
}
TEMPLATES: tuple[Template, ...] = tuple(
    template(pattern, weight, TABLES) for pattern, weight in PATTERNS.items()
)
