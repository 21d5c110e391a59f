#include "data/tokenizer_make.h"

json_t *make_special_token(const char *content, int64_t id)
{
	return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", content, "single_word", 0,
			 "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

json_t *make_byte_level(bool add_prefix_space)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", (int)add_prefix_space, "trim_offsets", 1,
			 "use_regex", 1);
}

static json_t *piece(const char *kind, const char *id, int type_id)
{
	return json_pack("{s:{s:s, s:i}}", kind, "id", id, "type_id", type_id);
}

/* bos? A eos? for a text, the same once more with B for the second of a pair */
static json_t *pieces(const char *bos, const char *eos, int n_texts)
{
	json_t *list = json_array();
	for (int i = 0; i < n_texts; i++) {
		if (bos)
			json_array_append_new(list, piece("SpecialToken", bos, i));
		json_array_append_new(list, piece("Sequence", i ? "B" : "A", i));
		if (eos)
			json_array_append_new(list, piece("SpecialToken", eos, i));
	}
	return list;
}

static void add_special(json_t *specials, const char *name, int64_t id)
{
	if (name)
		json_object_set_new(specials, name,
				    json_pack("{s:s, s:[I], s:[s]}", "id", name, "ids", (json_int_t)id, "tokens", name));
}

json_t *make_template(const char *bos, int64_t bos_id, const char *eos, int64_t eos_id)
{
	json_t *specials = json_object();
	add_special(specials, bos, bos_id);
	add_special(specials, eos, eos_id);
	return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", pieces(bos, eos, 1), "pair",
			 pieces(bos, eos, 2), "special_tokens", specials);
}
