/* The same spans and types with other boxes. Each sample is scored alone, with gm_evaluate on one record a side, and the
 * counts are added: no second way of counting. */
#include "eval/grounding.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "eval/report.h"

const char *const gm_boxes_names[GM_BOXES_KINDS] = { "predicted", "null", "largest", "random", "upper_bound" };

typedef struct offer {
    const gm_box *box;
    int32_t count;
} offer;

static double area(gm_box b) { return (b.x2 - b.x1) * (b.y2 - b.y1); }

static bool is_met(double iou, const gm_eval_options *how)
{
    return how->is_iou_strict ? iou > how->iou : iou >= how->iou;
}

static const gm_box *largest(const offer *o)
{
    int32_t best = 0;
    for (int32_t i = 1; i < o->count; i++)
        if (area(o->box[i]) > area(o->box[best])) best = i;
    return &o->box[best];
}

static const gm_box *random_box(const offer *o, uint64_t seed, const gm_record *r, const gm_entity *e)
{
    const uint32_t place = (uint32_t)e->start << 16 ^ (uint32_t)e->end;
    const gm_philox4 bits = gm_philox(seed, place, 0, gm_fnv1a(r->id), gm_purpose(GM_SITE_BASELINE, 0, 0));
    return &o->box[gm_below(bits.word[0], (uint32_t)o->count)];
}

/* The region that meets gold entity g best; NULL without any. */
static const gm_box *nearest(const offer *o, const gm_entity *g, double *iou)
{
    const gm_box *best = NULL;
    *iou = 0;
    for (int32_t i = 0; i < o->count; i++) {
        for (int32_t b = 0; b < g->box_count; b++) {
            const double now = gm_iou(o->box[i], g->boxes[b]);
            if (best != NULL && now <= *iou) continue;
            best = &o->box[i];
            *iou = now;
        }
    }
    return best;
}

/* What the gold entity of this key asks for. Where a key stands several times, predictions and gold entities are taken in
 * their order, so that no gold entity's region is offered twice while another's is not. */
static const gm_box *best_box(const offer *o, const gm_record_pair *s, int32_t p, const gm_eval_options *how)
{
    const gm_entity *e = &s->pred->entities[p];
    int32_t before = 0;
    double iou;
    for (int32_t i = 0; i < p; i++) before += gm_compare(s->pred, e, s->pred, &s->pred->entities[i], how, NULL) != 0;
    for (int32_t g = 0; g < s->gold->entity_count; g++) {
        const gm_entity *ge = &s->gold->entities[g];
        if (gm_compare(s->pred, e, s->gold, ge, how, NULL) != 0 && before-- == 0) return nearest(o, ge, &iou);
    }
    return NULL;
}

static const gm_box *choose(gm_boxes_from from, const offer *o, const gm_record_pair *s, int32_t p, uint64_t seed,
                            const gm_eval_options *how)
{
    if (from == GM_BOXES_NULL || o->count == 0) return NULL;
    if (from == GM_BOXES_LARGEST) return largest(o);
    if (from == GM_BOXES_RANDOM) return random_box(o, seed, s->pred, &s->pred->entities[p]);
    return best_box(o, s, p, how);
}

