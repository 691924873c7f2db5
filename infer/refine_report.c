/* What `gmner refine` leaves in its folder. */
#include "infer/refine.h"

#include "base/file.h"
#include "base/memory.h"

static gm_status add_score(const char *name, gm_score score, gm_buffer *b, gm_err *err)
{
    GM_TRY(gm_buffer_printf(b, err, "%s\"%s\": ", b->data[b->size - 1] == '{' ? "" : ", ", name));
    return gm_score_json(score, b, err);
}

static gm_status add_scores(const gm_records *gold, const gm_records *pred, const char *name, gm_buffer *b, gm_err *err)
{
    const gm_eval_options how = { .iou = 0.5 };
    gm_metrics m;
    GM_TRY(gm_evaluate(gold, pred, &how, &m, err));
    gm_status status = gm_buffer_printf(b, err, ", \"%s\": {", name);
    if (status == GM_OK) status = add_score("mner", m.mner, b, err);
    if (status == GM_OK) status = add_score("eeg", m.eeg, b, err);
    if (status == GM_OK) status = add_score("gmner", m.gmner, b, err);
    if (status == GM_OK && m.with_fine > 0) status = add_score("fine_mner", m.fine_mner, b, err);
    if (status == GM_OK && m.with_fine > 0) status = add_score("fmnerg", m.fmnerg, b, err);
    if (status == GM_OK) status = gm_buffer_printf(b, err, "}");
    gm_metrics_free(&m);
    return status;
}

static gm_status add_counts(const refine_settings *s, const refine_input *in, const refine_outcome *o, gm_buffer *b,
                            gm_err *err)
{
    const gm_correct_counts n = gm_correct_count(o->c);
    GM_TRY(gm_buffer_printf(b, err, "{\"corrector\": \"%s\", \"samples\": %zu, \"entities\": %zu, \"delegated\": %zu",
                            o->route.delegated > 0 ? s->corrector : "none", in->pred.count, o->route.entities,
                            o->route.delegated));
    for (int p = 0; p < GM_PARTS; p++)
        GM_TRY(gm_buffer_printf(
            b, err,
            ", \"%s\": {\"asked\": %lld, \"corrected\": %lld, \"kept\": %lld, \"refused\": %lld, \"failed\": %lld}",
            gm_part_names[p], (long long)n.asked[p], (long long)n.corrected[p], (long long)n.kept[p],
            (long long)n.refused[p], (long long)n.failed[p]));
    return gm_buffer_printf(b, err, ", \"removed\": %lld, \"clashed\": %lld, \"without_picture\": %lld",
                            (long long)n.removed, (long long)n.clashed, (long long)o->without_picture);
}

static gm_status write_report(const refine_settings *s, const refine_input *in, const refine_outcome *o, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = add_counts(s, in, o, &b, err);
    if (status == GM_OK && in->gold.count > 0) status = add_scores(&in->gold, &in->pred.records, "before", &b, err);
    if (status == GM_OK && in->gold.count > 0) status = add_scores(&in->gold, o->now, "after", &b, err);
    if (status == GM_OK && s->stage.client != NULL) status = gm_buffer_printf(&b, err, ", \"endpoint\": ");
    if (status == GM_OK && s->stage.client != NULL) status = gm_stage_report(&s->stage, &b, err);
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "}\n");
    if (status == GM_OK) status = gm_file_write_in(s->out, "report.json", b.data, b.size, err);
    gm_buffer_free(&b);
    return status;
}

gm_status refine_write(const refine_settings *s, const refine_input *in, const refine_outcome *o, gm_err *err)
{
    GM_TRY(gm_make_dirs(s->out, err));
    GM_TRY(gm_kept_write(&in->pred, o->c, o->now, s->out, err));
    return write_report(s, in, o, err);
}
