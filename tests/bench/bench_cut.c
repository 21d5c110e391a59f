/* Cutting a checkpoint of Llama-2-7B's shape (bf16, three sparse shards) to 2.7 B, in turns with a plain copy that reads and
 * writes as many bytes in the same way: bench_cut DIR [ROUNDS [LAYERS]]. DIR is made, needs 6 GB on the disk, and is removed.
 * The source is out of the page cache when a turn begins; the output is synced when it ends. Prints a line of JSON: bytes,
 * medians of seconds and rate, their ratio, peak resident set. Bounds: ratio >= 0.8, resident set <= 1 GiB. */
#include "base/clock.h"
#include "base/fsio.h"
#include "prune/scores.h"
#include "prune/target.h"
#include "tests/bench/bench_world.h"
#include "tests/sparse_model.h"

#include <fcntl.h>
#include <sys/resource.h>

enum { MAX_ROUNDS = 99 };
#define SHARD_BYTES 5000000000u
#define COPY_BYTES ((size_t)4 << 20)

struct scene {
	const char *dir;
	char source[4000], out[4000];
	struct hf_model hf;
	struct arch target;
	struct kept kept;
	int n_shards;
	uint64_t n_read, n_written;
};

static void check(int rc, const struct err *e)
{
	if (rc < 0) {
		fprintf(stderr, "%s\n", e->line);
		exit(1);
	}
}

static void shard_path(const struct scene *s, int shard, char *out, size_t size)
{
	snprintf(out, size, "%s/sparse-%d.safetensors", s->source, shard + 1);
}

static void random_scores(float *x, size_t n, uint64_t which)
{
	for (size_t i = 0; i < n; i++)
		x[i] = rng_uniform(1, RNG_TEST, which, i);
}

/* Units at random places: the worst case for whoever gathers columns. */
static void choose_units(struct scene *s)
{
	const struct target target = {.hidden = 2560, .heads = 20, .kv_heads = 20, .intermediate = 6912};
	const struct arch *a = &s->hf.layout.arch;
	size_t L = (size_t)a->shape.L;
	struct scores x;
	struct err e;
	check(target_arch(&s->target, a, &target, &e), &e);
	check(scores_alloc(&x, a, false, &e), &e);
	random_scores(x.hidden, (size_t)a->shape.C, 0);
	random_scores(x.groups, L * (size_t)a->shape.NKV, 1);
	random_scores(x.ffn, L * (size_t)a->shape.F, 2);
	check(kept_from_scores(&s->kept, a, &s->target, &x, &(struct select_options){.merge_kv = false}, &e), &e);
	scores_release(&x);
}

/* The whole source, and what it becomes. */
static void count_bytes(struct scene *s)
{
	s->n_read = arch_n_params(&s->hf.layout.arch) * dtype_size(DTYPE_BF16);
	s->n_written = arch_n_params(&s->target) * dtype_size(DTYPE_BF16);
}

/* ---- turns ---- */

