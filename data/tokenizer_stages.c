/* normalizer, pre_tokenizer and decoder of a tokenizer.json. */
#include <string.h>

#include "data/tokenizer_parts.h"
#include "data/unicode.h"

static int unsupported(const char *name, const char *part, const char *type, struct err *e)
{
	return err_user(e, "%s: %s of type \"%s\" is not supported (data/tokenizer.h lists what is)", name, part, type);
}

static int type_of(const json_t *json, const char *name, const char *part, const char **type, struct err *e)
{
	if (!json_is_object(json))
		return err_user(e, "%s: %s: expected an object", name, part);
	*type = json_string_value(json_object_get(json, "type"));
	return *type ? 0 : err_user(e, "%s: %s without a \"type\"", name, part);
}

/* A string that must be there, NULs allowed. */
static int get_text(const json_t *json, const char *name, const char *key, struct bytes *out, struct err *e)
{
	const json_t *v = json_object_get(json, key);
	if (!json_is_string(v))
		return err_user(e, "%s: \"%s\": expected a string", name, key);
	return bytes_append(out, json_string_value(v), json_string_length(v), e);
}

/* One character, as `content` and `replacement` are. */
static int get_character(const json_t *json, const char *name, const char *key, struct bytes *out, struct err *e)
{
	int32_t c;
	if (get_text(json, name, key, out, e) < 0)
		return -1;
	if (!out->n || utf8_next(out->v, out->n, &c) != (int)out->n)
		return err_user(e, "%s: \"%s\": expected one character", name, key);
	return 0;
}

/* {"String": "…"} or {"Regex": "…"} */
static int get_pattern(const json_t *json, const char *name, struct pattern *out, struct err *e)
{
	const json_t *p = json_object_get(json, "pattern");
	const json_t *string = json_object_get(p, "String"), *regex = json_object_get(p, "Regex");
	const json_t *v = string ? string : regex;
	int rc;
	if (!json_is_string(v))
		return err_user(e, "%s: \"pattern\": expected {\"String\": …} or {\"Regex\": …}", name);
	if (string)
		rc = pattern_init_string(out, json_string_value(v), json_string_length(v), e);
	else
		rc = pattern_init_regex(out, json_string_value(v), json_string_length(v), e);
	return rc < 0 ? err_prefix(e, "%s", name) : 0;
}

/* Calls read for each element of a Sequence. Nesting is bounded by the JSON parser. */
typedef int read_one(void *to, const json_t *json, const char *name, struct err *e);
static int read_sequence(void *to, const json_t *json, const char *key, const char *name, read_one *read, struct err *e)
{
	const json_t *list = json_object_get(json, key);
	if (!json_is_array(list))
		return err_user(e, "%s: a Sequence without \"%s\"", name, key);
	for (size_t i = 0; i < json_array_size(list); i++)
		if (read(to, json_array_get(list, i), name, e) < 0)
			return -1;
	return 0;
}

/* ---- normalizer ---- */

static int normalizer_fields(struct normalize_step *step, const char *type, const json_t *json, const char *name, struct err *e)
{
	static const struct { const char *type; enum normalize_kind kind; } plain[] = {
		{"NFC", NORMALIZE_NFC}, {"NFD", NORMALIZE_NFD}, {"NFKC", NORMALIZE_NFKC}, {"NFKD", NORMALIZE_NFKD},
		{"Lowercase", NORMALIZE_LOWERCASE}};
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(type, plain[i].type)) {
			step->kind = plain[i].kind;
			return 0;
		}
	if (!strcmp(type, "Prepend")) {
		step->kind = NORMALIZE_PREPEND;
		return get_text(json, name, "prepend", &step->content, e);
	}
	if (!strcmp(type, "Replace")) {
		step->kind = NORMALIZE_REPLACE;
		return get_pattern(json, name, &step->pattern, e) < 0 ? -1 : get_text(json, name, "content", &step->content, e);
	}
	if (strcmp(type, "Strip"))
		return unsupported(name, "a normalizer", type, e);
	step->kind = NORMALIZE_STRIP;
	if (json_get_bool(json, name, "strip_left", true, &step->left, e) < 0)
		return -1;
	return json_get_bool(json, name, "strip_right", true, &step->right, e);
}

