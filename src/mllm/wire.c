/* HTTP on libcurl. Certificates are always checked, redirects never followed (they would carry the key to where nobody
 * allowed it), and a response is cut off at its limit while it is read, never held first. */
#define _POSIX_C_SOURCE 200809L
#include "mllm/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

double gm_mllm_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if GM_HAVE_CURL

#include <threads.h>

#include <curl/curl.h>

enum { KEPT_BYTES = 256 * 1024 }; /* of a response's memory, between two responses */

struct gm_mllm_wire {
    const gm_mllm_endpoint *e;
    CURLM *multi;
    struct curl_slist *headers; /* one of them holds the key */
    int posts;                  /* started and not yet taken by gm_mllm_wire_done */
};

static once_flag once = ONCE_FLAG_INIT;
static bool is_ready;
static void start_curl(void) { is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK; }

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for libcurl"); }

static void wipe(char *text)
{
    for (volatile char *c = text; *c != '\0'; c++) *c = '\0';
}

static gm_status add_header(gm_mllm_wire *w, const char *line, gm_err *err)
{
    struct curl_slist *more = curl_slist_append(w->headers, line);
    if (more == NULL) return no_memory(err);
    w->headers = more;
    return GM_OK;
}

static gm_status add_key(gm_mllm_wire *w, const char *key, gm_err *err)
{
    gm_buffer line = { 0 };
    const bool is_bearer = strcmp(w->e->key_header, "Authorization") == 0;
    gm_status status = gm_buffer_printf(&line, err, "%s: %s%s", w->e->key_header, is_bearer ? "Bearer " : "", key);
    if (status == GM_OK) status = add_header(w, line.data, err);
    if (line.data != NULL) wipe(line.data);
    gm_buffer_free(&line);
    return status;
}

/* libcurl would say so at the first request only. */
static gm_status check_ca_file(const char *path, gm_err *err)
{
    if (path[0] == '\0') return GM_OK;
    FILE *f = fopen(path, "rb");
    if (f == NULL) return gm_fail(err, GM_ERR_CONFIG, "\"ca_file\": cannot read %s: %s", path, strerror(errno));
    fclose(f);
    return GM_OK;
}

gm_status gm_mllm_wire_open(const gm_mllm_endpoint *e, const char *key, gm_mllm_wire **to, gm_err *err)
{
    *to = NULL;
    GM_TRY(check_ca_file(e->ca_file, err));
    call_once(&once, start_curl);
    if (!is_ready) return gm_fail(err, GM_ERR_MISSING, "libcurl does not start");
    gm_mllm_wire *w = gm_calloc(1, sizeof *w);
    if (w == NULL) return no_memory(err);
    w->e = e;
    w->multi = curl_multi_init();
    gm_status status = w->multi != NULL ? GM_OK : no_memory(err);
    if (status == GM_OK) curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)e->concurrency);
    if (status == GM_OK) status = add_header(w, "Content-Type: application/json", err);
    if (status == GM_OK) status = add_header(w, "Accept: application/json", err);
    if (status == GM_OK) status = add_header(w, "Expect:", err); /* no pause before large bodies */
    if (status == GM_OK && key != NULL) status = add_key(w, key, err);
    if (status != GM_OK) {
        gm_mllm_wire_close(w);
        return status;
    }
    *to = w;
    return GM_OK;
}

void gm_mllm_wire_close(gm_mllm_wire *w)
{
    if (w == NULL) return;
    for (struct curl_slist *h = w->headers; h != NULL; h = h->next) wipe(h->data);
    curl_slist_free_all(w->headers);
    curl_multi_cleanup(w->multi);
    gm_free(w);
}

static size_t take_bytes(char *bytes, size_t one, size_t n, void *user)
{
    gm_mllm_post *p = user;
    p->is_too_long = n > (size_t)p->wire->e->response_bytes - p->reply.size;
    if (p->is_too_long || gm_buffer_add(&p->reply, bytes, n, NULL) != GM_OK) return 0;
    return one * n;
}

/* Lines of the head are bytes too, which the counts below do not hold. */
static size_t take_head(char *bytes, size_t one, size_t n, void *user)
{
    gm_mllm_post *p = user;
    (void)bytes;
    p->last_byte = gm_mllm_now();
    return one * n;
}