static void begin_turn(const struct scene *s)
{
	char path[4200];
	struct err e;
	check(fsio_remove_tree(s->out, &e), &e);
	sync();
	for (int i = 0; i < s->n_shards; i++) {
		shard_path(s, i, path, sizeof path);
		int fd = open(path, O_RDONLY);
		BUG_ON(fd < 0);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	check(fsio_mkdirs(s->out, &e), &e);
}

static double time_cut(const struct scene *s)
{
	struct hf_save_options o = {.dtype = DTYPE_BF16, .copy_from = s->source, .config_from = s->hf.config};
	struct err e;
	begin_turn(s);
	double begin = clock_now_s();
	check(prune_cut_files(&s->hf, &s->target, &s->kept, NULL, s->out, &o, &e), &e);
	return clock_now_s() - begin;
}

/* Reads n_read bytes of the source and writes n_written of them, evenly mixed, in files of at most a shard's size. */
static double time_copy(const struct scene *s)
{
	char path[4200], *buffer = malloc(COPY_BYTES);
	struct fsio_writer w = {0};
	struct err e;
	uint64_t n_read = 0, n_written = 0;
	int fd = -1, in = 0, out = 0;
	BUG_ON(!buffer);
	begin_turn(s);
	double begin = clock_now_s();
	while (in < s->n_shards || fd >= 0) {
		if (fd < 0) {
			shard_path(s, in++, path, sizeof path);
			fd = open(path, O_RDONLY);
			BUG_ON(fd < 0);
		}
		ssize_t n = read(fd, buffer, COPY_BYTES);
		BUG_ON(n < 0);
		if (n == 0) {
			close(fd);
			fd = -1;
		}
		n_read += (uint64_t)n;
		uint64_t due = (uint64_t)((double)s->n_written * (double)n_read / (double)s->n_read);
		if (!w.path) {
			snprintf(path, sizeof path, "%s/copy-%d", s->out, out++);
			check(fsio_writer_open(&w, path, &e), &e);
		}
		if (due > n_written)
			check(fsio_write(&w, buffer, due - n_written < (uint64_t)n ? due - n_written : (uint64_t)n, &e), &e);
		n_written = due;
		if (w.n_bytes + COPY_BYTES > SHARD_BYTES)
			check(fsio_writer_commit(&w, &e), &e);
	}
	if (w.path)
		check(fsio_writer_commit(&w, &e), &e);
	double seconds = clock_now_s() - begin;
	if (fd >= 0)
		close(fd);
	free(buffer);
	return seconds;
}

static void print_result(const struct scene *s, double *cut, double *copy, double *ratio, int rounds)
{
	struct rusage used;
	double moved = (double)(s->n_read + s->n_written) / 1e6, cut_s = world_median(cut, rounds), copy_s = world_median(copy, rounds);
	getrusage(RUSAGE_SELF, &used);
	printf("{\"bench\": \"cut\", \"source\": \"7B bf16\", \"target\": \"2.7B bf16\", \"layers\": %d, \"rounds\": %d, \"bytes_read\": %llu, \"bytes_written\": %llu, "
	       "\"seconds\": %.2f, \"mb_per_s\": %.0f, \"copy_seconds\": %.2f, \"copy_mb_per_s\": %.0f, \"ratio\": %.3f, \"peak_rss_mib\": %.0f}\n",
	       s->target.shape.L, rounds, (unsigned long long)s->n_read, (unsigned long long)s->n_written, cut_s, moved / cut_s, copy_s, moved / copy_s,
	       world_median(ratio, rounds), (double)used.ru_maxrss / 1024);
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 5, layers = argc > 3 ? atoi(argv[3]) : 32;
	double cut[MAX_ROUNDS], copy[MAX_ROUNDS], ratio[MAX_ROUNDS];
	struct scene s = {.n_read = 0};
	struct err e;
	if (argc < 2 || argc > 4 || layers < 1 || layers > 32 || rounds < 1 || rounds > MAX_ROUNDS || fsio_exists(argv[1])) {
		fprintf(stderr, "usage: bench_cut DIR [ROUNDS [LAYERS]]; DIR is made and removed, and must not be there\n");
		return 2;
	}
	s.dir = argv[1];
	snprintf(s.source, sizeof s.source, "%s/source", s.dir);
	snprintf(s.out, sizeof s.out, "%s/out", s.dir);
	struct arch arch = world_llama(layers, 4096, 32, 11008, 32000, 4096);
	arch.tied = false;
	arch.dtype = DTYPE_BF16;
	s.n_shards = sparse_model(s.source, &arch, SHARD_BYTES, &e);
	check(s.n_shards, &e);
	check(hf_open(&s.hf, s.source, &e), &e);
	choose_units(&s);
	count_bytes(&s);
	for (int i = -1; i < rounds; i++) { /* the first turn is a warm-up */
		double a, b;
		if (i % 2)
			b = time_copy(&s), a = time_cut(&s);
		else
			a = time_cut(&s), b = time_copy(&s);
		fprintf(stderr, "cut %.2f s, copy %.2f s\n", a, b);
		if (i >= 0)
			cut[i] = a, copy[i] = b, ratio[i] = b / a;
	}
	print_result(&s, cut, copy, ratio, rounds);
	kept_release(&s.kept);
	hf_close(&s.hf);
	check(fsio_remove_tree(s.dir, &e), &e);
	return 0;
}
