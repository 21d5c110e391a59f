/* Time for rates and progress only: nothing that is computed may depend on it. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/* Seconds since some fixed moment; never goes back. */
double clock_now_s(void);

#endif
