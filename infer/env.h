/* What `gmner env` collects: rows of sections, each a name with what was found, or with what would bring it. */
#ifndef GM_INFER_ENV_H
#define GM_INFER_ENV_H

#include "base/json.h"

typedef struct gm_env_row {
    const char *section, *name;
    char *value;         /* NULL: not there */
    const char *remedy;  /* of what is not there: the package that would bring it; NULL: nothing to bring */
} gm_env_row;

typedef struct gm_env {
    gm_env_row *rows;
    size_t count, capacity;
} gm_env;

/* A copy of `value` becomes a row; NULL: not there. */
gm_status gm_env_add(gm_env *e, const char *section, const char *name, const char *value, const char *remedy, gm_err *err);
/* env_libraries.c: what this program was built with, and what could still be. */
gm_status gm_env_libraries(gm_env *e, gm_err *err);
/* env_machine.c: system, processor, memory and their limits, the GPU and what drives it. */
gm_status gm_env_machine(gm_env *e, gm_err *err);

#endif
