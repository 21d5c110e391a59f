/* What each verb of the command line does; the table that main.c and --help read. */
#ifndef RECIPES_VERBS_H
#define RECIPES_VERBS_H

#include "recipes/cli.h"

extern const struct cli_verb verbs[]; /* ends with a NULL name */

int verb_inspect(const struct cli_args *, struct err *);
int verb_eval(const struct cli_args *, struct err *);
int verb_logits(const struct cli_args *, struct err *);
int verb_tokenize(const struct cli_args *, struct err *);
int verb_generate(const struct cli_args *, struct err *);
int verb_cut(const struct cli_args *, struct err *);
int verb_compare(const struct cli_args *, struct err *);

#endif
