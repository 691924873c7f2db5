#include "train/trainer.h"

double gm_schedule(int64_t done, int64_t total, double warmup)
{
    const int64_t rising = (int64_t)(warmup * (double)total);
    if (done < rising) return (double)done / (double)rising;
    if (done >= total) return 0.0;
    return (double)(total - done) / (double)(total - rising);
}
