/* gmner refine --sweep: how much F1 a share of delegated entities buys, by what they are chosen and by who corrects them, and the thresholds at
 * which calls pay. */
#include "infer/refine.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/memory.h"
#include "eval/plots.h"
#include "mllm/pick.h"

enum { DRAWS = 20, STEPS = 10 };

typedef struct row {
    double share, uncertainty, softmax, chance, chance_sd;
    int64_t calls; /* of the row's share by uncertainty */
} row;

/* Somebody who corrects, with the curve of it. */
typedef struct corrector {
    const char *name;
    gm_corrector ask;
    void *user;
    row rows[STEPS + 1];
} corrector;

typedef struct picked {
    gm_thresholds thresholds;
    int64_t calls[GM_PARTS];
    double before, after, cost, gain; /* in points of F1 */
    size_t predictions;
} picked;

static gm_status f1_of(const refine_settings *s, const refine_input *in, const gm_route_options *how,
                       const corrector *k, double *f1, int64_t calls[GM_PARTS], gm_err *err)
{
    const gm_eval_options eval = { .iou = 0.5 };
    gm_route route;
    gm_corrections *c = NULL;
    const gm_records *now;
    gm_metrics m;
    GM_TRY(gm_route_make(&in->pred.records, how, &route, err));
    gm_status status = gm_correct_all(&in->pred.records, &route, k->ask, k->user, &c, &now, err);
    if (status == GM_OK) status = gm_evaluate(&in->gold, now, &eval, &m, err);
    if (status == GM_OK) {
        *f1 = 100.0 * gm_f1(gm_score_of(&m, s->score));
        for (int part = 0; part < GM_PARTS && calls != NULL; part++) calls[part] = route.calls[part];
        gm_metrics_free(&m);
    }
    gm_correct_free(c);
    gm_route_free(&route);
    return status;
}

static gm_status by_chance(const refine_settings *s, const refine_input *in, gm_route_options how, const corrector *k,
                           row *r, gm_err *err)
{
    double f1[DRAWS], sum = 0, squares = 0;
    how.by = GM_ROUTE_BY_CHANCE;
    for (int i = 0; i < DRAWS; i++) {
        how.seed = (uint64_t)i;
        GM_TRY(f1_of(s, in, &how, k, &f1[i], NULL, err));
        sum += f1[i];
    }
    r->chance = sum / DRAWS;
    for (int i = 0; i < DRAWS; i++) squares += (f1[i] - r->chance) * (f1[i] - r->chance);
    r->chance_sd = sqrt(squares / (DRAWS - 1));
    return GM_OK;
}

static gm_status sweep_rows(const refine_settings *s, const refine_input *in, corrector *k, gm_err *err)
{
    gm_route_options how = refine_route_of(s);
    how.calls = -1;
    printf("delegated    calls  uncertainty  max-softmax  by chance (%d draws)     %s F1 (%%), corrected by: %s\n",
           (int)DRAWS, gm_score_names[s->score], k->name);
    for (int step = 0; step <= STEPS; step++) {
        row *r = &k->rows[step];
        int64_t calls[GM_PARTS];
        r->share = how.share = (double)step / STEPS;
        how.by = GM_ROUTE_BY_UNCERTAINTY;
        GM_TRY(f1_of(s, in, &how, k, &r->uncertainty, calls, err));
        how.by = GM_ROUTE_BY_SOFTMAX;
        GM_TRY(f1_of(s, in, &how, k, &r->softmax, NULL, err));
        GM_TRY(by_chance(s, in, how, k, r, err));
        r->calls = calls[0] + calls[1] + calls[2];
        printf("%7.0f %%  %7lld  %11.2f  %11.2f  %7.2f +- %.2f\n", 100.0 * r->share, (long long)r->calls,
               r->uncertainty, r->softmax, r->chance, r->chance_sd);
    }
    return GM_OK;
}

/* ---- thresholds ---- */

