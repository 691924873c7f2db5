#include "model/uncertainty.h"

#include <math.h>
#include <string.h>

#include "dropout_entropy/dropout_entropy_op.h"
#include "gather/gather_op.h"
#include "span_vector/span_vector_op.h"

typedef struct sampler {
    const gm_model *m;
    const gm_sampling *o;
    gm_tape *t;
    const gm_findings *f;
    int32_t layer;            /* where samples begin; -1: at the pieces */
    int32_t *piece_cu;        /* [sentences + 1] rows of the batch's sentences among its pieces */
} sampler;

/* Sentences with entities whose copies are drawn together, `draws` of each at a time. */
typedef struct group {
    int32_t *sentence;        /* [count] */
    int32_t count, pieces, words, entities, draws;
} group;

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t found_in(const gm_findings *f, int32_t s) { return f->first[s + 1] - f->first[s]; }
static int32_t words_of(const gm_findings *f, int32_t s) { return f->batch->word_cu[s + 1] - f->batch->word_cu[s]; }

gm_status gm_sampling_layer(const gm_sampling *o, const gm_model *m, int32_t *layer, gm_err *err)
{
    const int32_t layers = m->encoder.config.layers;
    *layer = -1;
    if (o->samples == 0 || o->layers <= 0) return GM_OK;
    if (o->layers > layers) return gm_fail(err, GM_ERR_USAGE, "samples in the last %d layers, but the encoder has %d", o->layers, layers);
    *layer = layers - o->layers;
    return GM_OK;
}

/* ---- from sums over samples to numbers ---- */

static double surprise(double p) { return p > 0.0 ? -p * log(p) : 0.0; }
static double over_log(double u, int32_t classes) { return classes > 1 ? u / log((double)classes) : 0.0; }

/* Entropy of `count` shares that add up to `whole`. */
static double entropy_of(const double *share, int32_t count, double whole)
{
    double u = 0.0;
    for (int32_t c = 0; c < count && whole > 0.0; c++) u += surprise(share[c] / whole);
    return u;
}

/* Class 0 is none. A sample's entropy of types counts by its probability of an entity, as its types do in the mean: so the
 * expected entropy is never above that of the mean. */
static gm_uncertainty of_span(const double *prob, const double *entropy, int32_t types, int32_t samples)
{
    gm_uncertainty u = gm_no_uncertainty;
    double entity = 0.0;
    for (int32_t c = 1; c <= types; c++) entity += prob[c];
    u.span = entropy_of((const double[]){ prob[0], entity }, 2, prob[0] + entity);
    u.span_norm = over_log(u.span, 2);
    u.span_expected = entropy[0] / samples;
    u.type = entropy_of(prob + 1, types, entity);
    u.type_norm = over_log(u.type, types);
    u.type_expected = entity > 0.0 ? entropy[1] / entity : 0.0;
    return u;
}

/* ---- the span head ---- */

/* Entities of sentences, and their copies, as kernels know them. */
typedef struct placed {
    int32_t *cu;              /* [sequences + 1], and behind it the number of all rows and that of one copy's */
    gm_token *token;          /* [rows] */
    gm_entity_span *span;     /* [rows] */
    int32_t sequences, rows, once;
} placed;

static gm_status make_placed(gm_tape *t, int32_t sequences, int32_t rows, placed *p)
{
    *p = (placed){ .sequences = sequences };
    GM_TRY(gm_tape_note(t, ((size_t)sequences + 3) * sizeof *p->cu, &p->cu));
    GM_TRY(gm_tape_note(t, (size_t)rows * sizeof *p->token, &p->token));
    GM_TRY(gm_tape_note(t, (size_t)rows * sizeof *p->span, &p->span));
    memset(p->cu, 0, ((size_t)sequences + 3) * sizeof *p->cu);
    return GM_OK;
}

/* Sequence q holds a copy of a sentence; its words begin at row word_cu[q] of the batch it stands in. */
static void place(placed *p, const gm_findings *f, int32_t sentence, int32_t q, const int32_t *word_cu)
{
    for (int32_t i = f->first[sentence]; i < f->first[sentence + 1]; i++) {
        p->token[p->rows] = (gm_token){ q, i - f->first[sentence] };
        p->span[p->rows++] = (gm_entity_span){ word_cu[q] + f->found[i].start, word_cu[q] + f->found[i].end };
    }
    p->cu[q + 1] = p->rows;
}

/* The same as packs on the device, one of all copies and one of the first. */
typedef struct packs { gm_pack all, once; const gm_entity_span *span; } packs;

