/* The handler only notes the number: everything else happens where the work is done. */
#define _POSIX_C_SOURCE 200809L
#include "base/signals.h"

#include <stddef.h>

static volatile sig_atomic_t noted;
const volatile sig_atomic_t *const gm_signal_number = &noted;

static void note(int number) { noted = number; }

void gm_signals_catch(void)
{
    struct sigaction action = { .sa_handler = note };
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
}

gm_status gm_signals_check(const char *what, gm_err *err)
{
    if (noted == 0) return GM_OK;
    return gm_fail(err, noted == SIGINT ? GM_STOP_INT : GM_STOP_TERM, "%s", what);
}
