/* cross_entropy on the CPU. Rows' losses are put down side by side and added in order, so that the sum has the same bits
 * for any number of threads. */
#include "cross_entropy/cross_entropy.h"

#include <string.h>

enum { BLOCK = 1024 }; /* rows whose losses wait to be added */

static gm_status cross_entropy_forward(const gm_cross_entropy *a, gm_device *dev)
{
    const size_t classes = (size_t)a->classes;
    for (int32_t first = 0; first < a->rows; first += BLOCK) {
        const int32_t n = a->rows - first < BLOCK ? a->rows - first : BLOCK;
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t r = 0; r < n; r++) {
            const size_t row = (size_t)first + (size_t)r;
            float *dlogits = a->dlogits != NULL ? a->dlogits + row * classes : NULL;
            loss[r] = 0.0;
            if (a->label[row] != GM_NO_LABEL)
                loss[r] = gm_cross_entropy_of(a->logits + row * classes, a->classes, a->label[row], *a->scale, dlogits);
            else if (dlogits != NULL)
                memset(dlogits, 0, classes * sizeof *dlogits);
        }
        for (int32_t r = 0; r < n; r++) sum += loss[r];
        *a->loss += sum * (double)*a->scale;
    }
    return GM_OK;
}

GM_KERNELS_FORWARD(cross_entropy)
