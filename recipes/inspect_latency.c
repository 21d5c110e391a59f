/* Latency for inspect. Test: tests/test_verbs.c */
#include "recipes/inspect_latency.h"

#include "recipes/session.h"

static int measure(struct ops *ops, const struct arch *a, const struct latency_options *o, json_t **out, struct err *e)
{
	struct ops_limits limits = latency_limits(ops, a, o);
	struct latency l;
	if (ops_cpu_reserve(ops, &limits, e) < 0 || latency_measure(ops, a, o, &l, e) < 0)
		return -1;
	*out = json_pack("{s:i,s:i,s:s,s:s,s:f,s:f,s:f,s:f,s:I}", "length", o->length, "batch", o->batch, "dtype", "fp32", "device", ops->device,
			 "prefill_ms", l.prefill_ms, "decode_ms", l.decode_ms, "prefill_spread", l.prefill_spread, "decode_spread",
			 l.decode_spread, "bytes", (json_int_t)l.n_bytes);
	return 0;
}

int latency_json(json_t **out, const struct cli_args *a, const struct arch *arch, struct err *e)
{
	struct latency_options o = latency_default(arch);
	struct ops *ops = NULL;
	int64_t length, batch, threads;
	int rc = -1;
	TRY(cli_int(a, "--length", 0, arch->max_positions, &length, e));
	TRY(cli_int(a, "--batch", 1, 1 << 16, &batch, e));
	TRY(cli_int(a, "--threads", 0, 4096, &threads, e));
	o.length = length ? (int)length : o.length;
	o.batch = (int)batch;
	o.memory_limit = memory_available();
	TRY(ops_cpu_open(&ops, &(struct ops_options){.n_threads = (int)threads}, e));
	TRY(measure(ops, arch, &o, out, e));
	rc = 0;
out:
	ops_cpu_close(ops);
	return rc;
}

static void print_figure(const json_t *o, const char *what, const char *ms, const char *spread, double tokens)
{
	double median = json_number_value(json_object_get(o, ms));
	printf("  %s: %.3g ms, %.0f tokens/s (half of the runs within %.0f %%)\n", what, median, 1e3 * tokens / median,
	       100 * json_number_value(json_object_get(o, spread)));
}

void latency_print(const json_t *o)
{
	double length = json_number_value(json_object_get(o, "length")), batch = json_number_value(json_object_get(o, "batch"));
	printf("latency in %s on %s, %.0f sequence%s of %.0f tokens, %.1f MiB:\n", json_string_value(json_object_get(o, "dtype")),
	       json_string_value(json_object_get(o, "device")), batch, batch == 1 ? "" : "s", length,
	       json_number_value(json_object_get(o, "bytes")) / 1048576);
	print_figure(o, "prefill", "prefill_ms", "prefill_spread", batch * length);
	print_figure(o, "the last token alone", "decode_ms", "decode_spread", batch);
}
