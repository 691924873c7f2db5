/* Risk-coverage and reliability plots, drawn by gnuplot as PNG. */
#ifndef GM_EVAL_PLOTS_H
#define GM_EVAL_PLOTS_H

#include "eval/verdicts.h"

/* Writes risk-coverage-PART.png and reliability-PART.png for span, type and region into `folder`, which is made where it is
 * missing; each is written beside and renamed. A part that no prediction carries numbers of has no picture; *written counts
 * those that were drawn. GM_ERR_MISSING when there is no gnuplot. */
gm_status gm_plots_write(const gm_verdicts *v, const gm_doubts *d, const char *folder, int *written, gm_err *err);

/* A script of gnuplot's that begins as all of them do: the look, title and axes (no quotes in them), x from 0 to 1. */
gm_status gm_plot_begin(gm_buffer *script, const char *title, const char *x, const char *y, gm_err *err);
/* The picture that a script draws, as a PNG file written beside and renamed. */
gm_status gm_plot_draw(const char *path, const gm_buffer *script, gm_err *err);

#endif
