/* prune/masks_file.c: round trip, and every way in which a masks file can be wrong. */
#include "tests/testing.h"

#include "model/safetensors.h"
#include "prune/mask_learner.h"

enum { C = 5, L = 2, NH = 4, F = 7 };

static const struct arch source = {.family = "llama", .shape = {.L = L, .C = C, .F = F, .NH = NH, .NKV = 2, .HD = 4, .V = 9}};

struct values {
	float hidden[C], layers[L], heads[L * NH], ffn[L * F];
};

static struct values some_values(void)
{
	struct values v;
	float *all = (float *)&v;
	for (size_t i = 0; i < sizeof v / sizeof *all; i++)
		all[i] = (float)(i % 3) / 2;
	return v;
}

static struct host_masks masks_of(struct values *v)
{
	return (struct host_masks){v->hidden, v->layers, v->heads, v->ffn};
}

struct place {
	struct test_path dir, path;
};

static struct place place_make(void)
{
	struct place p = {.dir = test_dir_make()};
	p.path = test_join(&p.dir, "masks.safetensors");
	return p;
}

static void what_was_saved_comes_back(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = masks_of(&v), out;
	struct err e;
	void *block;
	(void)state;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	assert_ok(masks_load(p.path.text, &source, &out, &block, &e), &e);
	assert_memory_equal(out.hidden, v.hidden, sizeof v.hidden);
	assert_memory_equal(out.layers, v.layers, sizeof v.layers);
	assert_memory_equal(out.heads, v.heads, sizeof v.heads);
	assert_memory_equal(out.ffn, v.ffn, sizeof v.ffn);
	free(block);
	test_dir_remove(&p.dir);
}

static void absent_structures_stay_absent(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = {.ffn = v.ffn}, out;
	struct err e;
	void *block;
	(void)state;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	assert_ok(masks_load(p.path.text, &source, &out, &block, &e), &e);
	assert_null(out.hidden);
	assert_null(out.layers);
	assert_null(out.heads);
	assert_memory_equal(out.ffn, v.ffn, sizeof v.ffn);
	free(block);
	test_dir_remove(&p.dir);
}

static void assert_load_fails(const char *path, const struct arch *arch, const char *part)
{
	struct host_masks out;
	void *block = &out;
	struct err e;
	assert_fails(masks_load(path, arch, &out, &block, &e), &e, part);
	assert_null(block);
	assert_null(out.hidden);
	assert_null(strchr(e.line, '\n'));
	assert_non_null(strstr(e.line, path));
}

static void truncation_at_every_byte_is_an_error(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = masks_of(&v);
	struct err e;
	char *bytes;
	size_t n;
	(void)state;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	assert_ok(fsio_read_file(p.path.text, 1 << 20, &bytes, &n, &e), &e);
	struct test_path cut = test_join(&p.dir, "cut.safetensors");
	for (size_t i = 0; i < n; i++) {
		FILE *f = fopen(cut.text, "wb");
		assert_non_null(f);
		assert_int_equal(fwrite(bytes, 1, i, f), i);
		fclose(f);
		assert_load_fails(cut.text, &source, "");
	}
	free(bytes);
	test_dir_remove(&p.dir);
}

static void masks_of_another_model_are_refused(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = masks_of(&v);
	struct arch wider = source, deeper = source;
	struct err e;
	(void)state;
	wider.shape.C = C + 1;
	deeper.shape.L = L + 1;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	assert_load_fails(p.path.text, &wider, "tensor 'hidden' has shape (5), the model wants (6)");
	assert_load_fails(p.path.text, &deeper, "tensor 'layers' has shape (2), the model wants (3)");
	in.hidden = in.layers = NULL;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	assert_load_fails(p.path.text, &deeper, "tensor 'heads' has shape (2, 4), the model wants (3, 4)");
	test_dir_remove(&p.dir);
}

static void write_one(const char *path, const char *name, enum dtype type, int n_dims, const size_t *dims, size_t n_bytes)
{
	struct safetensors_writer *w;
	struct err e;
	char zeros[64] = {0};
	assert_ok(safetensors_create(&w, path, &e), &e);
	if (name) {
		safetensors_declare(w, name, type, n_dims, dims);
		assert_ok(safetensors_write(w, zeros, n_bytes, &e), &e);
	}
	assert_ok(safetensors_commit(w, &e), &e);
}

static void foreign_tensors_types_and_values_are_refused(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = {.layers = v.layers};
	const float wrong[] = {-0.25f, 1.5f, NAN, INFINITY};
	struct err e;
	(void)state;
	write_one(p.path.text, "lm_head.weight", DTYPE_F32, 1, (size_t[]){2}, 8);
	assert_load_fails(p.path.text, &source, "unknown tensor 'lm_head.weight'");
	write_one(p.path.text, "layers", DTYPE_BF16, 1, (size_t[]){2}, 4);
	assert_load_fails(p.path.text, &source, "tensor 'layers' has type BF16");
	write_one(p.path.text, "layers", DTYPE_F32, 2, (size_t[]){2, 1}, 8);
	assert_load_fails(p.path.text, &source, "shape (2, 1)");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		v.layers[1] = wrong[i];
		assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
		assert_load_fails(p.path.text, &source, "tensor 'layers': element 1 is");
	}
	assert_load_fails("/nonexistent/masks.safetensors", &source, "masks.safetensors");
	test_dir_remove(&p.dir);
}

static void a_file_without_masks_is_refused(void **state)
{
	struct place p = place_make();
	(void)state;
	write_one(p.path.text, NULL, DTYPE_F32, 0, NULL, 0);
	assert_load_fails(p.path.text, &source, "no masks in it");
	test_dir_remove(&p.dir);
}

static void a_full_disk_leaves_the_old_file(void **state)
{
	struct place p = place_make();
	struct values v = some_values();
	struct host_masks in = masks_of(&v), out;
	struct err e;
	void *block;
	(void)state;
	assert_ok(masks_save(p.path.text, &source, &in, &e), &e);
	in.hidden = NULL;
	for (unsigned long n = 1;; n++) {
		fsio_fail_nth_write(n);
		int rc = masks_save(p.path.text, &source, &in, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		assert_ok(masks_load(p.path.text, &source, &out, &block, &e), &e);
		free(block);
		assert_true(n < 50);
	}
	assert_ok(masks_load(p.path.text, &source, &out, &block, &e), &e);
	assert_null(out.hidden);
	free(block);
	test_dir_remove(&p.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(absent_structures_stay_absent),
		cmocka_unit_test(truncation_at_every_byte_is_an_error),
		cmocka_unit_test(masks_of_another_model_are_refused),
		cmocka_unit_test(foreign_tensors_types_and_values_are_refused),
		cmocka_unit_test(a_file_without_masks_is_refused),
		cmocka_unit_test(a_full_disk_leaves_the_old_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
