/* manifest.json: what a cache holds and whom it belongs to, and the line for what differs. Test: tests/test_cache.c */
#include "teacher/cache_parts.h"

#include "base/hash.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define FORMAT "espalier soft targets"
#define VERSION 2

const char *cache_kind_name(enum cache_kind kind)
{
	static const char *const names[] = {"top_k", "top_p", "sampled", "hidden"};
	return names[kind];
}

/* What is compared, each as a text. */
struct field {
	const char *key, *words; /* in the file; in a sentence */
	char value[32];
};
enum { FIELDS = 12 };
struct manifest {
	struct field fields[FIELDS];
	int n;
};

static void add(struct manifest *m, const char *key, const char *words, const char *value)
{
	struct field *f = &m->fields[m->n++];
	BUG_ON(m->n > FIELDS);
	f->key = key;
	f->words = words;
	snprintf(f->value, sizeof f->value, "%s", value);
}

static void add_hash(struct manifest *m, const char *key, const char *words, uint64_t value)
{
	char text[17];
	hash_hex(value, text);
	add(m, key, words, text);
}

static void add_integer(struct manifest *m, const char *key, const char *words, int value)
{
	char text[16];
	snprintf(text, sizeof text, "%d", value);
	add(m, key, words, text);
}

static void add_real(struct manifest *m, const char *key, const char *words, double value)
{
	char text[32];
	snprintf(text, sizeof text, "%.17g", value);
	double shorter;
	char brief[32];
	snprintf(brief, sizeof brief, "%.6g", value);
	add(m, key, words, sscanf(brief, "%lf", &shorter) == 1 && shorter == value ? brief : text);
}

static struct manifest manifest_of(const struct cache_spec *s, const struct cache_identity *id)
{
	struct manifest m = {.n = 0};
	bool ids = s->kind != CACHE_HIDDEN;
	add(&m, "kind", "kind", cache_kind_name(s->kind));
	add_hash(&m, "teacher", "teacher (hash of its checkpoint)", id->teacher);
	add_hash(&m, "tokenizer", "tokenizer (hash)", id->tokenizer);
	add_hash(&m, "corpus", "text (hash)", id->corpus);
	if (ids) {
		add_real(&m, "temperature", "temperature", s->tau);
		add_integer(&m, "k", s->kind == CACHE_SAMPLED ? "number of samples" : "number of ids a token", s->K);
	}
	if (s->kind == CACHE_TOP_P)
		add_real(&m, "top_p", "top_p", s->top_p);
	if (s->kind == CACHE_SAMPLED) {
		add_real(&m, "proposal", "power of the proposal", s->power);
		add_hash(&m, "seed", "seed", s->seed);
	}
	add(&m, "values", "precision", dtype_name(s->value_type));
	add_integer(&m, "vocabulary", "vocabulary", id->V);
	if (!ids)
		add_integer(&m, "width", "width of the teacher", id->C);
	return m;
}

int cache_manifest_write(const char *path, const struct cache_spec *spec, const struct cache_identity *id, struct err *e)
{
	struct manifest m = manifest_of(spec, id);
	json_t *object = json_object();
	int bad = json_object_set_new(object, "format", json_string(FORMAT));
	bad |= json_object_set_new(object, "version", json_integer(VERSION));
	for (int i = 0; i < m.n; i++)
		bad |= json_object_set_new(object, m.fields[i].key, json_string(m.fields[i].value));
	int rc = bad ? err_run(e, "%s: out of memory", path) : json_write_file(path, object, e);
	json_decref(object);
	return rc;
}

static int check_format(const json_t *object, const char *path, struct err *e)
{
	const char *format;
	int64_t version;
	if (json_get_string(object, path, "format", "", &format, e) < 0)
		return -1;
	if (strcmp(format, FORMAT))
		return err_user(e, "%s: expected the manifest of a teacher cache (format \"%s\"), found \"%s\"", path, FORMAT, format);
	if (json_get_int64(object, path, "version", 0, INT64_MIN, INT64_MAX, &version, e) < 0)
		return -1;
	if (version != VERSION)
		return err_user(e, "%s: expected version %d of the format, found %lld; choose another directory", path, VERSION,
				(long long)version);
	return 0;
}

int cache_manifest_check(const char *path, const char *dir, const struct cache_spec *spec, const struct cache_identity *id,
			 struct err *e)
{
	struct manifest m = manifest_of(spec, id);
	const char *found;
	json_t *object;
	int rc = -1;
	if (json_read_file(path, &object, e) < 0)
		return -1;
	if (!json_is_object(object)) {
		err_user(e, "%s: expected an object", path);
		goto out;
	}
	TRY(check_format(object, path, e));
	for (int i = 0; i < m.n; i++) {
		const struct field *f = &m.fields[i];
		TRY(json_get_string(object, path, f->key, "(nothing)", &found, e));
		if (strcmp(found, f->value)) {
			err_user(e, "%s: this cache has another %s: expected %s, found %s; choose another directory, or remove this one",
				 dir, f->words, f->value, found);
			goto out;
		}
	}
	rc = 0;
out:
	json_decref(object);
	return rc;
}
