/* How sure the model is of what it found, by Monte-Carlo dropout (docs/uncertainty.md): entities are found without dropout,
 * then probabilities of these very spans are drawn T times, in the heads alone, or also in the last layers of the encoder,
 * or in all of it. Only sentences with entities are drawn, many copies packed in one batch. Sample t of a sentence is draw t
 * of its dropout: it does not depend on what stands beside it, on the order, or on how samples are packed. */
#ifndef GM_MODEL_UNCERTAINTY_H
#define GM_MODEL_UNCERTAINTY_H

#include "model/model.h"

enum { GM_SAMPLE_ALL = -1 };

typedef struct gm_sampling {
    int32_t samples;          /* T; 0: none are drawn */
    int32_t layers;           /* so many last ones of the encoder as well as the heads; GM_SAMPLE_ALL: all, and the embedding */
    float p;                  /* of dropping, at every site */
    int32_t tokens;           /* pieces of a packed batch of copies, at least those of one sentence */
} gm_sampling;

/* A batch in which gm_model_find_traced has found entities, on the tape that it used. */
typedef struct gm_findings {
    const gm_batch *batch;
    const gm_sample *const *samples; /* of the batch, in its order */
    gm_trace trace;
    gm_found *found;
    int32_t *first;
    gm_batch *drawn;          /* for copies of its sentences; the caller keeps it, for as long as the device */
} gm_findings;

/* The layer that a trace must name for such samples. GM_ERR_USAGE: the encoder has fewer layers. */
gm_status gm_sampling_layer(const gm_sampling *o, const gm_model *m, int32_t *layer, gm_err *err);
/* Fills in `u` of all that was found. The span head: entropies of {entity, none} and of the types, given an entity. The
 * tagger: the mean over the span's words of the entropies of the tags, and that of the types; without layers it draws
 * nothing, for its posterior needs no samples. Waits for the device. */
gm_status gm_model_sample(const gm_model *m, const gm_sampling *o, gm_tape *t, gm_findings *f);
/* Takes as much of the tape's memory as gm_model_sample may take for any findings: for gm_worker_measure. */
gm_status gm_model_sample_room(const gm_model *m, const gm_sampling *o, gm_tape *t, gm_findings *f);

#endif