static gm_status pick(const refine_settings *s, const refine_input *in, const corrector *k, picked *p, gm_err *err)
{
    const gm_pick_options o = {
        .score = s->score, .call_cost = s->call_cost, .calls = s->calls, .asks = { true, true, !s->without_regions }
    };
    gm_route_options how = { .calls = 0, .share = -1, .asks = { true, true, !s->without_regions } };
    GM_TRY(gm_pick_thresholds(&in->gold, &in->pred.records, &o, k->ask, k->user, &p->thresholds, err));
    GM_TRY(f1_of(s, in, &how, k, &p->before, NULL, err));
    how.calls = -1;
    how.thresholds = p->thresholds;
    GM_TRY(f1_of(s, in, &how, k, &p->after, p->calls, err));
    for (size_t i = 0; i < in->pred.records.count; i++) p->predictions += (size_t)in->pred.records.items[i].entity_count;
    p->cost = s->call_cost * 100.0 * (double)(p->calls[0] + p->calls[1] + p->calls[2]) / (double)p->predictions;
    p->gain = p->after - p->before - p->cost;
    printf("thresholds for %s: span %.4f, type %.4f, region %.4f; %lld + %lld + %lld calls for %zu entities; %s F1 "
           "%.2f becomes %.2f, the calls cost %.2f points\n",
           k->name, p->thresholds.of[0], p->thresholds.of[1], p->thresholds.of[2], (long long)p->calls[0],
           (long long)p->calls[1], (long long)p->calls[2], p->predictions, gm_score_names[s->score], p->before,
           p->after, p->cost);
    return GM_OK;
}

/* ---- files ---- */

static gm_status write_thresholds(const refine_settings *s, const picked *p, const char *name, gm_err *err)
{
    gm_buffer b = { 0 };
    /* 17 digits: a threshold read back must separate the same predictions. */
    gm_status status =
        gm_buffer_printf(&b, err,
                         "{\"thresholds\": {\"span\": %.17g, \"type\": %.17g, \"region\": %.17g}, \"corrector\": "
                         "\"%s\", \"score\": \"%s\", ",
                         p->thresholds.of[0], p->thresholds.of[1], p->thresholds.of[2], name, gm_score_names[s->score]);
    if (status == GM_OK)
        status = gm_buffer_printf(&b, err,
                                  "\"calls\": {\"span\": %lld, \"type\": %lld, \"region\": %lld}, \"predictions\": "
                                  "%zu, \"before\": %.10g, \"after\": %.10g, "
                                  "\"cost\": %.10g, \"gain\": %.10g}\n",
                                  (long long)p->calls[0], (long long)p->calls[1], (long long)p->calls[2],
                                  p->predictions, p->before, p->after, p->cost, p->gain);
    if (status == GM_OK) status = gm_file_write_in(s->out, "thresholds.json", b.data, b.size, err);
    gm_buffer_free(&b);
    return status;
}

static gm_status write_rows(const refine_settings *s, const corrector *list, int count, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status =
        gm_buffer_printf(&b, err, "{\"score\": \"%s\", \"draws\": %d", gm_score_names[s->score], (int)DRAWS);
    for (int i = 0; i < count && status == GM_OK; i++) {
        status = gm_buffer_printf(&b, err, ", \"%s\": [", list[i].name);
        for (int step = 0; step <= STEPS && status == GM_OK; step++) {
            const row *r = &list[i].rows[step];
            status = gm_buffer_printf(&b, err,
                                      "%s{\"share\": %g, \"calls\": %lld, \"uncertainty\": %.10g, \"max_softmax\": "
                                      "%.10g, \"chance\": %.10g, \"chance_sd\": %.10g}",
                                      step > 0 ? ",\n  " : "\n  ", r->share, (long long)r->calls, r->uncertainty,
                                      r->softmax, r->chance, r->chance_sd);
        }
        if (status == GM_OK) status = gm_buffer_printf(&b, err, "]");
    }
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "}\n");
    if (status == GM_OK) status = gm_file_write_in(s->out, "sweep.json", b.data, b.size, err);
    gm_buffer_free(&b);
    return status;
}