/* The sample's scores with these boxes. `changed` has room for the entities, `box` for one of each. */
static gm_status score_boxes(gm_boxes_from from, const offer *o, const gm_record_pair *s, uint64_t seed,
                             const gm_eval_options *how, gm_entity *changed, gm_box *box, gm_grounding *to, gm_err *err)
{
    gm_record gold = *s->gold, pred = s->pred != NULL ? *s->pred : (gm_record) { .id = s->gold->id };
    gm_metrics m;
    for (int32_t i = 0; from != GM_BOXES_PREDICTED && i < pred.entity_count; i++) {
        const gm_box *chosen = choose(from, o, s, i, seed, how);
        changed[i] = pred.entities[i];
        if (chosen != NULL) box[i] = *chosen;
        changed[i].boxes = &box[i];
        changed[i].box_count = chosen != NULL;
        changed[i].has_bad_box = false;
    }
    if (from != GM_BOXES_PREDICTED) pred.entities = changed;
    const gm_records one_gold = { &gold, 1, 1 }, one_pred = { &pred, 1, 1 };
    GM_TRY(gm_evaluate(&one_gold, &one_pred, how, &m, err));
    const struct {
        gm_score *to, add;
    } both[] = { { &to->eeg[from], m.eeg }, { &to->gmner[from], m.gmner } };
    for (size_t i = 0; i < GM_LEN(both); i++) {
        both[i].to->tp += both[i].add.tp;
        both[i].to->n_pred += both[i].add.n_pred;
        both[i].to->n_gold += both[i].add.n_gold;
    }
    gm_metrics_free(&m);
    return GM_OK;
}

static gm_status count_type(gm_grounding *to, const char *type, bool is_covered, gm_err *err)
{
    char buf[128];
    const char *name = gm_type_normal(type, buf);
    int32_t at = 0;
    while (at < to->type_count && strcmp(to->types[at].type, name) < 0) at++;
    if (at == to->type_count || strcmp(to->types[at].type, name) != 0) {
        GM_TRY(gm_grow((void **)&to->types, &to->type_capacity, (size_t)to->type_count, sizeof *to->types, err));
        char *copy = gm_strdup(name);
        if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the type %s", name);
        memmove(&to->types[at + 1], &to->types[at], (size_t)(to->type_count - at) * sizeof *to->types);
        to->types[at] = (gm_coverage) { .type = copy };
        to->type_count++;
    }
    to->types[at].groundable++;
    to->types[at].covered += is_covered;
    return GM_OK;
}

static gm_status count_coverage(const gm_record *gold, const offer *o, const gm_eval_options *how, gm_grounding *to,
                                gm_err *err)
{
    to->regions += o->count;
    to->without_regions += o->count == 0;
    for (int32_t g = 0; g < gold->entity_count; g++) {
        double iou;
        if (gold->entities[g].box_count == 0) continue;
        const bool is_covered = nearest(o, &gold->entities[g], &iou) != NULL && is_met(iou, how);
        to->groundable++;
        to->covered += is_covered;
        GM_TRY(count_type(to, gold->entities[g].type, is_covered, err));
    }
    return GM_OK;
}

static gm_status ground_sample(const gm_record_pair *s, const offer *o, uint64_t seed, const gm_eval_options *how,
                               gm_grounding *to, gm_err *err)
{
    const size_t n = s->pred != NULL ? (size_t)s->pred->entity_count : 0;
    gm_entity *changed = gm_calloc(n, sizeof *changed);
    gm_box *box = gm_calloc(n, sizeof *box);
    gm_status status =
        changed != NULL && box != NULL
            ? count_coverage(s->gold, o, how, to, err)
            : gm_fail(err, GM_ERR_NOMEM, "evaluation: no memory for the entities of \"%s\"", s->gold->id);
    for (int from = 0; from < GM_BOXES_KINDS && status == GM_OK; from++)
        status = score_boxes((gm_boxes_from)from, o, s, seed, how, changed, box, to, err);
    gm_free(changed);
    gm_free(box);
    return status;
}

gm_status gm_ground(const gm_records *gold, const gm_records *pred, const gm_eval_options *how, uint64_t seed,
                    gm_regions_of regions_of, void *context, gm_grounding *to, gm_err *err)
{
    gm_record_pair *samples;
    int64_t missing;
    *to = (gm_grounding) { .samples = (int64_t)gold->count };
    GM_TRY(gm_pair_records(gold, pred, how, &samples, &missing, err));
    gm_status status = GM_OK;
    for (size_t i = 0; i < gold->count && status == GM_OK; i++) {
        offer o = { 0 };
        status = regions_of(context, samples[i].gold, &o.box, &o.count, err);
        if (status == GM_OK) status = ground_sample(&samples[i], &o, seed, how, to, err);
    }
    gm_free(samples);
    if (status != GM_OK) gm_grounding_free(to);
    return status;
}

