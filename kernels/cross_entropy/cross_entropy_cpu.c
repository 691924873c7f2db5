/* cross_entropy on the CPU. Rows' losses are put down side by side and added in order, so that the sum has the same bits
 * for any number of threads. */
#include "activation_cpu.h"
#include "cross_entropy/cross_entropy.h"

enum { BLOCK = 1024 }; /* rows whose losses wait to be added */

/* Loss of row `row` without the scale. */
static double one_row(const gm_cross_entropy *a, size_t row)
{
    const size_t classes = (size_t)a->classes;
    gm_act *dlogits = a->dlogits != NULL ? (gm_act *)a->dlogits + row * classes : NULL;
    float z[GM_NO_LABEL] = { 0.0f };
    double loss = 0.0;
    if (a->label[row] != GM_NO_LABEL) {
        gm_widen((const gm_act *)a->logits + row * classes, z, a->classes);
        loss = gm_cross_entropy_of(z, a->classes, a->label[row], *a->scale, dlogits != NULL ? z : NULL);
    }
    if (dlogits != NULL) gm_narrow(z, dlogits, a->classes);
    return loss;
}

static gm_status cross_entropy_forward(const gm_cross_entropy *a, gm_device *dev)
{
    for (int32_t first = 0; first < a->rows; first += BLOCK) {
        const int32_t n = a->rows - first < BLOCK ? a->rows - first : BLOCK;
        double loss[BLOCK], sum = 0.0;
        #pragma omp parallel for schedule(static) num_threads(dev->threads)
        for (int32_t r = 0; r < n; r++) loss[r] = one_row(a, (size_t)first + (size_t)r);
        for (int32_t r = 0; r < n; r++) sum += loss[r];
        *a->loss += sum * (double)*a->scale;
    }
    return GM_OK;
}

GM_KERNELS_FORWARD(cross_entropy)
