"""Words for everyday scenes: who is seen, what they wear and what else is there.

In a table of verbs, `|` parts the form for one person from the form for several.
"""

from locustfiles.grammar import combine, phrases, with_articles

COLORS = phrases("red; blue; green; yellow; black; white; orange; purple; pink; gray; brown; dark blue")
TOPS = phrases("shirt; jacket; coat; sweater; t-shirt; vest; sweatshirt; uniform")
HATS = phrases("hat; cap; helmet; apron; backpack")
TROUSERS = phrases("jeans; pants; shorts; gloves; sunglasses; boots")

MEN = with_articles(
    phrases(
        """man; young man; old man; older man; elderly man; tall man; happy man; middle-aged man;
        bearded man; smiling man"""
    )
)
WOMEN = with_articles(
    phrases(
        """woman; young woman; old woman; older woman; elderly woman; tall woman; lady; middle-aged woman;
        happy woman; smiling woman; young lady"""
    )
)
ADULTS = phrases(
    """two men; two women; three men; three women; two young men; two young women; several people;
    two friends; four people; some students; two old men; three friends; many people; a man and a woman;
    a father and his son; a mother and her daughter; several men; two people; some tourists;
    three young people"""
)
BOYS = with_articles(
    phrases("boy; little boy; tall boy; young boy; small boy; smiling boy; cute boy; shy boy; happy boy")
)
GIRLS = with_articles(
    phrases(
        """girl; little girl; tall girl; young girl; small girl; smiling girl; cute girl; shy girl;
        happy girl"""
    )
)
CHILDREN = phrases(
    """two children; three children; two boys; two girls; two little girls; two young boys; several children;
    three young girls; four children; a boy and a girl; some kids; three little boys; two small children;
    many children"""
)
HAIR = phrases(
    """with long hair; with short hair; with dark hair; with curly hair; with red hair; with brown hair;
    with glasses"""
)

POSTURES = phrases(
    """sits on a bench | sit on a bench; sits on a chair | sit on chairs; sits at a table | sit at a table;
    stands on the sidewalk | stand on the sidewalk; stands next to a tree | stand next to a tree;
    sits on the steps | sit on the steps; stands in front of a store | stand in front of a store;
    sits on the floor | sit on the floor; stands near a window | stand near a window;
    sits on a blanket | sit on a blanket; waits at a bus stop | wait at a bus stop;
    sits in the grass | sit in the grass; stands by the water | stand by the water;
    sits under a tree | sit under a tree; stands on a bridge | stand on a bridge"""
)
SMALL_ACTS = phrases(
    """reads a book | read books; eats a sandwich | eat sandwiches; looks at the camera | look at the camera;
    talks to a friend | talk to a friend; eats ice cream | eat ice cream; drinks water | drink water;
    looks at the sky | look at the sky; listens to music | listen to music;
    plays with a toy | play with toys; holds a red balloon | hold red balloons; eats an apple | eat apples;
    plays the guitar | play guitars; draws a picture | draw pictures;
    waves at the camera | wave at the camera; smiles | smile; watches the people | watch the people;
    looks at a map | look at a map; laughs | laugh"""
)
DOGS = with_articles(
    combine(
        "{kind} {color} dog",
        kind=phrases("small; large; big; little; young; old; happy; wet; fluffy; playful"),
        color=phrases("brown; black; white; gray; tan; black and white; brown and white"),
    )
)
VEHICLES = phrases(
    """car; truck; bus; bicycle; motorcycle; van; tractor; taxi; sports car; old car; small truck;
    large bus"""
)
VEHICLE_PLACES = phrases(
    """in front of an old building; near the station; next to a brick wall; behind a tall fence;
    by the river; on a dirt road; in the middle of the street; under a large tree; in front of a store;
    outside a hotel; in a crowded parking lot; near the market; on a narrow street; at the side of the road;
    by the lake; next to the church; in the snow; near a bridge"""
)

ONLOOKERS = with_articles(
    phrases(
        """man; woman; boy; girl; young man; young woman; old man; old woman; little girl; little boy;
        young girl; older man; young boy; older woman"""
    )
)
WATCHING = phrases(
    """watches; takes a picture; stands nearby; walks by; waits; sits nearby; smiles; looks at the camera;
    holds a camera; talks on a cellphone; laughs; watches from behind; stands in the background"""
)
GROUPS_WATCHING = combine(
    "{group} {act}",
    group=phrases("two children; two women; two men; other people; several people; many people; three girls"),
    act=phrases("watch; take pictures; stand nearby; walk by; wait; sit nearby; look at the camera; laugh"),
)
DOG_WATCHING = combine(
    "a {size} dog {act}",
    size=phrases("small; large; brown; black; white"),
    act=phrases("sleeps nearby; stands nearby; walks by; watches; waits; looks at the camera"),
)
TAILS = combine("{who} {act}", who=ONLOOKERS, act=WATCHING) + GROUPS_WATCHING + DOG_WATCHING
