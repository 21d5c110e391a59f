/* What plan says beside its tables. Test: tests/test_run.c through the program. */
#include "recipes/plan_parts.h"

#include "base/fsio.h"
#include "recipes/outline.h"

#include <stdio.h>
#include <string.h>

static bool same_shape_before(const struct run *run, int i, const struct arch *arch)
{
	for (int k = 0; k < i; k++) {
		const struct student_spec *s = run->spec->students.v[k];
		struct outline other;
		struct err ignored;
		bool same = outline_open(&other, run, s, recipe_n_stages(s), &ignored) == 0 &&
			    !memcmp(&other.source.model->layout.arch.shape, &arch->shape, sizeof arch->shape);
		outline_close(&other);
		if (same)
			return true;
	}
	return false;
}

/* Loadability of every student's shape, one line for each finding that is not fine. */
void plan_findings(const struct run *run)
{
	for (int i = 0; i < run->spec->students.n; i++) {
		const struct student_spec *s = run->spec->students.v[i];
		struct load_finding found[16];
		struct outline end;
		struct err ignored;
		if (outline_open(&end, run, s, recipe_n_stages(s), &ignored) == 0 && !same_shape_before(run, i, &end.model.layout.arch)) {
			int n = arch_check_loadable(&end.model.layout.arch, found, 16);
			for (int k = 0; k < n; k++)
				printf("  shape of %s: %s\n", run->spec->students.names[i], found[k].line);
		}
		outline_close(&end);
	}
}

int plan_data(const struct run *run, struct err *e)
{
	for (int i = 0; i < run->spec->data->domains.n; i++) {
		const struct domain_spec *d = run->spec->data->domains.v[i];
		uint64_t bytes = 0, n;
		if (d->generate) {
			printf("data: %s, generated: %lld documents and %lld to evaluate on\n", run->spec->data->domains.names[i],
			       (long long)d->generate->documents, (long long)d->generate->eval_documents);
			continue;
		}
		for (int k = 0; k < d->train.n; k++) {
			if (fsio_size(d->train.v[k], &n, e) < 0)
				return -1;
			bytes += n;
		}
		for (int k = 0; k < d->eval.n; k++)
			if (fsio_size(d->eval.v[k], &n, e) < 0)
				return -1;
		printf("data: %s, %d training file%s, %.1f MB on disk; epochs are shown once it is tokenised\n", run->spec->data->domains.names[i],
		       d->train.n, d->train.n == 1 ? "" : "s", (double)bytes / 1e6);
	}
	return 0;
}