static gm_status bring(gm_tape *t, const gm_pack *words, placed *p, packs *to)
{
    const int32_t *cu;
    gm_token *token;
    p->cu[p->sequences + 1] = p->rows;
    p->cu[p->sequences + 2] = p->once;
    GM_TRY(gm_tape_bring(t, p->cu, ((size_t)p->sequences + 3) * sizeof *p->cu, &cu));
    GM_TRY(gm_tape_bring(t, p->token, (size_t)p->rows * sizeof *p->token, &token));
    GM_TRY(gm_tape_bring(t, p->span, (size_t)p->rows * sizeof *p->span, &to->span));
    to->all = (gm_pack){ cu, token, cu + p->sequences + 1, words->key, words->draw, p->rows, p->rows, p->sequences };
    to->once = to->all;
    to->once.n = cu + p->sequences + 2;
    to->once.rows = to->once.capacity = p->once;
    return GM_OK;
}

/* Adds `samples` samples from first_draw on: of the entities of p under masks of the head, or, where p holds copies that went
 * through the encoder with masks of their own, of these copies. */
static gm_status sample_head(const sampler *c, const gm_pack *words, gm_tensor *projected, placed *p, int32_t first_draw, int32_t samples,
                             gm_sample_sums sums)
{
    const gm_span_head *h = &c->m->span;
    const float dropout = c->t->dropout;
    gm_tensor *vector;
    packs e;
    GM_TRY(bring(c->t, words, p, &e));
    c->t->dropout = 0.0f; /* dropout_entropy drops */
    const gm_status status = gm_op_span_vector(c->t, words, &e.all, e.span, projected, h->body.width, h->body.bias, &vector);
    c->t->dropout = dropout;
    GM_TRY(status);
    const gm_sampled s = { .words = words, .entities = &e.once, .span = e.span, .site = GM_SITE_SPAN_HIDDEN, .p = c->o->p,
                           .first_draw = (uint32_t)first_draw, .samples = samples, .step = p->rows > p->once ? p->once : 0 };
    return gm_op_dropout_entropy(c->t, &s, vector, h->out, h->out_bias, sums);
}

static gm_status take_sums(const sampler *c, gm_sample_sums sums, const int32_t *sentence, int32_t count, int32_t entities)
{
    const int32_t types = c->m->labels.count;
    const double *prob, *entropy;
    GM_TRY(gm_tape_fetch(c->t, sums.prob, (size_t)entities * (size_t)(types + 1) * sizeof *prob, &prob));
    GM_TRY(gm_tape_fetch(c->t, sums.entropy, 2 * (size_t)entities * sizeof *entropy, &entropy));
    for (int32_t k = 0, e = 0; k < count; k++)
        for (int32_t i = c->f->first[sentence[k]]; i < c->f->first[sentence[k] + 1]; i++, e++)
            c->f->found[i].u = of_span(prob + (size_t)e * (size_t)(types + 1), entropy + 2 * (size_t)e, types, c->o->samples);
    return GM_OK;
}

/* Samples in the head alone: of all entities of the batch at once. */
static gm_status sample_spans(const sampler *c, const group *g)
{
    const gm_batch *b = c->f->batch;
    const gm_mark mark = gm_arena_mark(c->t->arena);
    gm_sample_sums sums;
    placed p;
    GM_TRY(make_placed(c->t, b->words.sequences, g->entities, &p));
    for (int32_t s = 0; s < b->sentences; s++) place(&p, c->f, s, s, b->word_cu);
    for (int32_t s = b->sentences; s < p.sequences; s++) p.cu[s + 1] = p.rows;
    p.once = p.rows;
    GM_TRY(gm_sample_sums_make(c->t, g->entities, c->m->labels.count + 1, &sums));
    GM_TRY(sample_head(c, &b->words, c->f->trace.projected, &p, 0, c->o->samples, sums));
    GM_TRY(take_sums(c, sums, g->sentence, g->count, g->entities));
    gm_arena_release(c->t->arena, mark);
    return GM_OK;
}

/* ---- the tagger ---- */

/* Sums over samples: for each word of a group's sentences its posterior marginals and their entropy, for each entity the
 * probability of a type and, times it, the entropy of the types. */
typedef struct tag_sums { double *marginal, *entropy, *type_entropy; } tag_sums;

