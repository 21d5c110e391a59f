/* Verbs that look at a model or a text: inspect, tokenize, logits, generate. */
#include "base/json.h"
#include "data/text.h"
#include "kernels/ops.h"
#include "recipes/inspect_latency.h"
#include "recipes/inspect_scores.h"
#include "recipes/verbs.h"
#include "results/generate.h"

#include <stdlib.h>
#include <string.h>

/* ---- inspect ---- */

static size_t group_elems(const struct param_layout *l, enum param_kind from, enum param_kind to)
{
	size_t n = 0;
	for (int i = 0; i < l->n_tensors; i++)
		if (l->tensors[i].kind >= from && l->tensors[i].kind <= to)
			n += l->tensors[i].rows * (l->tensors[i].cols ? l->tensors[i].cols : 1);
	return n;
}

static json_t *findings_json(const struct arch *a)
{
	static const char *const levels[] = {"warning", "misread", "refused"};
	struct load_finding found[16];
	int n = arch_check_loadable(a, found, 16);
	json_t *list = json_array();
	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s,s:s}", "level", levels[found[i].level], "finding", found[i].line));
	return list;
}

static json_t *inspection(const struct hf_model *hf)
{
	const struct arch *a = &hf->layout.arch;
	const struct shape *s = &a->shape;
	size_t bytes = 0;
	for (int i = 0; i < hf->layout.n_tensors; i++)
		bytes += hf->tensors[i]->n_bytes;
	json_t *shape = json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "layers", s->L, "hidden", s->C, "heads", s->NH, "kv_heads", s->NKV, "head_dim", s->HD,
				  "intermediate", s->F, "vocab", s->V);
	json_t *parameters = json_pack("{s:I,s:I,s:I,s:I,s:I}", "total", (json_int_t)arch_n_params(a), "embedding",
				       (json_int_t)arch_n_embedding_params(a), "attention", (json_int_t)group_elems(&hf->layout, PARAM_QKV, PARAM_O_BIAS),
				       "ffn", (json_int_t)group_elems(&hf->layout, PARAM_GATE_UP, PARAM_DOWN_BIAS), "norms",
				       (json_int_t)(group_elems(&hf->layout, PARAM_FINAL_NORM, PARAM_ATTN_NORM) + group_elems(&hf->layout, PARAM_FFN_NORM, PARAM_FFN_NORM)));
	return json_pack("{s:s,s:o,s:o,s:b,s:s,s:i,s:i,s:I,s:f,s:o}", "family", a->family, "shape", shape, "parameters", parameters, "tied", (int)a->tied,
			 "dtype", dtype_name(a->dtype), "max_positions", a->max_positions, "window", a->window, "bytes", (json_int_t)bytes,
			 "flops_per_token", arch_flops_per_token(a, a->max_positions < 2048 ? a->max_positions : 2048), "loadable", findings_json(a));
}

static void print_inspection(const struct hf_model *hf, const json_t *o)
{
	const struct arch *a = &hf->layout.arch;
	const struct shape *s = &a->shape;
	const json_t *p = json_object_get(o, "parameters"), *finding;
	const char *group;
	json_t *n;
	size_t i;
	printf("%s: %s, %s, %d positions%s\n", hf->dir, a->family, dtype_name(a->dtype), a->max_positions, a->tied ? ", tied output head" : "");
	printf("shape: %d layers, hidden %d, %d query heads over %d key-value heads of %d, FFN %d, vocabulary %d\n", s->L, s->C, s->NH, s->NKV, s->HD,
	       s->F, s->V);
	json_object_foreach((json_t *)(uintptr_t)p, group, n)
		printf("  %-10s %14lld parameters\n", group, (long long)json_integer_value(n));
	printf("%.3g FLOPs per token, %.1f MiB on disk\n", json_number_value(json_object_get(o, "flops_per_token")),
	       (double)json_integer_value(json_object_get(o, "bytes")) / 1048576);
	json_array_foreach(json_object_get(o, "loadable"), i, finding)
		printf("  %s: %s\n", json_string_value(json_object_get(finding, "level")), json_string_value(json_object_get(finding, "finding")));
}

