#include "model/heads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "crf_decode/crf_decode.h"
#include "gather/gather_op.h"
#include "linear/linear_op.h"

static gm_status declare(gm_params *ps, const char *name, int32_t rows, int32_t cols, gm_param_spec kind, gm_param **p, gm_err *err)
{
    kind.part[0] = name;
    kind.rows = rows;
    kind.cols = cols;
    return gm_params_add(ps, &kind, p, err);
}

static const gm_param_spec head_matrix = { .rate = GM_RATE_HEAD, .decays = true, .init = GM_INIT_NORMAL, .sigma = 0.02f };
static const gm_param_spec head_vector = { .rate = GM_RATE_HEAD, .is_vector = true, .init = GM_INIT_ZERO };

gm_status gm_span_body_declare(gm_span_body *s, gm_params *ps, int32_t hidden, gm_err *err)
{
    gm_param_spec both = head_matrix;
    both.part[0] = "span.start.weight";
    both.part[1] = "span.end.weight";
    both.rows = 2 * GM_SPAN_HIDDEN;
    both.cols = hidden;
    GM_TRY(gm_params_add(ps, &both, &s->project, err));
    GM_TRY(declare(ps, "span.width.weight", GM_SPAN_WIDTHS, GM_SPAN_HIDDEN, head_matrix, &s->width, err));
    return declare(ps, "span.bias", GM_SPAN_HIDDEN, 1, head_vector, &s->bias, err);
}

gm_status gm_span_body_project(const gm_span_body *s, gm_tape *t, gm_tensor *states, gm_tensor **projected)
{
    return gm_op_linear(t, states, s->project, NULL, GM_LINEAR_PLAIN, projected);
}

gm_status gm_span_head_declare(gm_span_head *h, gm_params *ps, int32_t hidden, int32_t types, gm_err *err)
{
    h->types = types;
    GM_TRY(gm_span_body_declare(&h->body, ps, hidden, err));
    GM_TRY(declare(ps, "span.out.weight", types + 1, GM_SPAN_HIDDEN, head_matrix, &h->out, err));
    return declare(ps, "span.out.bias", types + 1, 1, head_vector, &h->out_bias, err);
}

gm_status gm_span_head_forward(const gm_span_head *h, gm_tape *t, const gm_batch *b, gm_tensor *projected, bool with_loss, float **logits)
{
    const gm_span_params p = { h->body.width, h->body.bias, h->out, h->out_bias };
    return gm_op_span_logits(t, &b->words, projected, p, with_loss ? b->span_label : NULL, logits);
}

/* Nothing is known yet of its region, its fine type and how sure it is. */
static gm_found new_found(int32_t start, int32_t end, int32_t type, float score)
{
    return (gm_found){ .start = start, .end = end, .type = type, .score = score, .region = -1, .region_score = NAN, .fine = -1, .fine_score = NAN, .u = gm_no_uncertainty };
}

/* Softmax probability of the best class of one span. */
static gm_found best_class(const float *logits, int32_t classes)
{
    int32_t best = 0;
    float sum = 0.0f;
    for (int32_t c = 1; c < classes; c++)
        if (logits[c] > logits[best]) best = c;
    for (int32_t c = 0; c < classes; c++) sum += expf(logits[c] - logits[best]);
    return new_found(0, 0, best - 1, 1.0f / sum);
}

static int by_score(const void *a, const void *b)
{
    const gm_found *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    const int32_t wx = x->end - x->start, wy = y->end - y->start;
    if (wx != wy) return wx < wy ? -1 : 1;
    return (x->start > y->start) - (x->start < y->start);
}

static int by_place(const void *a, const void *b)
{
    const gm_found *x = a, *y = b;
    return x->start != y->start ? (x->start > y->start) - (x->start < y->start) : (x->end > y->end) - (x->end < y->end);
}

static bool overlaps(const gm_found *kept, int32_t count, const gm_found *f)
{
    for (int32_t i = 0; i < count; i++)
        if (f->start <= kept[i].end && kept[i].start <= f->end) return true;
    return false;
}

int32_t gm_span_decode(const float *logits, int32_t n, int32_t types, bool is_nested, gm_found *found)
{
    int32_t candidates = 0, kept = 0;
    for (int32_t i = 0; i < n; i++)
        for (int32_t w = 0; w < GM_SPAN_WIDTHS && i + w < n; w++) {
            gm_found f = best_class(logits + (size_t)(i * GM_SPAN_WIDTHS + w) * (size_t)(types + 1), types + 1);
            f.start = i;
            f.end = i + w;
            if (f.type >= 0) found[candidates++] = f;
        }
    if (!is_nested) {
        qsort(found, (size_t)candidates, sizeof *found, by_score);
        for (int32_t i = 0; i < candidates; i++) {
            const gm_found f = found[i];
            if (!overlaps(found, kept, &f)) found[kept++] = f; /* kept <= i: only what was looked at is overwritten */
        }
        candidates = kept;
    }
    qsort(found, (size_t)candidates, sizeof *found, by_place);
    return candidates;
}

