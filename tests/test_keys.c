/* recipes/keys.c on tables of its own: every type, every refusal with its caret, the dump that parses back, the reference. */
#include "tests/testing.h"

#include "recipes/keys.h"

struct leaf {
	const struct yaml_node *at;
	int64_t size;
	double rate;
};
struct plant {
	const struct yaml_node *at;
	char *name;
	bool green;
	int64_t rings, seeds;
	double height;
	int kind;
	struct int_list ints;
	struct real_list reals;
	struct string_list strings;
	struct leaf *leaf;
	struct leaf *given;
	struct named_list leaves;
	struct section_list twigs, buds;
	double bend;
	struct branch *branch;
};
struct branch {
	const struct yaml_node *at;
	int64_t size;
	double girth;
	struct section_list leaves;
};

static const struct key leaf_keys[] = {
	{"size", KEY_INT, offsetof(struct leaf, size), "mm", "3", .min = 1, .max = 9, .doc = "across"},
	{"rate", KEY_REAL, offsetof(struct leaf, rate), NULL, NULL, .required = true, .max = 1, .doc = "of growth"},
	{0},
};
static const struct section leaf_section = {"leaf", "one leaf", sizeof(struct leaf), leaf_keys, "rate", NULL};
/* Of one leaf, said inline, or of several. */
static const struct key branch_keys[] = {
	{"size", KEY_INT, offsetof(struct branch, size), NULL, "2", .max = 9, .unless = "leaves", .doc = "of its only leaf"},
	{"girth", KEY_REAL, offsetof(struct branch, girth), NULL, "0.5", .max = 1, .doc = "around"},
	{"leaves", KEY_SECTIONS, offsetof(struct branch, leaves), .section = &leaf_section, .doc = "in order"},
	{0},
};
static const struct section branch_section = {"branch", "leaves in order", sizeof(struct branch), branch_keys, NULL, "leaves"};
static const char *const kinds[] = {"tree", "shrub", "herb", NULL};
static const struct key plant_keys[] = {
	{"name", KEY_STRING, offsetof(struct plant, name), .doc = "what it is called"},
	{"green", KEY_BOOL, offsetof(struct plant, green), NULL, "true", .doc = "colour"},
	{"rings", KEY_INT, offsetof(struct plant, rings), NULL, "4", .max = 1000, .doc = "age"},
	{"seeds", KEY_COUNT, offsetof(struct plant, seeds), "seeds", "1Ki", .max = 1e15, .doc = "each year"},
	{"height", KEY_REAL, offsetof(struct plant, height), "m", "0.1", .max = 100, .doc = "above the ground"},
	{"kind", KEY_CHOICE, offsetof(struct plant, kind), NULL, "herb", .choices = kinds, .doc = "of plant"},
	{"ints", KEY_INTS, offsetof(struct plant, ints), NULL, "[1, 2]", .max = 5, .doc = "whole numbers"},
	{"reals", KEY_REALS, offsetof(struct plant, reals), .max = 5, .doc = "numbers"},
	{"strings", KEY_STRINGS, offsetof(struct plant, strings), .doc = "texts"},
	{"leaf", KEY_SECTION, offsetof(struct plant, leaf), .section = &leaf_section, .doc = "the first"},
	{"given", KEY_SECTION, offsetof(struct plant, given), NULL, "{rate: 0.5}", .section = &leaf_section, .doc = "there without being asked"},
	{"leaves", KEY_NAMED, offsetof(struct plant, leaves), .section = &leaf_section, .doc = "by name"},
	{"twigs", KEY_SECTIONS, offsetof(struct plant, twigs), .section = &leaf_section, .doc = "from the ground up"},
	{"buds", KEY_SECTIONS, offsetof(struct plant, buds), NULL, "[{rate: 0.25}, 1]", .section = &leaf_section, .doc = "there without being asked"},
	{"bend", KEY_REAL, offsetof(struct plant, bend), .min = -1, .max = 1, .doc = "absent: it stands free"},
	{"branch", KEY_SECTION, offsetof(struct plant, branch), .section = &branch_section, .doc = "the lowest"},
	{0},
};
static const struct section plant_section = {"plant", "a plant", sizeof(struct plant), plant_keys, NULL, NULL};

struct parsed {
	struct yaml_tree tree;
	struct pool pool;
	struct plant *plant;
};

static int parse(struct parsed *p, const char *text, struct err *e)
{
	*p = (struct parsed){0};
	if (yaml_parse_text(&p->tree, "plant.yaml", text, strlen(text), e) < 0)
		return -1;
	return section_parse((void **)&p->plant, &plant_section, p->tree.root, &p->pool, e);
}

