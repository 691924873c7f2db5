/* A set of texts (ids, whole sentences) that remembers the place where each one was added: answers "does this stand
 * here already, and where" in constant time. It keeps copies. */
#ifndef GM_DATA_ID_SET_H
#define GM_DATA_ID_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct gm_id_slot {
    char *text; /* NULL: free */
    size_t place;
} gm_id_slot;

typedef struct gm_id_set {
    gm_id_slot *slots;
    size_t capacity, count; /* capacity is 0 or a power of two */
} gm_id_set;

/* Adds the text unless it is there. *first is the place given with it when it came first: `place` itself when new. */
gm_status gm_id_set_add(gm_id_set *s, const char *text, size_t place, size_t *first, gm_err *err);
bool gm_id_set_has(const gm_id_set *s, const char *text);
void gm_id_set_free(gm_id_set *s); /* takes a zeroed one */

#endif
