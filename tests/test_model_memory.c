/* Reading and writing a model when the n-th of model/'s own allocations fails: one line that says so, nothing leaks,
 * nothing half-written counts. The sources are compiled into this test with the allocator replaced; cmocka counts. */
#include "tests/testing.h"

#include "base/hash.h"
#include "base/json.h"
#include "model/activations.h"
#include "model/hf.h"

static unsigned long n_allocations, fail_at;

static bool fails_now(void)
{
	return ++n_allocations == fail_at;
}

static void *try_malloc(size_t n)
{
	return fails_now() ? NULL : test_malloc(n);
}

static void *try_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : test_calloc(n, size);
}

static char *try_strdup(const char *s)
{
	char *copy = try_malloc(strlen(s) + 1);
	return copy ? strcpy(copy, s) : NULL;
}

static int __attribute__((format(printf, 2, 3))) try_asprintf(char **out, const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	*out = try_strdup(text);
	return *out ? n : -1;
}

/* jansson has an allocator of its own: its text, as ours. */
static char *try_json_dumps(const json_t *value, size_t flags)
{
	char *text = json_dumps(value, flags), *copy = text ? try_strdup(text) : NULL;
	free(text);
	return copy;
}

#define json_dumps try_json_dumps
#define malloc try_malloc
#define calloc try_calloc
#undef strdup
#define strdup try_strdup
#define asprintf try_asprintf
#define free test_free
#include "model/activations.c"
#include "model/hf.c"
#include "model/hf_save.c"
#define place_layer place_layer_params
#include "model/params.c"
#undef place_layer
#include "model/safetensors.c"
#include "model/safetensors_writer.c"

static size_t no_scratch(struct ops *ops, int B, int T, int NH, int NKV, int HD)
{
	(void)ops;
	return (size_t)(B * T * NH * NKV * HD);
}

static int work(const char *out, struct err *e)
{
	struct hf_model a = {0}, b = {0};
	struct ops ops = {.act = DTYPE_F32, .attention_scratch = no_scratch};
	struct arena dry = arena_dry();
	struct activations *acts = NULL;
	float *flat = NULL;
	int rc = -1;
	TRY(hf_open(&a, test_source("tests/golden/models/qwen2").text, e));
	flat = test_calloc(a.layout.n_elems, sizeof *flat);
	hf_read_f32(&a, flat);
	struct hf_save_options o = {.dtype = DTYPE_BF16, .shard_bytes = 8000, .copy_from = a.dir, .config_from = a.config};
	TRY(hf_save(out, &a.layout, flat, &o, e));
	TRY(hf_open(&b, out, e));
	TRY(activations_init(&acts, &ops, &b.layout.arch, 2, 8, ACTIVATIONS_MASKED, &dry, e));
	rc = 0;
out:
	test_free(flat);
	activations_free(acts);
	hf_close(&a);
	hf_close(&b);
	return rc;
}

static void test_every_allocation(void **state)
{
	struct test_path dir = test_dir_make(), out = test_join(&dir, "out");
	struct err e;
	unsigned long n = 1;
	(void)state;
	for (;; n++) {
		e.line[0] = '\0';
		n_allocations = 0;
		fail_at = n;
		int rc = work(out.text, &e);
		fail_at = 0;
		if (rc == 0)
			break;
		if (!strstr(e.line, "out of memory"))
			fail_msg("allocation %lu: %s", n, e.line);
		assert_ok(fsio_remove_tree(out.text, &e), &e);
	}
	assert_true(n_allocations < n && n > 50);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