static void release(struct parsed *p)
{
	yaml_release(&p->tree);
	pool_release(&p->pool);
}

static char *dump(const struct plant *plant)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	section_dump(f, &plant_section, plant, 0);
	fclose(f);
	return text;
}

/* ---- counts ---- */

static void counts_are_exact(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t value;
	} good[] = {
		{"0", 0}, {"7", 7}, {"+7", 7}, {"-3", -3}, {"1.5M", 1500000}, {"4Ki", 4096}, {"0.5Ki", 512}, {"1.5Mi", 1572864}, {"2Gi", 2147483648},
		{"500k", 500000}, {"3G", 3000000000}, {"1e3", 1000}, {"9000000000000000", 9000000000000000}, {"0.001k", 1},
		/* factors that binary fractions miss by a rounding */
		{"2.01k", 2010}, {"16.1k", 16100}, {"8.03k", 8030}, {"1.001M", 1001000}, {"4.35M", 4350000}, {"1.234567891G", 1234567891},
	};
	static const char *const bad[] = {"", " ", "k", "Ki", "1.5", "1.0001k", "1K", "1kB", "1 k", "1m", "1MB", "1e16", "99999999999G", "1e400",
					  "nan", "inf", "-inf", "0x10", "-0x10", "+0x10", " 5", "5 ", "1,000", "1_000", "--1", "0.3Ki"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int64_t n = -99;
		if (count_parse(good[i].text, &n) < 0 || n != good[i].value)
			fail_msg("count '%s': got %lld, expected %lld", good[i].text, (long long)n, (long long)good[i].value);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t n;
		if (count_parse(bad[i], &n) == 0)
			fail_msg("count '%s' was taken for %lld", bad[i], (long long)n);
	}
}

/* ---- values ---- */

static void everything_absent_is_its_default(void **state)
{
	(void)state;
	struct parsed p;
	struct err e;
	assert_ok(parse(&p, "{}", &e), &e);
	assert_null(p.plant->name);
	assert_true(p.plant->green);
	assert_int_equal(p.plant->rings, 4);
	assert_int_equal(p.plant->seeds, 1024);
	assert_true(p.plant->height == 0.1);
	assert_int_equal(p.plant->kind, 2);
	assert_int_equal(p.plant->ints.n, 2);
	assert_int_equal(p.plant->ints.v[1], 2);
	assert_int_equal(p.plant->reals.n, 0);
	assert_null(p.plant->leaf);
	assert_non_null(p.plant->given);
	assert_true(p.plant->given->rate == 0.5);
	assert_ptr_equal(p.plant->given->at, p.tree.root);
	assert_int_equal(p.plant->leaves.n, 0);
	assert_int_equal(p.plant->twigs.n, 0);
	assert_int_equal(p.plant->buds.n, 2);
	assert_true(((struct leaf *)p.plant->buds.v[1])->rate == 1);
	assert_ptr_equal(((struct leaf *)p.plant->buds.v[1])->at, p.tree.root);
	assert_ptr_equal(p.plant->buds.at[0], p.tree.root);
	assert_true(isnan(p.plant->bend));
	release(&p);
}

/* A default that null could take away would leave zeros that nobody asked for. */
static void null_is_as_good_as_absent(void **state)
{
	(void)state;
	struct parsed p, q;
	struct err e;
	assert_ok(parse(&p, "{name: null, green: null, rings: ~, seeds: null, height: ~, kind: null, ints: null, reals: null, strings: null, "
			    "leaf: null, given: null, leaves: null, twigs: null, buds: null, bend: null, branch: null}", &e), &e);
	assert_ok(parse(&q, "{}", &e), &e);
	char *a = dump(p.plant), *b = dump(q.plant);
	assert_string_equal(a, b);
	free(a);
	free(b);
	release(&p);
	release(&q);
}

