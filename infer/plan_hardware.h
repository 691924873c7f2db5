/* What a machine can do: from configs/hardware.json, or measured where the program runs. */
#ifndef GM_INFER_PLAN_HARDWARE_H
#define GM_INFER_PLAN_HARDWARE_H

#include <stdbool.h>

#include "device.h"

typedef struct gm_hardware {
    char name[64], from[160];
    double flops[GM_PRECISION_COUNT]; /* a second, reached by products; 0: the type is not there */
    double memory, bandwidth;         /* bytes; bytes a second */
    double link, network;             /* bytes a second, one direction, within a machine and between machines */
    bool is_here;                     /* ranks are processes of this machine and share its cores and its memory */
} gm_hardware;

/* A row of the table. Unknown names are an error that lists the known ones. */
gm_status gm_hardware_find(const char *table, const char *name, gm_hardware *h, gm_err *err);
/* Products and copies timed for half a second on `threads` threads. */
gm_status gm_hardware_measure(int threads, gm_hardware *h, gm_err *err);

#endif
