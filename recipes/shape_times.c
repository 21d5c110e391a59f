#include "recipes/shape_times.h"

#include "base/fsio.h"
#include "base/json.h"
#include "base/log.h"
#include "recipes/session.h"
#include "recipes/stage.h"
#include "results/latency.h"

#include <stdlib.h>
#include <string.h>

int shape_times_open(struct shape_times *t, const struct run *run, const char *dir, int length, int batch, struct err *e)
{
	*t = (struct shape_times){.run = run, .file = path_format("%s/times.json", dir), .length = length, .batch = batch};
	if (fsio_exists(t->file) && json_read_file(t->file, &t->known, e) < 0)
		return -1;
	if (!t->known)
		t->known = json_object();
	return 0;
}

void shape_times_close(struct shape_times *t)
{
	json_decref(t->known);
	free(t->file);
	*t = (struct shape_times){0};
}

static int measure(struct shape_times *t, const struct arch *a, const char *key, struct err *e)
{
	struct ops *ops = t->run->eval_ops;
	struct latency_options o = latency_default(a);
	struct latency found;
	o.length = t->length;
	o.batch = t->batch;
	o.memory_limit = memory_available();
	struct ops_limits limits = latency_limits(ops, a, &o);
	if (run_interrupted())
		return err_run(e, "interrupted; the same command goes on");
	if (ops_cpu_reserve(ops, &limits, e) < 0 || latency_measure(ops, a, &o, &found, e) < 0)
		return -1;
	log_line("shape search: %s: prefill %.3g ms, decode %.3g ms", key, found.prefill_ms, found.decode_ms);
	json_object_set_new(t->known, key, json_pack("{s:f,s:f}", "prefill_ms", found.prefill_ms, "decode_ms", found.decode_ms));
	return json_write_file(t->file, t->known, e);
}

int shape_times_take(struct shape_times *t, const struct arch *a, int *i, struct err *e)
{
	const struct shape *s = &a->shape;
	char key[96];
	for (*i = 0; *i < t->n; ++*i)
		if (!memcmp(&t->shapes[*i].shape, s, sizeof *s))
			return 0;
	BUG_ON(t->n == SHAPE_TIMES_MAX);
	snprintf(key, sizeof key, "%d x %d, %d/%d heads, ffn %d", s->L, s->C, s->NH, s->NKV, s->F);
	if (!json_object_get(t->known, key) && measure(t, a, key, e) < 0)
		return -1;
	const json_t *found = json_object_get(t->known, key);
	if (json_get_double(found, t->file, "prefill_ms", 0, 1e-9, 1e12, &t->prefill_ms[*i], e) < 0 ||
	    json_get_double(found, t->file, "decode_ms", 0, 1e-9, 1e12, &t->decode_ms[*i], e) < 0)
		return -1;
	t->shapes[t->n++] = *a;
	return 0;
}

void shape_times_fit(const struct shape_times *t, struct time_model *out)
{
	time_fit(&out->prefill, t->shapes, t->prefill_ms, t->n);
	time_fit(&out->decode, t->shapes, t->decode_ms, t->n);
}
