/* Finished results side by side: students by domains, ranked among those of their size, paired with a reference student of that
 * size, and with their controls. Reads result
 * files only; knows no recipe and no model. Test: tests/test_compare.c, tests/test_controls.c */
#ifndef RESULTS_COMPARE_H
#define RESULTS_COMPARE_H

#include "results/bootstrap.h"
#include "results/result_file.h"
#include "results/table.h"

enum { COMPARE_MAX_SEEDS = 16, COMPARE_MAX_ROWS = 64, COMPARE_MAX_NOTES = 24, COMPARE_NO_GROUP = -1 };
/* A student whose parameters differ from a reference's by more than this share is of another size. */
#define COMPARE_SIZE_TOLERANCE 0.02
/* Budgets that differ by no more than this share are equal: a budget ends with its last whole batch. */
#define COMPARE_TOKENS_TOLERANCE 0.005

struct compare_domain {
	char name[64];
	bool in_bits;      /* tokenizers differ: differences and ranks are in bits per byte, not nat per token */
	size_t n_documents, tokens, bytes; /* of the reference */
	bool few;          /* fewer than BOOTSTRAP_FEW_DOCUMENTS documents */
};
struct compare_pair_cell { /* a student and the one it is held against, in one domain */
	bool paired;
	int n_seeds;                /* that both have */
	struct interval difference; /* student - other, of the documents' means over the seeds that both have; in the domain's unit */
	double deviation;           /* of the differences seed by seed, standard, over n - 1; NaN for one seed */
	int n_better;               /* seeds whose difference is below zero */
};
struct compare_cell { /* one student in one domain; over several seeds: of the documents' mean NLL */
	bool present;
	struct interval nll; /* nat per token */
	struct interval score; /* in the domain's unit: nll, or bits per byte */
	double perplexity;   /* exp(nll.mean) */
	double bits_per_byte;
	bool has_teacher;
	double kl, agreement_top1;
	double seed_nll[COMPARE_MAX_SEEDS];
	double deviation;    /* of seed_nll, standard, over n - 1; NaN for one seed */
	bool paired;         /* with the row's reference, document by document: */
	struct interval difference; /* student - reference; negative: better than the reference */
	bool best;           /* the lowest score of those of its size that are ranked */
	struct compare_pair_cell to_best; /* against that student; not paired for itself, and where nothing is ranked */
};
struct compare_row {
	const char *name;    /* borrowed from the results */
	int n_seeds;
	const struct result *seeds[COMPARE_MAX_SEEDS]; /* borrowed; cost figures are those of seeds[0] */
	bool teacher, reference; /* reference: that of its size */
	int group;           /* its size; COMPARE_NO_GROUP: the teacher, or nobody else has that size */
	int rank;            /* among those of its size, 1: best mean over domains; 0: not ranked (no group, or a domain is missing) */
	double score;        /* mean over domains, in the domain's unit */
	struct compare_cell *cells; /* (n_domains) */
};
struct compare_pair {
	int row, other;      /* other: -1 when there is none, and then no cells */
	struct compare_pair_cell *cells; /* (n_domains) */
};
struct compare_group { /* students of one size */
	int reference; /* row */
	int n_ranked;
};
struct compare_way { /* how a student was made: those of several sizes stand in one line */
	char text[208];
	int rows[COMPARE_MAX_ROWS]; /* (n_groups), -1: no student of that size */
};
struct shape_search;
struct comparison {
	int n_domains, n_rows;
	struct compare_domain domains[RESULT_MAX_EVALS];
	struct compare_row rows[COMPARE_MAX_ROWS]; /* the teacher first, then students in the order given; of several sizes, size by size */
	int n_groups, n_ways;
	struct compare_group groups[COMPARE_MAX_ROWS]; /* the first is that of the reference, which may be alone in it */
	struct compare_way ways[COMPARE_MAX_ROWS];     /* of ranked students, by the score in the first size */
	int reference;       /* row of the first group's reference: students without a group and the teacher are paired with it */
	int n_controls, n_caches;
	struct compare_pair controls[COMPARE_MAX_ROWS]; /* every distilled student, and what the same tokens gave without a teacher */
	struct compare_pair caches[COMPARE_MAX_ROWS];   /* every student of a cache, and the one with the teacher online */
	int n_searches;
	struct shape_search **searches; /* that students' shapes come from (results/shape_search.h); owned */
	int n_notes;
	char notes[COMPARE_MAX_NOTES][320]; /* what a reader must know before believing a number */
	struct bootstrap_options bootstrap;
};
struct compare_options {
	/* Students' names: the first is the reference of the whole, each that of its size. Of a size without one, and where none is
	 * given: among those with fresh weights (init "random"), else among all, the last that was trained on text alone, else
	 * the last. */
	const char *const *references;
	int n_references;
	struct bootstrap_options bootstrap;
};
struct compare_options compare_default(void);

