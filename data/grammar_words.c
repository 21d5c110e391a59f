/* See data/grammar_words.h. */
#include "data/grammar_words.h"

#define TABLE(list) { (int)(sizeof(list) / sizeof *(list)), list }

static const struct noun animals[] = {
	{ "dog", "dogs" }, { "cat", "cats" }, { "bird", "birds" }, { "horse", "horses" }, { "mouse", "mice" }, { "fox", "foxes" },
	{ "duck", "ducks" }, { "rabbit", "rabbits" }, { "sheep", "sheep" }, { "goose", "geese" }, { "bear", "bears" },
	{ "frog", "frogs" }, { "wolf", "wolves" }, { "cow", "cows" }, { "hen", "hens" }, { "owl", "owls" }, { "goat", "goats" },
	{ "pony", "ponies" }, { "pig", "pigs" }, { "bee", "bees" }, { "crow", "crows" }, { "calf", "calves" },
	{ "squirrel", "squirrels" }, { "turtle", "turtles" }, { "deer", "deer" }, { "otter", "otters" }, { "donkey", "donkeys" },
	{ "spider", "spiders" }, { "swan", "swans" }, { "hedgehog", "hedgehogs" }, { "ant", "ants" }, { "lynx", "lynxes" },
};
static const struct noun things[] = {
	{ "key", "keys" }, { "ball", "balls" }, { "book", "books" }, { "cup", "cups" }, { "hat", "hats" }, { "lamp", "lamps" },
	{ "ring", "rings" }, { "coin", "coins" }, { "map", "maps" }, { "letter", "letters" }, { "rope", "ropes" },
	{ "spoon", "spoons" }, { "bell", "bells" }, { "knife", "knives" }, { "scarf", "scarves" }, { "shell", "shells" },
	{ "kite", "kites" }, { "drum", "drums" }, { "brush", "brushes" }, { "umbrella", "umbrellas" }, { "candle", "candles" },
	{ "mirror", "mirrors" }, { "button", "buttons" }, { "watch", "watches" }, { "whistle", "whistles" }, { "apron", "aprons" },
	{ "hammer", "hammers" }, { "ladder", "ladders" }, { "feather", "feathers" }, { "flute", "flutes" }, { "torch", "torches" },
	{ "pencil", "pencils" }, { "ticket", "tickets" }, { "oar", "oars" }, { "anchor", "anchors" }, { "blanket", "blankets" },
	{ "compass", "compasses" }, { "needle", "needles" }, { "envelope", "envelopes" }, { "medal", "medals" },
};
static const struct noun fruits[] = {
	{ "apple", "apples" }, { "pear", "pears" }, { "plum", "plums" }, { "cherry", "cherries" }, { "orange", "oranges" },
	{ "peach", "peaches" }, { "lemon", "lemons" }, { "berry", "berries" }, { "fig", "figs" }, { "melon", "melons" },
	{ "banana", "bananas" }, { "apricot", "apricots" },
};
static const struct noun containers[] = {
	{ "box", "boxes" }, { "basket", "baskets" }, { "bag", "bags" }, { "drawer", "drawers" }, { "chest", "chests" },
	{ "jar", "jars" }, { "bucket", "buckets" }, { "cupboard", "cupboards" }, { "barrel", "barrels" }, { "trunk", "trunks" },
	{ "crate", "crates" }, { "case", "cases" }, { "pot", "pots" }, { "sack", "sacks" },
};
static const struct noun jobs[] = {
	{ "farmer", "farmers" }, { "baker", "bakers" }, { "sailor", "sailors" }, { "teacher", "teachers" }, { "miller", "millers" },
	{ "doctor", "doctors" }, { "painter", "painters" }, { "hunter", "hunters" }, { "gardener", "gardeners" },
	{ "smith", "smiths" }, { "singer", "singers" }, { "cook", "cooks" }, { "engineer", "engineers" }, { "actor", "actors" },
	{ "shepherd", "shepherds" }, { "weaver", "weavers" }, { "astronomer", "astronomers" }, { "thief", "thieves" },
};
static const struct verb doing[] = {
	{ "sleep", "sleeps", "slept", "sleeping" }, { "run", "runs", "ran", "running" }, { "play", "plays", "played", "playing" },
	{ "sing", "sings", "sang", "singing" }, { "wait", "waits", "waited", "waiting" }, { "jump", "jumps", "jumped", "jumping" },
	{ "hide", "hides", "hid", "hiding" }, { "eat", "eats", "ate", "eating" }, { "rest", "rests", "rested", "resting" },
	{ "swim", "swims", "swam", "swimming" }, { "dance", "dances", "danced", "dancing" }, { "drink", "drinks", "drank", "drinking" },
	{ "climb", "climbs", "climbed", "climbing" }, { "dig", "digs", "dug", "digging" }, { "cry", "cries", "cried", "crying" },
	{ "shiver", "shivers", "shivered", "shivering" }, { "dream", "dreams", "dreamed", "dreaming" },
	{ "listen", "listens", "listened", "listening" }, { "stretch", "stretches", "stretched", "stretching" },
	{ "vanish", "vanishes", "vanished", "vanishing" }, { "shake", "shakes", "shook", "shaking" }, { "freeze", "freezes", "froze", "freezing" },
};
static const struct verb handling[] = {
	{ "carry", "carries", "carried", "carrying" }, { "hold", "holds", "held", "holding" }, { "clean", "cleans", "cleaned", "cleaning" },
	{ "paint", "paints", "painted", "painting" }, { "drop", "drops", "dropped", "dropping" }, { "mend", "mends", "mended", "mending" },
	{ "wash", "washes", "washed", "washing" }, { "draw", "draws", "drew", "drawing" }, { "keep", "keeps", "kept", "keeping" },
	{ "lift", "lifts", "lifted", "lifting" }, { "buy", "buys", "bought", "buying" }, { "polish", "polishes", "polished", "polishing" },
	{ "throw", "throws", "threw", "throwing" }, { "hide", "hides", "hid", "hiding" }, { "steal", "steals", "stole", "stealing" },
	{ "borrow", "borrows", "borrowed", "borrowing" }, { "break", "breaks", "broke", "breaking" }, { "sell", "sells", "sold", "selling" },
};
static const struct verb meeting[] = {
	{ "see", "sees", "saw", "seeing" }, { "follow", "follows", "followed", "following" }, { "chase", "chases", "chased", "chasing" },
	{ "hear", "hears", "heard", "hearing" }, { "watch", "watches", "watched", "watching" }, { "feed", "feeds", "fed", "feeding" },
	{ "like", "likes", "liked", "liking" }, { "fear", "fears", "feared", "fearing" }, { "wake", "wakes", "woke", "waking" },
	{ "greet", "greets", "greeted", "greeting" }, { "help", "helps", "helped", "helping" }, { "tease", "teases", "teased", "teasing" },
	{ "catch", "catches", "caught", "catching" }, { "teach", "teaches", "taught", "teaching" }, { "forget", "forgets", "forgot", "forgetting" },
};
static const struct adjective degrees[] = {
	{ "tall", "taller", "tallest" }, { "old", "older", "oldest" }, { "fast", "faster", "fastest" }, { "strong", "stronger", "strongest" },
	{ "young", "younger", "youngest" }, { "brave", "braver", "bravest" }, { "small", "smaller", "smallest" },
	{ "loud", "louder", "loudest" }, { "kind", "kinder", "kindest" }, { "wise", "wiser", "wisest" }, { "slow", "slower", "slowest" },
	{ "happy", "happier", "happiest" }, { "lazy", "lazier", "laziest" }, { "rich", "richer", "richest" },
};
static const struct name names[] = {
	{ "Tom", false }, { "Anna", true }, { "Ben", false }, { "Lily", true }, { "Max", false }, { "Mia", true }, { "Sam", false },
	{ "Ella", true }, { "Leo", false }, { "Rosa", true }, { "Jack", false }, { "Nora", true }, { "Paul", false }, { "Clara", true },
	{ "Otto", false }, { "Ida", true }, { "Finn", false }, { "Emma", true }, { "Hugo", false }, { "Sara", true }, { "Oscar", false },
	{ "Julia", true }, { "Felix", false }, { "Marta", true }, { "Peter", false }, { "Alice", true }, { "Victor", false },
	{ "Greta", true }, { "Simon", false }, { "Olga", true }, { "Arthur", false }, { "Helen", true }, { "Ivan", false },
	{ "Nina", true }, { "Karl", false }, { "Ruth", true }, { "Boris", false }, { "Vera", true }, { "Edgar", false },
	{ "Agnes", true }, { "Ludwig", false }, { "Zoe", true }, { "Rupert", false }, { "Wilma", true }, { "Stefan", false },
	{ "Dora", true }, { "Yusuf", false }, { "Amina", true }, { "Kenji", false }, { "Yuki", true },
};
static const struct place places[] = {
	{ "in", "garden" }, { "in", "kitchen" }, { "in", "forest" }, { "at", "market" }, { "in", "barn" }, { "on", "hill" },
	{ "at", "school" }, { "at", "river" }, { "in", "tower" }, { "on", "beach" }, { "at", "mill" }, { "on", "bridge" },
	{ "in", "library" }, { "at", "bakery" }, { "in", "meadow" }, { "at", "harbour" }, { "in", "cave" }, { "at", "station" },
	{ "in", "attic" }, { "on", "island" }, { "in", "cellar" }, { "in", "castle" }, { "on", "roof" }, { "at", "well" },
	{ "in", "valley" }, { "on", "farm" }, { "at", "lighthouse" }, { "in", "workshop" },
};
static const struct cause causes[] = {
	{ "rain began to fall", "rain begins to fall",
	  "opened an umbrella", "opens an umbrella" },
	{ "the fire went out", "the fire goes out",
	  "fetched more wood", "fetches more wood" },
	{ "the door was locked", "the door is locked",
	  "looked for a key", "looks for a key" },
	{ "the soup was too hot", "the soup is too hot",
	  "waited a little", "waits a little" },
	{ "it was getting dark", "it is getting dark",
	  "lit a candle", "lights a candle" },
	{ "the path was steep", "the path is steep",
	  "walked slowly", "walks slowly" },
	{ "a cold wind blew", "a cold wind blows",
	  "put on a warm coat", "puts on a warm coat" },
	{ "the baby was asleep", "the baby is asleep",
	  "spoke very softly", "speaks very softly" },
	{ "the clock struck twelve", "the clock strikes twelve",
	  "sat down to lunch", "sits down to lunch" },
	{ "the boat had a hole", "the boat has a hole",
	  "stayed on the shore", "stays on the shore" },
	{ "the floor was wet", "the floor is wet",
	  "took off both shoes", "takes off both shoes" },
	{ "nobody answered the bell", "nobody answers the bell",
	  "went home again", "goes home again" },
	{ "the bread was all gone", "the bread is all gone",
	  "baked a new loaf", "bakes a new loaf" },
	{ "the wheel was broken", "the wheel is broken",
	  "called the smith", "calls the smith" },
};
static const char *const colors[] = { "red", "blue", "green", "white", "black", "yellow", "brown", "silver", "golden", "grey", "purple", "orange" };
static const char *const materials[] = { "wooden", "tin", "leather", "iron", "paper", "glass", "copper", "ivory", "stone", "old" };
static const char *const traits[] = { "kind", "brave", "clever", "quiet", "hungry", "shy", "honest", "cheerful", "careful", "stubborn",
				      "curious", "proud", "patient", "impatient", "absent-minded", "generous" };
