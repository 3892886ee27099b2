"""What people and animals do in everyday scenes, and where; one entry a setting.

In a table of activities, `|` parts the form for one person from the form for several, and `{their}`
becomes the possessive that agrees with the subject.
"""

Settings = dict[str, tuple[str, str]]

# An activity goes only with the places of its own setting, so that nobody shovels snow on a beach.
ADULTS: Settings = {
    "street": (
        """talking on a cellphone | talking on cellphones; riding a bicycle | riding bicycles;
        waiting for the bus; pushing a cart | pushing carts; selling flowers;
        taking a picture | taking pictures; eating ice cream; drinking coffee;
        reading a newspaper | reading newspapers; looking at a map; smoking a cigarette | smoking cigarettes;
        holding an umbrella | holding umbrellas; listening to music;
        carrying a heavy bag | carrying heavy bags; playing the guitar | playing guitars; sitting on a bench;
        leaning against a brick wall; walking with {their} dog; talking to a police officer;
        carrying a bicycle | carrying bicycles""",
        """on a busy street; on the sidewalk; in front of a store; near the station; outside a restaurant;
        in front of an old church; next to a parked car; in the city; near a subway station;
        in front of a large building; next to a red truck; on a street corner; under a large sign;
        by the side of the road""",
    ),
    "park": (
        """throwing a frisbee; playing with {their} dog; sleeping; feeding the birds; lying on a blanket;
        jogging; reading a book | reading books; playing cards; flying a kite | flying kites;
        eating a sandwich | eating sandwiches; painting a picture | painting pictures; playing chess;
        taking a nap; resting; riding a horse | riding horses; playing with a small child;
        kicking a ball""",
        """in the park; under a large tree; on the grass; in a grassy field; near a small lake;
        near the playground; next to a fountain; behind the house; near a wooden fence; on a green hill;
        in a garden full of flowers; beside a stone wall; near the trees""",
    ),
    "water": (
        """playing volleyball; holding a surfboard | holding surfboards; looking at the ocean; running;
        digging in the sand; fishing; flying a kite | flying kites; walking;
        lying on a towel | lying on towels; holding a large fish; pushing a small boat; throwing rocks;
        drinking from a bottle | drinking from bottles; watching the boats""",
        """on the beach; near the water; by the ocean; on a sandy beach; next to a fishing boat;
        on a sunny beach; near a lake; at the edge of the sea; below a high cliff; near a long bridge""",
    ),
    "snow": (
        """building a snowman; pulling a sled; throwing snow; shoveling snow; walking; skiing;
        carrying a snowboard | carrying snowboards; standing on skis; playing with a brown dog;
        putting on boots; drinking hot coffee; carrying wood; taking a picture of the trees; smiling""",
        """in the snow; on a snowy day; on a snowy hill; on a snowy mountain; in a snowy forest;
        on a snowy street; near a frozen lake; on a snowy path; next to a snowy road""",
    ),
    "kitchen": (
        """cooking dinner; preparing food; drinking coffee; cooking fish; holding a knife | holding knives;
        cutting vegetables; making a cake; making pizza; drinking a cup of tea | drinking tea;
        cleaning the floor; opening a bottle of wine; cooking a large meal;
        making a sandwich | making sandwiches; cutting bread; drinking a glass of milk | drinking milk""",
        """in a small kitchen; in the kitchen; in a restaurant kitchen; near the kitchen window;
        in a large kitchen; next to the sink; in a modern kitchen; in an old kitchen; in a busy kitchen""",
    ),
    "home": (
        """reading a book | reading books; sleeping; using a computer | using computers; playing with a cat;
        writing a letter | writing letters; listening to music; playing a video game; talking on the phone;
        looking at old pictures; holding a baby | holding babies; playing the guitar; drinking tea;
        playing a board game""",
        """on a couch; in the living room; on the bed; in front of a window; next to a window;
        at a wooden table; on the floor; in a small room;
        in a chair by the window | in chairs by the window""",
    ),
    "restaurant": (
        """eating lunch; drinking beer; having a conversation; reading the menu; eating pizza;
        drinking a glass of wine | drinking wine; talking to the waiter; waiting for food; paying for dinner;
        eating soup; talking and laughing; eating a piece of cake | eating cake;
        looking at a phone | looking at phones; playing cards; ordering food""",
        """at a small table; in a busy restaurant; in a bar; at an outdoor cafe; in a crowded restaurant;
        at a table by the window; in a dark bar; in a small coffee shop; at a round table""",
    ),
    "stage": (
        """singing into a microphone | singing into microphones; playing the drums; dancing; performing;
        playing an electric guitar | playing electric guitars; playing the violin | playing violins;
        giving a speech; playing the trumpet | playing trumpets; singing a song;
        holding a guitar | holding guitars; playing music; playing the piano; performing a dance""",
        """on stage; on a large stage; in front of a crowd; at a concert; in front of a large audience;
        at a music festival; in a dark room; in front of many people; on an outdoor stage""",
    ),
    "sport": (
        """playing soccer; throwing a baseball; running a race; practicing karate; playing basketball;
        playing tennis; hitting a ball; kicking a ball; holding a bat | holding bats; stretching;
        catching a ball; talking to the coach; running with a football; drinking water;
        playing a game of volleyball""",
        """on a green field; in a stadium; on a sunny day; on a school field; in a large gym;
        on an outdoor court; near a tall fence; in the park; in front of a crowd""",
    ),
    "work": (
        """repairing a bicycle | repairing bicycles; fixing a car; painting a wall; cutting wood;
        using a large machine; climbing a ladder | climbing ladders; digging a hole; carrying a ladder;
        carrying a heavy box | carrying heavy boxes; building a wall; welding metal;
        cleaning a window | cleaning windows; holding a shovel | holding shovels; looking at a plan;
        loading a truck; pushing a wheelbarrow; using a hammer | using hammers""",
        """at a construction site; in front of a house; next to a truck; near the station;
        on the side of the road; behind a tall building; beside a brick wall; in front of a new building;
        next to a large hole; in front of a garage; outside a factory""",
    ),
    "market": (
        """selling fruit; buying vegetables; looking at clothes; shopping;
        pushing a shopping cart | pushing shopping carts; carrying two bags; buying fresh fish;
        selling bread; looking at jewelry; talking to a vendor; counting money; buying fruit;
        weighing vegetables; waiting in line; looking at shoes;
        carrying a basket of apples | carrying baskets of apples""",
        """at an outdoor market; in a store; at a market; in a small shop; in a crowded market;
        in a grocery store; next to a fruit stand; at a street market; next to a food stand""",
    ),
    "trail": (
        """hiking; climbing a rock | climbing rocks; walking with {their} dog; looking at the mountains;
        taking a picture; resting; riding a mountain bike | riding mountain bikes;
        carrying a large backpack | carrying large backpacks; sitting on a rock | sitting on rocks;
        making a fire; setting up a tent | setting up tents; looking at a map;
        drinking from a bottle | drinking from bottles; picking flowers""",
        """on a mountain trail; in the forest; on a dirt path; on a rocky hill; near a river;
        on top of a mountain; in the woods; near a waterfall; in a green valley; at the edge of a cliff;
        next to a tall tree; in the mountains""",
    ),
}
CHILDREN: Settings = {
    "playground": (
        """playing on a swing | playing on swings; going down a slide; blowing bubbles; jumping rope;
        painting a picture | painting pictures; playing with toys; eating ice cream;
        riding a scooter | riding scooters; drawing with chalk; playing with a toy truck; climbing on a rope;
        laughing; running; jumping in the air; riding a tricycle | riding tricycles; playing with a red ball;
        playing in a sandbox; throwing a frisbee; kicking a ball; playing with a small dog;
        feeding the birds; holding a kite | holding kites; picking flowers; sitting on a bench;
        holding a stick | holding sticks; drinking water; riding a bike | riding bikes;
        looking at a book | looking at books""",
        """at the playground; in the park; in the yard; in front of a school; on the sidewalk;
        behind the house; near a wooden fence; next to a tree; in front of a brick wall; on a sunny day;
        at a birthday party; next to a fountain""",
    ),
    "water": (
        """digging in the sand; standing in the sand; drinking from a bottle | drinking from bottles;
        carrying a bucket | carrying buckets; playing in the sand; splashing in the water; running;
        throwing rocks; playing with a bucket; jumping into the water; chasing a bird | chasing birds;
        eating ice cream; holding a fish | holding fish; smiling at the camera;
        lying on a towel | lying on towels; kicking a ball; walking with {their} father""",
        """on the beach; near the water; by the ocean; on a sandy beach; near a lake; on a sunny beach;
        at the edge of the sea; next to a small boat; near a river; below a high cliff; near a long bridge;
        under a large umbrella""",
    ),
    "snow": (
        """building a snowman; pulling a sled; throwing snow; walking; holding a snowball;
        playing with a brown dog; sitting on a sled; sliding down a hill; laughing; lying on the ground;
        eating snow; making a snowball | making snowballs; jumping; smiling;
        holding a shovel | holding shovels""",
        """in the snow; on a snowy hill; on a snowy path; near a frozen lake; on a snowy day;
        in a snowy forest; in a snowy park; next to a snowy road""",
    ),
    "home": (
        """reading a book | reading books; sleeping; playing with a ball; playing cards; eating soup;
        drinking water; looking at a book | looking at books; playing with a cat; doing homework;
        playing a video game; eating breakfast; drinking a glass of milk | drinking milk;
        listening to a story; opening a present | opening presents;
        hugging a teddy bear | hugging teddy bears; eating an apple | eating apples; playing with a toy car;
        playing a board game; eating a cookie | eating cookies; holding a cat""",
        """on a couch; in the living room; on the bed; next to a window; at a wooden table;
        on a chair | on chairs; in front of a window; on the floor; in a small room; in the kitchen;
        in front of a Christmas tree""",
    ),
    "sport": (
        """playing soccer; throwing a baseball; running a race; practicing karate; playing basketball;
        playing tennis; hitting a ball; stretching; drinking water; catching a ball;
        doing a handstand | doing handstands; kicking a soccer ball; jumping on a trampoline;
        talking to the coach; doing gymnastics; running with a football""",
        """on a green field; in a gym; on a school field; on an outdoor court; in a grassy field;
        near a tall fence; in front of a large crowd; in a stadium; in the park; on a sunny day""",
    ),
}
ANIMALS: Settings = {
    "outdoors": (
        """running; jumping over a log; playing with a ball; catching a frisbee; chasing another dog;
        carrying a stick in its mouth; lying; walking; digging a hole; barking at a bird; playing with a toy;
        jumping in the air; chasing a tennis ball; sleeping; standing on its hind legs; looking at a cat;
        shaking its head; following a young boy""",
        """in the grass; on the beach; in the snow; in a grassy field; in the yard; near a fence;
        in the park; next to a river; in the sand; on a dirt path; in the woods; near the water;
        under a tree; behind the house; on a green hill; in front of a red house; near a lake; in a garden;
        beside a wooden bench; along the road""",
    ),
}
