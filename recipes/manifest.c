#include "recipes/manifest.h"

#include "base/fsio.h"
#include "base/json.h"
#include "recipes/stage.h"
#include "recipes/teachers.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void now_text(char out[32])
{
	time_t t = time(NULL);
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int check_manifest(struct run *run, const json_t *m, const char *path, struct err *e)
{
	const char *name, *device, *compute, *started;
	TRY(json_get_string(m, path, "name", "", &name, e));
	TRY(json_get_string(m, path, "device", "", &device, e));
	TRY(json_get_string(m, path, "compute", "", &compute, e));
	TRY(json_get_string(m, path, "started", "", &started, e));
	if (strcmp(name, run->spec->name))
		return err_user(e, "%s holds the run '%s', this recipe is '%s': give another --out", run->dir, name, run->spec->name);
	run->started = pool_strdup(&run->recipe.pool, started);
	const char *now = run->ops->matmul_bf16 ? "bf16" : "fp32";
	if (!run->allow_drift && (strcmp(device, run->ops->device) || (strcmp(compute, now) && run->spec->compute == COMPUTE_BF16)))
		return err_user(e, "%s was started on \"%s\" in %s, this is \"%s\" in %s: results would not repeat to the bit; --allow-drift goes on all the same",
				run->dir, device, compute, run->ops->device, now);
	return 0;
out:
	return -1;
}

/* From here on the run belongs to this machine. */
static int drift(const struct run *run, json_t *m, const char *path, struct err *e)
{
	json_object_set_new(m, "device", json_string(run->ops->device));
	json_object_set_new(m, "threads", json_integer(run->ops->n_threads));
	json_object_set_new(m, "compute", json_string(run->ops->matmul_bf16 ? "bf16" : "fp32"));
	return json_write_file(path, m, e);
}

static int manifest_threads(const char *path, int64_t wanted, int *out, struct err *e)
{
	json_t *m = NULL;
	int64_t threads = wanted;
	int rc = -1;
	if (!wanted && fsio_exists(path)) {
		TRY(json_read_file(path, &m, e));
		TRY(json_get_int64(m, path, "threads", 0, 0, 4096, &threads, e));
	}
	*out = (int)threads;
	rc = 0;
out:
	json_decref(m);
	return rc;
}

int manifest_open(struct run *run, struct err *e)
{
	char *path = path_format("%s/manifest.json", run->dir), *resolved_path = path_format("%s/recipe.yaml", run->dir);
	char *resolved = recipe_resolved(&run->recipe), now[32];
	json_t *m = NULL;
	int threads, rc = -1;
	TRY(manifest_threads(path, run->spec->threads, &threads, e));
	TRY(run_open_ops(run, threads, e));
	if (fsio_exists(path)) {
		TRY(json_read_file(path, &m, e));
		TRY(check_manifest(run, m, path, e));
		if (run->allow_drift)
			TRY(drift(run, m, path, e));
	} else {
		now_text(now);
		run->started = pool_strdup(&run->recipe.pool, now);
		m = json_pack("{s:s,s:s,s:i,s:s,s:s,s:s,s:s}", "name", run->spec->name, "device", run->ops->device, "threads", run->ops->n_threads,
			      "compute", run->ops->matmul_bf16 ? "bf16" : "fp32", "version", version_number(), "commit", version_commit(), "started", now);
		TRY(json_write_file(path, m, e));
	}
	TRY(fsio_write_file(resolved_path, resolved, strlen(resolved), e));
	rc = 0;
out:
	json_decref(m);
	free(resolved);
	free(resolved_path);
	free(path);
	return rc;
}
