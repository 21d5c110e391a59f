/* base/yaml: trees with places, aliases and merges, limits, --set, carets, the canonical dump. */
#include "tests/testing.h"

#include "base/yaml.h"

static struct err e;

static struct yaml_tree parse(const char *text)
{
	struct yaml_tree t;
	assert_ok(yaml_parse_text(&t, "f.yaml", text, strlen(text), &e), &e);
	return t;
}

static void assert_dump(const struct yaml_tree *t, const char *want)
{
	char *text;
	size_t n;
	assert_ok(yaml_dump_text(t->root, &text, &n, &e), &e);
	assert_int_equal(n, strlen(text));
	assert_string_equal(text, want);
	free(text);
}

static void assert_refused(const char *text, size_t n_bytes, const char *want)
{
	struct yaml_tree t;
	assert_fails(yaml_parse_text(&t, "f.yaml", text, n_bytes, &e), &e, want);
	assert_int_equal(e.status, ERR_USER);
	assert_null(t.root);
	assert_null(t.nodes);
	yaml_release(&t);
}

static void test_tree_and_places(void **state)
{
	(void)state;
	struct yaml_tree t = parse("# comment\na: 1\nbé: {x: \"2\", y: [p, 'q']}\nnull: ~\n");
	const struct yaml_node *a = yaml_get(t.root, "a"), *b = yaml_get(t.root, "bé"), *x = yaml_get(b, "x");
	assert_int_equal(t.root->kind, YAML_MAPPING);
	assert_int_equal(t.root->n, 3);
	assert_string_equal(a->text, "1");
	assert_false(a->quoted);
	assert_int_equal(a->line, 2);
	assert_int_equal(a->column, 4);
	assert_true(x->quoted);
	assert_int_equal(x->line, 3);
	assert_int_equal(x->column, 9); /* characters, not bytes */
	assert_int_equal(b->keys[0]->column, 6);
	const struct yaml_node *y = yaml_get(b, "y");
	assert_int_equal(y->kind, YAML_SEQUENCE);
	assert_int_equal(y->n, 2);
	assert_false(y->children[0]->quoted);
	assert_true(y->children[1]->quoted);
	assert_true(yaml_is_null(yaml_get(t.root, "null")));
	assert_false(yaml_is_null(x));
	assert_false(yaml_is_null(b));
	assert_null(yaml_get(t.root, "none"));
	assert_null(yaml_get(a, "none"));
	assert_null(yaml_get(NULL, "none"));
	yaml_release(&t);
	yaml_release(&t);
}

static void test_merge(void **state)
{
	(void)state;
	struct yaml_tree t = parse("base: &b {lr: 1, tokens: 2, distill: {w: 3}}\n"
				   "more: &m {lr: 9, extra: 4}\n"
				   "one: {<<: *b, distill: null}\n"
				   "two: {lr: 5, <<: [*m, *b]}\n"
				   "three: {<<: &inner {k: 1}, \"<<\": text}\n"
				   "four: *inner\n");
	const struct yaml_node *one = yaml_get(t.root, "one"), *two = yaml_get(t.root, "two");
	assert_true(yaml_is_null(yaml_get(one, "distill")));
	assert_string_equal(yaml_get(one, "lr")->text, "1");
	assert_int_equal(one->n, 3);
	assert_int_equal(yaml_get(one, "lr")->line, 1); /* the anchor's place */
	assert_string_equal(yaml_get(two, "lr")->text, "5");
	assert_string_equal(yaml_get(two, "extra")->text, "4");
	assert_string_equal(yaml_get(two, "tokens")->text, "2");
	assert_string_equal(yaml_get(yaml_get(t.root, "three"), "<<")->text, "text");
	assert_string_equal(yaml_get(yaml_get(t.root, "four"), "k")->text, "1");
	/* Copies: changing one leaves the others. */
	assert_ok(yaml_path_set(&t, "one.lr=7", &e), &e);
	assert_string_equal(yaml_get(yaml_get(t.root, "base"), "lr")->text, "1");
	yaml_release(&t);
	t = parse("a: {<<: [{lr: first}, {lr: second}]}");
	assert_string_equal(yaml_get(yaml_get(t.root, "a"), "lr")->text, "first");
	yaml_release(&t);
}

