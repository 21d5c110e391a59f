/* SIGINT and SIGTERM as a flag that loops look at. No signal handler may run on a thread that computes: oneDNN's generated
 * AVX-512 products borrow the stack pointer for their heap buffers, and the kernel would write a handler's frame over the
 * heap. So the signals are blocked everywhere and one thread waits for them. Test: tests/test_run.c, interrupts. */
#include "recipes/run.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_bool interrupted;

static sigset_t watched(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return set;
}

static void *watch(void *unused)
{
	(void)unused;
	sigset_t set = watched();
	int signal;
	sigwait(&set, &signal);
	atomic_store(&interrupted, true);
	sigwait(&set, &signal); /* a second one kills */
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), signal);
	return NULL;
}

void run_catch_signals(void)
{
	sigset_t set = watched();
	pthread_t thread;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, watch, NULL) == 0)
		pthread_detach(thread);
	else
		pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* then they kill, which is as good as paused */
}

bool run_interrupted(void)
{
	return atomic_load(&interrupted);
}
