/* Speed of one whole training step (forward, backward, clipping, AdamW) on random tokens, beside the step's own matrix
 * products run alone in the same process.
 *   bench_step 15m [--dtype fp32|bf16] [--mode plain|kd|hard_concrete|soft_topk] [--threads N] [--steps N] [--chunk-mib N] [--profile]
 * 15m: Llama of 15.19 M parameters: 6 layers, hidden 288, 6 heads of 48, FFN 768, vocabulary 32000 tied, B 8 x T 256.
 *   plain   that model     hard_concrete, soft_topk   that model and its masks: hidden, layers, groups of heads and FFN channels
 *                                                     are learned, on the way to two thirds of each
 *   kd      that model as the teacher of half: 3 layers, hidden 144, 3 heads of 48, FFN 384; CE + KL
 * One JSON line on stdout, one line for people on stderr. Medians over --steps (default 7) after 2 warm-up steps. */
#include "prune/mask_learner.h"
#include "teacher/teacher.h"
#include "tests/bench/bench_world.h"
#include "tests/bench/probe.h"

enum mode { MODE_PLAIN, MODE_KD, MODE_HARD_CONCRETE, MODE_SOFT_TOPK };
enum { B = 8, T = 256, N = B * T, V = 32000, WARM_UP = 2, MAX_STEPS = 1000 };

struct bench {
	enum dtype type;
	enum mode mode;
	int threads, steps;
	size_t chunk_bytes;
	bool profile;

	struct ops *cpu;
	struct probe probe;
	struct student student;
	struct student_arenas arenas;
	struct teacher teacher;
	struct arena teacher_weights, teacher_activations;
	struct masks masks;
	struct mask_grads mask_grads;
	struct mask_learner *learner; /* NULL: no masks */
	struct host_masks z, dz;
	void *z_block, *dz_block;
	int mask_step;
	size_t owned_bytes;
	double baseline_bytes; /* resident before anything of ours is allocated */
	int32_t tokens[N], targets[N], pos[N], start[N];
};

static const char *const MODES[] = {"plain", "kd", "hard_concrete", "soft_topk"};
enum { N_MODES = 4, MASK_STEPS = 1000, FIRST_MASK_STEP = 250 }; /* where the target has half fallen */

static int open_student(struct bench *b, struct err *e)
{
	struct arch arch = b->mode == MODE_KD ? world_half(V, T) : world_15m(V, T);
	struct student_options o = student_default();
	struct arena *all[] = {&b->arenas.weights, &b->arenas.gradients, &b->arenas.moments, &b->arenas.activations,
			       &b->arenas.loss};
	o.B = B;
	o.T = T;
	o.type = b->type;
	o.mode = b->mode >= MODE_HARD_CONCRETE ? ACTIVATIONS_MASKED : ACTIVATIONS_TRAIN;
	o.teacher_V = b->mode == MODE_KD ? V : 0;
	o.n_teachers = o.n_terms = b->mode == MODE_KD;
	o.chunk_bytes = b->chunk_bytes;
	if (student_init(&b->student, &b->probe.ops, &arch, &o, &b->arenas, e) < 0)
		return -1;
	student_release(&b->student);
	for (int i = 0; i < 5; i++)
		if (world_back(b->cpu, all[i], &b->owned_bytes, e) < 0)
			return -1;
	if (student_init(&b->student, &b->probe.ops, &arch, &o, &b->arenas, e) < 0)
		return -1;
	student_randomise(&b->student, 1);
	return 0;
}

static int open_teacher(struct bench *b, struct err *e)
{
	char dir[] = "/tmp/espalier-bench-XXXXXX";
	struct hf_model hf = {0};
	struct teacher_options o = {.type = b->type, .B = B, .T = T};
	struct arena *w = &b->teacher_weights, *a = &b->teacher_activations;
	int rc = -1;
	struct arch arch = world_15m(V, T);
	if (!mkdtemp(dir))
		return err_run(e, "%s: cannot be made", dir);
	TRY(world_checkpoint(dir, &arch, 1, e));
	TRY(hf_open(&hf, dir, e));
	TRY(teacher_init(&b->teacher, &b->probe.ops, &hf, &o, w, a, e));
	teacher_release(&b->teacher);
	TRY(world_back(b->cpu, w, &b->owned_bytes, e));
	TRY(world_back(b->cpu, a, &b->owned_bytes, e));
	TRY(teacher_init(&b->teacher, &b->probe.ops, &hf, &o, w, a, e));
	rc = 0;
out:
	hf_close(&hf);
	fsio_remove_tree(dir, NULL);
	return rc;
}

