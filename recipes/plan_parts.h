/* Inside plan: lines that stand around its tables. Test: tests/test_run.c through the program. */
#ifndef RECIPES_PLAN_PARTS_H
#define RECIPES_PLAN_PARTS_H

#include "recipes/run.h"

/* ---- plan_text.c ---- */

/* The text of every domain, a line each. */
int plan_data(const struct run *, struct err *);
/* Loadability of every student's shape, one line for each finding that is not fine. */
void plan_findings(const struct run *);

#endif
