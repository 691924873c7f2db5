/* Grounding by analogy (ReFineG, third stage): a language model is shown solved samples with their pictures, then one sample, and
 * says where each entity of that is seen. One request a sample. What the answer lacks or has wrong keeps what the local model
 * had, and says why. */
#ifndef GM_MLLM_GROUND_H
#define GM_MLLM_GROUND_H

#include "data/labels.h"
#include "mllm/answers.h"
#include "mllm/correct.h"
#include "mllm/prompts.h"

/* The picture of a record, looked at once. */
typedef struct gm_shown {
    char *path;            /* NULL: it cannot be shown */
    char why[320];         /* and why not */
    int32_t width, height;
} gm_shown;

/* Decodes it: one that is cut would fail its request later. Fails for memory and missing libraries only. */
gm_status gm_shown_look(const char *folder, const gm_record *r, gm_shown *to, gm_err *err);
void gm_shown_free(gm_shown *s); /* takes a zeroed one */

typedef struct gm_ground_options {
    const gm_mllm_endpoint *endpoint;
    const char *prompts;    /* folder of grounding.txt and demonstration.txt */
    const gm_labels *types; /* of records and samples */
    const gm_labels *never; /* types whose entities have no box */
} gm_ground_options;

bool gm_is_never_grounded(const gm_ground_options *o, const char *type);

/* A solved sample as it is shown. */
typedef struct gm_demonstration {
    const gm_record *record;
    const gm_shown *shown;  /* with a path */
} gm_demonstration;

typedef struct gm_grounder gm_grounder;

/* What o points to must outlive it. A prompt that is wrong is an error here. */
gm_status gm_grounder_open(const gm_ground_options *o, gm_grounder **to, gm_err *err);
void gm_grounder_free(gm_grounder *g); /* takes NULL */

/* Fills the request for a record that has a picture (shown->path). What it points to lives until the next call. */
gm_status gm_grounder_request(gm_grounder *g, const gm_record *r, const gm_shown *shown, const gm_demonstration *demonstrations, int32_t count,
                              gm_mllm_request *request, gm_err *err);

/* What came of one record. */
typedef struct gm_ground_result {
    gm_grounded *list;
    int32_t count;
    int32_t *of;            /* [entities of the record] its entry of the list; -1: there is none */
    char *why;              /* NULL: there is a list */
    bool is_failed;         /* no answer; else an answer that cannot be read */
} gm_ground_result;

/* Reads an answer. Entries stand for the first entity, in the order of the record, that has their words and no entry yet; letters' case
 * counts only where that finds one. */
gm_status gm_ground_read(const gm_ground_options *o, const gm_record *r, const gm_shown *shown, const gm_mllm_answer *answer, gm_ground_result *to, gm_err *err);
gm_status gm_ground_fail(gm_ground_result *to, const char *why, gm_err *err);
void gm_ground_result_free(gm_ground_result *r); /* takes a zeroed one */

/* A corrector (correct.h) that answers from results, one a record. */
typedef struct gm_ground_results {
    const gm_ground_options *options;
    const gm_ground_result *items;
} gm_ground_results;
gm_status gm_ground_reply(void *results, const gm_question *q, gm_reply *reply, gm_err *err);

#endif
