/* Finished results side by side: students by domains, paired with a reference student. Reads result files only; knows no
 * recipe and no model. Test: tests/test_compare.c */
#ifndef RESULTS_COMPARE_H
#define RESULTS_COMPARE_H

#include "results/bootstrap.h"
#include "results/result_file.h"
#include "results/table.h"

enum { COMPARE_MAX_SEEDS = 16, COMPARE_MAX_ROWS = 64, COMPARE_MAX_NOTES = 24 };
/* A student whose parameters differ from the reference's by more than this share is of another size. */
#define COMPARE_SIZE_TOLERANCE 0.02

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
struct comparison {
	int n_domains, n_rows;
	struct compare_domain domains[RESULT_MAX_EVALS];
	struct compare_row rows[COMPARE_MAX_ROWS]; /* the teacher first, then students in the order given */
	int reference;       /* index of the reference's row */
	int n_notes;
	char notes[COMPARE_MAX_NOTES][320]; /* what a reader must know before believing a number */
	struct bootstrap_options bootstrap;
};
struct compare_options {
	const char *reference; /* a student's name; NULL: the last of init "random" or called "scratch…", else the last */
	struct bootstrap_options bootstrap;
};
struct compare_options compare_default(void);

/* results (n): of students and at most one teacher; same name: further seeds. Refuses two results of one name and seed, seeds
 * of one name that were scored on different tokens, an unknown reference, and more than the limits above. *out is the
 * caller's to free with compare_free; results must outlive it. */
int compare_results(struct comparison **out, struct result *const *results, int n, const struct compare_options *,
		    struct err *);
void compare_free(struct comparison *); /* NULL is fine */

/* Tables, each the caller's to release. Scores of one domain; costs; seeds (no rows but the header when all have one). */
int compare_table_domain(const struct comparison *, int domain, struct table *, struct err *);
int compare_table_costs(const struct comparison *, struct table *, struct err *);
int compare_table_seeds(const struct comparison *, struct table *, struct err *);
/* Everything as plain text: what `run` and `compare` end with. */
int compare_print(const struct comparison *, FILE *, struct err *);
/* "nat/token" or "bit/byte". */
const char *compare_unit(const struct comparison *, int domain);

#endif