/* What the words of a span say of its type: the mean mass of its tags. Returns the sum over all types. */
static double types_of(const gm_crf_head *h, const gm_found *e, const double *marginal, double *type)
{
    const int32_t of_type = h->scheme == GM_TAGS_BIO ? 2 : 4, words = e->end - e->start + 1;
    double whole = 0.0;
    memset(type, 0, (size_t)h->types * sizeof *type);
    for (int32_t w = e->start; w <= e->end; w++)
        for (int32_t k = 1; k < h->tags; k++) type[(k - 1) / of_type] += marginal[(size_t)w * (size_t)h->tags + (size_t)k] / words;
    for (int32_t k = 0; k < h->types; k++) whole += type[k];
    return whole;
}

/* One sample of a sentence of n words with entities e[count]; `row` is the sample as the model gave it. */
static void add_tags(const gm_crf_head *h, const float *row, int32_t n, const gm_found *e, int32_t count, double *wide, tag_sums to)
{
    const size_t tags = (size_t)h->tags;
    for (size_t i = 0; i < (size_t)n * tags; i++) to.marginal[i] += wide[i] = (double)row[i];
    for (size_t w = 0; w < (size_t)n; w++) to.entropy[w] += entropy_of(wide + w * tags, h->tags, 1.0);
    for (int32_t i = 0; i < count; i++) {
        double type[GM_MAX_TYPES];
        const double whole = types_of(h, &e[i], wide, type);
        to.type_entropy[i] += whole * entropy_of(type, h->types, whole);
    }
}

static gm_uncertainty of_tags(const gm_crf_head *h, const gm_found *e, tag_sums sums, double type_entropy, int32_t samples)
{
    const size_t tags = (size_t)h->tags;
    const int32_t words = e->end - e->start + 1;
    gm_uncertainty u = gm_no_uncertainty;
    double type[GM_MAX_TYPES];
    const double whole = types_of(h, e, sums.marginal, type);
    u.span = u.span_expected = 0.0;
    for (size_t w = (size_t)e->start; w <= (size_t)e->end; w++) {
        u.span += entropy_of(sums.marginal + w * tags, h->tags, samples) / words;
        u.span_expected += sums.entropy[w] / samples / words;
    }
    u.span_norm = over_log(u.span, h->tags);
    u.type = entropy_of(type, h->types, whole);
    u.type_norm = over_log(u.type, h->types);
    u.type_expected = whole > 0.0 ? type_entropy / whole : 0.0;
    return u;
}

static gm_status make_tag_sums(const sampler *c, const group *g, tag_sums *sums, double **wide)
{
    const size_t words = (size_t)g->words, tags = (size_t)c->m->crf.tags, entities = (size_t)g->entities;
    GM_TRY(gm_tape_note(c->t, words * tags * sizeof(double), &sums->marginal));
    GM_TRY(gm_tape_note(c->t, words * tags * sizeof(double), wide));
    GM_TRY(gm_tape_note(c->t, words * sizeof(double), &sums->entropy));
    GM_TRY(gm_tape_note(c->t, entities * sizeof(double), &sums->type_entropy));
    memset(sums->marginal, 0, words * tags * sizeof(double));
    memset(sums->entropy, 0, words * sizeof(double));
    memset(sums->type_entropy, 0, entities * sizeof(double));
    return GM_OK;
}

/* The sums of sentence k of a group, the next of which lie behind them. */
static void next_sentence(const sampler *c, int32_t sentence, tag_sums *at)
{
    const size_t words = (size_t)words_of(c->f, sentence);
    at->marginal += words * (size_t)c->m->crf.tags;
    at->entropy += words;
    at->type_entropy += found_in(c->f, sentence);
}

/* The sample whose marginals begin at rows[cu[k]] for sentence k of the group. */
static void add_sample(const sampler *c, const group *g, const float *rows, const int32_t *cu, double *wide, tag_sums sums)
{
    for (int32_t k = 0; k < g->count; k++) {
        const int32_t s = g->sentence[k];
        add_tags(&c->m->crf, rows + (size_t)cu[k] * (size_t)c->m->crf.tags, words_of(c->f, s), c->f->found + c->f->first[s], found_in(c->f, s), wide, sums);
        next_sentence(c, s, &sums);
    }
}

static void take_tags(const sampler *c, const group *g, int32_t samples, tag_sums sums)
{
    for (int32_t k = 0; k < g->count; k++) {
        const int32_t s = g->sentence[k];
        for (int32_t i = 0; i < found_in(c->f, s); i++) {
            gm_found *e = &c->f->found[c->f->first[s] + i];
            e->u = of_tags(&c->m->crf, e, sums, sums.type_entropy[i], samples);
        }
        next_sentence(c, s, &sums);
    }
}