static void test_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"", "f.yaml:1:1: the document is empty"},
		{"# only a comment\n", "the document is empty"},
		{"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key 'a' is there twice, first in line 1\n  a: 3\n  ^"},
		{"{a: 1, 'a': 2}", "f.yaml:1:8: the key 'a' is there twice"},
		{"a: *x", "f.yaml:1:4: alias *x: there is no anchor &x above it\n  a: *x\n     ^"},
		{"a: &x [*x]", "f.yaml:1:8: alias *x inside of its own anchor"},
		{"? [a, b]\n: c", "f.yaml:1:3: expected a word as key, found a list"},
		{"? \n: c", "f.yaml:1:2: expected a key before the colon"},
		{"a: {<<: 1}", "<< expects a mapping or a list of mappings"},
		{"a: {<<: [[{b: 1}]]}", "<< expects a mapping or a list of mappings"},
		{"x: &x {q: 1}\na: {<<: *x, <<: *x}", "f.yaml:2:13: a second << in one mapping"},
		{"a: !!python/object 1", "f.yaml:1:4: the tag tag:yaml.org,2002:python/object is not supported"},
		{"a: !!int 1", "is not supported"},
		{"a: !x {}", "the tag !x is not supported"},
		{": c", "not valid YAML"},
		{"--- a\n--- b\n", "f.yaml:2:1: a second document"},
		{"a: \"\\0\"", "f.yaml:1:4: a NUL character"},
		{"a: [1\n", "f.yaml:1:4: not valid YAML"},
		{"a: [1,\n", "f.yaml:2:1: not valid YAML"},
		{"a: 1\n\tb: 2\n", "f.yaml:2:1: not valid YAML: found a tab"},
		{"a: 'x", "f.yaml:1:4: not valid YAML"},
		{"a: \xff", "f.yaml: byte 3: not valid UTF-8 text"},
		{"%YAML 9.9\n---\na", "not valid YAML"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_refused(cases[i].text, strlen(cases[i].text), cases[i].want);
	assert_refused("a: \0", 4, "not valid UTF-8 text: control characters");
}

static void test_str_tag(void **state)
{
	(void)state;
	struct yaml_tree t = parse("a: !!str 5\nb: |\n  text\n");
	assert_true(yaml_get(t.root, "a")->quoted);
	assert_string_equal(yaml_get(t.root, "b")->text, "text\n");
	assert_true(yaml_get(t.root, "b")->quoted);
	yaml_release(&t);
}

/* ---- limits ---- */

static void test_alias_bomb(void **state)
{
	(void)state;
	char text[2048] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
	for (int i = 1; i < 10; i++) {
		char line[128], one[16];
		snprintf(line, sizeof line, "a%d: &a%d [", i, i);
		snprintf(one, sizeof one, "*a%d, ", i - 1);
		for (int k = 0; k < 10; k++)
			strcat(line, one);
		strcat(text, line);
		strcat(text, "]\n");
	}
	assert_refused(text, strlen(text), "more than 100000 nodes (aliases expanded)");
}

/* text = head, n times unit, tail. */
static void assert_refused_repeat(const char *head, const char *unit, size_t n, const char *tail, const char *want)
{
	char *text = malloc(strlen(head) + n * strlen(unit) + strlen(tail) + 1), *at = text;
	assert_non_null(text);
	at += sprintf(at, "%s", head);
	for (size_t i = 0; i < n; i++)
		at += sprintf(at, "%s", unit);
	sprintf(at, "%s", tail);
	assert_refused(text, strlen(text), want);
	free(text);
}

static void test_limits(void **state)
{
	(void)state;
	assert_refused_repeat("", "[", 65, "", "f.yaml:1:65: nested deeper than 64");
	assert_refused_repeat("", "{a: ", 100000, "", "nested deeper than 64");
	assert_refused_repeat("", "- ", 400000, "", "nested deeper than 64");
	assert_refused_repeat("[", "a,", 100001, "]", "more than 100000 nodes");
	assert_refused_repeat("", "#", YAML_MAX_BYTES + 1, "", "bytes, expected at most 1048576");
	assert_refused_repeat("[", "&a 1,", 1001, "]", "more than 1000 anchors");
	/* Depth that only aliases make: each line nests the one before it twenty deeper. */
	const char *deep = "a: &a [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n"
			   "b: &b [[[[[[[[[[[[[[[[[[[[*a]]]]]]]]]]]]]]]]]]]]\n"
			   "c: &c [[[[[[[[[[[[[[[[[[[[*b]]]]]]]]]]]]]]]]]]]]\n"
			   "d: &d [[[[[[[[[[[[[[[[[[[[*c]]]]]]]]]]]]]]]]]]]]\n";
	assert_refused(deep, strlen(deep), "f.yaml:4:27: nested deeper than 64 once the alias is expanded");
	/* The deepest that is allowed. */
	char text[256] = "";
	for (int i = 0; i < 64; i++)
		strcat(text, "[");
	for (int i = 0; i < 64; i++)
		strcat(text, "]");
	struct yaml_tree t = parse(text);
	yaml_release(&t);
}

