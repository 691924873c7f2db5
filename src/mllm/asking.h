/* A corrector that asks a language model: questions of corrections become requests, answers become replies. Its two callbacks are those of
 * the client's pump (client.h), so that many records are open at once. What comes out does not depend on the order of answers. */
#ifndef GM_MLLM_ASKING_H
#define GM_MLLM_ASKING_H

#include "mllm/recorded.h"
#include "mllm/request.h"

typedef struct gm_asking_options {
    const gm_mllm_endpoint *endpoint;
    const char *prompts; /* folder of span.txt, type.txt and region.txt */
    const char *images;  /* folder of the records' pictures, or NULL */
    const gm_type_set *types;
    gm_thresholds thresholds; /* as prompts name them */
    gm_recorded *record;      /* answers are put here as well, or NULL */
} gm_asking_options;

typedef struct gm_asking gm_asking;

/* All that is named must outlive it. A prompt that is wrong is an error here, before anything is asked. */
gm_status gm_asking_open(const gm_asking_options *o, const gm_records *pred, gm_corrections *c, gm_asking **to,
                         gm_err *err);
void gm_asking_free(gm_asking *a); /* takes NULL */

/* gm_mllm_next and gm_mllm_got with the asking as their user. A question about a region whose picture cannot be had is answered as failed and
 * not asked; one about a type is asked without. An answer that holds nothing valid is refused, one that did not come has failed. */
gm_status gm_asking_next(void *asking, gm_mllm_request *request, bool *have, gm_err *err);
gm_status gm_asking_got(void *asking, const gm_mllm_answer *answer, gm_err *err);

int64_t
gm_asking_without_picture(const gm_asking *a); /* records whose picture was named and wanted, but cannot be had */

#endif