/* The posterior of the pass that found the entities is all there is. */
static gm_status posterior_alone(const sampler *c, const group *g)
{
    tag_sums sums;
    double *wide;
    int32_t *cu;
    GM_TRY(make_tag_sums(c, g, &sums, &wide));
    GM_TRY(gm_tape_note(c->t, (size_t)g->count * sizeof *cu, &cu));
    for (int32_t k = 0; k < g->count; k++) cu[k] = c->f->batch->word_cu[g->sentence[k]];
    add_sample(c, g, c->f->trace.marginal, cu, wide, sums);
    take_tags(c, g, 1, sums);
    return GM_OK;
}

/* ---- copies of sentences through the encoder ---- */

/* Fills the drawn batch with copies: all sentences of the group with draw first_draw, then all with the next. */
static gm_status fill_copies(const sampler *c, const group *g, int32_t first_draw, int32_t draws)
{
    const size_t copies = (size_t)g->count * (size_t)draws;
    const gm_sample **sample;
    uint32_t *draw;
    GM_TRY(c->t->dev->memory->sync(c->t->dev)); /* the copies before these have been read */
    GM_TRY(gm_tape_note(c->t, copies * sizeof *sample, &sample));
    GM_TRY(gm_tape_note(c->t, copies * sizeof *draw, &draw));
    for (size_t q = 0; q < copies; q++) {
        sample[q] = c->f->samples[g->sentence[q % (size_t)g->count]];
        draw[q] = (uint32_t)first_draw + (uint32_t)(q / (size_t)g->count);
    }
    return gm_batch_fill(c->f->drawn, sample, (int32_t)copies, (gm_batch_options){ .scheme = c->m->options.scheme, .draws = draw }, c->t->err);
}

/* The states that the first pass kept, for the copies' pieces. */
static gm_status repeat_states(const sampler *c, const group *g, int32_t draws, gm_tensor **x)
{
    const gm_pack *tokens = &c->f->drawn->tokens;
    int32_t *row, *index, at = 0;
    GM_TRY(gm_tape_note(c->t, (size_t)tokens->rows * sizeof *row, &row));
    for (int32_t d = 0; d < draws; d++)
        for (int32_t k = 0; k < g->count; k++)
            for (int32_t i = c->piece_cu[g->sentence[k]]; i < c->piece_cu[g->sentence[k] + 1]; i++) row[at++] = i;
    GM_TRY(gm_tape_bring(c->t, row, (size_t)tokens->rows * sizeof *row, &index));
    return gm_op_gather(c->t, c->f->trace.before, tokens, index, 0, x);
}

/* What the heads see of the copies, with dropout in the layers that are sampled. */
static gm_status states_of_copies(const sampler *c, const group *g, int32_t draws, gm_tensor **states)
{
    gm_tensor *before = NULL;
    if (c->layer >= 0) GM_TRY(repeat_states(c, g, draws, &before));
    return gm_model_words(c->m, c->t, c->f->drawn, c->layer, before, states);
}

static gm_status place_copies(const sampler *c, const group *g, int32_t draws, placed *p)
{
    const gm_batch *b = c->f->drawn;
    GM_TRY(make_placed(c->t, b->words.sequences, g->entities * draws, p));
    for (int32_t q = 0; q < b->sentences; q++) place(p, c->f, g->sentence[q % g->count], q, b->word_cu);
    p->once = g->entities;
    return GM_OK;
}

static gm_status head_of_copies(const sampler *c, gm_tensor *states, placed *p, int32_t first_draw, int32_t draws, gm_sample_sums sums)
{
    gm_tensor *projected;
    GM_TRY(gm_span_body_project(&c->m->span.body, c->t, states, &projected));
    return sample_head(c, &c->f->drawn->words, projected, p, first_draw, draws, sums);
}

static gm_status sample_group_of_spans(const sampler *c, const group *g)
{
    const gm_mark before = gm_arena_mark(c->t->arena);
    gm_sample_sums sums;
    GM_TRY(gm_sample_sums_make(c->t, g->entities, c->m->labels.count + 1, &sums));
    for (int32_t first = 0; first < c->o->samples; first += g->draws) {
        const int32_t draws = least(g->draws, c->o->samples - first);
        const gm_mark mark = gm_arena_mark(c->t->arena);
        gm_tensor *states;
        placed p;
        GM_TRY(fill_copies(c, g, first, draws));
        GM_TRY(states_of_copies(c, g, draws, &states));
        GM_TRY(place_copies(c, g, draws, &p));
        GM_TRY(head_of_copies(c, states, &p, first, draws, sums));
        gm_arena_release(c->t->arena, mark);
    }
    GM_TRY(take_sums(c, sums, g->sentence, g->count, g->entities));
    gm_arena_release(c->t->arena, before);
    return GM_OK;
}

