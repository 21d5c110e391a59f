#include "data/pretokenize.h"

#include <string.h>

const char pretokenize_gpt2_regex[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

void pretokenize_release(struct pretokenize *p)
{
	for (size_t i = 0; i < p->n; i++) {
		pattern_release(&p->stages[i].pattern);
		bytes_release(&p->stages[i].content);
		bytes_release(&p->stages[i].space);
		bytes_release(&p->stages[i].mapped);
	}
	*p = (struct pretokenize){0};
}

/* A piece on its way through the stages. */
struct passage {
	struct pretokenize *p;
	size_t stage;   /* the stage that receives the next piece */
	bool at_start;  /* the text that is being cut begins the document */
	piece_emit *emit;
	void *context;
};

static int run_stage(struct passage *now, const char *s, size_t n, struct err *e);

/* piece_emit: hands a piece to the stage after. */
static int pass_on(void *context, const char *piece, size_t n, size_t start, struct err *e)
{
	struct passage *now = context;
	struct passage next = *now;
	next.stage++;
	next.at_start = now->at_start && start == 0;
	return run_stage(&next, piece, n, e);
}

static int pass_on_mapped(void *context, const char *piece, size_t n, size_t start, struct err *e)
{
	struct passage *now = context;
	struct bytes *mapped = &now->p->stages[now->stage].mapped;
	mapped->n = 0;
	if (byte_level_append(mapped, piece, n, e) < 0)
		return -1;
	return pass_on(context, mapped->v, mapped->n, start, e);
}

/* s with content before it, unless it begins with it. */
static int prepend(struct pretokenize_stage *stage, const char *content, size_t n_content, const char **s, size_t *n, struct err *e)
{
	if (*n >= n_content && !memcmp(*s, content, n_content))
		return 0;
	stage->space.n = 0;
	if (bytes_append(&stage->space, content, n_content, e) < 0 || bytes_append(&stage->space, *s, *n, e) < 0)
		return -1;
	*s = stage->space.v;
	*n = stage->space.n;
	return 0;
}

static int byte_level(struct passage *now, const char *s, size_t n, struct err *e)
{
	struct pretokenize_stage *stage = &now->p->stages[now->stage];
	bool raw = now->p->raw && now->stage + 1 == now->p->n;
	piece_emit *emit = raw ? pass_on : pass_on_mapped;
	if (stage->prepend == PREPEND_ALWAYS && prepend(stage, " ", 1, &s, &n, e) < 0)
		return -1;
	if (stage->split)
		return pattern_split(&stage->pattern, SPLIT_ISOLATED, false, s, n, emit, now, e);
	return emit(now, s, n, 0, e);
}

static int metaspace(struct passage *now, const char *s, size_t n, struct err *e)
{
	struct pretokenize_stage *stage = &now->p->stages[now->stage];
	const struct bytes *content = &stage->content;
	stage->mapped.n = 0;
	for (const char *end = s + n; s < end;) {
		const char *space = memchr(s, ' ', (size_t)(end - s));
		size_t run = (size_t)((space ? space : end) - s);
		if (bytes_append(&stage->mapped, s, run, e) < 0 ||
		    (space && bytes_append(&stage->mapped, content->v, content->n, e) < 0))
			return -1;
		s += run + !!space;
	}
	s = stage->mapped.v;
	n = stage->mapped.n;
	if (stage->prepend == PREPEND_ALWAYS || (stage->prepend == PREPEND_FIRST && now->at_start))
		if (prepend(stage, content->v, content->n, &s, &n, e) < 0)
			return -1;
	if (stage->split)
		return pattern_split(&stage->pattern, SPLIT_MERGED_WITH_NEXT, false, s, n, pass_on, now, e);
	return pass_on(now, s, n, 0, e);
}

static int run_stage(struct passage *now, const char *s, size_t n, struct err *e)
{
	if (now->stage == now->p->n)
		return now->emit(now->context, s, n, 0, e);
	const struct pretokenize_stage *stage = &now->p->stages[now->stage];
	switch (stage->kind) {
	case PRETOKENIZE_BYTE_LEVEL:
		return byte_level(now, s, n, e);
	case PRETOKENIZE_METASPACE:
		return metaspace(now, s, n, e);
	default:
		return pattern_split(&stage->pattern, stage->behavior, stage->invert, s, n, pass_on, now, e);
	}
}

int pretokenize_run(struct pretokenize *p, const char *s, size_t n, bool at_start, piece_emit *emit, void *context, struct err *e)
{
	struct passage now = {.p = p, .at_start = at_start, .emit = emit, .context = context};
	return n ? run_stage(&now, s, n, e) : 0;
}
