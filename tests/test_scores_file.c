/* prune/scores_file.c: round trip, and every way in which a file of scores can be wrong. */
#include "tests/testing.h"

#include "base/rng.h"
#include "model/safetensors.h"
#include "prune/scores.h"

enum { C = 5, L = 2, NH = 4, NKV = 2, HD = 4, F = 7, N_SCORES = C + L + L * NKV + L * NH + L * F };

static const struct arch source = {.family = "llama", .shape = {.L = L, .C = C, .F = F, .NH = NH, .NKV = NKV, .HD = HD, .V = 9}};

static struct scores some_scores(enum importance_method method)
{
	bool means = method == IMPORTANCE_FLUCTUATION;
	struct scores x;
	struct err e;
	assert_ok(scores_alloc(&x, &source, means, &e), &e);
	for (int i = 0; i < N_SCORES + (means ? L * (NH * HD + F) : 0); i++)
		x.hidden[i] = rng_normal(1, RNG_TEST, 0, (uint64_t)i);
	x.method = method;
	x.layers_method = LAYERS_KL;
	x.tokens = 12345678901;
	x.teacher = 0xfedcba9876543210;
	x.data = 7;
	x.seed = UINT64_MAX;
	return x;
}

struct place {
	struct test_path dir, path;
};

static struct place place_make(void)
{
	struct place p = {.dir = test_dir_make()};
	p.path = test_join(&p.dir, "importance.safetensors");
	return p;
}

static void what_was_saved_comes_back(void **state)
{
	struct place p = place_make();
	(void)state;
	for (int m = 0; m < IMPORTANCE_METHODS; m++) {
		struct scores x = some_scores((enum importance_method)m), y;
		struct err e;
		assert_ok(scores_save(p.path.text, &source, &x, &e), &e);
		assert_ok(scores_load(p.path.text, &source, &y, &e), &e);
		assert_memory_equal(x.hidden, y.hidden, N_SCORES * sizeof(float));
		assert_int_equal(x.context_mean != NULL, y.context_mean != NULL);
		if (x.context_mean)
			assert_memory_equal(x.context_mean, y.context_mean, L * (NH * HD + F) * sizeof(float));
		assert_true(y.method == x.method && y.layers_method == x.layers_method && y.tokens == x.tokens);
		assert_true(y.teacher == x.teacher && y.data == x.data && y.seed == x.seed);
		scores_release(&x);
		scores_release(&y);
	}
	test_dir_remove(&p.dir);
}

static void assert_refused(const struct place *p, const struct arch *arch, const char *part)
{
	struct scores y;
	struct err e;
	assert_fails(scores_load(p->path.text, arch, &y, &e), &e, part);
	assert_non_null(strstr(e.line, p->path.text));
	assert_null(y.block);
}

static void scores_of_another_model_are_refused(void **state)
{
	struct place p = place_make();
	struct scores x = some_scores(IMPORTANCE_WANDA);
	struct arch other = source;
	struct err e;
	(void)state;
	assert_ok(scores_save(p.path.text, &source, &x, &e), &e);
	other.shape.F = 8;
	assert_refused(&p, &other, "tensor 'ffn' has shape (2, 7), the model wants (2, 8); are these scores of another model?");
	other = source;
	other.shape.NKV = 4;
	assert_refused(&p, &other, "tensor 'groups' has shape (2, 2), the model wants (2, 4)");
	scores_release(&x);
	test_dir_remove(&p.dir);
}

static void scores_that_are_not_finite_are_refused(void **state)
{
	const float bad[] = {NAN, INFINITY};
	struct place p = place_make();
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct scores x = some_scores(IMPORTANCE_TAYLOR);
		struct err e;
		x.heads[5] = bad[i];
		assert_ok(scores_save(p.path.text, &source, &x, &e), &e);
		assert_refused(&p, &source, "tensor 'heads': element 5 is not finite");
		scores_release(&x);
	}
	test_dir_remove(&p.dir);
}

