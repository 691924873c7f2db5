/* Signals that ask a program to stop: noted, so that work can be saved first. */
#ifndef GM_BASE_SIGNALS_H
#define GM_BASE_SIGNALS_H

#include <signal.h>

#include "base/status.h"

/* From now on the first SIGINT, SIGTERM or SIGUSR1 (which mpirun passes on without ending the job) only sets
 * *gm_signal_number; a second one ends the program at once. */
void gm_signals_catch(void);
extern const volatile sig_atomic_t *const gm_signal_number; /* 0: none came */

/* GM_STOP_INT or GM_STOP_TERM with `what` as the message where a signal came, else GM_OK. */
gm_status gm_signals_check(const char *what, gm_err *err);

#endif
