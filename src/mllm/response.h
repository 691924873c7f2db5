/* What an endpoint's response means: an answer, something to wait for, or something that no waiting will change. The status
 * alone does not say: servers report wrong requests as 500, and quotas that are spent as 429. Inside src/mllm only. */
#ifndef GM_MLLM_RESPONSE_H
#define GM_MLLM_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"

typedef enum gm_mllm_meaning {
    GM_MLLM_MEANS_ANSWER,
    GM_MLLM_MEANS_AGAIN,  /* may get better: rate limits, overload, a body that is no JSON */
    GM_MLLM_MEANS_ERROR,  /* a 500 whose body does not say why: may get better, but often does not */
    GM_MLLM_MEANS_NEVER,  /* this request will not be answered */
    GM_MLLM_MEANS_STOP    /* nor will any other: the key, the quota, the address, the model */
} gm_mllm_meaning;

typedef struct gm_mllm_response {
    gm_mllm_meaning meaning;
    gm_buffer text;    /* of the answer */
    gm_buffer why;     /* one sentence: what the endpoint said, cut to what a line holds; "" where it answered */
    bool is_refusal;   /* the model, not the server, would not answer: there will be no other answer */
    bool is_cut;       /* the model was stopped by max_tokens */
    int64_t tokens_in, tokens_out;
} gm_mllm_response;

/* Reads a whole response. `r` is zeroed or was used before; free it with gm_mllm_response_free. Fails for memory only. */
gm_status gm_mllm_response_read(long http_status, const char *body, size_t size, gm_mllm_response *r, gm_err *err);
void gm_mllm_response_free(gm_mllm_response *r);

/* Overwrites each `secret` in the text with stars; empty secrets and such of fewer than 4 characters are left. */
void gm_mllm_hide(char *text, size_t size, const char *secret);

#endif
