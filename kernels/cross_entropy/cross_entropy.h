/* cross_entropy: softmax cross-entropy of each row against its class; the loss is the sum over rows x scale, its gradient
 * comes with it. Rows labelled GM_NO_LABEL add nothing and get a zero gradient. */
#ifndef GM_CROSS_ENTROPY_H
#define GM_CROSS_ENTROPY_H

#include <math.h>

#include "kernels.h"

enum { GM_NO_LABEL = 255 };

struct gm_cross_entropy {
    const void *logits;       /* [rows, classes] activations; at most GM_NO_LABEL classes */
    const uint8_t *label;     /* [rows] class, or GM_NO_LABEL */
    const float *scale;       /* in device memory: 1 / count over the whole step */
    double *loss;             /* added to */
    void *dlogits;            /* [rows, classes] or NULL; may be logits */
    int32_t rows, classes;
};

/* One row, shared with span_logits: returns -log softmax(logits)[label]; dlogits (or NULL, or logits itself) =
 * scale (softmax - onehot). */
static inline double gm_cross_entropy_of(const float *logits, int32_t classes, int32_t label, float scale, float *dlogits)
{
    float top = logits[0];
    for (int32_t c = 1; c < classes; c++) top = fmaxf(top, logits[c]);
    float sum = 0.0f;
    for (int32_t c = 0; c < classes; c++) sum += expf(logits[c] - top);
    const double loss = (double)top + log((double)sum) - (double)logits[label];
    if (dlogits == NULL) return loss;
    const float inv = 1.0f / sum;
    for (int32_t c = 0; c < classes; c++)
        dlogits[c] = scale * (expf(logits[c] - top) * inv - (c == label ? 1.0f : 0.0f));
    return loss;
}

#endif