static void every_type_is_read(void **state)
{
	(void)state;
	struct parsed p;
	struct err e;
	assert_ok(parse(&p, "name: oak\ngreen: false\nrings: 300\nseeds: 1.5M\nheight: 2.5e1\nkind: tree\nints: 3\nreals: [0.5, 1e-3]\n"
			    "strings: [a b, \"5\"]\nleaf: 0.25\nleaves: {low: {rate: 1}, high: {size: 9, rate: 0}}\n", &e), &e);
	assert_string_equal(p.plant->name, "oak");
	assert_false(p.plant->green);
	assert_int_equal(p.plant->rings, 300);
	assert_int_equal(p.plant->seeds, 1500000);
	assert_true(p.plant->height == 25);
	assert_int_equal(p.plant->kind, 0);
	assert_int_equal(p.plant->ints.n, 1);
	assert_int_equal(p.plant->ints.v[0], 3);
	assert_int_equal(p.plant->reals.n, 2);
	assert_true(p.plant->reals.v[1] == 1e-3);
	assert_string_equal(p.plant->strings.v[1], "5");
	assert_true(p.plant->leaf->rate == 0.25);
	assert_int_equal(p.plant->leaf->size, 3);
	assert_int_equal(p.plant->leaves.n, 2);
	assert_string_equal(p.plant->leaves.names[1], "high");
	assert_int_equal(((struct leaf *)p.plant->leaves.v[1])->size, 9);
	assert_int_equal(p.plant->leaves.at[1]->line, 11);
	release(&p);
}

static void sections_keep_their_order(void **state)
{
	(void)state;
	struct parsed p, q;
	struct err e;
	assert_ok(parse(&p, "twigs: [{rate: 0.5}, 0.25, {size: 7, rate: 1}]\nbuds: 0.125\nbend: 0\n", &e), &e);
	assert_int_equal(p.plant->twigs.n, 3);
	assert_true(((struct leaf *)p.plant->twigs.v[1])->rate == 0.25);
	assert_int_equal(((struct leaf *)p.plant->twigs.v[2])->size, 7);
	assert_int_equal(p.plant->twigs.at[2]->column, 28);
	assert_int_equal(p.plant->buds.n, 1);
	assert_true(((struct leaf *)p.plant->buds.v[0])->rate == 0.125);
	assert_true(p.plant->bend == 0);
	assert_ok(parse(&q, "twigs: {rate: 0.5}\n", &e), &e);
	assert_int_equal(q.plant->twigs.n, 1);
	assert_ptr_equal(((struct leaf *)q.plant->twigs.v[0])->at, q.plant->twigs.at[0]);
	release(&p);
	release(&q);
}

/* A sequence in a mapping's place is the value of list_key; what says the same in another way is then refused. */
static void a_section_may_be_given_as_a_list(void **state)
{
	(void)state;
	static const char *const texts[] = {"branch: [1, {size: 9, rate: 0}]\n", "branch:\n  leaves:\n  - 1\n  - {size: 9, rate: 0}\n"};
	struct parsed p[2];
	char *dumps[2];
	struct err e;
	for (int i = 0; i < 2; i++) {
		assert_ok(parse(&p[i], texts[i], &e), &e);
		assert_int_equal(p[i].plant->branch->leaves.n, 2);
		assert_int_equal(((struct leaf *)p[i].plant->branch->leaves.v[1])->size, 9);
		assert_int_equal(p[i].plant->branch->size, 0);
		assert_true(p[i].plant->branch->girth == 0.5);
		dumps[i] = dump(p[i].plant);
	}
	assert_string_equal(dumps[0], dumps[1]);
	assert_null(strstr(strstr(dumps[0], "branch:"), "\n  size:"));
	struct parsed one;
	assert_ok(parse(&one, "branch: {leaves: null}\n", &e), &e);
	assert_int_equal(one.plant->branch->size, 2);
	for (int i = 0; i < 2; i++) {
		free(dumps[i]);
		release(&p[i]);
	}
	release(&one);
}

static void merged_keys_give_way_to_written_ones(void **state)
{
	(void)state;
	struct parsed p;
	struct err e;
	assert_ok(parse(&p, "leaf: &l {size: 5, rate: 0.1}\nleaves:\n  a: {<<: *l, rate: 0.2}\n  b: {<<: *l, size: null}\n", &e), &e);
	const struct leaf *a = p.plant->leaves.v[0], *b = p.plant->leaves.v[1];
	assert_int_equal(a->size, 5);
	assert_true(a->rate == 0.2);
	assert_int_equal(b->size, 3);
	assert_true(p.plant->leaf->rate == 0.1);
	release(&p);
}

/* ---- refusals ---- */

struct refusal {
	const char *text, *place, *words; /* "2:3" of the caret; what the line says */
};

