/* Asks an OpenAI-compatible endpoint: a pump that keeps at most `concurrency` requests in flight, tries again what can get
 * better, and leaves the rest alone (docs/mllm.md has the table).
 *
 * Memory does not grow with the number of requests. A request whose answer stands in the cache is not sent, and an answer is
 * in the cache before the caller sees it: after a kill at most `concurrency` requests are sent a second time. */
#ifndef GM_MLLM_CLIENT_H
#define GM_MLLM_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "mllm/endpoint.h"
#include "mllm/request.h"

typedef struct gm_mllm_client gm_mllm_client;

typedef struct gm_mllm_options {
    const char *cache;   /* path of the cache, or NULL */
    bool is_offline;     /* answers come from the cache only: neither key nor network is touched */
    uint64_t seed;       /* of the jitter of waiting times */
    const volatile sig_atomic_t *signal; /* the number of a signal that asked to stop, or 0; NULL: none can. Then nothing more is
                                          * sent, and what is in flight is waited for */
} gm_mllm_options;

/* GM_ERR_CONFIG where the endpoint has no url or model, or its environment variable is empty; GM_ERR_MISSING names the
 * package that the build lacks. The endpoint must outlive the client. */
gm_status gm_mllm_open(const gm_mllm_endpoint *endpoint, const gm_mllm_options *options, gm_mllm_client **to, gm_err *err);
void gm_mllm_close(gm_mllm_client *c); /* takes NULL */

/* Fills `request` (zeroed before; temperature and seed -1) and sets *have, or leaves it false where there is none now; it is asked again after each
 * answer. What the request points to must live until the callback is called the next time or gm_mllm_ask returns. */
typedef gm_status (*gm_mllm_next)(void *user, gm_mllm_request *request, bool *have, gm_err *err);
/* Gets each request's answer exactly once, in any order. */
typedef gm_status (*gm_mllm_got)(void *user, const gm_mllm_answer *answer, gm_err *err);

/* Returns when there is nothing in flight and `next` has nothing. A request that fails is no error of this function: it gets
 * its answer as well. An error of a callback or of the cache ends the pump at once. May be called again. */
gm_status gm_mllm_ask(gm_mllm_client *c, gm_mllm_next next, gm_mllm_got got, void *user, gm_err *err);

typedef struct gm_mllm_report {
    int64_t requests, outcome[GM_MLLM_OUTCOMES];
    int64_t calls;                 /* HTTP requests sent, tries included */
    int64_t retries;               /* of those, second and later tries */
    int64_t repeats;               /* requests that an earlier run had in flight when it was killed */
    int64_t tokens_in, tokens_out; /* of answers by the endpoint */
    int64_t cached_tokens_in, cached_tokens_out; /* of answers from the cache */
    double cost;                   /* of tokens_in and tokens_out at the endpoint's prices */
    double seconds;                /* in gm_mllm_ask */
    double latency_p50_s, latency_p90_s, latency_p99_s, latency_max_s; /* of answered calls; within 2 % */
    const char *stopped;           /* why nothing more is sent (budget, key, ...), or NULL; the client's */
} gm_mllm_report;

void gm_mllm_report_of(const gm_mllm_client *c, gm_mllm_report *to);
gm_status gm_mllm_report_json(const gm_mllm_report *r, gm_buffer *to, gm_err *err); /* one object */

#endif
