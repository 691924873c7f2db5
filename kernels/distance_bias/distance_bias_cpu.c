/* distance_bias on the CPU: a few thousand numbers once a pass, so one thread serves. */
#include "distance_bias/distance_bias.h"

/* Distances of bucket i of a half end before this one. */
static int32_t end_of(const gm_distance_buckets *b, int32_t i)
{
    const int32_t end = i + 1 < b->half ? b->first[i + 1] : b->reach + 1;
    return end < b->reach + 1 ? end : b->reach + 1;
}

static gm_status distance_bias_forward(const gm_distance_bias *a, gm_device *dev)
{
    const gm_distance_buckets *b = &a->buckets;
    (void)dev;
    for (int32_t head = 0; head < a->heads; head++) {
        float *middle = a->bias + (ptrdiff_t)head * (2 * b->reach + 1) + b->reach;
        for (int32_t i = 0; i < b->half; i++)
            for (int32_t d = b->first[i]; d < end_of(b, i); d++) {
                if (d > 0) middle[d] = a->table[(b->half + i) * a->heads + head];
                middle[-d] = a->table[i * a->heads + head];
            }
    }
    return GM_OK;
}

static gm_status distance_bias_backward(const gm_distance_bias_grad *a, gm_device *dev)
{
    const gm_distance_buckets *b = &a->buckets;
    (void)dev;
    for (int32_t head = 0; head < a->heads; head++) {
        const float *middle = a->dbias + (ptrdiff_t)head * (2 * b->reach + 1) + b->reach;
        for (int32_t i = 0; i < b->half; i++) {
            float before = 0.0f, behind = 0.0f;
            for (int32_t d = b->first[i]; d < end_of(b, i); d++) {
                before += middle[-d];
                if (d > 0) behind += middle[d];
            }
            a->dtable[i * a->heads + head] += before;
            a->dtable[(b->half + i) * a->heads + head] += behind;
        }
    }
    return GM_OK;
}

GM_KERNELS(distance_bias)
