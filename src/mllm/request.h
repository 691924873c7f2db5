/* A question to a multimodal language model and what came of it. */
#ifndef GM_MLLM_REQUEST_H
#define GM_MLLM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "mllm/endpoint.h"

/* One piece of the user's message, in the order in which the model shall see them: a text, or a picture from a file or from
 * memory (PNG or JPEG). Pictures are decoded, resized as the endpoint says, and sent as base64 data URLs. */
typedef struct gm_mllm_part {
    const char *text;        /* NULL: a picture */
    const char *image_path;  /* NULL: the picture lies in memory */
    const void *image;
    size_t image_bytes;
} gm_mllm_part;

typedef struct gm_mllm_request {
    const char *id;              /* sample and stage, for reports: "12345:span" */
    const char *system;          /* NULL: none */
    const gm_mllm_part *parts;
    int32_t part_count;
    int32_t max_tokens;          /* of the answer; 0: the endpoint's */
    double temperature;          /* negative: not sent */
    int64_t seed;                /* negative: not sent */
    const char *schema_name;     /* letters, digits, _ and -; NULL: "answer" */
    const char *schema;          /* JSON schema of the answer, or NULL where plain text is wanted */
    void *tag;                   /* the caller's, handed back with the answer */
} gm_mllm_request;

typedef enum gm_mllm_outcome {
    GM_MLLM_ANSWERED, /* by the endpoint, just now */
    GM_MLLM_CACHED,   /* by the endpoint, in an earlier run */
    GM_MLLM_REFUSED,  /* the endpoint will not answer this request, however often it is asked */
    GM_MLLM_FAILED,   /* no answer came that could be read, in as many tries as the endpoint's file allows */
    GM_MLLM_UNSENT,   /* offline and not in the cache, beyond the budget, or the run was stopped */
    GM_MLLM_OUTCOMES
} gm_mllm_outcome;

extern const char *const gm_mllm_outcome_names[GM_MLLM_OUTCOMES]; /* "answered" ... */

/* Valid during the callback that gets it. */
typedef struct gm_mllm_answer {
    gm_mllm_outcome outcome;
    const char *id;
    void *tag;
    const char *text;  /* what the model said; "" unless answered or cached */
    size_t text_bytes;
    const char *why;   /* one sentence for refused, failed and unsent; "" otherwise */
    bool is_cut;       /* the model was stopped by max_tokens */
    int64_t tokens_in, tokens_out; /* as the endpoint counts; 0 where it does not say */
    int32_t tries;     /* times that it was sent by this run */
    double latency_s;  /* of the try that was answered */
} gm_mllm_answer;

/* The JSON body of a request, the same bytes for the same request. GM_ERR_DATA and GM_ERR_IO name the picture that cannot be
 * sent. `tokens` is what the request may cost, with its answer: an estimate for limits. */
gm_status gm_mllm_body(const gm_mllm_endpoint *e, const gm_mllm_request *r, gm_buffer *to, int64_t *tokens, gm_err *err);

#endif