gm_status gm_crf_head_declare(gm_crf_head *h, gm_params *ps, int32_t hidden, int32_t types, gm_tag_scheme scheme, gm_err *err)
{
    const gm_param_spec moves = { .rate = GM_RATE_CRF, .init = GM_INIT_UNIFORM, .sigma = 0.1f };
    gm_param_spec ends = moves;
    ends.is_vector = true;
    const int32_t tags = gm_tag_count(scheme, types);
    h->types = types;
    h->tags = tags;
    h->scheme = scheme;
    for (int32_t from = 0; from <= tags; from++)
        for (int32_t to = 0; to <= tags; to++)
            h->allowed[from * (tags + 1) + to] = gm_tag_allowed(scheme, from == tags ? -1 : from, to == tags ? -1 : to);
    GM_TRY(declare(ps, "crf.emit.weight", tags, hidden, head_matrix, &h->emit, err));
    GM_TRY(declare(ps, "crf.emit.bias", tags, 1, head_vector, &h->emit_bias, err));
    GM_TRY(declare(ps, "crf.trans", tags, tags, moves, (gm_param **)&h->crf.trans, err));
    GM_TRY(declare(ps, "crf.start", tags, 1, ends, (gm_param **)&h->crf.start, err));
    return declare(ps, "crf.end", tags, 1, ends, (gm_param **)&h->crf.end, err);
}

static gm_status emissions(const gm_crf_head *h, gm_tape *t, const gm_batch *b, gm_tensor *states, gm_tensor **emit)
{
    gm_tensor *words;
    GM_TRY(gm_op_gather(t, states, &b->words, b->word_row, GM_SITE_TAG_STATE, &words));
    return gm_op_linear(t, words, h->emit, h->emit_bias, GM_LINEAR_PLAIN, emit);
}

gm_status gm_crf_head_loss(const gm_crf_head *h, gm_tape *t, const gm_batch *b, gm_tensor *states)
{
    gm_tensor *emit;
    GM_TRY(emissions(h, t, b, states, &emit));
    return gm_op_crf(t, &b->words, emit, h->crf, b->tag);
}

gm_status gm_crf_head_paths(const gm_crf_head *h, gm_tape *t, const gm_batch *b, gm_tensor *states, int32_t **path, float **marginal)
{
    gm_tensor *emit;
    float *score, *log_z, *posterior;
    int32_t *best;
    const uint8_t *allowed;
    const size_t rows = (size_t)b->words.rows, capacity = (size_t)b->words.capacity, tags = (size_t)h->tags;
    GM_TRY(emissions(h, t, b, states, &emit));
    GM_TRY(gm_tape_bring(t, h->allowed, (tags + 1) * (tags + 1), &allowed));
    GM_TRY(gm_tape_low(t, capacity * sizeof *best, &best));
    GM_TRY(gm_tape_low(t, capacity * tags * sizeof *posterior, &posterior));
    GM_TRY(gm_tape_low(t, (size_t)b->words.sequences * sizeof(float), &score));
    GM_TRY(gm_tape_low(t, (size_t)b->words.sequences * sizeof(float), &log_z));
    GM_TRY(t->k->crf_decode.forward(&(gm_crf_decode){ .emit = emit->data, .trans = h->crf.trans->master, .start = h->crf.start->master,
                                                      .end = h->crf.end->master, .allowed = allowed, .cu_words = b->words.cu, .path = best,
                                                      .score = score, .log_z = log_z, .marginal = posterior, .sequences = b->words.sequences,
                                                      .tags = h->tags, .words = b->words.capacity }, t->dev));
    GM_TRY(gm_tape_fetch(t, best, rows * sizeof *best, path));
    return gm_tape_fetch(t, posterior, rows * tags * sizeof *posterior, marginal);
}

int32_t gm_crf_spans(const gm_crf_head *h, const int32_t *path, const float *marginal, int32_t n, gm_span *scratch, gm_found *found)
{
    const int32_t count = gm_tags_decode(h->scheme, path, n, scratch);
    for (int32_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int32_t w = scratch[i].start; w <= scratch[i].end; w++) sum += marginal[(size_t)w * (size_t)h->tags + (size_t)path[w]];
        found[i] = new_found(scratch[i].start, scratch[i].end, scratch[i].type, sum / (float)(scratch[i].end - scratch[i].start + 1));
    }
    return count;
}