/* A file with these tensors of C floats each and metadata, method's first. */
static void write_file(const char *path, const char *const *metadata, const char *tensor)
{
	static const char *const keys[] = {"method", "layers_method", "tokens", "teacher", "data", "seed"};
	const size_t dims[] = {C};
	const float values[C] = {0};
	struct safetensors_writer *w;
	struct err e;
	assert_ok(safetensors_create(&w, path, &e), &e);
	for (int i = 0; i < 6; i++)
		if (metadata[i])
			safetensors_declare_metadata(w, keys[i], metadata[i]);
	safetensors_declare(w, tensor, DTYPE_F32, 1, dims);
	assert_ok(safetensors_write(w, values, sizeof values, &e), &e);
	assert_ok(safetensors_commit(w, &e), &e);
}

static void other_files_are_refused(void **state)
{
	static const struct {
		const char *metadata[6], *tensor, *part;
	} cases[] = {
		{{"wanda", "own", "1", "0", "0", "0"}, "hidden", "no tensor 'layers'"},
		{{"wanda", "own", "1", "0", "0", "0"}, "lambda", "unknown tensor 'lambda'"},
		{{"magic", "own", "1", "0", "0", "0"}, "hidden", "metadata 'method' is 'magic'"},
		{{NULL, "own", "1", "0", "0", "0"}, "hidden", "metadata 'method' is 'absent'"},
		{{"wanda", "all", "1", "0", "0", "0"}, "hidden", "metadata 'layers_method' is 'all'"},
		{{"wanda", "own", "1k", "0", "0", "0"}, "hidden", "metadata 'tokens' is '1k', expected a number"},
		{{"wanda", "own", "1", "xyz", "0", "0"}, "hidden", "metadata 'teacher' is 'xyz'"},
		{{"wanda", "own", "1", "0", "", "0"}, "hidden", "metadata 'data' is ''"},
		{{"wanda", "own", "1", "0", "0", NULL}, "hidden", "metadata 'seed' is 'absent'"},
	};
	struct place p = place_make();
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		write_file(p.path.text, cases[i].metadata, cases[i].tensor);
		assert_refused(&p, &source, cases[i].part);
	}
	test_dir_remove(&p.dir);
}

static void a_cut_file_is_an_error_wherever_it_ends(void **state)
{
	struct place p = place_make();
	struct scores x = some_scores(IMPORTANCE_FLUCTUATION), y;
	struct err e;
	char *bytes;
	size_t n;
	(void)state;
	assert_ok(scores_save(p.path.text, &source, &x, &e), &e);
	assert_ok(fsio_read_file(p.path.text, 1 << 20, &bytes, &n, &e), &e);
	for (size_t i = 0; i < n; i += 7) {
		FILE *f = fopen(p.path.text, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(bytes, 1, i, f), i);
		fclose(f);
		assert_true(scores_load(p.path.text, &source, &y, &e) < 0);
	}
	free(bytes);
	scores_release(&x);
	test_dir_remove(&p.dir);
}

static void a_full_disk_leaves_no_half_file(void **state)
{
	struct place p = place_make();
	struct scores x = some_scores(IMPORTANCE_ACTIVATION);
	struct err e;
	(void)state;
	for (unsigned long n = 1;; n++) {
		fsio_fail_nth_write(n);
		int rc = scores_save(p.path.text, &source, &x, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		assert_true(n < 20);
	}
	scores_release(&x);
	assert_ok(scores_load(p.path.text, &source, &x, &e), &e);
	scores_release(&x);
	test_dir_remove(&p.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(scores_of_another_model_are_refused),
		cmocka_unit_test(scores_that_are_not_finite_are_refused),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(a_cut_file_is_an_error_wherever_it_ends),
		cmocka_unit_test(a_full_disk_leaves_no_half_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
