/* The list of sections, and their shortest print. Test: tests/test_report.c */
#include "results/sections.h"

static const char scores_text[] =
	"NLL is in nat per token, over every token after a document's first. Intervals are 95 % percentile bootstrap intervals over "
	"documents; those of differences are paired, document by document. top-1 and KL compare with the teacher on the same tokens. "
	"Ranks are by the mean over domains, among students of one size (parameters within 2 %); who is alone in its size is marked ≠ size "
	"and not ranked. Intervals hold the chance of "
	"the documents, not that of the seed: where there are several, s.d. of seeds is the standard deviation of their mean NLL.";
static const char ways_text[] =
	"A way is how a student was made, whatever the size. Cut: NLL on held-out documents before any training of the cut model. Trained: "
	"NLL on the evaluation documents, ± the standard deviation over the seeds. Δ is paired with the best of the same size, with its 95 % "
	"interval; ≈ marks what is not surely worse: the interval holds zero, or the seeds disagree.";
static const char controls_text[] =
	"A control is the student of the same init, parameters and tokens that was trained on text alone. Δ is student − control, of the "
	"seeds that both have; below zero, distillation helped. s.d. of seeds is that of Δ, seed by seed; better in: the seeds "
	"whose Δ is below zero. CE and top-1 are those of the "
	"training batches in the last tenth of the steps, the teacher's on the same rows.";
static const char caches_text[] =
	"Bytes per token as stored; mass kept is the share of the teacher's probability that the stored entries hold. Δ is to the "
	"student that had the teacher online, all else being the same.";
static const char searches_text[] =
	"Candidates of the search for a shape within a budget, the chosen one set off. Bytes: weights, and the cache of keys and values, as budgets "
	"count them. NLL is in nat per token, on held-out documents. Predicted: from what the cut of each axis alone adds to the source's. "
	"Candidates are ranked by their loss after a short training; too slow: timed, it takes more than the budget allows, and it was not trained. "
	"No student pays for the tokens and FLOP of a search.";
static const char costs_text[] =
	"FLOP spent: training, mask learning and the teacher's forward passes, without the searches for a learning rate and for a shape.";

static const struct section rest[] = {
	{.title = "Which way wins where", .domain = -1, .table = compare_table_ways, .text = ways_text, .figures = {"ways"},
	 .in_summary = true},
	{.title = "Shape search", .domain = -1, .table = compare_table_searches, .text = searches_text, .in_summary = true},
	{.title = "Loss by size", .domain = -1, .figures = {"pareto"}},
	{.title = "Did distillation help?", .domain = -1, .table = compare_table_controls, .text = controls_text, .in_summary = true},
	{.title = "Teacher cache", .domain = -1, .table = compare_table_caches, .text = caches_text, .figures = {"cache"},
	 .in_summary = true},
	{.title = "What it cost", .domain = -1, .table = compare_table_costs, .text = costs_text, .in_summary = true},
	{.title = "How it went", .domain = -1, .figures = {"loss", "masks"}},
	{.title = "Seeds", .domain = -1, .table = compare_table_seeds, .in_summary = true},
	{.title = "Learning rates", .domain = -1, .table = compare_table_rates},
};

bool section_at(const struct comparison *c, int i, struct section *out)
{
	int n_rest = sizeof rest / sizeof *rest;
	if (i >= c->n_domains + n_rest)
		return false;
	if (i >= c->n_domains) {
		*out = rest[i - c->n_domains];
		return true;
	}
	const struct compare_domain *d = &c->domains[i];
	*out = (struct section){.domain = i, .text = i == c->n_domains - 1 ? scores_text : NULL, .in_summary = true};
	snprintf(out->title, sizeof out->title, "%s", d->name);
	snprintf(out->detail, sizeof out->detail, "%zu documents, %zu tokens, %zu bytes; Δ to %s in %s", d->n_documents, d->tokens,
		 d->bytes, compare_reference_text(c), compare_unit(c, i));
	snprintf(out->figures[0], sizeof out->figures[0], "final-%d.", i);
	return true;
}

int section_table(const struct comparison *c, const struct section *s, struct table *t, struct err *e)
{
	*t = (struct table){0};
	if (s->domain >= 0)
		return compare_table_domain(c, s->domain, t, e);
	return s->table ? s->table(c, t, e) : 0;
}

static int print_section(const struct comparison *c, const struct section *s, const char *before, FILE *f, struct err *e)
{
	struct table t;
	int rc = section_table(c, s, &t, e);
	if (!rc && t.n_rows > 1) {
		fprintf(f, "%s%s%s%s\n", before, s->title, *s->detail ? ": " : "", s->detail);
		table_print(&t, f);
	}
	table_release(&t);
	return rc;
}

int compare_print(const struct comparison *c, FILE *f, struct err *e)
{
	struct section s;
	for (int i = 0; section_at(c, i, &s); i++)
		if (s.in_summary && print_section(c, &s, i ? "\n" : "", f, e) < 0)
			return -1;
	for (int i = 0; i < c->n_notes; i++)
		fprintf(f, "%s%s\n", i ? "" : "\n", c->notes[i]);
	return 0;
}