/* Asked at every turn. The idle time is counted here: curl's own looks at speeds over seconds. */
static int watch(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    gm_mllm_post *p = user;
    (void)down_all, (void)up_all;
    const double now = gm_mllm_now();
    if (down + up != p->bytes_seen) {
        p->bytes_seen = down + up;
        p->last_byte = now;
    }
    p->is_idle = now - p->last_byte > p->wire->e->read_s;
    return p->is_idle;
}

static long milliseconds(double seconds) { return (long)(seconds * 1000.0) + 1; }

static gm_status prepare(gm_mllm_wire *w, gm_mllm_post *p, gm_err *err)
{
    const gm_mllm_endpoint *e = w->e;
    CURL *h = p->easy = curl_easy_init();
    if (h == NULL) return no_memory(err);
    bool ok = curl_easy_setopt(h, CURLOPT_URL, e->url) == CURLE_OK && curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_POST, 1L) == CURLE_OK && curl_easy_setopt(h, CURLOPT_HTTPHEADER, w->headers) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_USERAGENT, "gmner") == CURLE_OK && curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(e->connect_s)) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, milliseconds(e->total_s)) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_bytes) == CURLE_OK && curl_easy_setopt(h, CURLOPT_WRITEDATA, p) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, take_head) == CURLE_OK && curl_easy_setopt(h, CURLOPT_HEADERDATA, p) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, watch) == CURLE_OK && curl_easy_setopt(h, CURLOPT_XFERINFODATA, p) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L) == CURLE_OK && curl_easy_setopt(h, CURLOPT_PRIVATE, p) == CURLE_OK &&
              curl_easy_setopt(h, CURLOPT_ERRORBUFFER, p->detail) == CURLE_OK;
    if (ok && e->ca_file[0] != '\0') ok = curl_easy_setopt(h, CURLOPT_CAINFO, e->ca_file) == CURLE_OK;
    if (ok && gm_mllm_endpoint_is_local(e)) ok = curl_easy_setopt(h, CURLOPT_NOPROXY, "*") == CURLE_OK;
    return ok ? GM_OK : gm_fail(err, GM_ERR_MISSING, "libcurl refuses an option: it is too old (7.85 or newer is needed) or was built without TLS");
}

gm_status gm_mllm_wire_start(gm_mllm_wire *w, gm_mllm_post *p, const char *body, size_t size, gm_err *err)
{
    p->wire = w;
    if (p->easy == NULL) GM_TRY(prepare(w, p, err));
    if (p->reply.capacity > KEPT_BYTES) gm_buffer_free(&p->reply);
    p->reply.size = 0;
    GM_TRY(gm_buffer_add(&p->reply, "", 0, err));
    p->is_idle = p->is_too_long = false;
    p->why[0] = p->detail[0] = '\0';
    p->status = 0;
    p->retry_after_s = p->seconds = 0.0;
    p->bytes_seen = 0;
    p->last_byte = gm_mllm_now();
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    const CURLMcode code = curl_multi_add_handle(w->multi, p->easy);
    if (code != CURLM_OK) return gm_fail(err, GM_ERR_IO, "libcurl: %s", curl_multi_strerror(code));
    p->is_busy = true;
    w->posts++;
    return GM_OK;
}

/* Where the first look finds a response whole, the others are not waited for: with a quick server there may be none, and the
 * whole of `seconds` would be slept through. */
gm_status gm_mllm_wire_turn(gm_mllm_wire *w, double seconds, gm_err *err)
{
    int running = 0, queued = 0;
    CURLMcode code = curl_multi_perform(w->multi, &running);
    if (code == CURLM_OK && seconds > 0.0 && running == w->posts) {
        code = curl_multi_poll(w->multi, NULL, 0, (int)(seconds * 1000.0) + 1, &queued);
        if (code == CURLM_OK) code = curl_multi_perform(w->multi, &running);
    }
    return code == CURLM_OK ? GM_OK : gm_fail(err, GM_ERR_IO, "libcurl: %s", curl_multi_strerror(code));
}

