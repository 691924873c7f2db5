#include "backend/packed.h"

#include <string.h>

#include "gemm.h"

static int32_t panels(int32_t out) { return (out + GM_PANEL - 1) / GM_PANEL; }

size_t gm_packed_bytes(gm_float_type type, int32_t out, int32_t in)
{
    if (type == GM_BF16 && in % 2 != 0) return 0;
    return (size_t)panels(out) * (size_t)in * GM_PANEL * (type == GM_BF16 ? sizeof(uint16_t) : sizeof(float));
}

static void pack_floats(const float *w, int32_t in, int32_t columns, float *to)
{
    for (int32_t i = 0; i < in; i++)
        for (int32_t c = 0; c < GM_PANEL; c++) *to++ = c < columns ? w[(size_t)c * (size_t)in + (size_t)i] : 0.0f;
}

static void pack_pairs(const uint16_t *w, int32_t in, int32_t columns, uint16_t *to)
{
    for (int32_t i = 0; i < in; i += 2)
        for (int32_t c = 0; c < GM_PANEL; c++) {
            const uint16_t *from = w + (size_t)c * (size_t)in + (size_t)i;
            *to++ = c < columns ? from[0] : 0;
            *to++ = c < columns ? from[1] : 0;
        }
}

void gm_pack_weight(gm_float_type type, const void *w, int32_t out, int32_t in, void *packed, int threads)
{
    #pragma omp parallel for schedule(static) num_threads(threads)
    for (int32_t p = 0; p < panels(out); p++) {
        const int32_t first = p * GM_PANEL, columns = out - first < GM_PANEL ? out - first : GM_PANEL;
        const size_t from = (size_t)first * (size_t)in, to = (size_t)p * (size_t)in * GM_PANEL;
        if (type == GM_BF16)
            pack_pairs((const uint16_t *)w + from, in, columns, (uint16_t *)packed + to);
        else
            pack_floats((const float *)w + from, in, columns, (float *)packed + to);
    }
}

bool gm_packed_serves(gm_float_type type, int32_t rows)
{
    enum { FEW = 32 };
    return type == GM_FP32 || rows <= FEW || !gm_gemm_has_tiles();
}