void gm_grounding_free(gm_grounding *g)
{
    for (int32_t i = 0; i < g->type_count; i++) gm_free(g->types[i].type);
    gm_free(g->types);
    *g = (gm_grounding) { 0 };
}

/* ---- the report ---- */

static double share(int64_t part, int64_t all) { return all > 0 ? (double)part / (double)all : (double)NAN; }

gm_status gm_grounding_table(const gm_grounding *g, gm_buffer *out, gm_err *err)
{
    static const char *const names[] = { "as predicted", "always none", "largest region", "random region",
                                         "upper bound" };
    GM_TRY(gm_buffer_printf(out, err, "%-16s %9s %9s %9s %9s %9s %9s\n", "boxes", "EEG tp", "n_pred", "n_gold",
                            "EEG F1", "GMNER tp", "GMNER F1"));
    for (int i = 0; i < GM_BOXES_KINDS; i++)
        GM_TRY(gm_buffer_printf(out, err, "%-16s %9lld %9lld %9lld %9.4f %9lld %9.4f\n", names[i],
                                (long long)g->eeg[i].tp, (long long)g->eeg[i].n_pred, (long long)g->eeg[i].n_gold,
                                gm_f1(g->eeg[i]), (long long)g->gmner[i].tp, gm_f1(g->gmner[i])));
    for (int32_t i = -1; i < g->type_count; i++) {
        const gm_coverage all = { (char[]) { "all types" }, g->groundable, g->covered },
                          *c = i < 0 ? &all : &g->types[i];
        GM_TRY(gm_buffer_printf(out, err, "recall of the regions, %-16s %lld of %lld gold entities with boxes\n",
                                c->type, (long long)c->covered, (long long)c->groundable));
    }
    return gm_buffer_printf(out, err, "%lld regions of %lld samples, %lld samples without any\n", (long long)g->regions,
                            (long long)g->samples, (long long)g->without_regions);
}

static gm_status json_coverage(gm_buffer *out, int64_t covered, int64_t groundable, gm_err *err)
{
    GM_TRY(
        gm_buffer_printf(out, err, "{\"covered\":%lld,\"groundable\":%lld", (long long)covered, (long long)groundable));
    GM_TRY(gm_report_number(out, ",\"recall\":", share(covered, groundable), err));
    return gm_buffer_printf(out, err, "}");
}

gm_status gm_grounding_json(const gm_grounding *g, gm_buffer *out, gm_err *err)
{
    GM_TRY(gm_buffer_printf(out, err, "{"));
    for (int i = 0; i < GM_BOXES_KINDS; i++) {
        GM_TRY(gm_buffer_printf(out, err, "%s\"%s\":{\"eeg\":", i > 0 ? "," : "", gm_boxes_names[i]));
        GM_TRY(gm_score_json(g->eeg[i], out, err));
        GM_TRY(gm_report_score(out, ",\"gmner\":", g->gmner[i], err));
        GM_TRY(gm_buffer_printf(out, err, "}"));
    }
    GM_TRY(gm_buffer_printf(out, err, ",\"regions\":{\"all\":"));
    GM_TRY(json_coverage(out, g->covered, g->groundable, err));
    GM_TRY(gm_buffer_printf(out, err, ",\"per_type\":{"));
    for (int32_t i = 0; i < g->type_count; i++) {
        if (i > 0) GM_TRY(gm_buffer_printf(out, err, ","));
        GM_TRY(gm_buffer_json_string(out, g->types[i].type, err));
        GM_TRY(gm_buffer_printf(out, err, ":"));
        GM_TRY(json_coverage(out, g->types[i].covered, g->types[i].groundable, err));
    }
    return gm_buffer_printf(out, err, "},\"offered\":%lld,\"samples\":%lld,\"without_regions\":%lld}}",
                            (long long)g->regions, (long long)g->samples, (long long)g->without_regions);
}
