/* One run of gnuplot a picture. It reads script and data as its standard input and writes the picture to its standard
 * output, which is the file beside the picture: no path stands in a script, so none has to be quoted. */
#define _POSIX_C_SOURCE 200809L
#include "eval/plots.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

extern char **environ;

enum { MOST_POINTS = 1000 }; /* of a curve: more than the picture has columns */

/* The same colour for a measure in every picture; told apart without colour vision (Okabe and Ito's). */
static const char *const colours[GM_MEASURES] = { "#0072B2", "#009E73", "#D55E00", "#000000" };
static const char *const titles[GM_MEASURES] = { "entropy", "normalised entropy", "mutual information", "max softmax" };

/* ---- running gnuplot ---- */

static gm_status report_end(int code, FILE *messages, gm_err *err)
{
    char text[256];
    rewind(messages);
    size_t n = fread(text, 1, sizeof text - 1, messages);
    text[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n') text[i] = ' ';
    return gm_fail(err, GM_ERR_IO, "gnuplot ended with %d: %s", code, text);
}

static gm_status wait_for(pid_t child, FILE *messages, gm_err *err)
{
    int code = 0;
    while (waitpid(child, &code, 0) < 0) {
        if (errno != EINTR) return gm_fail(err, GM_ERR_IO, "gnuplot: cannot wait for its end: %s", strerror(errno));
    }
    return code == 0 ? GM_OK : report_end(WIFEXITED(code) ? WEXITSTATUS(code) : -WTERMSIG(code), messages, err);
}

static gm_status start(int script, int picture, int messages, pid_t *child, gm_err *err)
{
    char *const words[] = { (char[]) { "gnuplot" }, (char[]) { "-d" }, (char[]) { "-" }, NULL };
    posix_spawn_file_actions_t files;
    int code = posix_spawn_file_actions_init(&files);
    if (code != 0) return gm_fail(err, GM_ERR_NOMEM, "gnuplot: cannot be started: %s", strerror(code));
    code = posix_spawn_file_actions_adddup2(&files, script, STDIN_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&files, picture, STDOUT_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&files, messages, STDERR_FILENO);
    if (code == 0) code = posix_spawnp(child, words[0], &files, NULL, words, environ);
    posix_spawn_file_actions_destroy(&files);
    if (code == ENOENT)
        return gm_fail(err, GM_ERR_MISSING,
                       "gnuplot, which draws the plots, was not found: install the package gnuplot-nox");
    return code == 0 ? GM_OK : gm_fail(err, GM_ERR_IO, "gnuplot: cannot be started: %s", strerror(code));
}

static gm_status run_gnuplot(const gm_buffer *script, gm_out *picture, gm_err *err)
{
    FILE *input = tmpfile(), *messages = tmpfile();
    pid_t child;
    gm_status status = GM_OK;
    struct stat is;
    if (input == NULL || messages == NULL || fwrite(script->data, 1, script->size, input) != script->size ||
        fflush(input) != 0 || lseek(fileno(input), 0, SEEK_SET) != 0)
        status =
            gm_fail(err, GM_ERR_IO, "a temporary file for gnuplot's script cannot be written: %s", strerror(errno));
    if (status == GM_OK) status = start(fileno(input), fileno(picture->file), fileno(messages), &child, err);
    if (status == GM_OK) status = wait_for(child, messages, err);
    if (status == GM_OK && (fstat(fileno(picture->file), &is) != 0 || is.st_size == 0))
        status = report_end(0, messages, err);
    if (input != NULL) fclose(input);
    if (messages != NULL) fclose(messages);
    return status;
}

gm_status gm_plot_draw(const char *path, const gm_buffer *script, gm_err *err)
{
    gm_out picture = { 0 };
    GM_TRY(gm_out_open(&picture, path, err));
    gm_status status = run_gnuplot(script, &picture, err);
    if (status == GM_OK) status = gm_out_commit(&picture, err);
    gm_out_abort(&picture);
    return status;
}

static gm_status draw(const char *folder, const char *kind, gm_part part, const gm_buffer *script, gm_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%s.png", kind, gm_part_names[part]);
    char *path = gm_path_join(folder, name);
    const gm_status status =
        path != NULL ? gm_plot_draw(path, script, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_free(path);
    return status;
}

/* ---- scripts ---- */

gm_status gm_plot_begin(gm_buffer *script, const char *title, const char *x, const char *y, gm_err *err)
{
    return gm_buffer_printf(script, err,
                            "set terminal pngcairo noenhanced size 760,600 font 'sans,11' background '#ffffff'\n"
                            "set title '%s'\nset xlabel '%s' offset 0,0.4\nset ylabel '%s'\nset grid lt 1 lw 1 lc "
                            "'#e0e0e0'\nset xrange [0:1]\n"
                            "set border 3\nset tics nomirror\nset key outside bottom center maxcols 2\n",
                            title, x, y);
}

/* One curve's data: coverage and risk, thinned evenly, the last point always among them. */
static gm_status add_curve(gm_buffer *script, gm_measure m, const gm_ranked *list, size_t count, gm_err *err)
{
    double *risk = gm_calloc(count, sizeof *risk);
    if (risk == NULL) return gm_fail(err, GM_ERR_NOMEM, "no memory for a curve of %zu points", count);
    const size_t step = (count - 1) / MOST_POINTS + 1;
    gm_risk_coverage(list, count, risk);
    gm_status status = gm_buffer_printf(script, err, "$%s << END\n", gm_measure_names[m]);
    for (size_t k = (count - 1) % step; k < count && status == GM_OK; k += step)
        status = gm_buffer_printf(script, err, "%.6g %.6g\n", (double)(k + 1) / (double)count, risk[k]);
    gm_free(risk);
    return status == GM_OK ? gm_buffer_printf(script, err, "END\n") : status;
}

static gm_status add_bins(gm_buffer *script, gm_measure m, const gm_calibration *c, int64_t count, gm_err *err)
{
    GM_TRY(gm_buffer_printf(script, err, "$%s << END\n", gm_measure_names[m]));
    for (int32_t b = 0; b < c->bin_count; b++)
        if (c->bins[b].count > 0)
            GM_TRY(gm_buffer_printf(script, err, "%.6g %.6g %.6g\n", c->bins[b].confidence, c->bins[b].accuracy,
                                    (double)c->bins[b].count / (double)count));
    return gm_buffer_printf(script, err, "END\n");
}

static gm_status risk_coverage(const gm_verdicts *v, const gm_doubts *d, gm_part part, gm_buffer *script, gm_err *err)
{
    char title[96];
    snprintf(title, sizeof title, "%s: errors among the most certain predictions", gm_part_names[part]);
    GM_TRY(gm_plot_begin(script, title, "coverage", "risk", err));
    GM_TRY(gm_buffer_printf(script, err, "set yrange [0:*]\n"));
    for (int m = 0; m < GM_MEASURES; m++) {
        gm_ranked *list;
        size_t count;
        GM_TRY(gm_verdicts_list(v, part, (gm_measure)m, &list, &count, err));
        gm_rank(list, count);
        const gm_status status = count > 0 ? add_curve(script, (gm_measure)m, list, count, err) : GM_OK;
        gm_free(list);
        if (status != GM_OK) return status;
    }
    const char *before = "plot "; /* thinner ones over wider ones: measures often agree, and then all are seen */
    for (int m = 0; m < GM_MEASURES; m++) {
        const gm_ranking *r = &d->of[part][m].ranking;
        if (r->right + r->wrong == 0) continue;
        GM_TRY(gm_buffer_printf(script, err, "%s$%s using 1:2 with lines lw %d lc '%s' title '%s, AURC %.4f (%lld)'",
                                before, gm_measure_names[m], 7 - 2 * m, colours[m], titles[m], r->aurc,
                                (long long)(r->right + r->wrong)));
        before = ", \\\n  ";
    }
    return gm_buffer_printf(script, err, "\n");
}

static gm_status reliability(const gm_doubts *d, gm_part part, gm_buffer *script, gm_err *err)
{
    char title[96];
    snprintf(title, sizeof title, "%s: confidence and the share of right predictions", gm_part_names[part]);
    GM_TRY(gm_plot_begin(script, title, "confidence", "share of right ones; bars: share of the predictions", err));
    GM_TRY(gm_buffer_printf(script, err, "set yrange [0:1.05]\n"));
    for (int m = 0; m < GM_MEASURES; m++) {
        const gm_doubt *one = &d->of[part][m];
        const int64_t count = one->ranking.right + one->ranking.wrong;
        if (gm_measure_is_probability((gm_measure)m) && count > 0)
            GM_TRY(add_bins(script, (gm_measure)m, &one->calibration, count, err));
    }
    GM_TRY(gm_buffer_printf(script, err, "plot x with lines dt 2 lc '#888888' notitle"));
    for (int m = 0; m < GM_MEASURES; m++) {
        const gm_doubt *one = &d->of[part][m];
        if (!gm_measure_is_probability((gm_measure)m) || one->ranking.right + one->ranking.wrong == 0) continue;
        GM_TRY(gm_buffer_printf(script, err,
                                ", \\\n  $%s using 1:3 with impulses lw 6 lc '%s' notitle"
                                ", \\\n  $%s using 1:2 with linespoints pt 7 lw 2 lc '%s' title '%s, ECE %.4f'",
                                gm_measure_names[m], m == GM_BY_SOFTMAX ? "#cccccc" : "#a8dcca", gm_measure_names[m],
                                colours[m], titles[m], one->calibration.ece));
    }
    return gm_buffer_printf(script, err, "\n");
}

static bool has_numbers(const gm_doubts *d, gm_part part, bool is_probability)
{
    for (int m = 0; m < GM_MEASURES; m++) {
        const gm_ranking *r = &d->of[part][m].ranking;
        if (r->right + r->wrong > 0 && (!is_probability || gm_measure_is_probability((gm_measure)m))) return true;
    }
    return false;
}

gm_status gm_plots_write(const gm_verdicts *v, const gm_doubts *d, const char *folder, int *written, gm_err *err)
{
    *written = 0;
    GM_TRY(gm_make_dirs(folder, err));
    for (int part = 0; part < GM_PARTS; part++) {
        for (int is_calibration = 0; is_calibration < 2; is_calibration++) {
            gm_buffer script = { 0 };
            if (!has_numbers(d, (gm_part)part, is_calibration != 0)) continue;
            gm_status status = is_calibration ? reliability(d, (gm_part)part, &script, err)
                                              : risk_coverage(v, d, (gm_part)part, &script, err);
            if (status == GM_OK)
                status = draw(folder, is_calibration ? "reliability" : "risk-coverage", (gm_part)part, &script, err);
            gm_buffer_free(&script);
            if (status != GM_OK) return status;
            ++*written;
        }
    }
    return GM_OK;
}
