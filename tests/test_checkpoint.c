/* student/checkpoint.c: what is saved comes back bit by bit, training goes on as if undisturbed, and a bad file or a
 * full disk harms nothing. */
#include "tests/testing.h"

#include "tests/rig.h"

#define LR 2e-3f
#define METADATA "{\"tokens\": 12345, \"note\": \"\\u00e9\"}"

struct state { /* host copies of everything that training depends on */
	float *flat[3];
	int step;
};

static struct state state_of(const struct rig *r)
{
	const struct student *s = &r->student;
	return (struct state){.flat = {rig_download(r, s->params.master), rig_download(r, s->m), rig_download(r, s->v)},
			      .step = s->step};
}

static void state_release(struct state *s)
{
	for (int i = 0; i < 3; i++)
		free(s->flat[i]);
}

static void assert_same(const struct rig *r, const struct state *a, const struct state *b)
{
	for (int i = 0; i < 3; i++)
		assert_memory_equal(a->flat[i], b->flat[i], r->student.layout.n_elems * sizeof(float));
	assert_int_equal(a->step, b->step);
}

static void assert_unchanged(const struct rig *r, const struct state *before)
{
	struct state now = state_of(r);
	assert_same(r, before, &now);
	state_release(&now);
}

static void go_on(struct rig *r, int first, int last)
{
	for (int step = first; step < last; step++)
		rig_step(r, step, LR, NULL);
}

/* Five steps, save, five more; a fresh student that loads and does the last five. */
static void check_resume(enum dtype type)
{
	struct student_options o = rig_options();
	struct test_path dir = test_dir_make(), path = test_join(&dir, "checkpoint.safetensors");
	struct rig r, fresh;
	struct err e;
	char *metadata, mask[5] = "abcd", mask_back[5] = "";
	struct checkpoint_array extra = {"mask", mask, sizeof mask}, extra_back = {"mask", mask_back, sizeof mask_back};
	o.type = type;
	rig_open(&r, &o, 2);
	go_on(&r, 0, 5);
	struct state saved = state_of(&r);
	assert_ok(checkpoint_save(path.text, &r.student, METADATA, &extra, 1, &e), &e);
	assert_unchanged(&r, &saved);
	go_on(&r, 5, RIG_STEPS);
	struct state end = state_of(&r);
	rig_close(&r);
	rig_open(&fresh, &o, 2);
	go_on(&fresh, 7, 9); /* somewhere else altogether */
	assert_ok(checkpoint_load(path.text, &fresh.student, &metadata, &extra_back, 1, &e), &e);
	assert_string_equal(metadata, METADATA);
	assert_string_equal(mask_back, "abcd");
	assert_unchanged(&fresh, &saved);
	go_on(&fresh, 5, RIG_STEPS);
	assert_unchanged(&fresh, &end);
	free(metadata);
	state_release(&saved);
	state_release(&end);
	rig_close(&fresh);
	test_dir_remove(&dir);
}

static void resumed_equals_undisturbed(void **state)
{
	(void)state;
	check_resume(DTYPE_F32);
	check_resume(DTYPE_BF16);
}

/* Written to a new path at every length that matters: nothing is loaded, nothing is touched. */
static void truncated_files_are_refused(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct test_path dir = test_dir_make(), path = test_join(&dir, "a"), cut = test_join(&dir, "b");
	struct rig r;
	struct err e;
	char *bytes, *metadata;
	size_t n_bytes;
	rig_open(&r, &o, 1);
	assert_ok(checkpoint_save(path.text, &r.student, METADATA, NULL, 0, &e), &e);
	assert_ok(fsio_read_file(path.text, 1 << 24, &bytes, &n_bytes, &e), &e);
	go_on(&r, 0, 1);
	struct state before = state_of(&r);
	for (size_t n = 0; n < n_bytes; n += n < 1200 ? 61 : 9973) {
		assert_ok(fsio_write_file(cut.text, bytes, n, &e), &e);
		assert_fails(checkpoint_load(cut.text, &r.student, &metadata, NULL, 0, &e), &e, cut.text);
		assert_null(metadata);
	}
	assert_ok(fsio_write_file(cut.text, bytes, n_bytes - 1, &e), &e);
	assert_fails(checkpoint_load(cut.text, &r.student, &metadata, NULL, 0, &e), &e, cut.text);
	assert_unchanged(&r, &before);
	free(bytes);
	state_release(&before);
	rig_close(&r);
	test_dir_remove(&dir);
}

