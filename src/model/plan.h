/* What a step of training costs, counted and not timed: the program's own step goes over a backend that does no arithmetic and
 * counts instead - products from their shapes, memory from its arena. So a count follows the code wherever it changes. */
#ifndef GM_MODEL_PLAN_H
#define GM_MODEL_PLAN_H

#include "model/model.h"

/* Sentences of a shard, all of one length. */
typedef struct gm_plan_load { int32_t sentences, pieces, words; } gm_plan_load;

typedef struct gm_plan {
    int64_t parameters;           /* of the model, frozen ones included */
    int64_t dense, table, frozen; /* as they lie in memory, with what aligns them: trained, rows of the word embedding, never trained */
    int64_t table_cols;
    /* Of one shard: */
    double forward, backward;     /* flops of matrix products, attention and span scores */
    size_t arena;                 /* bytes of values, gradients and scratch */
} gm_plan;

/* The model is made by gm_model_create or gm_model_create_bare. Activations are of this type. */
gm_status gm_plan_count(const gm_model *m, gm_float_type type, const gm_plan_load *load, gm_plan *p, gm_err *err);

#endif