static gm_mllm_delivery delivery_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK: return GM_MLLM_DELIVERED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_URL_MALFORMAT: return GM_MLLM_UNREACHABLE;
    default: return GM_MLLM_LOST;
    }
}

static void judge(gm_mllm_post *p, CURLcode code)
{
    const gm_mllm_endpoint *e = p->wire->e;
    curl_off_t micros = 0, pause = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &p->status);
    curl_easy_getinfo(p->easy, CURLINFO_TOTAL_TIME_T, &micros);
    curl_easy_getinfo(p->easy, CURLINFO_RETRY_AFTER, &pause);
    p->seconds = 1e-6 * (double)micros;
    p->retry_after_s = (double)pause;
    p->delivery = delivery_of(code);
    if (p->is_too_long) {
        p->delivery = GM_MLLM_UNREADABLE;
        snprintf(p->why, sizeof p->why, "the response is longer than response_bytes (%lld) and was cut off", (long long)e->response_bytes);
    } else if (p->is_idle) {
        snprintf(p->why, sizeof p->why, "no byte came for %g s (read_s)", e->read_s);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        const bool is_total = p->seconds >= e->total_s;
        snprintf(p->why, sizeof p->why, is_total ? "no whole response came in %g s (total_s)" : "no connection came up in %g s (connect_s)",
                 is_total ? e->total_s : e->connect_s);
    } else if (code != CURLE_OK) {
        const char *words = p->detail[0] != '\0' ? p->detail : curl_easy_strerror(code);
        if (code == CURLE_PEER_FAILED_VERIFICATION)
            snprintf(p->why, sizeof p->why, "the endpoint's certificate is not accepted: %s; \"ca_file\" names the certificates to trust", words);
        else if (code == CURLE_SSL_CACERT_BADFILE)
            snprintf(p->why, sizeof p->why, "\"ca_file\": %s holds no certificates: %s", e->ca_file, words);
        else
            snprintf(p->why, sizeof p->why, "%s", words);
    }
}

_Static_assert(sizeof ((gm_mllm_post *)0)->detail >= CURL_ERROR_SIZE, "libcurl's words need room");

gm_mllm_post *gm_mllm_wire_done(gm_mllm_wire *w)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(w->multi, &left)) != NULL;) {
        if (m->msg != CURLMSG_DONE) continue;
        const CURLcode code = m->data.result; /* the message goes with its handle */
        CURL *easy = m->easy_handle;
        gm_mllm_post *p = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&p);
        judge(p, code);
        curl_multi_remove_handle(w->multi, easy);
        p->is_busy = false;
        w->posts--;
        return p;
    }
    return NULL;
}

void gm_mllm_post_free(gm_mllm_post *p)
{
    if (p->is_busy) {
        curl_multi_remove_handle(p->wire->multi, p->easy);
        p->wire->posts--;
    }
    if (p->easy != NULL) curl_easy_cleanup(p->easy);
    gm_buffer_free(&p->reply);
    *p = (gm_mllm_post) { 0 };
}

#else

gm_status gm_mllm_wire_open(const gm_mllm_endpoint *e, const char *key, gm_mllm_wire **to, gm_err *err)
{
    (void)e, (void)key;
    *to = NULL;
    return gm_fail(err, GM_ERR_MISSING, "asking an endpoint needs libcurl, which this build lacks: install libcurl4-openssl-dev and build again");
}

/* Nothing below can be reached: no wire was ever opened. */
void gm_mllm_wire_close(gm_mllm_wire *w) { (void)w; }
gm_status gm_mllm_wire_start(gm_mllm_wire *w, gm_mllm_post *p, const char *body, size_t size, gm_err *err)
{
    (void)w, (void)p, (void)body, (void)size;
    return gm_fail(err, GM_ERR_MISSING, "this build lacks libcurl");
}
gm_status gm_mllm_wire_turn(gm_mllm_wire *w, double seconds, gm_err *err)
{
    (void)w, (void)seconds;
    return gm_fail(err, GM_ERR_MISSING, "this build lacks libcurl");
}
gm_mllm_post *gm_mllm_wire_done(gm_mllm_wire *w)
{
    (void)w;
    return NULL;
}
void gm_mllm_post_free(gm_mllm_post *p) { (void)p; }

#endif
