/* Rows of the vocabulary, streamed from the mapped source; hf_save_rows makes the files. */
#include "prune/trim.h"

#include "base/fsio.h"

#include <stdlib.h>
#include <string.h>

struct trimming {
	const struct hf_model *hf;
	const struct trim_rows *rows;
	void *row;         /* (C) of any type */
	float *mean;       /* (C) */
	double *sums;      /* (C) */
	enum dtype *types; /* (n_tensors) as stored */
};

int trim_vocab_size(const struct trim_rows *r)
{
	return (r->n + r->multiple - 1) / r->multiple * r->multiple;
}

/* The mean of the kept rows in the tensor's type, into t->row. */
static void mean_row(const struct trimming *t, const struct safetensor *s)
{
	size_t C = s->dims[1], size = dtype_size(s->dtype);
	memset(t->sums, 0, C * sizeof *t->sums);
	for (int i = 0; i < t->rows->n; i++) {
		memcpy(t->row, (const char *)s->data + (size_t)t->rows->rows[i] * C * size, C * size);
		dtype_convert(t->mean, DTYPE_F32, t->row, s->dtype, C);
		for (size_t c = 0; c < C; c++)
			t->sums[c] += (double)t->mean[c];
		if (i % 1024 == 0)
			fsio_map_forget(s->data, s->n_bytes);
	}
	for (size_t c = 0; c < C; c++)
		t->mean[c] = (float)(t->sums[c] / t->rows->n);
	dtype_convert(t->row, s->dtype, t->mean, DTYPE_F32, C);
}

static void vocabulary_rows(const struct trimming *t, const struct safetensor *s, size_t first, size_t n, char *out)
{
	size_t n_row = s->dims[1] * dtype_size(s->dtype), n_kept = (size_t)t->rows->n;
	if (first + n > n_kept)
		mean_row(t, s);
	for (size_t i = 0; i < n; i++)
		memcpy(out + i * n_row, first + i < n_kept ? (const char *)s->data + (size_t)t->rows->rows[first + i] * n_row : t->row, n_row);
}

static void read_rows(void *user, int tensor, size_t first, size_t n, void *out, enum dtype type)
{
	const struct trimming *t = user;
	const struct safetensor *s = t->hf->tensors[tensor];
	enum param_kind kind = t->hf->layout.tensors[tensor].kind;
	BUG_ON(type != s->dtype);
	if (kind == PARAM_EMBED || kind == PARAM_HEAD) {
		vocabulary_rows(t, s, first, n, out);
		fsio_map_forget(s->data, s->n_bytes);
	} else {
		size_t n_row = s->n_bytes / s->dims[0];
		memcpy(out, (const char *)s->data + first * n_row, n * n_row);
		fsio_map_forget(s->data, (first + n) * n_row);
	}
}

int prune_trim(const struct hf_model *hf, const struct trim_rows *rows, const json_t *config, const char *dir, struct err *e)
{
	struct trimming t = {.hf = hf, .rows = rows};
	struct param_layout layout = {0};
	struct arch arch = hf->layout.arch;
	size_t C = (size_t)arch.shape.C;
	int rc = -1;
	BUG_ON(rows->n < 1 || rows->multiple < 1);
	for (int i = 0; i < rows->n; i++)
		BUG_ON(rows->rows[i] < 0 || rows->rows[i] >= arch.shape.V);
	arch.shape.V = trim_vocab_size(rows);
	TRY(param_layout_init(&layout, &arch, e));
	t.row = malloc(C * sizeof(float));
	t.mean = malloc(C * sizeof *t.mean);
	t.sums = malloc(C * sizeof *t.sums);
	t.types = malloc((size_t)layout.n_tensors * sizeof *t.types);
	if (!t.row || !t.mean || !t.sums || !t.types) {
		err_run(e, "%s: out of memory", dir);
		goto out;
	}
	for (int i = 0; i < layout.n_tensors; i++)
		t.types[i] = hf->tensors[i]->dtype;
	const struct hf_save_options o = {.dtype = arch.dtype, .types = t.types, .config_from = config};
	TRY(hf_save_rows(dir, &layout, &(struct hf_rows){read_rows, &t}, &o, e));
	rc = 0;
out:
	param_layout_release(&layout);
	free(t.row);
	free(t.mean);
	free(t.sums);
	free(t.types);
	return rc;
}