static void other_contents_are_refused(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct test_path dir = test_dir_make(), path = test_join(&dir, "a");
	struct student other;
	struct student_arenas arenas;
	struct rig r;
	struct err e;
	char *metadata, four[4] = "", five[5] = "";
	struct checkpoint_array small = {"mask", four, sizeof four}, large = {"mask", five, sizeof five},
				renamed = {"lambda", four, sizeof four};
	rig_open(&r, &o, 1);
	assert_ok(checkpoint_save(path.text, &r.student, "{}", &small, 1, &e), &e);
	assert_fails(checkpoint_load(path.text, &r.student, &metadata, &large, 1, &e), &e, "extra.mask");
	assert_fails(checkpoint_load(path.text, &r.student, &metadata, &renamed, 1, &e), &e, "extra.lambda");
	assert_fails(checkpoint_load(path.text, &r.student, &metadata, NULL, 0, &e), &e, "4 tensors");
	struct arch arch = r.hf.layout.arch;
	arch.shape.F++;
	rig_student(&other, r.ops, &arch, &o, &arenas);
	assert_fails(checkpoint_load(path.text, &other, &metadata, &small, 1, &e), &e, "intermediate 40");
	assert_non_null(strstr(e.line, "intermediate 41"));
	student_release(&other);
	rig_arenas_release(r.ops, &arenas);
	assert_fails(checkpoint_load(test_source("tests/golden/adamw.safetensors").text, &r.student, &metadata, NULL, 0, &e), &e,
		     "not a checkpoint");
	assert_fails(checkpoint_load("/nowhere/at/all", &r.student, &metadata, NULL, 0, &e), &e, "/nowhere/at/all");
	rig_close(&r);
	test_dir_remove(&dir);
}

/* The n-th write fails, n = 1, 2, 3 …: the old file stands, no temporary file is left. */
static void full_disk_keeps_the_old_file(void **state)
{
	(void)state;
	struct student_options o = rig_options();
	struct test_path dir = test_dir_make(), path = test_join(&dir, "a"), tmp = test_join(&dir, "a.tmp");
	struct rig r;
	struct err e;
	char *metadata;
	rig_open(&r, &o, 1);
	go_on(&r, 0, 2);
	assert_ok(checkpoint_save(path.text, &r.student, "{\"old\": 1}", NULL, 0, &e), &e);
	struct state old = state_of(&r);
	go_on(&r, 2, 3);
	int failures = 0;
	for (unsigned long n = 1;; n++) {
		fsio_fail_nth_write(n);
		int rc = checkpoint_save(path.text, &r.student, "{\"new\": 1}", NULL, 0, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		failures++;
		assert_false(fsio_exists(tmp.text));
		assert_ok(checkpoint_load(path.text, &r.student, &metadata, NULL, 0, &e), &e);
		if (strcmp(metadata, "{\"new\": 1}") != 0) { /* only the sync of the directory fails after the rename */
			assert_string_equal(metadata, "{\"old\": 1}");
			assert_unchanged(&r, &old);
		}
		free(metadata);
	}
	assert_true(failures >= 3);
	assert_ok(checkpoint_load(path.text, &r.student, &metadata, NULL, 0, &e), &e);
	assert_string_equal(metadata, "{\"new\": 1}");
	free(metadata);
	state_release(&old);
	rig_close(&r);
	test_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resumed_equals_undisturbed),
		cmocka_unit_test(truncated_files_are_refused),
		cmocka_unit_test(other_contents_are_refused),
		cmocka_unit_test(full_disk_keeps_the_old_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