static int add_scores(json_t *o, const struct hf_model *hf, const char *path, struct err *e)
{
	struct scores x;
	if (verb_path(path, e) < 0 || scores_load(path, &hf->layout.arch, &x, e) < 0)
		return -1;
	json_object_set_new(o, "importance", scores_json(&hf->layout.arch, &x));
	scores_release(&x);
	return 0;
}

int verb_inspect(const struct cli_args *a, struct err *e)
{
	struct hf_model hf;
	json_t *latency = NULL;
	int rc = -1;
	if (verb_path(a->positional[0], e) < 0 || hf_open(&hf, a->positional[0], e) < 0)
		return -1;
	json_t *o = inspection(&hf);
	if (cli_get(a, "--scores"))
		TRY(add_scores(o, &hf, cli_get(a, "--scores"), e));
	if (cli_has(a, "--latency")) {
		TRY(latency_json(&latency, a, &hf.layout.arch, e));
		json_object_set_new(o, "latency", latency);
	}
	if (cli_has(a, "--json")) {
		json_dumpf(o, stdout, JSON_INDENT(2)), putchar('\n');
	} else {
		print_inspection(&hf, o);
		if (cli_get(a, "--scores"))
			scores_print(json_object_get(o, "importance"));
		if (latency)
			latency_print(latency);
	}
	rc = 0;
out:
	json_decref(o);
	hf_close(&hf);
	return rc;
}

/* ---- tokenize ---- */

static int print_pieces(const struct tokenizer *t, const struct ids *ids, struct err *e)
{
	struct bytes piece = {0};
	for (size_t i = 0; i < ids->n; i++) {
		piece.n = 0;
		if (tokenizer_decode(t, &ids->v[i], 1, false, &piece, e) < 0) {
			bytes_release(&piece);
			return -1;
		}
		printf("%d\t", ids->v[i]);
		for (size_t k = 0; k < piece.n; k++)
			if (piece.v[k] == '\n')
				fputs("\\n", stdout);
			else
				putchar(piece.v[k]);
		putchar('\n');
	}
	putchar('\n');
	bytes_release(&piece);
	return 0;
}

static void print_ids(const struct ids *ids)
{
	putchar('[');
	for (size_t i = 0; i < ids->n; i++)
		printf(i ? ",%d" : "%d", ids->v[i]);
	puts("]");
}

int verb_tokenize(const struct cli_args *a, struct err *e)
{
	struct tokenizer *t = NULL;
	struct text_reader *r = NULL;
	struct ids ids = {0};
	const char *text;
	size_t n_bytes;
	int got, rc = -1;
	TRY(verb_path(a->positional[0], e));
	TRY(verb_path(a->positional[1], e));
	TRY(tokenizer_open(&t, a->positional[0], e));
	TRY(text_open(&r, a->positional[1], e));
	while ((got = text_next(r, &text, &n_bytes, e)) > 0) {
		ids.n = 0;
		TRY(cli_has(a, "--special") ? tokenizer_encode_document(t, text, n_bytes, &ids, e) : tokenizer_encode(t, text, n_bytes, &ids, e));
		if (cli_has(a, "--json"))
			print_ids(&ids);
		else
			TRY(print_pieces(t, &ids, e));
	}
	rc = got;
out:
	ids_release(&ids);
	text_close(r);
	tokenizer_free(t);
	return rc;
}

/* ---- logits ---- */

static int open_fp32(const struct cli_args *a, struct ops **ops, struct err *e)
{
	int64_t threads;
	if (cli_int(a, "--threads", 0, 4096, &threads, e) < 0)
		return -1;
	return ops_cpu_open(ops, &(struct ops_options){.n_threads = (int)threads}, e);
}