/* Every front of a document gives a tree or an error, never a crash, and reads no byte behind its end. */
static void test_truncation(void **state)
{
	(void)state;
	static const char text[] = "recipe: 1\nname: \"a\\u00e9\\n\"\nt: &s {l: 4, h: [1, 'é', !!str x]}\nstudents:\n"
				   "  a: {<<: *s, l: null}\n  b:\n  - |\n    block\n  - >-\n    folded\n  - ? k\n    : v\n...\n";
	for (size_t n = 0; n <= sizeof text - 1; n++) {
		struct yaml_tree t;
		char *exact = malloc(n ? n : 1);
		memcpy(exact, text, n);
		if (yaml_parse_text(&t, "f", exact, n, &e) == 0) {
			char *dump;
			assert_ok(yaml_dump_text(t.root, &dump, NULL, &e), &e);
			free(dump);
		} else {
			assert_int_equal(strncmp(e.line, "f:", 2), 0);
		}
		yaml_release(&t);
		free(exact);
	}
}

/* ---- --set ---- */

static void test_path_set(void **state)
{
	(void)state;
	struct yaml_tree t = parse("students: {a: {train: {lr: 1, distill: null}, layers: [0, 2, {x: 1}]}}\n");
	assert_ok(yaml_path_set(&t, "students.a.train.lr=1e-3", &e), &e);
	assert_ok(yaml_path_set(&t, "students.a.train.distill.weight=0.5", &e), &e);
	assert_ok(yaml_path_set(&t, "students.a.layers.1=[7, 8]", &e), &e);
	assert_ok(yaml_path_set(&t, "students.a.layers.2.x=\"1=2\"", &e), &e);
	assert_ok(yaml_path_set(&t, "students.b={init: {random: ~}}", &e), &e);
	assert_ok(yaml_path_set(&t, "new.deep.key=null", &e), &e);
	assert_dump(&t, "students:\n  a:\n    train:\n      lr: 1e-3\n      distill:\n        weight: 0.5\n    layers:\n"
			"    - 0\n    - [7, 8]\n    - x: \"1=2\"\n  b:\n    init:\n      random: null\n"
			"new:\n  deep:\n    key: null\n");
	const struct yaml_node *lr = yaml_get(yaml_get(yaml_get(yaml_get(t.root, "students"), "a"), "train"), "lr");
	yaml_caret(&e, lr, "too small");
	assert_string_equal(e.line, "--set:1:21: too small\n  students.a.train.lr=1e-3\n                      ^");
	yaml_release(&t);
}

static void test_path_set_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *assignment, *want;
	} cases[] = {
		{"a", "--set: expected key=value"},
		{"a=", "--set: expected key=value"},
		{"=1", "--set: expected key=value"},
		{"a..b=1", "--set:1:3: expected a key"},
		{"a.=1", "expected a key"},
		{".a=1", "--set:1:1: expected a key"},
		{"new..b=1", "--set:1:5: expected a key"},
		{"s.x=1", "--set:1:3: no key can be set here: the value is 'text'"},
		{"l.2=1", "--set:1:3: expected an index in 0..1: this is a list"},
		{"l.x=1", "this is a list"},
		{"l.-1=1", "this is a list"},
		{"l.+1=1", "this is a list"},
		{"l.99999999999999999999=1", "this is a list"},
		{"empty.0=1", "the list is empty"},
		{"a=[1", "--set:1:3: not valid YAML"},
		{"a={b: 1, b: 2}", "--set:1:10: the key 'b' is there twice"},
		{"a=*x", "there is no anchor"},
		{"a=# nothing", "the document is empty"},
	};
	struct yaml_tree t = parse("a: {b: 1}\ns: text\nl: [1, 2]\nempty: []\n");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_fails(yaml_path_set(&t, cases[i].assignment, &e), &e, cases[i].want);
		assert_int_equal(e.status, ERR_USER);
		assert_dump(&t, "a:\n  b: 1\ns: text\nl: [1, 2]\nempty: []\n");
	}
	char deep[300] = "";
	for (int i = 0; i < 70; i++)
		strcat(deep, "k.");
	strcat(deep, "k=1");
	assert_fails(yaml_path_set(&t, deep, &e), &e, "deeper than 64");
	yaml_release(&t);
}

/* ---- carets ---- */

static void test_caret(void **state)
{
	(void)state;
	struct yaml_tree t = parse("a: 1\r\né: {\tkéy: x}\n");
	assert_int_equal(yaml_caret(&e, yaml_get(t.root, "é")->keys[0], "unknown key '%s'", "kéy"), -1);
	assert_int_equal(e.status, ERR_USER);
	assert_string_equal(e.line, "f.yaml:2:6: unknown key 'kéy'\n  é: {\tkéy: x}\n      \t^");
	yaml_release(&t);
}

