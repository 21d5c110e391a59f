/* base/arena: the dry figure is the real one, pieces are aligned and apart. */
#include "tests/testing.h"

#include "base/arena.h"

#include <signal.h>
#include <sys/wait.h>

static const size_t sizes[] = {1, 3, 37, 129, 64, 0, 65, 4096};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void fill(struct arena *a, char **pieces)
{
	for (size_t i = 0; i < N_SIZES; i++)
		pieces[i] = arena_alloc(a, sizes[i]);
}

static void test_dry_equals_real(void **state)
{
	(void)state;
	struct arena dry = arena_dry();
	char *dry_pieces[N_SIZES], *pieces[N_SIZES];
	assert_true(arena_is_dry(&dry));
	fill(&dry, dry_pieces);
	assert_true(arena_is_dry(&dry));
	struct arena real = {.base = aligned_alloc(ARENA_ALIGN, dry.used), .capacity = dry.used};
	assert_non_null(real.base);
	fill(&real, pieces);
	assert_int_equal(real.used, dry.used);
	for (size_t i = 0; i < N_SIZES; i++) {
		assert_non_null(dry_pieces[i]);
		assert_int_equal((uintptr_t)dry_pieces[i] % ARENA_ALIGN, 0);
		assert_int_equal((uintptr_t)pieces[i] % ARENA_ALIGN, 0);
		assert_true(pieces[i] + sizes[i] <= real.base + real.used);
		if (i)
			assert_true(pieces[i] >= pieces[i - 1] + sizes[i - 1]);
		memset(pieces[i], (int)i, sizes[i]);
	}
	free(real.base);
}

static void test_wrong_plan_is_a_bug(void **state)
{
	(void)state;
	_Alignas(ARENA_ALIGN) char memory[2 * ARENA_ALIGN];
	pid_t child = fork();
	if (child == 0) {
		struct arena a = {.base = memory, .capacity = sizeof memory};
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		arena_alloc(&a, 2 * ARENA_ALIGN);
		arena_alloc(&a, 1);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dry_equals_real),
		cmocka_unit_test(test_wrong_plan_is_a_bug),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
