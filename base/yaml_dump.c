/* The canonical dump, through libyaml's emitter. Test: tests/test_yaml.c */
#include "base/yaml.h"

#include "base/fsio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct sink {
	char *text;
	size_t n, room;
};

static int put(void *data, unsigned char *bytes, size_t n)
{
	struct sink *s = data;
	if (s->room - s->n <= n) {
		size_t room = 2 * (s->n + n) + 256;
		char *text = realloc(s->text, room);
		if (!text)
			return 0;
		s->text = text;
		s->room = room;
	}
	memcpy(s->text + s->n, bytes, n);
	s->n += n;
	s->text[s->n] = '\0';
	return 1;
}

/* Whether a string must keep its quotes, lest it become null, a truth value, a number or a merge. */
static bool needs_quotes(const char *text)
{
	static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"};
	bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '_' || *text == '/';
	if (!letter)
		return true;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	return strpbrk(text, "\n\r\t\"'\\#:{}[],&*!|>%@`") != NULL || text[strlen(text) - 1] == ' ';
}

static bool all_scalars(const struct yaml_node *n)
{
	for (size_t i = 0; i < n->n; i++)
		if (n->children[i]->kind != YAML_SCALAR)
			return false;
	return true;
}

/* Keys stay as they are: ~ and null are two keys. */
static int emit_scalar(yaml_emitter_t *emitter, const struct yaml_node *n, bool key)
{
	yaml_event_t event;
	const char *text = !key && yaml_is_null(n) ? "null" : n->text;
	yaml_scalar_style_t style = n->quoted && needs_quotes(text) ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
	return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1, style) &&
	       yaml_emitter_emit(emitter, &event);
}

static int emit(yaml_emitter_t *emitter, const struct yaml_node *n)
{
	yaml_event_t event;
	bool map = n->kind == YAML_MAPPING;
	if (n->kind == YAML_SCALAR)
		return emit_scalar(emitter, n, false);
	int ok = map ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
		     : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
							    all_scalars(n) ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
	ok = ok && yaml_emitter_emit(emitter, &event);
	for (size_t i = 0; ok && i < n->n; i++)
		ok = (!map || emit_scalar(emitter, n->keys[i], true)) && emit(emitter, n->children[i]);
	return ok && (map ? yaml_mapping_end_event_initialize(&event) : yaml_sequence_end_event_initialize(&event)) &&
	       yaml_emitter_emit(emitter, &event);
}

int yaml_dump_text(const struct yaml_node *node, char **out, size_t *n_bytes, struct err *e)
{
	yaml_emitter_t emitter;
	yaml_event_t event;
	struct sink s = {0};
	*out = NULL;
	if (!yaml_emitter_initialize(&emitter))
		return err_run(e, "out of memory");
	yaml_emitter_set_output(&emitter, put, &s);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	int ok = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) && yaml_emitter_emit(&emitter, &event) &&
		 yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) && yaml_emitter_emit(&emitter, &event) &&
		 emit(&emitter, node) && yaml_document_end_event_initialize(&event, 1) &&
		 yaml_emitter_emit(&emitter, &event) && yaml_stream_end_event_initialize(&event) &&
		 yaml_emitter_emit(&emitter, &event);
	if (!ok && emitter.error == YAML_EMITTER_ERROR)
		err_run(e, "cannot write YAML: %s", emitter.problem);
	else if (!ok) /* put fails only without memory */
		err_run(e, "cannot write YAML: out of memory");
	yaml_emitter_delete(&emitter);
	if (!ok) {
		free(s.text);
		return -1;
	}
	*out = s.text;
	if (n_bytes)
		*n_bytes = s.n;
	return 0;
}

int yaml_dump(const struct yaml_node *node, struct fsio_writer *w, struct err *e)
{
	char *text;
	size_t n_bytes;
	if (yaml_dump_text(node, &text, &n_bytes, e) < 0)
		return -1;
	int rc = fsio_write(w, text, n_bytes, e);
	free(text);
	return rc;
}
