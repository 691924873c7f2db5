/* The table is a file, so that a cluster's own machine takes one line. This machine's figures are measured each time: what a
 * container or a neighbour leaves of it is not in any data sheet. */
#define _POSIX_C_SOURCE 200809L
#include "infer/plan_hardware.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "gemm.h"

static gm_status take(const cJSON *row, const char *key, double unit, double *to, gm_err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(row, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0.0)) return gm_fail(err, GM_ERR_FORMAT, "\"%s\" is missing or not a number from 0", key);
    *to = item->valuedouble * unit;
    return GM_OK;
}

static gm_status read_row(const cJSON *row, gm_hardware *h, gm_err *err)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "name"));
    const char *from = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "from"));
    double share;
    *h = (gm_hardware){ 0 };
    (void)snprintf(h->name, sizeof h->name, "%s", name != NULL ? name : "");
    (void)snprintf(h->from, sizeof h->from, "%s", from != NULL ? from : "not said");
    GM_TRY(take(row, "efficiency", 1.0, &share, err));
    GM_TRY(take(row, "fp32", 1e12 * share, &h->flops[GM_FP32], err));
    GM_TRY(take(row, "bf16", 1e12 * share, &h->flops[GM_BF16], err));
    GM_TRY(take(row, "memory", 1e9, &h->memory, err));
    GM_TRY(take(row, "bandwidth", 1e9, &h->bandwidth, err));
    GM_TRY(take(row, "link", 1e9, &h->link, err));
    return take(row, "network", 1e9, &h->network, err);
}

static const char *name_of(const cJSON *row)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "name"));
    return name != NULL ? name : "?";
}

static gm_status fail_unknown(const char *table, const cJSON *rows, const char *name, gm_err *err)
{
    gm_buffer known = { 0 };
    const cJSON *row;
    gm_status status = GM_OK;
    cJSON_ArrayForEach(row, rows) if (status == GM_OK) status = gm_buffer_printf(&known, err, ", %s", name_of(row));
    if (status == GM_OK) status = gm_fail(err, GM_ERR_USAGE, "--hardware is \"%s\"; it is here%s (%s)", name, known.size > 0 ? known.data : "", table);
    gm_buffer_free(&known);
    return status;
}

static gm_status find_row(const char *table, const cJSON *all, const char *name, gm_hardware *h, gm_err *err)
{
    const cJSON *rows = cJSON_GetObjectItemCaseSensitive(all, "hardware"), *row;
    cJSON_ArrayForEach(row, rows) if (strcmp(name_of(row), name) == 0) return read_row(row, h, err) == GM_OK ? GM_OK : gm_fail_at(err, "%s: \"%s\"", table, name);
    return fail_unknown(table, rows, name, err);
}

gm_status gm_hardware_find(const char *table, const char *name, gm_hardware *h, gm_err *err)
{
    char *text = NULL;
    size_t size;
    cJSON *all = NULL;
    GM_TRY(gm_file_read(table, &text, &size, err));
    gm_status status = gm_json_parse(text, size, &all, err);
    status = status == GM_OK ? find_row(table, all, name, h, err) : gm_fail_at(err, "%s", table);
    cJSON_Delete(all);
    gm_free(text);
    return status;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { ROWS = 512, INNER = 768, COLUMNS = 3072, COPY = 64 << 20 };

static gm_status time_products(gm_float_type type, int threads, void *block, double *flops, gm_err *err)
{
    gm_backend backend;
    gm_device dev;
    char *at = block;
    GM_TRY(gm_backend_open("cpu", "auto", type, &backend, err));
    GM_TRY(gm_device_create(&backend, threads, &dev, err));
    dev.err = err;
    const gm_gemm g = { .a = at, .b = at + 4 * ROWS * INNER, .c = at + 4 * (ROWS * INNER + INNER * COLUMNS), .in = type, .out = type,
                        .m = ROWS, .n = COLUMNS, .k = INNER, .b_transposed = true };
    gm_status status = gm_gemm_run(&g, &dev); /* makes the plan */
    const double start = now();
    int runs = 0;
    while (status == GM_OK && now() - start < 0.2) {
        status = gm_gemm_run(&g, &dev);
        runs++;
    }
    *flops = 2.0 * ROWS * INNER * COLUMNS * runs / (now() - start);
    gm_device_destroy(&dev);
    return status;
}

/* Bytes read and written a second by copies. */
static double time_copies(char *block, int threads)
{
    const size_t part = COPY / 2 / (size_t)threads;
    const double start = now();
    int runs = 0;
    while (now() - start < 0.2) {
        #pragma omp parallel for schedule(static) num_threads(threads)
        for (int i = 0; i < threads; i++) memcpy(block + COPY / 2 + (size_t)i * part, block + (size_t)i * part, part);
        runs++;
    }
    return (double)COPY * runs / (now() - start);
}

gm_status gm_hardware_measure(int threads, gm_hardware *h, gm_err *err)
{
    char *block = gm_calloc(1, COPY);
    if (block == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a measurement");
    memset(block, 0, COPY); /* its pages are touched before the clock runs */
    *h = (gm_hardware){ .name = "here", .from = "measured at start", .is_here = true };
    gm_status status = time_products(GM_FP32, threads, block, &h->flops[GM_FP32], err);
    if (status == GM_OK && gm_backend_has_bf16()) status = time_products(GM_BF16, threads, block, &h->flops[GM_BF16], err);
    h->bandwidth = h->link = h->network = time_copies(block, threads);
    h->memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    gm_free(block);
    return status;
}