static int mask_pair(struct bench *b, int n, const float **z, float **dz, struct err *e)
{
	void *p, *d;
	size_t n_bytes = (size_t)n * sizeof(float);
	if (b->cpu->alloc(b->cpu, n_bytes, &p, e) < 0 || b->cpu->alloc(b->cpu, n_bytes, &d, e) < 0)
		return -1;
	*z = p;
	*dz = d;
	return 0;
}

static int open_masks(struct bench *b, struct err *e)
{
	const struct arch *source = &b->student.layout.arch;
	const struct shape *s = &source->shape;
	struct arch target = *source;
	struct masks *z = &b->masks;
	struct mask_grads *d = &b->mask_grads;
	struct mask_options o = mask_default(b->mode == MODE_SOFT_TOPK ? MASK_SOFT_TOPK : MASK_SOLVED, MASK_STEPS);
	int rc = -1;
	target.shape.L = 4;
	target.shape.C = 192;
	target.shape.NH = target.shape.NKV = 4;
	target.shape.F = 512;
	TRY(mask_pair(b, s->C, &z->hidden, &d->hidden, e));
	TRY(mask_pair(b, s->L, &z->attn, &d->attn, e));
	TRY(mask_pair(b, s->L * s->NH, &z->heads, &d->heads, e));
	TRY(mask_pair(b, s->L * s->F, &z->ffn, &d->ffn, e));
	z->ffn_block = z->attn;
	d->ffn_block = d->attn;
	TRY(mask_learner_open(&b->learner, source, &target, &o, e));
	TRY(host_masks_alloc(&b->z, &b->z_block, b->learner, e));
	TRY(host_masks_alloc(&b->dz, &b->dz_block, b->learner, e));
	b->mask_step = FIRST_MASK_STEP;
	rc = 0;
out:
	return rc;
}

struct mask_copy {
	float *host_z, *host_dz;
	const float *z;
	float *dz;
	size_t n_bytes;
};
enum { MASK_ARRAYS = 4 };

static void list_masks(const struct bench *b, struct mask_copy out[MASK_ARRAYS])
{
	const struct shape *s = &b->student.layout.arch.shape;
	const struct masks *z = &b->masks;
	const struct mask_grads *d = &b->mask_grads;
	size_t L = (size_t)s->L * sizeof(float);
	out[0] = (struct mask_copy){b->z.hidden, b->dz.hidden, z->hidden, d->hidden, (size_t)s->C * sizeof(float)};
	out[1] = (struct mask_copy){b->z.layers, b->dz.layers, z->attn, d->attn, L};
	out[2] = (struct mask_copy){b->z.heads, b->dz.heads, z->heads, d->heads, L * (size_t)s->NH};
	out[3] = (struct mask_copy){b->z.ffn, b->dz.ffn, z->ffn, d->ffn, L * (size_t)s->F};
}

/* As recipes/loop.c does for its one micro-batch. */
static void masks_to_device(struct bench *b)
{
	struct mask_copy list[MASK_ARRAYS];
	list_masks(b, list);
	mask_learner_sample(b->learner, b->mask_step, 0, &b->z);
	for (int i = 0; i < MASK_ARRAYS; i++) {
		b->cpu->upload(b->cpu, (float *)(uintptr_t)list[i].z, list[i].host_z, list[i].n_bytes);
		b->cpu->zero(b->cpu, list[i].dz, list[i].n_bytes);
	}
}

static void masks_learn(struct bench *b)
{
	struct mask_copy list[MASK_ARRAYS];
	list_masks(b, list);
	for (int i = 0; i < MASK_ARRAYS; i++)
		b->cpu->download(b->cpu, list[i].host_dz, list[i].dz, list[i].n_bytes);
	mask_learner_backward(b->learner, &b->dz);
	mask_learner_update(b->learner, b->mask_step++, NULL);
}

