/* The verb cut: surgery alone, streamed from the files of one model into those of a smaller one. */
#include "base/log.h"
#include "base/yaml.h"
#include "prune/cut.h"
#include "prune/scores.h"
#include "prune/target.h"
#include "recipes/recipe.h"
#include "recipes/shape_choice.h"
#include "recipes/stage.h"
#include "recipes/verbs.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static int parse_layers(const char *text, int *out, int max, int *n, struct err *e)
{
	*n = 0;
	for (const char *at = text;; at++) {
		char *end;
		long v = strtol(at, &end, 10);
		if (end == at || (*end && *end != ',') || *n == max || v < 0 || v > 100000)
			return err_user(e, "--layers: expected layer numbers with commas between them, found '%s'", text);
		out[(*n)++] = (int)v;
		at = end;
		if (!*end)
			return 0;
	}
}

/* Sizes, or the name of a public shape. */
static int parse_target(const char *text, const struct arch *source, struct target *out, struct err *e)
{
	struct yaml_tree t = {0};
	struct pool pool = {0};
	void *values;
	int rc = -1;
	TRY(yaml_parse_text(&t, "--target", text, strlen(text), e));
	TRY(section_parse(&values, &shape_section, t.root, &pool, e));
	if (shape_is_budget(values)) {
		yaml_caret(e, t.root, "a budget is searched by a recipe; expected sizes, or the name of a shape");
		goto out;
	}
	TRY(shape_sizes(values, source, out, e));
	rc = 0;
out:
	pool_release(&pool);
	yaml_release(&t);
	return rc;
}

static int count_kept(const float *z, int from, int n)
{
	int kept = 0;
	for (int i = 0; i < n; i++)
		kept += z[from + i] != 0;
	return kept;
}

/* The shape that masks themselves have: their counts in the first kept layer. */
static struct target masks_shape(const struct arch *a, const struct host_masks *z)
{
	const struct shape *s = &a->shape;
	int l = 0, group = s->NH / s->NKV, groups = 0;
	while (z->layers && l + 1 < s->L && z->layers[l] == 0)
		l++;
	for (int g = 0; z->heads && g < s->NKV; g++)
		groups += count_kept(z->heads, l * s->NH + g * group, group) > 0;
	return (struct target){.layers = z->layers ? count_kept(z->layers, 0, s->L) : 0, .hidden = z->hidden ? count_kept(z->hidden, 0, s->C) : 0,
			       .heads = z->heads ? count_kept(z->heads, l * s->NH, s->NH) : 0, .kv_heads = groups,
			       .intermediate = z->ffn ? count_kept(z->ffn, l * s->F, s->F) : 0};
}

struct cutting {
	struct hf_model hf;
	struct host_masks z;
	void *block;
	struct kept kept;
	struct arch arch;
};

static int keep_layers(const struct cli_args *a, struct cutting *c, struct err *e)
{
	int layers[ARCH_MAX_L], n;
	if (parse_layers(cli_get(a, "--layers"), layers, ARCH_MAX_L, &n, e) < 0)
		return -1;
	c->arch = c->hf.layout.arch;
	c->arch.shape.L = n;
	return kept_from_layers(&c->kept, &c->hf.layout.arch, layers, n, e);
}

static int keep_masked(const struct cli_args *a, struct cutting *c, struct err *e)
{
	const struct arch *source = &c->hf.layout.arch;
	struct target target;
	if (verb_path(cli_get(a, "--masks"), e) < 0 || masks_load(cli_get(a, "--masks"), source, &c->z, &c->block, e) < 0)
		return -1;
	target = masks_shape(source, &c->z);
	if (cli_get(a, "--target") && parse_target(cli_get(a, "--target"), source, &target, e) < 0)
		return -1;
	if (target_arch(&c->arch, source, &target, e) < 0)
		return -1;
	return kept_from_masks(&c->kept, source, &c->arch, &c->z, e);
}

static int keep_best(const struct cli_args *a, struct cutting *c, struct err *e)
{
	const struct select_options o = {.merge_kv = cli_has(a, "--merge-kv")};
	const struct arch *source = &c->hf.layout.arch;
	struct scores scores = {0};
	struct target target;
	int rc = -1;
	TRY(verb_path(cli_get(a, "--scores"), e));
	TRY(parse_target(cli_get(a, "--target"), source, &target, e));
	TRY((o.merge_kv ? target_arch_merged : target_arch)(&c->arch, source, &target, e));
	TRY(scores_load(cli_get(a, "--scores"), source, &scores, e));
	TRY(kept_from_scores(&c->kept, source, &c->arch, &scores, &o, e));
	rc = 0;
out:
	scores_release(&scores);
	return rc;
}

static int choose_kept(const struct cli_args *a, struct cutting *c, struct err *e)
{
	bool masks = cli_has(a, "--masks"), scores = cli_has(a, "--scores"), layers = cli_has(a, "--layers"), target = cli_has(a, "--target");
	if (masks + scores + layers != 1)
		return err_user(e, "cut: expected --masks FILE, --scores FILE or --layers LIST");
	if (layers && target)
		return err_user(e, "cut: --target goes with --masks or --scores; --layers keeps whole layers");
	if (scores && !target)
		return err_user(e, "cut: --scores needs --target SHAPE: scores rank units, they say nothing about how many stay");
	if (cli_has(a, "--merge-kv") && !scores)
		return err_user(e, "cut: --merge-kv goes with --scores");
	return masks ? keep_masked(a, c, e) : scores ? keep_best(a, c, e) : keep_layers(a, c, e);
}

/* What lies there is somebody's: a model would be written over files of the same names. */
static int check_empty(const char *dir, struct err *e)
{
	DIR *d = opendir(dir);
	int rc = 0;
	for (const struct dirent *entry; d && rc == 0 && (entry = readdir(d));)
		if (entry->d_name[0] != '.')
			rc = err_user(e, "cut: %s: is not empty (%s); name another directory", dir, entry->d_name);
	if (d)
		closedir(d);
	return rc;
}

int verb_cut(const struct cli_args *a, struct err *e)
{
	struct cutting c = {0};
	int rc = -1;
	TRY(check_empty(cli_get(a, "--out"), e));
	TRY(verb_path(a->positional[0], e));
	TRY(hf_open(&c.hf, a->positional[0], e));
	TRY(choose_kept(a, &c, e));
	struct hf_save_options o = {.dtype = c.arch.dtype, .copy_from = a->positional[0], .config_from = c.hf.config};
	TRY(prune_cut_files(&c.hf, &c.arch, &c.kept, c.block ? &c.z : NULL, cli_get(a, "--out"), &o, e));
	const struct shape *s = &c.arch.shape;
	log_line("%s: %d layers, hidden %d, %d/%d heads, FFN %d, %zu parameters", cli_get(a, "--out"), s->L, s->C, s->NH, s->NKV, s->F, arch_n_params(&c.arch));
	rc = 0;
out:
	kept_release(&c.kept);
	free(c.block);
	hf_close(&c.hf);
	return rc;
}