static void check_refusal(const struct refusal *r)
{
	struct parsed p;
	struct err e = {0};
	char place[64];
	if (parse(&p, r->text, &e) == 0)
		fail_msg("taken: %s", r->text);
	snprintf(place, sizeof place, "plant.yaml:%s: ", r->place);
	int column = atoi(strchr(r->place, ':') + 1);
	const char *caret = strrchr(e.line, '\n');
	if (strncmp(e.line, place, strlen(place)) || !strstr(e.line, r->words) || e.status != ERR_USER)
		fail_msg("for: %s\nerror is (status %d): %s\nexpected %s and: %s", r->text, e.status, e.line, place, r->words);
	if (!caret || caret[strlen(caret) - 1] != '^' || (int)(strlen(caret) - 1) < column)
		fail_msg("no caret in: %s", e.line);
	release(&p);
}

static void refusals_point_at_the_place(void **state)
{
	(void)state;
	static const struct refusal refusals[] = {
		{"rings: 3\nhieght: 2\n", "2:1", "unknown key 'hieght' in plant; did you mean 'height'?"},
		{"xylophone: 2\n", "1:1", "unknown key 'xylophone' in plant\n"},
		{"leaf: {rate: 1, seize: 2}\n", "1:17", "unknown key 'seize' in leaf; did you mean 'size'?"},
		{"leaves:\n  a: {rate: 1}\n  b: {size: 2}\n", "3:6", "the key 'rate' is missing"},
		{"leaf: {}\n", "1:7", "the key 'rate' is missing (of growth)"},
		{"leaf: {rate: null}\n", "1:7", "the key 'rate' is missing"},
		{"rings: 1001\n", "1:8", "rings: 1001 is outside 0 to 1000"},
		{"rings: -1\n", "1:8", "rings: -1 is outside 0 to 1000"},
		{"rings: 1.5\n", "1:8", "rings: expected an integer, found 1.5"},
		{"rings: many\n", "1:8", "expected an integer, found many"},
		{"rings: [1]\n", "1:8", "expected an integer, found a list or mapping"},
		{"seeds: 1.5\n", "1:8", "seeds: expected a count (500k, 1.5M, 4Ki) of seeds, found 1.5"},
		{"seeds: -4k\n", "1:8", "seeds: -4k is outside 0 to 1e+15"},
		{"seeds: 99999999G\n", "1:8", "found 99999999G"},
		{"height: 101\n", "1:9", "height: 101 is outside 0 to 100"},
		{"height: tall\n", "1:9", "height: expected a number of m, found tall"},
		{"height: nan\n", "1:9", "found nan"},
		{"height: .inf\n", "1:9", "found .inf"},
		{"height: 1e999\n", "1:9", "found 1e999"},
		{"green: yes\n", "1:8", "green: expected true or false"},
		{"green: [true]\n", "1:8", "green: expected true or false"},
		{"kind: shrup\n", "1:7", "kind: expected one of tree, shrub, herb; did you mean shrub?"},
		{"kind: 7\n", "1:7", "kind: expected one of tree, shrub, herb\n"},
		{"kind: {}\n", "1:7", "kind: expected one of"},
		{"name: [a]\n", "1:7", "name: expected text"},
		{"name: ''\n", "1:7", "name: expected text"},
		{"ints: {a: 1}\n", "1:7", "ints: expected a list"},
		{"ints: [1, 6]\n", "1:11", "ints: 6 is outside 0 to 5"},
		{"ints: [1, [2]]\n", "1:11", "ints: expected an integer, found a list or mapping"},
		{"reals:\n- 1\n- x\n", "3:3", "reals: expected a number, found x"},
		{"strings: [a, {}]\n", "1:14", "strings: expected text"},
		{"leaf: [1]\n", "1:7", "leaf: expected a mapping"},
		{"leaf: 2\n", "1:7", "rate: 2 is outside 0 to 1"},
		{"leaves: 3\n", "1:9", "leaves: expected a mapping of names to leafs"},
		{"leaves: {}\n", "1:9", "leaves: expected a mapping of names to leafs"},
		{"leaves: {../up: 1}\n", "1:10", "a name has at most 48 letters"},
		{"leaves: {.a: 1}\n", "1:10", "a name has"},
		{"leaves: {a/b: 1}\n", "1:10", "a name has"},
		{"leaves: {-a: 1}\n", "1:10", "a name has"},
		{"leaves: {a123456789b123456789c123456789d123456789e12345678: 1}\n", "1:10", "a name has at most 48"},
		{"twigs: []\n", "1:8", "twigs: expected at least one"},
		{"twigs: [1, {seize: 2}]\n", "1:13", "unknown key 'seize' in leaf; did you mean 'size'?"},
		{"twigs: [1, {size: 2}]\n", "1:12", "the key 'rate' is missing"},
		{"twigs: [1, [1]]\n", "1:12", "leaf: expected a mapping\n"},
		{"twigs:\n  size: 2\n", "2:3", "the key 'rate' is missing"},
		{"twigs: 2\n", "1:8", "rate: 2 is outside 0 to 1"},
		{"branch: []\n", "1:9", "leaves: expected at least one"},
		{"branch: [2]\n", "1:10", "rate: 2 is outside 0 to 1"},
		{"branch: 1\n", "1:9", "branch: expected a mapping or a list"},
		{"branch: {leaves: [1], size: 2}\n", "1:29", "size: not beside leaves, which takes its place"},
		{"bend: 2\n", "1:7", "bend: 2 is outside -1 to 1"},
		{"- a\n", "1:1", "plant: expected a mapping"},
		{"oak\n", "1:1", "plant: expected a mapping"},
	};
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		check_refusal(&refusals[i]);
}