static int parse_ids(const char *text, const struct arch *arch, int32_t **out, int *n, struct err *e)
{
	size_t room = strlen(text) / 2 + 1;
	*out = malloc(room * sizeof **out);
	*n = 0;
	if (!*out)
		return err_run(e, "out of memory");
	for (const char *at = text;; at++) {
		char *end;
		long v = strtol(at, &end, 10);
		if (end == at || (*end && *end != ','))
			return err_user(e, "--ids: expected integers with commas between them, found '%s'", at);
		if (v < 0 || v >= arch->shape.V)
			return err_user(e, "--ids: %ld is outside the vocabulary, 0 to %d", v, arch->shape.V - 1);
		(*out)[(*n)++] = (int32_t)v;
		at = end;
		if (!*end)
			break;
	}
	if (*n > arch->max_positions)
		return err_user(e, "--ids: %d tokens, the model has %d positions", *n, arch->max_positions);
	return 0;
}

static int write_logits(const char *path, const float *logits, int T, int V, struct err *e)
{
	struct safetensors_writer *w;
	if (safetensors_create(&w, path, e) < 0)
		return -1;
	safetensors_declare(w, "logits", DTYPE_F32, 2, (size_t[]){(size_t)T, (size_t)V});
	if (safetensors_write(w, logits, (size_t)T * (size_t)V * sizeof(float), e) < 0) {
		safetensors_abort(w);
		return -1;
	}
	return safetensors_commit(w, e);
}

int verb_logits(const struct cli_args *a, struct err *e)
{
	struct ops *ops = NULL;
	struct loaded_model m = {0};
	int32_t *ids = NULL;
	float *logits = NULL;
	int T, rc = -1;
	TRY(verb_path(a->positional[0], e));
	TRY(open_fp32(a, &ops, e));
	TRY(loaded_model_open(&m, ops, a->positional[0], e));
	TRY(parse_ids(cli_get(a, "--ids"), &m.hf.layout.arch, &ids, &T, e));
	int V = m.hf.layout.arch.shape.V;
	logits = malloc((size_t)T * (size_t)V * sizeof *logits);
	if (!logits) {
		err_run(e, "out of memory: logits of %d tokens by %d", T, V);
		goto out;
	}
	TRY(loaded_model_logits(&m, ids, T, logits, e));
	TRY(write_logits(cli_get(a, "--out"), logits, T, V, e));
	rc = 0;
out:
	free(logits);
	free(ids);
	loaded_model_close(&m);
	ops_cpu_close(ops);
	return rc;
}

/* ---- generate ---- */

/* user: the prompt until it is printed, before the first new text. */
static void print_prompt(const char **prompt)
{
	if (*prompt)
		fputs(*prompt, stdout);
	*prompt = NULL;
}

static void print_text(void *user, const char *text, size_t n_bytes)
{
	print_prompt(user);
	fwrite(text, 1, n_bytes, stdout);
	fflush(stdout);
}

int verb_generate(const struct cli_args *a, struct err *e)
{
	struct ops *ops = NULL;
	struct loaded_model m = {0};
	struct tokenizer *t = NULL;
	const char *prompt = cli_get(a, "--prompt");
	int64_t tokens, seed;
	int rc = -1;
	TRY(verb_path(a->positional[0], e));
	TRY(open_fp32(a, &ops, e));
	TRY(loaded_model_open(&m, ops, a->positional[0], e));
	TRY(tokenizer_open(&t, a->positional[0], e));
	TRY(verb_vocabulary(t, a->positional[0], &m.hf, e));
	struct generate_options o = generate_default(t);
	TRY(cli_int(a, "--tokens", 0, 1 << 20, &tokens, e));
	TRY(cli_int(a, "--seed", 0, INT64_MAX, &seed, e));
	TRY(cli_real(a, "--temperature", 0, 100, &o.temperature, e));
	TRY(cli_real(a, "--top-p", 1e-6, 1, &o.top_p, e));
	o.max_tokens = (int)tokens;
	o.seed = (uint64_t)seed;
	struct ops_limits limits = generate_limits(&m.hf.layout.arch, &o);
	TRY(ops_cpu_reserve(ops, &limits, e));
	TRY(generate_text(&m, t, &o, cli_get(a, "--prompt"), print_text, &prompt, e));
	print_prompt(&prompt);
	putchar('\n');
	rc = 0;
out:
	tokenizer_free(t);
	loaded_model_close(&m);
	ops_cpu_close(ops);
	return rc;
}