static int read_normalizer(void *to, const json_t *json, const char *name, struct err *e)
{
	struct normalize *z = to;
	const char *type;
	if (type_of(json, name, "a normalizer", &type, e) < 0)
		return -1;
	if (!strcmp(type, "Sequence"))
		return read_sequence(z, json, "normalizers", name, read_normalizer, e);
	if (z->n == NORMALIZE_MAX)
		return err_user(e, "%s: more than %d normalizers", name, NORMALIZE_MAX);
	return normalizer_fields(&z->steps[z->n++], type, json, name, e);
}

int tokenizer_read_normalizer(struct normalize *z, const json_t *json, const char *name, struct err *e)
{
	return !json || json_is_null(json) ? 0 : read_normalizer(z, json, name, e);
}

/* ---- pre-tokenizer ---- */

static int get_behavior(const json_t *json, const char *name, enum split_behavior fallback, enum split_behavior *out,
			struct err *e)
{
	static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
	const json_t *v = json_object_get(json, "behavior");
	*out = fallback;
	if (!v)
		return 0;
	for (int i = 0; json_is_string(v) && i < 5; i++)
		if (!strcmp(json_string_value(v), names[i])) {
			*out = (enum split_behavior)i;
			return 0;
		}
	return err_user(e, "%s: \"behavior\": expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", name);
}

static int read_byte_level(struct pretokenize_stage *stage, const json_t *json, const char *name, struct err *e)
{
	bool space;
	stage->kind = PRETOKENIZE_BYTE_LEVEL;
	if (json_get_bool(json, name, "add_prefix_space", true, &space, e) < 0 ||
	    json_get_bool(json, name, "use_regex", true, &stage->split, e) < 0)
		return -1;
	stage->prepend = space ? PREPEND_ALWAYS : PREPEND_NEVER;
	return stage->split ? pattern_init_regex(&stage->pattern, pretokenize_gpt2_regex, strlen(pretokenize_gpt2_regex), e) : 0;
}

static int read_metaspace(struct pretokenize_stage *stage, const json_t *json, const char *name, struct err *e)
{
	static const char *const schemes[] = {"never", "first", "always"};
	const char *scheme;
	bool prefix;
	stage->kind = PRETOKENIZE_METASPACE;
	if (get_character(json, name, "replacement", &stage->content, e) < 0 ||
	    json_get_bool(json, name, "split", true, &stage->split, e) < 0 ||
	    json_get_bool(json, name, "add_prefix_space", true, &prefix, e) < 0 ||
	    json_get_string(json, name, "prepend_scheme", prefix ? "always" : "never", &scheme, e) < 0)
		return -1;
	int i = 0;
	while (i < 3 && strcmp(scheme, schemes[i]))
		i++;
	if (i == 3 || (!prefix && i != PREPEND_NEVER))
		return err_user(e, "%s: Metaspace with prepend_scheme \"%s\"%s", name, scheme,
				prefix ? "" : " but no add_prefix_space");
	stage->prepend = (enum prepend_scheme)i;
	return pattern_init_string(&stage->pattern, stage->content.v, stage->content.n, e);
}

static int read_split(struct pretokenize_stage *stage, const json_t *json, const char *name, struct err *e)
{
	if (get_pattern(json, name, &stage->pattern, e) < 0 || json_get_bool(json, name, "invert", false, &stage->invert, e) < 0)
		return -1;
	return get_behavior(json, name, SPLIT_ISOLATED, &stage->behavior, e);
}

static int read_digits(struct pretokenize_stage *stage, const json_t *json, const char *name, struct err *e)
{
	bool individual;
	if (json_get_bool(json, name, "individual_digits", false, &individual, e) < 0)
		return -1;
	stage->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
	pattern_init_class(&stage->pattern, unicode_is_numeric);
	return 0;
}

