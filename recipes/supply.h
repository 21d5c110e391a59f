/* Where the soft targets of one phase come from: the run's teachers, online or from caches on disk that are filled first,
 * and which of their inner tensors the losses want. Test: tests/test_run_distil.c through the program. */
#ifndef RECIPES_SUPPLY_H
#define RECIPES_SUPPLY_H

#include "prune/cut.h"
#include "recipes/distill.h"
#include "recipes/run.h"
#include "recipes/session.h"

struct supply {
	const struct run *run;
	struct distill_plan plan;
	int n_inner;                 /* pairs of layers in all */
	struct inner_term inner[STUDENT_MAX_INNER];
	bool keep_hidden[ARCH_MAX_L], keep_qkv[ARCH_MAX_L]; /* of the first teacher */
	struct cache_spec spec;      /* with plan.cache */
	enum missing_mass missing;
	struct cache *caches[RECIPE_MAX_TEACHERS];
};
/* What a phase's training reads. */
struct supply_stream {
	uint64_t seed;
	int64_t skip_tokens, tokens;
	const char *label;
};
/* student: of what learns; kept: what a cut from the first teacher left, or NULL. Refuses layers that are not there and widths
 * that no projection was asked for. */
int supply_open(struct supply **out, const struct run *, const struct distill_spec *, const struct arch *student, const struct kept *kept,
                struct err *);
void supply_close(struct supply *); /* NULL is fine */
/* One line for each inner loss: which layer follows which, and through what. */
void supply_log(const struct supply *, const char *label);
/* Sets teachers, terms and inner losses. */
void supply_session(struct supply *, struct session_options *);

/* ---- supply_fill.c ---- */

/* Opens the caches, runs the teachers over what they lack of the stream, and hands them to the session options. Nothing to
 * do without caches. -1 with "interrupted" after SIGINT: what was written is kept. */
int supply_fill(struct supply *, const struct supply_stream *, struct session_options *, struct err *);
/* Bytes by owner while a cache is filled, before there is a session: of the teacher that needs most. 0 where none is. */
int supply_price_filling(struct supply *, int B, int T, size_t bytes[MEMORY_OWNERS], struct err *);

/* ---- for plan and report ---- */

/* What a cache of this section will hold; the section has one. */
struct cache_spec supply_cache_spec(const struct run *, const struct distill_spec *);
struct cache_identity supply_cache_identity(const struct supply *, int teacher);
/* Where a teacher's cache lies (the caller's to free), and the bytes of a token before compression, all teachers' together. */
char *supply_cache_dir(const struct supply *, int teacher);
size_t supply_cache_row_bytes(const struct supply *);
/* "top_k 32, tail", for reports. */
void supply_cache_text(const struct supply *, char *text, size_t n_bytes);

#endif
