/* Risk-coverage and reliability plots, drawn by gnuplot as PNG. */
#ifndef GM_EVAL_PLOTS_H
#define GM_EVAL_PLOTS_H

#include "eval/verdicts.h"

/* Writes risk-coverage-PART.png and reliability-PART.png for span, type and region into `folder`, which is made where it is
 * missing; each is written beside and renamed. A part that no prediction carries numbers of has no picture; *written counts
 * those that were drawn. GM_ERR_MISSING when there is no gnuplot. */
gm_status gm_plots_write(const gm_verdicts *v, const gm_doubts *d, const char *folder, int *written, gm_err *err);

#endif
