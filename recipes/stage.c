#include "recipes/stage.h"

#include "base/fsio.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

char *path_format(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	BUG_ON(n < 0);
	return text;
}

json_t *stage_hash_json(uint64_t hash)
{
	char hex[17];
	hash_hex(hash, hex);
	return json_string(hex);
}

int stage_begin(const char *dir, json_t *inputs, bool *done, struct err *e)
{
	char *inputs_path = path_format("%s/inputs.json", dir), *done_path = path_format("%s/DONE", dir);
	json_t *old = NULL;
	int rc = -1;
	*done = false;
	if (fsio_exists(inputs_path)) {
		TRY(json_read_file(inputs_path, &old, e));
		if (json_equal(old, inputs)) {
			*done = fsio_exists(done_path);
			rc = 0;
			goto out;
		}
		log_line("%s was made from other inputs; it is put aside and made again", dir);
		TRY(fsio_rename_aside(dir, e));
	}
	TRY(fsio_mkdirs(dir, e));
	TRY(json_write_file(inputs_path, inputs, e));
	rc = 0;
out:
	json_decref(old);
	json_decref(inputs);
	free(inputs_path);
	free(done_path);
	return rc;
}

int stage_finish(const char *dir, struct err *e)
{
	char *path = path_format("%s/DONE", dir);
	int rc = fsio_write_file(path, "done\n", 5, e);
	free(path);
	return rc;
}
