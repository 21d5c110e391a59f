/* prune_cut_files: what is streamed from files to files is what prune_cut of arrays and hf_save write, byte for byte; the source
 * never becomes resident; a full disk or a kill leaves nothing that looks whole. */
#include "tests/cut_world.h"
#include "tests/program.h"
#include "tests/sparse_model.h"

#include <sys/resource.h>
#include <sys/wait.h>

static struct test_path home;

static int enter(void **state)
{
	(void)state;
	home = test_dir_make();
	return chdir(home.text);
}

static int leave(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_dir_remove(&home);
	return 0;
}

static void remove_dir(const char *dir)
{
	struct err e;
	assert_ok(fsio_remove_tree(dir, &e), &e);
}

/* ---- the same bytes ---- */

static void write_source(const char *dir, const struct arch *arch, enum dtype type, size_t shard_bytes)
{
	struct param_layout layout;
	struct err e;
	assert_ok(param_layout_init(&layout, arch, &e), &e);
	float *flat = random_weights(&layout);
	remove_dir(dir);
	assert_ok(hf_save(dir, &layout, flat, &(struct hf_save_options){.dtype = type, .shard_bytes = shard_bytes}, &e), &e);
	free(flat);
	param_layout_release(&layout);
}

static void save_through_arrays(const struct hf_model *m, const struct arch *target, const struct kept *kept, const struct host_masks *z,
				const char *dir, const struct hf_save_options *o)
{
	struct param_layout layout;
	struct err e;
	assert_ok(param_layout_init(&layout, target, &e), &e);
	float *src = malloc(m->layout.n_elems * sizeof *src), *dst = malloc(layout.n_elems * sizeof *dst);
	assert_true(src && dst);
	hf_read_f32(m, src);
	prune_cut(&m->layout, src, &layout, dst, kept, z);
	assert_ok(hf_save(dir, &layout, dst, o, &e), &e);
	free(src);
	free(dst);
	param_layout_release(&layout);
}

static void same_both_ways(const struct hf_model *m, const struct arch *target, const struct kept *kept, const struct host_masks *z,
			   enum dtype type, size_t shard_bytes)
{
	const struct hf_save_options o = {.dtype = type, .shard_bytes = shard_bytes, .config_from = m->config};
	struct err e;
	remove_dir("arrays");
	remove_dir("files");
	save_through_arrays(m, target, kept, z, "arrays", &o);
	assert_ok(prune_cut_files(m, target, kept, z, "files", &o, &e), &e);
	trees_are_equal("arrays", "files");
}

static void harden(float *z, int n)
{
	for (int i = 0; i < n; i++)
		z[i] = z[i] != 0;
}

static void check_masks(const struct hf_model *m, const struct target *t, bool hard, enum dtype type, uint64_t seed)
{
	const struct arch *source = &m->layout.arch;
	struct arch target;
	struct soft_masks masks;
	struct kept kept;
	struct err e;
	assert_ok(target_arch(&target, source, t, &e), &e);
	random_masks(&masks, &source->shape, &target.shape, seed);
	if (hard) {
		harden(masks.hidden, 24);
		harden(masks.layers, 3);
		harden(masks.heads, 18);
		harden(masks.ffn, 60);
	}
	assert_ok(kept_from_masks(&kept, source, &target, &masks.z, &e), &e);
	same_both_ways(m, &target, &kept, &masks.z, type, seed % 3 == 0 ? 6000 : 0);
	kept_release(&kept);
}

/* Every family from and to every type; shards, targets and hard or soft masks take turns so that each meets each. */
static void masks_give_the_same_bytes(void **state)
{
	(void)state;
	uint64_t turn = 0;
	for (int v = 0; v < N_VARIANTS; v++)
		for (int to = 0; to < 3; to++, turn++) {
			struct arch arch = arch_of(&variants[v]);
			struct hf_model m;
			struct err e;
			write_source("source", &arch, (enum dtype)((v + to) % 3), turn % 2 ? 6000 : 0);
			assert_ok(hf_open(&m, "source", &e), &e);
			assert_true(turn % 2 ? m.n_files > 1 : m.n_files == 1);
			check_masks(&m, &cut_targets[turn % 3 ? 6 : turn % N_CUT_TARGETS], turn % 4 > 1, (enum dtype)to, turn);
			hf_close(&m);
		}
}

