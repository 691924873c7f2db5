/* Which parts of which predictions are handed on: by thresholds, or as many as a budget allows, the most unsure first. */
#ifndef GM_MLLM_ROUTE_H
#define GM_MLLM_ROUTE_H

#include "eval/thresholds.h"

typedef enum gm_route_by { GM_ROUTE_BY_UNCERTAINTY, GM_ROUTE_BY_SOFTMAX, GM_ROUTE_BY_CHANCE } gm_route_by;

typedef struct gm_route_options {
    gm_thresholds thresholds; /* used where there is no budget: strictly larger *_norm values are handed on */
    int64_t calls;            /* budget of calls, a part of an entity each; negative: none */
    double share;             /* budget as a share of all entities; negative: none */
    gm_route_by by;           /* what the order of a budget follows */
    uint64_t seed;            /* of chance */
    bool asks[GM_PARTS];      /* the parts that may be handed on at all */
} gm_route_options;

/* One bit a part, for all entities of all records in their order. */
typedef struct gm_route {
    uint8_t *parts;
    size_t *first;          /* [records]: where the entities of a record begin */
    size_t entities, delegated; /* delegated: those with a part handed on */
    int64_t calls[GM_PARTS];
} gm_route;

/* An entity's place in the order is that of its least sure part; ties by id, then by its place in the record. A part without a number cannot be
 * handed on, nor can a region of uncertainty 0: the model saw none. */
gm_status gm_route_make(const gm_records *pred, const gm_route_options *o, gm_route *to, gm_err *err);
void gm_route_free(gm_route *r); /* takes a zeroed one */

#endif