/* A line of the process's status, in bytes: "VmHWM" the peak of the resident set, "RssAnon" what is resident now and no
 * mapped file. */
static double status_bytes(const char *what)
{
	char line[256];
	double kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, what, strlen(what)) && sscanf(line + strlen(what), ": %lf", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

static int bench_open(struct bench *b, struct err *e)
{
	struct arch largest = world_15m(V, T);
	struct ops_limits limits = transformer_limits(&largest, N, fused_head_chunk_rows(V, b->chunk_bytes));
	int rc = -1;
	b->baseline_bytes = status_bytes("VmRSS");
	TRY(ops_cpu_open(&b->cpu, &(struct ops_options){.n_threads = b->threads, .bf16 = b->type == DTYPE_BF16}, e));
	if (!b->cpu->matmul_bf16) /* as recipes/session.c: nothing is converted */
		limits.max_operand_elems = 0;
	TRY(ops_cpu_reserve(b->cpu, &limits, e));
	b->owned_bytes = ops_cpu_reserve_bytes(b->cpu, &limits);
	probe_init(&b->probe, b->cpu);
	TRY(open_student(b, e));
	if (b->mode == MODE_KD)
		TRY(open_teacher(b, e));
	if (b->mode >= MODE_HARD_CONCRETE)
		TRY(open_masks(b, e));
	for (int i = 0; i < N; i++) {
		b->tokens[i] = (int32_t)rng_below(4, RNG_TEST, 0, (uint64_t)i, V);
		b->targets[i] = (int32_t)rng_below(4, RNG_TEST, 1, (uint64_t)i, V);
		b->pos[i] = i % T;
		b->start[i] = 0;
	}
	rc = 0;
out:
	return rc;
}

/* Seconds of one step, -1 when it failed. */
static double step(struct bench *b, double *loss_out, struct err *e)
{
	struct train_batch batch = {b->tokens, b->targets, b->pos, b->start, NULL};
	struct step_loss loss = {.ce_weight = 0.1f, .n_terms = 1, .terms = {{.weight = 0.9f, .tau = 1}}, .step_tokens = N};
	struct soft_targets soft = {.kind = SOFT_TARGETS_NONE};
	struct step_sums sums = {0};
	bool masked = b->learner != NULL;
	double from = clock_now_s();
	student_begin(&b->student);
	const struct batch *device = student_upload(&b->student, &batch);
	if (b->mode == MODE_KD)
		BUG_ON(teacher_targets(&b->teacher, &(struct teacher_batch){.device = device}, &soft, e) < 0);
	if (masked)
		masks_to_device(b);
	student_microbatch(&b->student, &loss, b->mode == MODE_KD, &(struct step_teacher){&soft, NULL}, masked ? &b->masks : NULL, masked ? &b->mask_grads : NULL, NULL, &sums);
	if (student_update(&b->student, 3e-4f, NULL, e) < 0)
		return -1;
	if (masked)
		masks_learn(b);
	*loss_out = sums.ce / (double)sums.tokens;
	return clock_now_s() - from;
}

static void print_profile(const struct bench *b, double wall)
{
	double rest = wall;
	for (int i = 0; i < PROBE_ENTRIES; i++) {
		rest -= b->probe.seconds[i];
		fprintf(stderr, "  %-20s %8.2f ms %5.1f %%\n", PROBE_NAMES[i], 1e3 * b->probe.seconds[i] / b->steps,
			100 * b->probe.seconds[i] / wall);
	}
	fprintf(stderr, "  %-20s %8.2f ms %5.1f %%\n", "rest", 1e3 * rest / b->steps, 100 * rest / wall);
}

/* Sorts both arrays. */
static void print_result(const struct bench *b, double *steps, double *products, double peak, double loss)
{
	double step_s = world_median(steps, b->steps), products_s = world_median(products, b->steps);
	const char *type = b->cpu->matmul_bf16 ? "bf16" : "fp32";
	double n_params = (double)arch_n_params(&b->student.layout.arch), flops = probe_product_flops(&b->probe);
	printf("{\"bench\": \"step\", \"peer\": \"espalier\", \"mode\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, "
	       "\"batch\": %d, \"sequence_length\": %d, \"parameters\": %.0f, \"step_ms\": %.2f, \"tokens_per_s\": %.1f, "
	       "\"products_ms\": %.2f, \"share\": %.4f, \"products_gflops\": %.1f, \"best_step_ms\": %.2f, "
	       "\"best_products_ms\": %.2f, \"owned_mib\": %.1f, \"peak_above_baseline_mib\": %.1f, "
	       "\"loss\": %.4f, \"device\": \"%s\"}\n", MODES[b->mode], type, b->cpu->n_threads, B, T, n_params, 1e3 * step_s,
	       N / step_s, 1e3 * products_s, products_s / step_s, flops / products_s * 1e-9, 1e3 * steps[0], 1e3 * products[0],
	       (double)b->owned_bytes / 1048576, peak / 1048576, loss, b->cpu->device);
	fprintf(stderr, "%s %s, %d threads: %.0f tokens/s (step %.1f ms); its %d products alone %.1f ms = %.1f %% of the step "
		"(%.0f GFLOP/s); best %.1f and %.1f ms; owned %.0f MiB, peak above baseline %.0f MiB\n", MODES[b->mode], type, b->cpu->n_threads, N / step_s,
		1e3 * step_s, b->probe.n_products, 1e3 * products_s, 100 * products_s / step_s, flops / products_s * 1e-9,
		1e3 * steps[0], 1e3 * products[0], (double)b->owned_bytes / 1048576, peak / 1048576);
}

static int bench_run(struct bench *b, struct err *e)
{
	double steps[MAX_STEPS], products[MAX_STEPS], loss = 0, wall = 0;
	fsio_append("/proc/self/clear_refs", "5", 1, NULL); /* the peak starts anew */
	for (int i = 0; i < WARM_UP; i++) {
		b->probe.recording = i == WARM_UP - 1;
		if (step(b, &loss, e) < 0)
			return -1;
	}
	b->probe.recording = false;
	for (int i = 0; i < PROBE_ENTRIES; i++)
		b->probe.seconds[i] = 0;
	for (int i = 0; i < b->steps; i++) { /* in turns, so that both see the same machine */
		if ((steps[i] = step(b, &loss, e)) < 0)
			return -1;
		wall += steps[i];
		products[i] = probe_replay(&b->probe);
	}
	double peak = status_bytes("VmHWM") - b->baseline_bytes;
	print_result(b, steps, products, peak, loss);
	if (b->profile)
		print_profile(b, wall);
	return 0;
}

static int index_of(const char *word, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(word, words[i]))
			return i;
	fprintf(stderr, "bench_step: %s is not one of:", word);
	for (int i = 0; i < n; i++)
		fprintf(stderr, " %s", words[i]);
	fprintf(stderr, "\n");
	exit(2);
}