static gm_status sample_group_of_tags(const sampler *c, const group *g)
{
    tag_sums sums;
    double *wide;
    GM_TRY(make_tag_sums(c, g, &sums, &wide));
    for (int32_t first = 0; first < c->o->samples; first += g->draws) {
        const int32_t draws = least(g->draws, c->o->samples - first);
        const gm_mark mark = gm_arena_mark(c->t->arena);
        gm_tensor *states;
        int32_t *path;
        float *marginal;
        GM_TRY(fill_copies(c, g, first, draws));
        GM_TRY(states_of_copies(c, g, draws, &states));
        GM_TRY(gm_crf_head_paths(&c->m->crf, c->t, c->f->drawn, states, &path, &marginal));
        for (int32_t d = 0; d < draws; d++) add_sample(c, g, marginal, c->f->drawn->word_cu + d * g->count, wide, sums);
        gm_arena_release(c->t->arena, mark);
    }
    take_tags(c, g, c->o->samples, sums);
    return GM_OK;
}

/* ---- all of it ---- */

/* The next sentences with entities, from *s on: of so many pieces that all draws fit into a batch, or one sentence alone. */
static void next_group(const sampler *c, bool all, int32_t *s, group *g)
{
    *g = (group){ .sentence = g->sentence };
    for (; *s < c->f->batch->sentences; (*s)++) {
        const int32_t pieces = c->f->samples[*s]->text.count;
        if (found_in(c->f, *s) == 0) continue;
        if (!all && g->count > 0 && (int64_t)(g->pieces + pieces) * c->o->samples > c->o->tokens) break;
        g->sentence[g->count++] = *s;
        g->pieces += pieces;
        g->words += words_of(c->f, *s);
        g->entities += found_in(c->f, *s);
    }
    g->draws = g->pieces > 0 ? least(c->o->samples, most(1, c->o->tokens / g->pieces)) : 0;
}

static gm_status make_sampler(const gm_model *m, const gm_sampling *o, gm_tape *t, const gm_findings *f, sampler *c)
{
    *c = (sampler){ .m = m, .o = o, .t = t, .f = f };
    GM_TRY(gm_sampling_layer(o, m, &c->layer, t->err));
    GM_TRY(gm_tape_note(t, ((size_t)f->batch->sentences + 1) * sizeof *c->piece_cu, &c->piece_cu));
    c->piece_cu[0] = 0;
    for (int32_t s = 0; s < f->batch->sentences; s++) c->piece_cu[s + 1] = c->piece_cu[s] + f->samples[s]->text.count;
    return GM_OK;
}

/* ---- regions ---- */

/* Entropy of the mean distribution over an entity's regions and none. */
static void take_region(gm_found *e, const double *prob, const double *entropy, int32_t classes, int32_t samples)
{
    e->u.region = entropy_of(prob, classes, samples);
    e->u.region_norm = over_log(e->u.region, classes);
    e->u.region_expected = (entropy[0] + entropy[1]) / samples;
}

/* Samples of the region head: its queries' dropout, behind an encoder and a picture that are looked at once. An entity
 * without a picture is shown by none, for sure. */
static gm_status sample_regions(const sampler *c)
{
    const gm_trace *trace = &c->f->trace;
    const gm_scene *scene = &c->f->batch->scene;
    const gm_sampled s = { .words = &c->f->batch->words, .entities = &trace->asked.pack, .span = trace->asked.span, .site = GM_SITE_REGION_QUERY,
                           .p = c->o->p, .samples = c->o->samples };
    const gm_sample_rows rows = { .w = trace->view.keys, .null = c->m->region.null, .cu_rows = scene->regions.cu, .cu_scores = trace->asked.cu_scores,
                                  .scale = gm_region_scale(), .most = c->m->options.max_regions + 1 };
    const double *prob, *entropy;
    gm_sample_sums sums;
    GM_TRY(gm_sample_sums_make(c->t, most(trace->asked.scores, trace->asked.pack.capacity), 1, &sums));
    if (trace->view.keys != NULL) {
        GM_TRY(gm_op_dropout_entropy_rows(c->t, &s, trace->view.query, &rows, sums));
        GM_TRY(gm_tape_fetch(c->t, sums.prob, (size_t)trace->asked.scores * sizeof *prob, &prob));
        GM_TRY(gm_tape_fetch(c->t, sums.entropy, 2 * (size_t)trace->asked.pack.rows * sizeof *entropy, &entropy));
    }
    for (int32_t q = 0, at = 0; q < c->f->batch->sentences; q++) {
        const int32_t classes = scene->region_cu[q + 1] - scene->region_cu[q] + 1;
        for (int32_t e = c->f->first[q]; e < c->f->first[q + 1]; e++, at += classes) {
            static const double sure[3] = { 1.0, 0.0, 0.0 };
            const bool is_seen = trace->view.keys != NULL;
            take_region(&c->f->found[e], is_seen ? prob + at : sure, is_seen ? entropy + 2 * (size_t)e : sure + 1, is_seen ? classes : 1, is_seen ? c->o->samples : 1);
        }
    }
    return GM_OK;
}