/* results (n): of students and at most one teacher; same name: further seeds. Refuses two results of one name and seed, seeds
 * of one name that were scored on different tokens, an unknown reference, and more than the limits above. *out is the
 * caller's to free with compare_free; results must outlive it. */
int compare_results(struct comparison **out, struct result *const *results, int n, const struct compare_options *,
		    struct err *);
void compare_free(struct comparison *); /* NULL is fine */

/* Whether ranked students differ in how they were made: else there is no choice of ways to show. */
bool compare_has_ways(const struct comparison *);
/* Mean over the seeds of the loss after the cut; NaN: not known of all. */
double compare_start_nll(const struct compare_row *);
/* The row that this one is paired with: its size's reference, or the first. */
int compare_reference(const struct comparison *, const struct compare_row *);

/* Tables, each the caller's to release; only the header when there is nothing to show. Scores of one domain; ways
 * (where students differ in how they were made); costs; seeds (of students with several); learning rates (of students with a
 * choice); distilled students (where any has a control); caches; candidates of searches
 * for a shape. */
int compare_table_domain(const struct comparison *, int domain, struct table *, struct err *);
int compare_table_ways(const struct comparison *, struct table *, struct err *);
int compare_table_costs(const struct comparison *, struct table *, struct err *);
int compare_table_seeds(const struct comparison *, struct table *, struct err *);
int compare_table_rates(const struct comparison *, struct table *, struct err *);
int compare_table_controls(const struct comparison *, struct table *, struct err *);
int compare_table_caches(const struct comparison *, struct table *, struct err *);
int compare_table_searches(const struct comparison *, struct table *, struct err *);
/* The summary as plain text, with the notes: what `run` and `compare` end with (results/sections.c). */
int compare_print(const struct comparison *, FILE *, struct err *);

/* ---- the parts, for results/ ---- */

/* Sorts rows into groups of one size and finds their references (compare_results calls it). A student that nobody else is as large
 * as has no group. A further name of a size that has its reference is passed over with a note. */
int sizes_find(struct comparison *, const char *const *wanted, int n_wanted, struct err *);
/* Fills every ranked cell's `best` and `to_best`, and the ways. Two students went the same way when their init_text and what they
 * were distilled by are equal; of two in one size each is a way of its own and bears the student's name. */
int ways_find(struct comparison *, struct err *);

/* Reads the searches that lie beside the results, each once (compare_results calls it). */
int searches_find(struct comparison *, struct err *);
void searches_release(struct comparison *);

/* student - other in one domain, over the seeds that both have; not paired: no such seed, or other documents. */
int pairs_fill(const struct comparison *, int row, int other, int domain, struct compare_pair_cell *out, struct err *);
int pairs_common_seeds(const struct compare_row *, const struct compare_row *);
/* Documents and seeds must agree: -1 the student is better than the other, 1 it is worse, 0 that is open. */
int pairs_outcome(const struct compare_pair_cell *);

/* The pairs of a comparison whose cells are filled (compare_results calls it). Two students can be paired that have the same
 * init_id, parameters and tokens within the tolerances above, and at least one seed in common.
 * Control: not distilled; of several the one with the lowest loss. Online, for a cache: distilled by the same text without a
 * cache. Distilled students without a control are named in a note. */
int controls_find(struct comparison *, struct err *);
void controls_release(struct comparison *);
/* Adds to notes. What does not fit is dropped. */
void compare_note(struct comparison *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The first row of a table, its first n_left columns set left; and the name of a student in column 0 of the last. */
int compare_table_begin(struct table *, const char *const *header, int n, int n_left, struct err *);
void compare_table_name(struct table *, const struct compare_row *);
/* What students are paired with: the reference's name, or, of several sizes, "each size's reference". */
const char *compare_reference_text(const struct comparison *);
/* "nat/token" or "bit/byte". */
const char *compare_unit(const struct comparison *, int domain);
/* Standard deviation of x (n), over n - 1; NaN for n < 2. */
double compare_deviation(const double *x, int n);

#endif