/* Long lines are shown as a window, long messages are cut: the caret always stands under its character. */
static void test_caret_in_long_lines(void **state)
{
	(void)state;
	char text[8192], message[2048];
	memset(message, 'm', sizeof message);
	message[sizeof message - 1] = '\0';
	for (int pad = 7; pad < 1500; pad += 7) {
		int n = sprintf(text, "%*s[", pad, "");
		for (int i = 0; i < pad; i++)
			n += sprintf(text + n, "é");
		sprintf(text + n, ", {X: 1}]");
		struct yaml_tree t = parse(text);
		yaml_caret(&e, t.root->children[1]->keys[0], "%s", message);
		const char *shown = strchr(e.line, '\n') + 1, *below = strchr(shown, '\n') + 1, *caret = strchr(below, '^');
		assert_non_null(caret);
		assert_string_equal(caret, "^");
		const char *p = shown;
		for (const char *c = below; c < caret; c++)
			do
				p++;
			while (((unsigned char)*p & 0xC0) == 0x80);
		assert_int_equal(*p, 'X');
		yaml_release(&t);
	}
}

/* ---- dump ---- */

static void test_dump_quotes_when_needed(void **state)
{
	(void)state;
	struct yaml_tree t = parse("{a: 'text', b: '5', c: 'null', d: 'a: b', e: '', f: 'é', g: \"two\\nlines\", h: 1.5M, i: 'yes',\n"
				   " j: ' x ', k: '-', l: '~', m: [], n: {}, o: [1, '2', ~], '5': 'a b', p: 'runs/x', q: 'x #y'}");
	assert_dump(&t, "a: text\nb: \"5\"\nc: \"null\"\nd: \"a: b\"\ne: \"\"\nf: \"é\"\ng: \"two\\nlines\"\nh: 1.5M\ni: \"yes\"\n"
			"j: \" x \"\nk: \"-\"\nl: \"~\"\nm: []\nn: {}\no: [1, \"2\", null]\n\"5\": a b\np: runs/x\nq: \"x #y\"\n");
	yaml_release(&t);
}

static void test_dump_is_a_fixed_point(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"a: &x {b: [1, [2, {c: d}], []], e: {}}\nf: *x\ng:\n  <<: *x\n  h: |+\n    t\n\n", "plain", "'quoted: é'", "[]", "~",
		"{~: 1, null: 2, 'NULL': ~}", "- - - a\n    - b\n  - c\n", "{\"a b\": \"\\x01\\u2028\\t\", 'k:': 'v'}", "a: b c\n  d\n", "\"\\U0001F600\": \"\xF0\x9F\x98\x80\"",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct yaml_tree t = parse(texts[i]);
		char *first;
		assert_ok(yaml_dump_text(t.root, &first, NULL, &e), &e);
		struct yaml_tree again = parse(first);
		assert_dump(&again, first);
		free(first);
		yaml_release(&again);
		yaml_release(&t);
	}
}

static void test_files(void **state)
{
	(void)state;
	struct yaml_tree t;
	struct fsio_writer w;
	struct test_path dir = test_dir_make(), path = test_join(&dir, "r.yaml");
	test_write(path.text, "\xEF\xBB\xBFname: x\nsteps: [1, 2]\n");
	assert_ok(yaml_parse_file(&t, path.text, &e), &e);
	assert_string_equal(yaml_get(t.root, "name")->text, "x");
	assert_ok(fsio_writer_open(&w, path.text, &e), &e);
	assert_ok(yaml_dump(t.root, &w, &e), &e);
	assert_ok(fsio_writer_commit(&w, &e), &e);
	yaml_release(&t);
	assert_ok(yaml_parse_file(&t, path.text, &e), &e);
	assert_dump(&t, "name: x\nsteps: [1, 2]\n");
	yaml_release(&t);
	assert_fails(yaml_parse_file(&t, dir.text, &e), &e, "found a directory");
	yaml_release(&t);
	test_dir_remove(&dir);
	assert_fails(yaml_parse_file(&t, path.text, &e), &e, "r.yaml: cannot read");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree_and_places),   cmocka_unit_test(test_merge),
		cmocka_unit_test(test_refusals),          cmocka_unit_test(test_str_tag),
		cmocka_unit_test(test_alias_bomb),        cmocka_unit_test(test_limits),
		cmocka_unit_test(test_truncation),        cmocka_unit_test(test_path_set),
		cmocka_unit_test(test_path_set_refusals), cmocka_unit_test(test_caret),
		cmocka_unit_test(test_caret_in_long_lines), cmocka_unit_test(test_dump_quotes_when_needed),
		cmocka_unit_test(test_dump_is_a_fixed_point), cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