gm_status gm_model_sample(const gm_model *m, const gm_sampling *o, gm_tape *t, gm_findings *f)
{
    const bool is_crf = m->options.head == GM_HEAD_CRF, is_alone = o->layers == 0;
    gm_status (*const sample)(const sampler *, const group *) = is_alone ? (is_crf ? posterior_alone : sample_spans)
                                                                         : (is_crf ? sample_group_of_tags : sample_group_of_spans);
    const float dropout = t->dropout;
    gm_status status = GM_OK;
    sampler c;
    group g = { 0 };
    GM_TRY(make_sampler(m, o, t, f, &c));
    GM_TRY(gm_tape_note(t, (size_t)f->batch->sentences * sizeof *g.sentence, &g.sentence));
    t->dropout = o->p;
    for (int32_t s = 0; status == GM_OK;) {
        next_group(&c, is_alone, &s, &g);
        if (g.count == 0) break;
        status = sample(&c, &g);
    }
    t->dropout = dropout;
    if (status == GM_OK && m->options.vision != GM_VISION_NONE) status = sample_regions(&c);
    return status;
}

/* A batch of copies as large as any: each piece a word, and each word as many entities as a head may find there. */
static gm_status room_of_spans(const gm_model *m, const gm_sampling *o, gm_tape *t, gm_findings *f)
{
    const int32_t each = m->options.is_nested ? GM_SPAN_WIDTHS : 1;
    int32_t pieces = o->tokens, *path;
    sampler c;
    placed p;
    gm_sample_sums sums;
    gm_tensor *states = NULL;
    float *marginal;
    GM_TRY(make_sampler(m, o, t, f, &c));
    for (int32_t s = 0; s < f->batch->sentences; s++) pieces = most(pieces, f->samples[s]->text.count);
    const int32_t entities = each * (o->layers == 0 ? f->batch->words.rows : pieces);
    if (o->layers != 0) {
        GM_TRY(gm_batch_fill(f->drawn, NULL, 0, (gm_batch_options){ .tokens = pieces, .words = pieces, .sequences = pieces }, t->err));
        f->drawn->tokens.rows = pieces;
        if (c.layer >= 0) {
            int32_t *index;
            GM_TRY(gm_tape_low(t, (size_t)pieces * sizeof *index, &index));
            GM_TRY(gm_op_gather(t, f->trace.before, &f->drawn->tokens, index, 0, &states));
        }
        GM_TRY(gm_model_words(m, t, f->drawn, c.layer, states, &states));
    }
    if (m->options.head == GM_HEAD_CRF) return o->layers != 0 ? gm_crf_head_paths(&m->crf, t, f->drawn, states, &path, &marginal) : GM_OK;
    const gm_batch *b = o->layers != 0 ? f->drawn : f->batch;
    GM_TRY(make_placed(t, b->words.sequences, entities, &p));
    p.rows = p.once = entities;
    GM_TRY(gm_sample_sums_make(t, entities, m->labels.count + 1, &sums));
    return o->layers != 0 ? head_of_copies(&c, states, &p, 0, 1, sums) : sample_head(&c, &b->words, f->trace.projected, &p, 0, 1, sums);
}

gm_status gm_model_sample_room(const gm_model *m, const gm_sampling *o, gm_tape *t, gm_findings *f)
{
    const sampler c = { .m = m, .o = o, .t = t, .f = f };
    GM_TRY(room_of_spans(m, o, t, f));
    return m->options.vision != GM_VISION_NONE ? sample_regions(&c) : GM_OK;
}