static const char *const adverbs[] = { "quietly", "slowly", "happily", "quickly", "suddenly", "carefully", "loudly", "gently", "bravely",
				       "sadly", "eagerly", "calmly", "nervously", "politely" };
static const char *const feelings[] = { "happy", "tired", "sad", "proud", "angry", "afraid", "surprised", "hungry", "glad", "lonely", "cold", "ashamed" };
static const char *const sayings[] = { "look before you leap", "slow and steady wins", "many hands make light work", "never count on luck",
				       "a friend in need is a friend indeed", "still water runs deep", "early birds catch worms",
				       "every road has an end", "the night is young", "no rose has no thorn" };
static const char *const beside[] = { "near", "behind", "beside", "under", "above", "with", "in front of", "next to" };
static const char *const days[] = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" };
static const char *const syllables[] = { "mi", "ro", "ta", "ka", "bel", "zu", "nor", "fi", "lo", "sha", "den", "vu", "pim", "gra", "hol", "ix",
					 "qua", "tem", "sil", "wob", "jan", "ek", "yr", "thu" };
static const char *const weathers[] = { "sunny", "rainy", "windy", "cold", "warm", "foggy", "quiet", "snowy", "stormy", "clear" };

const struct nouns grammar_animals = TABLE(animals), grammar_things = TABLE(things), grammar_fruits = TABLE(fruits),
		   grammar_containers = TABLE(containers), grammar_jobs = TABLE(jobs);
const struct verbs grammar_doing = TABLE(doing), grammar_handling = TABLE(handling), grammar_meeting = TABLE(meeting);
const struct adjectives grammar_degrees = TABLE(degrees);
const struct names grammar_names = TABLE(names);
const struct places grammar_places = TABLE(places);
const struct causes grammar_causes = TABLE(causes);
const struct words grammar_colors = TABLE(colors), grammar_materials = TABLE(materials), grammar_traits = TABLE(traits),
		   grammar_adverbs = TABLE(adverbs), grammar_feelings = TABLE(feelings), grammar_sayings = TABLE(sayings),
		   grammar_beside = TABLE(beside), grammar_days = TABLE(days), grammar_syllables = TABLE(syllables),
		   grammar_weathers = TABLE(weathers);
const char *const grammar_numbers[21] = { "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
					  "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
					  "eighteen", "nineteen", "twenty" };
