/* What a cut of a cut has kept of the first teacher. */
#include "tests/testing.h"

#include "recipes/source.h"

static void the_teacher_itself_is_kept_as_the_cut_says(void **state)
{
	(void)state;
	int layers[] = {0, 2}, hidden[] = {1, 3, 4};
	const struct shape cut = {.L = 2, .C = 3};
	const struct source teacher = {.from_teacher = true};
	const struct kept own = {.layers = layers, .hidden = hidden};
	struct kept k;
	source_kept(&teacher, &own, &cut, &k);
	assert_memory_equal(k.layers, layers, sizeof layers);
	assert_memory_equal(k.hidden, hidden, sizeof hidden);
	kept_release(&k);
}

static void a_cut_of_a_cut_names_units_of_the_teacher(void **state)
{
	(void)state;
	int first_layers[] = {0, 2, 5}, first_hidden[] = {1, 3, 4, 9}, layers[] = {1, 2}, hidden[] = {0, 2, 3};
	static const int both_layers[] = {2, 5}, both_hidden[] = {1, 4, 9};
	const struct shape cut = {.L = 2, .C = 3};
	const struct kept first = {.layers = first_layers, .hidden = first_hidden}, own = {.layers = layers, .hidden = hidden};
	const struct source from = {.from_teacher = true, .kept = &first};
	struct kept k;
	source_kept(&from, &own, &cut, &k);
	assert_memory_equal(k.layers, both_layers, sizeof both_layers);
	assert_memory_equal(k.hidden, both_hidden, sizeof both_hidden);
	kept_release(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_teacher_itself_is_kept_as_the_cut_says),
		cmocka_unit_test(a_cut_of_a_cut_names_units_of_the_teacher),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