/* ---- writing ---- */

static void the_dump_parses_to_the_same_dump(void **state)
{
	(void)state;
	static const char text[] = "name: \"say \\\"oak\\\" \\\\ twice\\n\\t\\rtab é\"\ngreen: false\nseeds: 123456789012345\nheight: 0.1234567890123\n"
				   "ints: []\nreals: [1e-3, 0.30000000000000004]\nstrings: ['null', '5', 'a, b', ' # no comment']\n"
				   "leaf: 0.25\nleaves: {low: {rate: 1}, null_: {size: 9, rate: 0}}\n"
				   "twigs: [0.5, {size: 8, rate: 0}]\nbuds: 0\nbend: -0.5\nbranch: [1, {size: 4, rate: 0.5}]\n";
	struct parsed p, q;
	struct err e;
	assert_ok(parse(&p, text, &e), &e);
	char *first = dump(p.plant);
	assert_ok(parse(&q, first, &e), &e);
	char *second = dump(q.plant);
	assert_string_equal(first, second);
	assert_string_equal(q.plant->name, p.plant->name);
	assert_string_equal(q.plant->strings.v[0], "null");
	assert_string_equal(q.plant->strings.v[3], " # no comment");
	assert_true(q.plant->height == p.plant->height);
	assert_true(q.plant->reals.v[1] == 0.30000000000000004);
	assert_true(section_hash(&plant_section, p.plant) == section_hash(&plant_section, q.plant));
	q.plant->leaf->size++;
	assert_false(section_hash(&plant_section, p.plant) == section_hash(&plant_section, q.plant));
	q.plant->leaf->size--;
	((struct leaf *)q.plant->branch->leaves.v[1])->size++;
	assert_false(section_hash(&plant_section, p.plant) == section_hash(&plant_section, q.plant));
	free(first);
	free(second);
	release(&p);
	release(&q);
}

static void the_reference_has_a_row_for_every_key(void **state)
{
	(void)state;
	char *text = NULL, row[64];
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	section_reference(f, &plant_section);
	fclose(f);
	for (const struct key *k = plant_keys; k->name; k++) {
		snprintf(row, sizeof row, "| `%s` |", k->name);
		assert_non_null(strstr(text, row));
		assert_non_null(strstr(text, k->doc));
	}
	assert_non_null(strstr(text, "| `rate` | number, 0 to 1 | required | of growth |"));
	assert_non_null(strstr(text, "| `kind` | tree, shrub, herb | herb | of plant |"));
	assert_non_null(strstr(text, "| `seeds` | count of seeds, 0 to 1e+15 | 1Ki | each year |"));
	assert_non_null(strstr(text, "| `leaves` | names → leaf | – | by name |"));
	assert_non_null(strstr(text, "| `twigs` | leaf, or a list of them | – | from the ground up |"));
	char *leaf = strstr(text, "**leaf**");
	assert_non_null(leaf);
	assert_null(strstr(leaf + 1, "**leaf**"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_exact),
		cmocka_unit_test(everything_absent_is_its_default),
		cmocka_unit_test(null_is_as_good_as_absent),
		cmocka_unit_test(every_type_is_read),
		cmocka_unit_test(sections_keep_their_order),
		cmocka_unit_test(a_section_may_be_given_as_a_list),
		cmocka_unit_test(merged_keys_give_way_to_written_ones),
		cmocka_unit_test(refusals_point_at_the_place),
		cmocka_unit_test(the_dump_parses_to_the_same_dump),
		cmocka_unit_test(the_reference_has_a_row_for_every_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
