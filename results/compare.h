/* Finished results side by side: students by domains, paired with a reference student, and with their controls. Reads result
 * files only; knows no recipe and no model. Test: tests/test_compare.c, tests/test_controls.c */
#ifndef RESULTS_COMPARE_H
#define RESULTS_COMPARE_H

#include "results/bootstrap.h"
#include "results/result_file.h"
#include "results/table.h"

enum { COMPARE_MAX_SEEDS = 16, COMPARE_MAX_ROWS = 64, COMPARE_MAX_NOTES = 24 };
/* A student whose parameters differ from the reference's by more than this share is of another size. */
#define COMPARE_SIZE_TOLERANCE 0.02
/* Budgets that differ by no more than this share are equal: a budget ends with its last whole batch. */
#define COMPARE_TOKENS_TOLERANCE 0.005

struct compare_domain {
	char name[64];
	bool in_bits;      /* tokenizers differ: differences and ranks are in bits per byte, not nat per token */
	size_t n_documents, tokens, bytes; /* of the reference */
	bool few;          /* fewer than BOOTSTRAP_FEW_DOCUMENTS documents */
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
	bool paired;         /* with the reference, document by document: */
	struct interval difference; /* student - reference; negative: better than the reference */
};
struct compare_row {
	const char *name;    /* borrowed from the results */
	int n_seeds;
	const struct result *seeds[COMPARE_MAX_SEEDS]; /* borrowed; cost figures are those of seeds[0] */
	bool teacher, reference, other_size;
	int rank;            /* 1: best mean over domains; 0: not ranked (teacher, other size, or a domain is missing) */
	double score;        /* mean over domains, in the domain's unit */
	struct compare_cell *cells; /* (n_domains) */
};
struct compare_pair_cell { /* a student and the one it is held against, in one domain */
	bool paired;
	struct interval difference; /* student - other, of the documents' means over the seeds that both have; in the domain's unit */
	double deviation;           /* of the differences seed by seed, standard, over n - 1; NaN for one seed */
	int n_better;               /* seeds whose difference is below zero */
};
struct compare_pair {
	int row, other;      /* other: -1 when there is none, and then no cells */
	int n_seeds;         /* that both have */
	struct compare_pair_cell *cells; /* (n_domains) */
};
struct comparison {
	int n_domains, n_rows;
	struct compare_domain domains[RESULT_MAX_EVALS];
	struct compare_row rows[COMPARE_MAX_ROWS]; /* the teacher first, then students in the order given */
	int reference;       /* index of the reference's row */
	int n_controls, n_caches;
	struct compare_pair controls[COMPARE_MAX_ROWS]; /* every distilled student, and what the same tokens gave without a teacher */
	struct compare_pair caches[COMPARE_MAX_ROWS];   /* every student of a cache, and the one with the teacher online */
	int n_notes;
	char notes[COMPARE_MAX_NOTES][320]; /* what a reader must know before believing a number */
	struct bootstrap_options bootstrap;
};
struct compare_options {
	const char *reference; /* a student's name; NULL: among those with fresh weights (init "random"), else among all, the last
				* that was trained on text alone, else the last */
	struct bootstrap_options bootstrap;
};
struct compare_options compare_default(void);

/* results (n): of students and at most one teacher; same name: further seeds. Refuses two results of one name and seed, seeds
 * of one name that were scored on different tokens, an unknown reference, and more than the limits above. *out is the
 * caller's to free with compare_free; results must outlive it. */
int compare_results(struct comparison **out, struct result *const *results, int n, const struct compare_options *,
		    struct err *);
void compare_free(struct comparison *); /* NULL is fine */

/* Tables, each the caller's to release; only the header when there is nothing to show. Scores of one domain; costs; seeds (of
 * students with several); learning rates (of students with a choice); distilled students; caches. */
int compare_table_domain(const struct comparison *, int domain, struct table *, struct err *);
int compare_table_costs(const struct comparison *, struct table *, struct err *);
int compare_table_seeds(const struct comparison *, struct table *, struct err *);
int compare_table_rates(const struct comparison *, struct table *, struct err *);
int compare_table_controls(const struct comparison *, struct table *, struct err *);
int compare_table_caches(const struct comparison *, struct table *, struct err *);
/* The summary as plain text, with the notes: what `run` and `compare` end with (results/sections.c). */
int compare_print(const struct comparison *, FILE *, struct err *);

/* ---- the parts, for results/ ---- */

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
/* "nat/token" or "bit/byte". */
const char *compare_unit(const struct comparison *, int domain);
/* Standard deviation of x (n), over n - 1; NaN for n < 2. */
double compare_deviation(const double *x, int n);

#endif
