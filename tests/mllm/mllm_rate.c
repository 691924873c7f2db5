/* How near the client comes to what an endpoint can give, measured by hand (docs/mllm.md):
 *     mllm_rate [requests 10000] [latency in ms 50] [concurrency 64] [folder of the cache, or none: .]
 * The server answers each request after its latency, so requests / (concurrency / latency) is the ideal time. Prints the rate,
 * its share of the ideal, and the process's memory at a tenth and at the end. Not asserted in tests: a busy machine is slow. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mllm/client.h"
#include "tests/mllm/server.h"

typedef struct run { long count, next, got, answered; long memory_early; char prompt[256]; gm_mllm_part part; } run;

static long memory_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static gm_status next(void *user, gm_mllm_request *r, bool *have, gm_err *err)
{
    run *n = user;
    (void)err;
    *have = n->next < n->count;
    if (!*have) return GM_OK;
    snprintf(n->prompt, sizeof n->prompt, "sample %ld: which words of this text are one entity? Answer with JSON.", n->next++);
    n->part = (gm_mllm_part) { .text = n->prompt };
    r->id = n->prompt;
    r->parts = &n->part;
    r->part_count = 1;
    return GM_OK;
}

static gm_status got(void *user, const gm_mllm_answer *a, gm_err *err)
{
    run *n = user;
    (void)err;
    n->got++;
    n->answered += a->outcome == GM_MLLM_ANSWERED;
    if (n->got == n->count / 10) n->memory_early = memory_kb();
    return GM_OK;
}

int main(int argc, char **argv)
{
    run n = { .count = argc > 1 ? strtol(argv[1], NULL, 10) : 10000 };
    const long latency_ms = argc > 2 ? strtol(argv[2], NULL, 10) : 50, concurrency = argc > 3 ? strtol(argv[3], NULL, 10) : 64;
    char json[512], cache[512] = "";
    gm_err err = { 0 };
    gm_mllm_endpoint e = { 0 };
    gm_mllm_client *c = NULL;
    gm_mllm_report r;
    gmt_server server = gmt_server_start(&(gmt_server_options) { .latency_ms = (int)latency_ms, .is_forgetful = true });
    const int size = snprintf(json, sizeof json, "{\"url\":\"http://127.0.0.1:%d/v1/chat/completions\",\"model\":\"m\",\"concurrency\":%ld}", server.port, concurrency);
    if (argc > 4) snprintf(cache, sizeof cache, "%s/mllm_rate-%ld.sqlite", argv[4], (long)getpid());
    gm_status status = gm_mllm_endpoint_parse("endpoint", json, (size_t)size, &e, &err);
    if (status == GM_OK) status = gm_mllm_open(&e, &(gm_mllm_options) { .cache = argc > 4 ? cache : NULL }, &c, &err);
    if (status == GM_OK) status = gm_mllm_ask(c, next, got, &n, &err);
    if (status == GM_OK) {
        gm_mllm_report_of(c, &r);
        const double rate = (double)n.answered / r.seconds, ideal = 1000.0 * (double)concurrency / (double)latency_ms;
        printf("%ld of %ld answered in %.2f s: %.0f a second, %.1f %% of the ideal %.0f; latency p50 %.1f ms, p99 %.1f ms; memory %ld KB at a tenth, %ld KB at the end\n",
               n.answered, n.count, r.seconds, rate, 100.0 * rate / ideal, ideal, 1000.0 * r.latency_p50_s, 1000.0 * r.latency_p99_s, n.memory_early, memory_kb());
    } else {
        fprintf(stderr, "mllm_rate: %s\n", err.text);
    }
    gm_mllm_close(c);
    gm_mllm_endpoint_free(&e);
    gmt_server_stop(&server);
    return gm_status_exit(status);
}