static void lists_and_merged_groups_give_the_same_bytes(void **state)
{
	(void)state;
	for (int v = 0; v < N_VARIANTS; v++) {
		struct arch arch = arch_of(&variants[v]), target = arch;
		struct hf_model m;
		struct kept kept;
		struct err e;
		write_source("source", &arch, DTYPE_BF16, 0);
		assert_ok(hf_open(&m, "source", &e), &e);
		target.shape.L = 2;
		assert_ok(kept_from_layers(&kept, &arch, (int[]){0, 2}, 2, &e), &e);
		same_both_ways(&m, &target, &kept, NULL, DTYPE_BF16, 0);
		target.shape.NKV = 1;
		kept.merge = 2;
		for (int i = 0; i < 2; i++)
			kept.groups[i] = 0;
		same_both_ways(&m, &target, &kept, NULL, DTYPE_BF16, 0);
		kept_release(&kept);
		hf_close(&m);
	}
}

/* ---- memory ---- */

/* 128 MiB of embedding, of which 48 may be met at a time. */
static void the_source_is_never_resident(void **state)
{
	struct arch arch = arch_of(&variants[0]), target = arch;
	struct rusage used;
	struct err e;
	int status;
	(void)state;
	arch.shape.V = target.shape.V = 1 << 16;
	arch.shape.C = 1024;
	arch.dtype = target.dtype = DTYPE_BF16;
	assert_ok(sparse_model("sparse", &arch, 1u << 30, &e), &e);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct hf_model m;
		struct kept kept;
		long before;
		target.shape.C = 24;
		getrusage(RUSAGE_SELF, &used);
		before = used.ru_maxrss;
		if (hf_open(&m, "sparse", &e) < 0 || kept_from_masks(&kept, &target, &target, &(struct host_masks){0}, &e) < 0 ||
		    prune_cut_files(&m, &target, &kept, NULL, "narrow", &(struct hf_save_options){.dtype = DTYPE_BF16}, &e) < 0)
			_exit(2);
		getrusage(RUSAGE_SELF, &used);
		_exit(used.ru_maxrss - before > 48 * 1024);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- a full disk, a kill ---- */

struct whole {
	struct arch arch, target;
	struct hf_model m;
	struct kept kept;
};

static void whole_open(struct whole *w)
{
	struct err e;
	w->arch = w->target = arch_of(&variants[4]);
	write_source("source", &w->arch, DTYPE_BF16, 0);
	assert_ok(hf_open(&w->m, "source", &e), &e);
	w->target.shape.L = 2;
	assert_ok(kept_from_layers(&w->kept, &w->arch, (int[]){0, 2}, 2, &e), &e);
	remove_dir("files");
}

static int whole_cut(const struct whole *w, struct err *e)
{
	const struct hf_save_options o = {.dtype = DTYPE_BF16, .shard_bytes = 8000};
	return prune_cut_files(&w->m, &w->target, &w->kept, NULL, "files", &o, e);
}

static void whole_close(struct whole *w)
{
	struct hf_model back;
	struct err e;
	assert_ok(hf_open(&back, "files", &e), &e);
	hf_close(&back);
	hf_close(&w->m);
	kept_release(&w->kept);
}

static void a_full_disk_leaves_no_model(void **state)
{
	struct whole w;
	struct err e;
	unsigned long n = 1;
	(void)state;
	whole_open(&w);
	for (;; n++) {
		fsio_fail_nth_write(n);
		int rc = whole_cut(&w, &e);
		fsio_fail_nth_write(0);
		if (rc == 0)
			break;
		if (fsio_exists("files/config.json")) /* only the directory's last sync failed */
			remove_dir("files/config.json");
	}
	assert_true(n > 10);
	whole_close(&w);
}

/* Killed at any write, there is no config.json, or the model is whole; the same command then goes through. */
static void a_kill_leaves_no_half_model(void **state)
{
	struct whole w;
	struct err e;
	bool done = false;
	(void)state;
	whole_open(&w);
	for (rlim_t limit = 0; !done; limit += 499) { /* a file that grows past the limit kills its writer: SIGXFSZ */
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
			setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
			_exit(whole_cut(&w, &e) < 0);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		done = WIFEXITED(status);
		assert_true(done || !fsio_exists("files/config.json"));
	}
	whole_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masks_give_the_same_bytes),
		cmocka_unit_test(lists_and_merged_groups_give_the_same_bytes),
		cmocka_unit_test(the_source_is_never_resident),
		cmocka_unit_test(a_full_disk_leaves_no_model),
		cmocka_unit_test(a_kill_leaves_no_half_model),
	};
	return cmocka_run_group_tests(tests, enter, leave);
}
