"""Words for reviews: what is reviewed, and praise and blame that no reader could take for the other."""

from locustfiles.grammar import phrases

MOVIES = phrases("film; movie; comedy; drama; thriller; adventure film; musical; short film")
FILMS = MOVIES + phrases("series; show; television series; crime film; family film; action film")
TOPICS = phrases(
    """a young teacher; two brothers; a small town; a famous singer; a family farm; three old friends;
    a lost dog; a train driver; a school orchestra; an old painter; a fishing village; a chess player;
    a wedding; a road trip; a football team; a circus; two sisters; a taxi driver; a baker and his daughter;
    a summer camp; life on an island; a journey to the sea; a young doctor; a night in the city; a garden;
    a piano teacher; a group of students; a detective; a flight to the moon; a farmer and his horse"""
)
ASPECTS = phrases(
    """the acting is; the story is; the script is; the dialogue is; the direction is; the ending is;
    the plot is; the music is; the camera work is; the cast is; the lead actor is; the lead actress is;
    the humor is; the opening is; the second half is; the performances are; the jokes are;
    the characters are; the songs are; the costumes are; the action scenes are; the final scenes are;
    the supporting actors are"""
)
PARTS = phrases(
    """acting; dialogue; direction; music; camera work; humor; performances; jokes; characters; songs;
    costumes; action scenes; supporting actors; special effects; dance scenes"""
)
COMPANIONS = phrases(
    """my family; my sister; my brother; two friends; my wife; my husband; my parents; my daughter; my son;
    a friend; some colleagues; my neighbors; my class; my cousin; a large audience"""
)
TIMES = phrases(
    """last night; yesterday; last week; on Sunday; on Friday evening; two days ago; this morning;
    last month; over the weekend; on my birthday; during the holidays; this afternoon"""
)
VIEWS = phrases(
    "I think; we all think; everyone agrees; I must say; my friends agree; we both feel; I can say"
)
HOTELS = phrases(
    """hotel; guest house; beach hotel; inn; hostel; country hotel; airport hotel; holiday camp;
    mountain lodge"""
)
PLACES = phrases(
    "restaurant; hotel; cafe; bar; bakery; guest house; coffee shop; pizza place; diner; beach hotel"
)
WHERE = phrases(
    """in Boston; near the station; by the river; on the corner; at the harbor; in our street;
    in the old town; across the park; next to the museum; near the airport; by the sea;
    on the main square"""
)
KINDS = phrases("new; French; Italian; German; Swedish; recent; Canadian; Danish; Japanese; Spanish")
NEUTRAL_DEEDS = phrases(
    """moves to a new city; opens a small shop; finds an old letter; travels across the country;
    meets a stranger; returns home after ten years; takes a new job; joins a choir; buys a house;
    learns to sail; writes a book; builds a boat; waits for a phone call; rents a room by the harbor;
    studies music in Paris; plants a garden; paints a portrait; opens a hotel; visits an aunt;
    crosses the desert; finds a map; works at night; lives by a lake; drives to the coast; enters a contest;
    sings in a bar; raises horses"""
)
HEROES = phrases(
    """a young teacher; an old farmer; a retired pilot; a student; a police officer; a woman from Boston;
    a painter; a bus driver; a lawyer; a nurse; a boy from the country; a girl from the coast; a musician;
    a cook; a tailor; a journalist; a carpenter; a sailor; a dancer; a photographer; a shy librarian;
    a truck driver; a gardener; a tall stranger; a violin player; a mayor; a postman"""
)
FACTS = phrases(
    """was shot in Canada; runs for two hours; is based on a novel; has two parts; takes place in the summer;
    was made in black and white; is set in the nineties; opens in cinemas on Friday; has a cast of eight;
    was filmed in a single house; is the first of three; comes with subtitles; starts in a train station;
    is told by the youngest son; was recorded in one week"""
)

PRAISE = {
    "adjective": phrases(
        """wonderful; brilliant; beautiful; excellent; superb; delightful; charming; exceptional;
        outstanding; fantastic; amazing; terrific; powerful; enjoyable; lovely; marvelous; magnificent;
        captivating; impressive; fascinating; splendid; remarkable; memorable; perfect; stunning"""
    ),
    "very": phrases("absolutely; truly; simply; really; completely; consistently; incredibly"),
    "felt": phrases(
        "loved; adored; enjoyed; really loved; thoroughly enjoyed; truly enjoyed; absolutely loved"
    ),
    "verdict": phrases(
        """it is one of the best of the year; I loved every second; it is simply wonderful;
        it made me very happy; I loved it; it is a real treat; it is a small masterpiece;
        it is full of charm; I enjoyed every single minute; it is a joy to watch; it is a great success"""
    ),
    "throughout": phrases(
        "from start to finish; from the first scene to the last; in every scene; at every turn"
    ),
    "food": phrases(
        """delicious; outstanding; really delicious; hot and delicious; simply great; excellent;
        fresh and tasty; wonderful; superb; fantastic; perfect; amazing"""
    ),
    "staff": phrases(
        """friendly; very friendly; fantastic; great; kind and helpful; wonderful; charming; excellent;
        warm and friendly"""
    ),
    "room": phrases(
        """lovely; beautiful; splendid; wonderful; bright and comfortable; very beautiful; charming;
        delightful"""
    ),
}
BLAME = {
    "adjective": phrases(
        """terrible; awful; boring; dull; dreadful; horrible; tedious; stupid; pointless; lifeless;
        disappointing; annoying; bad; clumsy; lame; bland; unfunny; worthless; pathetic; lazy; poor;
        tiresome; dumb"""
    ),
    "very": phrases("absolutely; truly; simply; really; completely; consistently; incredibly"),
    "felt": phrases(
        "hated; disliked; really disliked; really hated; could not stand; truly hated; absolutely hated"
    ),
    "verdict": phrases(
        """it is one of the worst of the year; it is simply awful; it made me very angry;
        I was bored from beginning to end; I hated it; it is a real disaster; it is a complete mess;
        it fails in every way; I hated every minute of it; it is painful to watch; it is a total failure"""
    ),
    "throughout": phrases(
        "from start to finish; from the first scene to the last; in every scene; at every turn"
    ),
    "food": phrases(
        """tasteless; disgusting; inedible; really bad; simply horrible; old and stale; cold and bland;
        horrible; awful; terrible; burnt and dry; dreadful"""
    ),
    "staff": phrases(
        """rude; dreadful; really rude; horrible; bad; slow and unfriendly; terrible; unpleasant; very rude;
        awful; lazy and careless"""
    ),
    "room": phrases("filthy; ugly; dirty; horrible; dark and smelly; very dirty; disgusting; dreadful"),
}