static int read_whitespace(struct pretokenize_stage *stage, struct err *e)
{
	static const char regex[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+|"
				    "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}\\p{White_Space}]+";
	stage->behavior = SPLIT_REMOVED;
	stage->invert = true;
	return pattern_init_regex(&stage->pattern, regex, strlen(regex), e);
}

static int stage_fields(struct pretokenize_stage *stage, const char *type, const json_t *json, const char *name, struct err *e)
{
	stage->kind = PRETOKENIZE_SPLIT;
	if (!strcmp(type, "ByteLevel"))
		return read_byte_level(stage, json, name, e);
	if (!strcmp(type, "Metaspace"))
		return read_metaspace(stage, json, name, e);
	if (!strcmp(type, "Split"))
		return read_split(stage, json, name, e);
	if (!strcmp(type, "Digits"))
		return read_digits(stage, json, name, e);
	if (!strcmp(type, "Whitespace"))
		return read_whitespace(stage, e);
	if (!strcmp(type, "WhitespaceSplit")) {
		stage->behavior = SPLIT_REMOVED;
		pattern_init_class(&stage->pattern, unicode_is_space);
		return 0;
	}
	if (strcmp(type, "Punctuation"))
		return unsupported(name, "a pre_tokenizer", type, e);
	pattern_init_class(&stage->pattern, unicode_is_punctuation);
	return get_behavior(json, name, SPLIT_ISOLATED, &stage->behavior, e);
}

static int read_pre_tokenizer(void *to, const json_t *json, const char *name, struct err *e)
{
	struct pretokenize *p = to;
	const char *type;
	if (type_of(json, name, "a pre_tokenizer", &type, e) < 0)
		return -1;
	if (!strcmp(type, "Sequence"))
		return read_sequence(p, json, "pretokenizers", name, read_pre_tokenizer, e);
	if (p->n == PRETOKENIZE_MAX)
		return err_user(e, "%s: more than %d pre_tokenizers", name, PRETOKENIZE_MAX);
	return stage_fields(&p->stages[p->n++], type, json, name, e);
}

int tokenizer_read_pre_tokenizer(struct pretokenize *p, const json_t *json, const char *name, struct err *e)
{
	return !json || json_is_null(json) ? 0 : read_pre_tokenizer(p, json, name, e);
}

/* ---- decoder ---- */

static int read_decoder_strip(struct detokenize_step *step, const json_t *json, const char *name, struct err *e)
{
	int64_t left, right;
	step->kind = DETOKENIZE_STRIP;
	if (get_character(json, name, "content", &step->content, e) < 0 ||
	    json_get_int64(json, name, "start", 0, 0, INT32_MAX, &left, e) < 0 ||
	    json_get_int64(json, name, "stop", 0, 0, INT32_MAX, &right, e) < 0)
		return -1;
	step->left = (size_t)left;
	step->right = (size_t)right;
	return 0;
}

static int read_decoder_metaspace(struct detokenize_step *step, const json_t *json, const char *name, struct err *e)
{
	struct pretokenize_stage stage = {0};
	int rc = read_metaspace(&stage, json, name, e);
	step->kind = DETOKENIZE_METASPACE;
	step->prepends = stage.prepend != PREPEND_NEVER;
	step->pattern = stage.pattern;
	bytes_release(&stage.content);
	return rc;
}

static int decoder_fields(struct detokenize_step *step, const char *type, const json_t *json, const char *name, struct err *e)
{
	static const struct { const char *type; enum detokenize_kind kind; } plain[] = {
		{"ByteLevel", DETOKENIZE_BYTE_LEVEL}, {"ByteFallback", DETOKENIZE_BYTE_FALLBACK}, {"Fuse", DETOKENIZE_FUSE}};
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
		if (!strcmp(type, plain[i].type)) {
			step->kind = plain[i].kind;
			return 0;
		}
	if (!strcmp(type, "Replace")) {
		step->kind = DETOKENIZE_REPLACE;
		return get_pattern(json, name, &step->pattern, e) < 0 ? -1 : get_text(json, name, "content", &step->content, e);
	}
	if (!strcmp(type, "Strip"))
		return read_decoder_strip(step, json, name, e);
	if (!strcmp(type, "Metaspace"))
		return read_decoder_metaspace(step, json, name, e);
	return unsupported(name, "a decoder", type, e);
}

static int read_decoder(void *to, const json_t *json, const char *name, struct err *e)
{
	struct detokenize *d = to;
	const char *type;
	if (type_of(json, name, "a decoder", &type, e) < 0)
		return -1;
	if (!strcmp(type, "Sequence"))
		return read_sequence(d, json, "decoders", name, read_decoder, e);
	if (d->n == DETOKENIZE_MAX)
		return err_user(e, "%s: more than %d decoders", name, DETOKENIZE_MAX);
	return decoder_fields(&d->steps[d->n++], type, json, name, e);
}

int tokenizer_read_decoder(struct detokenize *d, const json_t *json, const char *name, struct err *e)
{
	d->none = !json || json_is_null(json);
	return d->none ? 0 : read_decoder(d, json, name, e);
}
