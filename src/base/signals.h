/* Signals that ask a program to stop: noted, so that work can be saved first. */
#ifndef GM_BASE_SIGNALS_H
#define GM_BASE_SIGNALS_H

#include <signal.h>

#include "base/status.h"

/* From now on SIGINT, SIGTERM and SIGUSR1 (which mpirun passes on without ending the job) only set *gm_signal_number. A second
 * SIGINT, from somebody who will not wait, ends the program at once; the others may come as often as they like, because a batch
 * system sends one, and srun or mpirun passes on its own as well. */
void gm_signals_catch(void);
extern const volatile sig_atomic_t *const gm_signal_number; /* 0: none came */

/* GM_STOP_INT or GM_STOP_TERM with `what` as the message where a signal came, else GM_OK. */
gm_status gm_signals_check(const char *what, gm_err *err);

#endif
