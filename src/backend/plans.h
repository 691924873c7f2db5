/* The table in which a device keeps its plans for matrix products: open addressing by a key of bytes that each plan begins
 * with. A steady loop adds none. */
#ifndef GM_BACKEND_PLANS_H
#define GM_BACKEND_PLANS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gm_plan_table {
    void **slot;              /* [capacity] plans, the caller's; NULL where free */
    size_t capacity, count;
    size_t key_words;         /* each plan begins with so many uint32_t that tell it apart */
} gm_plan_table;

/* The plan with this key, or NULL. Takes a zeroed table with key_words set. */
void *gm_plan_table_find(const gm_plan_table *t, const void *key);
/* Puts in a plan whose key is not there yet; it stays the caller's when this fails. */
gm_status gm_plan_table_add(gm_plan_table *t, void *plan, gm_err *err);
void gm_plan_table_free(gm_plan_table *t, void (*destroy)(void *plan));

#endif
