/* HTTP on libcurl's multi interface: many POSTs at once over connections that stay open. What is above sees bodies, statuses
 * and times, and neither curl nor the key. Inside src/mllm only. */
#ifndef GM_MLLM_WIRE_H
#define GM_MLLM_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "base/status.h"
#include "mllm/endpoint.h"

typedef enum gm_mllm_delivery {
    GM_MLLM_DELIVERED,   /* a whole response, of whatever status */
    GM_MLLM_LOST,        /* the network, the server or a time-out: may get better */
    GM_MLLM_UNREADABLE,  /* longer than the limit */
    GM_MLLM_UNREACHABLE  /* wrong certificate or address: no request will arrive */
} gm_mllm_delivery;

typedef struct gm_mllm_wire gm_mllm_wire;

/* One POST at a time. Zeroed before its first use; its memory is used again by the next. */
typedef struct gm_mllm_post {
    void *easy, *owner;      /* owner is the caller's */
    gm_mllm_wire *wire;
    gm_buffer reply;         /* the response's body */
    gm_mllm_delivery delivery;
    long status;
    double retry_after_s;    /* 0: the response does not ask for a pause */
    double seconds;          /* from the start to the last byte */
    char why[512];           /* unless delivered: one sentence */
    char detail[256];        /* libcurl's own words, which say more than its codes (CURL_ERROR_SIZE) */
    double last_byte;
    long long bytes_seen;
    bool is_idle, is_too_long, is_busy;
} gm_mllm_post;

double gm_mllm_now(void);

/* `key` NULL: none is sent. GM_ERR_MISSING: the build has no libcurl. The endpoint must outlive the wire. */
gm_status gm_mllm_wire_open(const gm_mllm_endpoint *e, const char *key, gm_mllm_wire **to, gm_err *err);
void gm_mllm_wire_close(gm_mllm_wire *w); /* takes NULL; all posts must have been freed */

/* The body must live until the post is done. */
gm_status gm_mllm_wire_start(gm_mllm_wire *w, gm_mllm_post *p, const char *body, size_t size, gm_err *err);
/* Moves bytes, and waits up to `seconds` where there are none to move. */
gm_status gm_mllm_wire_turn(gm_mllm_wire *w, double seconds, gm_err *err);
gm_mllm_post *gm_mllm_wire_done(gm_mllm_wire *w); /* a post that is done, once; NULL: none is */
void gm_mllm_post_free(gm_mllm_post *p);          /* also in flight: its connection is closed */

#endif
