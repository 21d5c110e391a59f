/* What each verb of the command line does; the table that main.c and --help read. */
#ifndef RECIPES_VERBS_H
#define RECIPES_VERBS_H

#include "recipes/cli.h"

extern const struct cli_verb verbs[]; /* ends with a NULL name */

struct hf_model;
struct tokenizer;

/* What the command line names must be there: else the command is wrong (err_user). */
int verb_path(const char *path, struct err *);
/* Every id of the tokenizer (read from tokenizer_path) has its row in the model's vocabulary, else err_user. */
int verb_vocabulary(const struct tokenizer *, const char *tokenizer_path, const struct hf_model *, struct err *);

int verb_inspect(const struct cli_args *, struct err *);
int verb_eval(const struct cli_args *, struct err *);
int verb_logits(const struct cli_args *, struct err *);
int verb_tokenize(const struct cli_args *, struct err *);
int verb_generate(const struct cli_args *, struct err *);
int verb_cut(const struct cli_args *, struct err *);
int verb_trim(const struct cli_args *, struct err *);
int verb_compare(const struct cli_args *, struct err *);

#endif
