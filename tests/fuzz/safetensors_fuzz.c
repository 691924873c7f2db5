/* Any bytes: the reader refuses them or gives entries that tile the data; every byte it points at can be read. */
#include <stdlib.h>
#include <string.h>

#include "tensor/safetensors.h"

static void check(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_safetensors *st = NULL;
    gm_err err = { 0 };
    if (gm_safetensors_parse("fuzz", data, size, &st, &err) != GM_OK) {
        check(st == NULL && err.text[0] != '\0');
        return 0;
    }
    size_t total = 0;
    unsigned sum = 0;
    for (int32_t i = 0; i < gm_safetensors_count(st); i++) {
        const gm_st_entry *e = gm_safetensors_at(st, i);
        const unsigned char *bytes = e->data;
        check(gm_safetensors_find(st, e->name) == e);
        for (size_t b = 0; b < e->bytes; b++) sum += bytes[b];
        total += e->bytes;
        const int64_t cols = e->dims > 0 ? e->shape[e->dims - 1] : 1;
        const size_t n = e->bytes / gm_dtype_bytes(e->dtype);
        float *to = malloc(n > 0 ? n * sizeof *to : 1);
        check(to != NULL);
        const gm_status status = gm_safetensors_read_f32(st, e->name, cols > 0 ? (int64_t)n / cols : 0, cols, to, &err);
        check(status == GM_OK || status == GM_ERR_DATA || status == GM_ERR_NUMERIC || cols == 0);
        free(to);
    }
    (void)gm_safetensors_metadata(st, "format");
    check(total <= size && sum <= 255 * total);
    gm_safetensors_close(st);
    return 0;
}