static gm_status add_curves(const corrector *k, int dash, const char *before, gm_buffer *b, gm_err *err)
{
    static const char *const titles[] = { "uncertainty", "max softmax", "chance" };
    static const char *const colours[] = { "#0072B2", "#000000", "#D55E00" };
    GM_TRY(gm_buffer_printf(
        b, err, "%s$%s using 1:($4-$5):($4+$5) with filledcurves fs transparent solid 0.25 noborder lc '%s' notitle",
        before, k->name, colours[2]));
    for (int i = 0; i < 3; i++)
        GM_TRY(gm_buffer_printf(b, err, ", \\\n  $%s using 1:%d with lines lw 2 dt %d lc '%s' title '%s by %s'",
                                k->name, i + 2, dash, colours[i], k->name, titles[i]));
    return GM_OK;
}

static gm_status curve_script(const refine_settings *s, const corrector *list, int count, gm_buffer *b, gm_err *err)
{
    char label[32];
    snprintf(label, sizeof label, "%s F1 (%%)", gm_score_names[s->score]);
    GM_TRY(gm_plot_begin(b, "entities delegated, the least sure first, and what it gains", "share of the entities",
                         label, err));
    GM_TRY(gm_buffer_printf(b, err, "set key outside below center horizontal maxcols 3 samplen 2\n"));
    for (int i = 0; i < count; i++) {
        GM_TRY(gm_buffer_printf(b, err, "$%s << END\n", list[i].name));
        for (int step = 0; step <= STEPS; step++) {
            const row *r = &list[i].rows[step];
            GM_TRY(gm_buffer_printf(b, err, "%g %.6g %.6g %.6g %.6g\n", r->share, r->uncertainty, r->softmax, r->chance,
                                    r->chance_sd));
        }
        GM_TRY(gm_buffer_printf(b, err, "END\n"));
    }
    for (int i = 0; i < count; i++) GM_TRY(add_curves(&list[i], i + 1, i == 0 ? "plot " : ", \\\n  ", b, err));
    return gm_buffer_printf(b, err, "\n");
}

static gm_status draw(const refine_settings *s, const corrector *list, int count, gm_err *err)
{
    gm_buffer script = { 0 };
    char *path = gm_path_join(s->out, "curve.png");
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", s->out)
                                    : curve_script(s, list, count, &script, err);
    if (status == GM_OK) status = gm_plot_draw(path, &script, err);
    gm_buffer_free(&script);
    gm_free(path);
    return status;
}

/* ---- all of it ---- */

static gm_status sweep_all(const refine_settings *s, const refine_input *in, corrector *list, int count, gm_err *err)
{
    picked p = { .predictions = 0 };
    const corrector *last = &list[count - 1]; /* recorded answers, where there are any: what will be had */
    for (int i = 0; i < count; i++) GM_TRY(sweep_rows(s, in, &list[i], err));
    GM_TRY(pick(s, in, last, &p, err));
    if (s->out == NULL) return GM_OK;
    GM_TRY(gm_make_dirs(s->out, err));
    GM_TRY(write_rows(s, list, count, err));
    GM_TRY(write_thresholds(s, &p, last->name, err));
    return draw(s, list, count, err);
}

gm_status refine_sweep(const refine_settings *s, const refine_input *in, gm_err *err)
{
    gm_oracle *oracle = NULL;
    gm_recorded *answers = NULL;
    corrector list[2];
    int count = 0;
    gm_status status = gm_oracle_open(&in->gold, &in->pred.records, !s->never_removes, &oracle, err);
    if (status == GM_OK) list[count++] = (corrector) { .name = "oracle", .ask = gm_oracle_ask, .user = oracle };
    if (status == GM_OK && s->answers != NULL) {
        status = refine_open_answers(s, in, &answers, err);
        list[count++] = (corrector) { .name = "answers", .ask = gm_recorded_ask, .user = answers };
    }
    if (status == GM_OK) status = sweep_all(s, in, list, count, err);
    gm_recorded_free(answers);
    gm_oracle_free(oracle);
    return status;
}