static void parse(struct bench *b, int argc, char **argv)
{
	static const char *const presets[] = {"15m"}, *const types[] = {"fp32", "bf16"};
	static const char *const flags[] = {"--dtype", "--mode", "--threads", "--steps", "--chunk-mib", "--profile"};
	index_of(argc > 1 ? argv[1] : "", presets, 1);
	for (int i = 2; i < argc; i++) {
		int flag = index_of(argv[i], flags, 6);
		if (flag == 5) {
			b->profile = true;
			continue;
		}
		const char *value = i + 1 < argc ? argv[++i] : "";
		if (flag == 0)
			b->type = index_of(value, types, 2) ? DTYPE_BF16 : DTYPE_F32;
		else if (flag == 1)
			b->mode = (enum mode)index_of(value, MODES, N_MODES);
		else if (flag == 2)
			b->threads = atoi(value);
		else if (flag == 3)
			b->steps = atoi(value);
		else
			b->chunk_bytes = (size_t)atoi(value) << 20;
	}
	if (b->steps < 1 || b->steps > MAX_STEPS)
		b->steps = 7;
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct err e;
	parse(&b, argc, argv);
	if (bench_open(&b, &e) < 0 || bench_run(&b, &e) < 0) {
		fprintf(stderr, "bench_step: %s\n", e.line);
		return 1;
	}
	mask_learner_close(b.learner);
	free(b.z_block);
	free(b.dz_block);
	student_release(&b.student);
	teacher_release(&b.teacher);
	ops_cpu_close(b.cpu);
	return 0;
}
