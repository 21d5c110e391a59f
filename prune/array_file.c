#include "prune/array_file.h"

#include <stdio.h>
#include <string.h>

size_t array_elems(const struct array_entry *x)
{
	return x->dims[0] * (x->n_dims == 2 ? x->dims[1] : 1);
}

bool array_is_known(const struct array_entry *entries, int n, const char *name)
{
	for (int k = 0; k < n; k++)
		if (!strcmp(name, entries[k].name))
			return true;
	return false;
}

static void shape_text(char *out, size_t n, int n_dims, const size_t *dims)
{
	size_t at = 0;
	out[0] = '\0';
	for (int i = 0; i < n_dims && at < n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%zu", i ? ", " : "", dims[i]);
}

int array_check(const char *path, const struct safetensor *t, const struct array_entry *x, const char *what, struct err *e)
{
	char found[128], wanted[64];
	if (!t->known || t->dtype != DTYPE_F32)
		return err_run(e, "%s: tensor '%s' has type %s, %s are F32", path, x->name, t->dtype_text, what);
	if (t->n_dims != x->n_dims || memcmp(t->dims, x->dims, (size_t)x->n_dims * sizeof *x->dims)) {
		shape_text(found, sizeof found, t->n_dims, t->dims);
		shape_text(wanted, sizeof wanted, x->n_dims, x->dims);
		return err_run(e, "%s: tensor '%s' has shape (%s), the model wants (%s); are these %s of another model?", path, x->name,
			       found, wanted, what);
	}
	return 0;
}

int arrays_write(struct safetensors_writer *w, const struct array_entry *entries, int n, struct err *e)
{
	for (int i = 0; i < n; i++)
		if (entries[i].data)
			safetensors_declare(w, entries[i].name, DTYPE_F32, entries[i].n_dims, entries[i].dims);
	for (int i = 0; i < n; i++)
		if (entries[i].data && safetensors_write(w, entries[i].data, array_elems(&entries[i]) * sizeof(float), e) < 0) {
			safetensors_abort(w);
			return -1;
		}
	return safetensors_commit(w, e);
}
