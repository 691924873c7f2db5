/* The running average of the weights. A sample is taken a few times an epoch, whatever the device, so that it costs next to
 * nothing on the cpu and a copy of the weights to the host elsewhere: neighbouring steps have nearly the same weights. The
 * first samples are averaged evenly; from as many on as the window holds, older ones fade. All of it depends on the number
 * of the step alone, so that a checkpoint keeps the average and nothing else. */
#include <math.h>

#include "train/run.h"

enum { SAMPLES = 10 }; /* an epoch */

gm_status gm_run_average(gm_run *r, gm_err *err)
{
    const double window = gm_config_num(r->config, GM_KEY_AVERAGE);
    const int64_t every = r->steps_per_epoch > SAMPLES ? r->steps_per_epoch / SAMPLES : 1;
    if (r->model.params.average == NULL || r->at.step % every != 0) return GM_OK;
    const double even = (double)every / (double)r->at.step, fading = 1.0 - exp(-(double)every / (window * (double)r->steps_per_epoch));
    GM_TRY(gm_workers_error(&r->workers, gm_params_fetch_weights(&r->model.params), err));
    gm_params_average(&r->model.params, (float)fmax(even, fading), (int)gm_config_int(r->config, GM_KEY_THREADS));
    return GM_OK;
}

gm_status gm_run_swap_average(gm_run *r, gm_err *err) { return gm_workers_error(&r->workers, gm_params_swap_average(&r->model.params), err); }
