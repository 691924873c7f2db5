/* A record waits at one part of one entity. Whether a new span may stand is decided when the record is done, for until then its neighbours may
 * still move: one whose new words are another entity's goes back to what the local model had said. */
#include "mllm/correct.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

typedef enum state { STATE_UNTOUCHED, STATE_KEPT, STATE_CORRECTED, STATE_REMOVED, STATE_REFUSED, STATE_FAILED } state;
static const char *const state_names[] = { "", "kept", "corrected", "removed", "refused", "failed" };

typedef struct work {
    state state;
    char *why;
} work;

typedef struct place { /* where a record waits */
    int32_t entity;
    int part;
    bool is_open, is_touched;
} place;

struct gm_corrections {
    const gm_records *pred;
    const gm_route *route;
    gm_records now;   /* texts shared with pred, entities owned */
    work *works;      /* [entities] */
    place *places;    /* [records] */
    size_t next;      /* records before this one have begun */
    size_t *ready;    /* records whose last reply has come: [records] as a stack */
    size_t ready_count, open;
    gm_correct_counts counts;
};

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for corrections"); }

static char *copy(const char *text, bool *is_full)
{
    char *c = text != NULL ? gm_strdup(text) : NULL;
    if (text != NULL && c == NULL) *is_full = true;
    return c;
}

static gm_status set_boxes(gm_entity *e, const gm_box *boxes, int32_t count, gm_err *err)
{
    gm_box *b = NULL;
    if (count > 0) {
        b = gm_malloc((size_t)count * sizeof *b);
        if (b == NULL) return no_memory(err);
        memcpy(b, boxes, (size_t)count * sizeof *b);
    }
    gm_free(e->boxes);
    e->boxes = b;
    e->box_count = count;
    e->has_bad_box = false;
    return GM_OK;
}

static gm_status copy_entity(const gm_entity *from, gm_entity *to, gm_err *err)
{
    bool is_full = false;
    *to = *from;
    to->boxes = NULL;
    to->type = copy(from->type, &is_full);
    to->fine = copy(from->fine, &is_full);
    to->uncertainty_extra = copy(from->uncertainty_extra, &is_full);
    to->extra = copy(from->extra, &is_full);
    GM_TRY(set_boxes(to, from->boxes, from->box_count, err));
    to->has_bad_box = from->has_bad_box;
    return is_full ? no_memory(err) : GM_OK;
}

static void free_entity(gm_entity *e)
{
    gm_free(e->type);
    gm_free(e->fine);
    gm_free(e->boxes);
    gm_free(e->uncertainty_extra);
    gm_free(e->extra);
    *e = (gm_entity){ 0 };
}

static gm_status copy_records(gm_corrections *c, gm_err *err)
{
    c->now.items = gm_calloc(c->pred->count + 1, sizeof *c->now.items);
    if (c->now.items == NULL) return no_memory(err);
    for (size_t i = 0; i < c->pred->count; i++) {
        const gm_record *from = &c->pred->items[i];
        gm_record *to = &c->now.items[c->now.count++];
        *to = *from;
        to->entity_count = 0;
        to->entities = gm_calloc((size_t)from->entity_count + 1, sizeof *to->entities);
        if (to->entities == NULL) return no_memory(err);
        for (int32_t k = 0; k < from->entity_count; k++) GM_TRY(copy_entity(&from->entities[k], &to->entities[to->entity_count++], err));
    }
    return GM_OK;
}

gm_status gm_correct_begin(const gm_records *pred, const gm_route *route, gm_corrections **to, gm_err *err)
{
    gm_corrections *c = *to = gm_calloc(1, sizeof *c);
    if (c == NULL) return no_memory(err);
    *c = (gm_corrections){ .pred = pred, .route = route };
    c->works = gm_calloc(route->entities + 1, sizeof *c->works);
    c->places = gm_calloc(pred->count + 1, sizeof *c->places);
    c->ready = gm_calloc(pred->count + 1, sizeof *c->ready);
    gm_status status = c->works == NULL || c->places == NULL || c->ready == NULL ? no_memory(err) : copy_records(c, err);
    for (size_t i = 0; i < pred->count; i++)
        if (status == GM_OK) c->places[i] = (place){ 0 };
    if (status != GM_OK) {
        gm_correct_free(c);
        *to = NULL;
    }
    return status;
}

static uint8_t parts_of(const gm_corrections *c, size_t record, int32_t entity) { return c->route->parts[c->route->first[record] + (size_t)entity]; }
static work *work_of(gm_corrections *c, size_t record, int32_t entity) { return &c->works[c->route->first[record] + (size_t)entity]; }

/* Moves a record on to a part that is delegated; false when it has none left. */
static bool move_on(gm_corrections *c, size_t record)
{
    place *p = &c->places[record];
    for (; p->entity < c->pred->items[record].entity_count; p->entity++, p->part = 0)
        for (; p->part < GM_PARTS && work_of(c, record, p->entity)->state != STATE_REMOVED; p->part++)
            if (parts_of(c, record, p->entity) >> p->part & 1) return true;
    return false;
}

gm_status gm_correct_next(gm_corrections *c, gm_question *q, bool *have, gm_err *err)
{
    (void)err;
    *have = false;
    while (!*have && (c->ready_count > 0 || c->next < c->pred->count)) {
        const size_t record = c->ready_count > 0 ? c->ready[--c->ready_count] : c->next++;
        if (!move_on(c, record)) continue;
        place *p = &c->places[record];
        p->is_open = p->is_touched = *have = true;
        c->open++;
        c->counts.asked[p->part]++;
        *q = (gm_question){ record, &c->pred->items[record], p->entity, (gm_part)p->part, &c->now.items[record].entities[p->entity] };
    }
    return GM_OK;
}

static bool same_boxes(const gm_entity *e, const gm_reply *r)
{
    return e->box_count == r->box_count && (r->box_count == 0 || memcmp(e->boxes, r->boxes, (size_t)r->box_count * sizeof *r->boxes) == 0);
}

static gm_status set_type(gm_entity *e, const gm_reply *r, gm_err *err)
{
    bool is_full = false;
    char *type = copy(r->type, &is_full), *fine = copy(r->fine, &is_full);
    if (is_full) {
        gm_free(type);
        gm_free(fine);
        return no_memory(err);
    }
    gm_free(e->type);
    gm_free(e->fine);
    e->type = type;
    e->fine = fine;
    return GM_OK;
}

static bool same_text(const char *a, const char *b) { return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0); }

/* Does what the reply says; *changed: the entity is another one now. */
static gm_status apply(gm_entity *e, const gm_reply *r, bool *changed, gm_err *err)
{
    *changed = false;
    if (r->kind == GM_REPLY_SPAN) {
        *changed = e->start != r->start || e->end != r->end;
        e->start = r->start;
        e->end = r->end;
    } else if (r->kind == GM_REPLY_TYPE) {
        *changed = strcmp(e->type, r->type) != 0 || !same_text(e->fine, r->fine);
        if (*changed) return set_type(e, r, err);
    } else if (r->kind == GM_REPLY_REGION) {
        *changed = e->has_bad_box || !same_boxes(e, r);
        if (*changed) return set_boxes(e, r->boxes, r->box_count, err);
    }
    return GM_OK;
}

static gm_status add_why(work *w, gm_part part, const char *why, gm_err *err)
{
    gm_buffer b = { 0 };
    gm_status status = w->why != NULL ? gm_buffer_printf(&b, err, "%s; ", w->why) : GM_OK;
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "%s: %s", gm_part_names[part], why != NULL ? why : "no reason was given");
    if (status != GM_OK) {
        gm_buffer_free(&b);
        return status;
    }
    gm_free(w->why);
    w->why = b.data;
    return GM_OK;
}

gm_status gm_correct_reply(gm_corrections *c, size_t record, const gm_reply *r, gm_err *err)
{
    place *p = &c->places[record];
    const int part = p->part;
    work *w = work_of(c, record, p->entity);
    bool changed;
    GM_TRY(apply(&c->now.items[record].entities[p->entity], r, &changed, err));
    state s = changed ? STATE_CORRECTED : STATE_KEPT;
    if (r->kind == GM_REPLY_REMOVE) s = STATE_REMOVED;
    if (r->kind == GM_REPLY_REFUSED) s = STATE_REFUSED;
    if (r->kind == GM_REPLY_FAILED) s = STATE_FAILED;
    if (s == STATE_REFUSED || s == STATE_FAILED) GM_TRY(add_why(w, (gm_part)part, r->why, err));
    c->counts.corrected[part] += s == STATE_CORRECTED;
    c->counts.kept[part] += s == STATE_KEPT;
    c->counts.refused[part] += s == STATE_REFUSED;
    c->counts.failed[part] += s == STATE_FAILED;
    c->counts.removed += s == STATE_REMOVED;
    /* What changed is said before what went wrong, and that before what stayed. */
    if (s == STATE_REMOVED || s == STATE_CORRECTED || w->state == STATE_UNTOUCHED || (w->state == STATE_KEPT && s != STATE_KEPT)) w->state = s;
    p->is_open = false;
    p->part++;
    c->open--;
    c->ready[c->ready_count++] = record;
    return GM_OK;
}

bool gm_correct_is_done(const gm_corrections *c) { return c->open == 0 && c->ready_count == 0 && c->next == c->pred->count; }
gm_correct_counts gm_correct_count(const gm_corrections *c) { return c->counts; }
bool gm_correct_has_touched(const gm_corrections *c, size_t record) { return c->places[record].is_touched; }

/* ---- the end ---- */

static bool overlap(const gm_entity *a, const gm_entity *b) { return a->start <= b->end && b->start <= a->end; }

static bool has_moved(const gm_corrections *c, size_t i, int32_t k)
{
    const gm_entity *a = &c->pred->items[i].entities[k], *b = &c->now.items[i].entities[k];
    return a->start != b->start || a->end != b->end;
}

/* Whether entity k, moved, lies on words of one that it did not share any with before. */
static bool clashes(gm_corrections *c, size_t i, int32_t k)
{
    const gm_record *now = &c->now.items[i], *was = &c->pred->items[i];
    for (int32_t j = 0; j < now->entity_count; j++)
        if (j != k && work_of(c, i, j)->state != STATE_REMOVED && overlap(&now->entities[k], &now->entities[j]) && !overlap(&was->entities[k], &was->entities[j]))
            return true;
    return false;
}

/* Two that became one, of two that overlapped before or not: the later one goes back. */
static bool doubles(gm_corrections *c, size_t i, int32_t k)
{
    const gm_record *now = &c->now.items[i];
    for (int32_t j = 0; j < now->entity_count; j++)
        if (j != k && work_of(c, i, j)->state != STATE_REMOVED && now->entities[j].start == now->entities[k].start && now->entities[j].end == now->entities[k].end)
            return true;
    return false;
}

static gm_status settle(gm_corrections *c, size_t i, gm_err *err)
{
    for (bool again = true; again;) {
        again = false;
        for (int32_t k = c->now.items[i].entity_count - 1; k >= 0 && !again; k--) {
            work *w = work_of(c, i, k);
            if (w->state == STATE_REMOVED || !has_moved(c, i, k) || !(clashes(c, i, k) || doubles(c, i, k))) continue;
            free_entity(&c->now.items[i].entities[k]);
            GM_TRY(copy_entity(&c->pred->items[i].entities[k], &c->now.items[i].entities[k], err));
            GM_TRY(add_why(w, GM_PART_SPAN, "its new words belong to another entity", err));
            w->state = STATE_REFUSED;
            c->counts.clashed++;
            again = true;
        }
    }
    return GM_OK;
}

/* The entity's other members, without those that are written anew. */
static gm_status add_others(gm_buffer *b, const char *extra, gm_err *err)
{
    static const char *const own[] = { "source", "status", "why", "before" };
    gm_buffer whole = { 0 };
    if (extra == NULL) return GM_OK;
    gm_status status = gm_buffer_printf(&whole, err, "{%s}", extra);
    const char *at = whole.data;
    gm_json_member m;
    while (status == GM_OK && gm_json_next_member(&at, &m)) {
        size_t i = 0;
        while (i < GM_LEN(own) && !(strlen(own[i]) == m.key_len && memcmp(own[i], m.key, m.key_len) == 0)) i++;
        if (i == GM_LEN(own)) status = gm_buffer_printf(b, err, "%s\"%.*s\":%.*s", b->size > 0 ? ", " : "", (int)m.key_len, m.key, (int)m.value_len, m.value);
    }
    gm_buffer_free(&whole);
    return status;
}

static gm_status add_before(gm_buffer *b, const gm_entity *e, gm_err *err)
{
    GM_TRY(gm_buffer_printf(b, err, ", \"before\": {\"start\": %d, \"end\": %d, \"type\": ", e->start, e->end));
    GM_TRY(gm_buffer_json_string(b, e->type, err));
    GM_TRY(gm_buffer_printf(b, err, ", \"boxes\": ["));
    for (int32_t i = 0; i < e->box_count; i++)
        GM_TRY(gm_buffer_printf(b, err, "%s[%.15g, %.15g, %.15g, %.15g]", i > 0 ? ", " : "", e->boxes[i].x1, e->boxes[i].y1, e->boxes[i].x2, e->boxes[i].y2));
    return gm_buffer_printf(b, err, "]}");
}

static gm_status describe(const gm_entity *was, gm_entity *now, const work *w, gm_err *err)
{
    gm_buffer b = { 0 };
    const bool answered = w->state != STATE_FAILED;
    gm_status status = add_others(&b, was->extra, err);
    if (status == GM_OK)
        status = gm_buffer_printf(&b, err, "%s\"source\": \"%s\", \"status\": \"%s\"", b.size > 0 ? ", " : "", answered ? "local+mllm" : "local", state_names[w->state]);
    if (status == GM_OK && w->why != NULL) status = gm_buffer_printf(&b, err, ", \"why\": ");
    if (status == GM_OK && w->why != NULL) status = gm_buffer_json_string(&b, w->why, err);
    if (status == GM_OK && w->state == STATE_CORRECTED) status = add_before(&b, was, err);
    if (status != GM_OK) {
        gm_buffer_free(&b);
        return status;
    }
    gm_free(now->extra);
    now->extra = b.data;
    return GM_OK;
}

static gm_status finish(gm_corrections *c, size_t i, gm_err *err)
{
    gm_record *r = &c->now.items[i];
    int32_t kept = 0;
    GM_TRY(settle(c, i, err));
    for (int32_t k = 0; k < r->entity_count; k++) {
        const work *w = work_of(c, i, k);
        if (w->state != STATE_UNTOUCHED && w->state != STATE_REMOVED) GM_TRY(describe(&c->pred->items[i].entities[k], &r->entities[k], w, err));
    }
    for (int32_t k = 0; k < r->entity_count; k++) {
        if (work_of(c, i, k)->state == STATE_REMOVED) free_entity(&r->entities[k]);
        else r->entities[kept++] = r->entities[k];
    }
    r->entity_count = kept;
    return GM_OK;
}

gm_status gm_correct_end(gm_corrections *c, const gm_records **to, gm_err *err)
{
    for (size_t i = 0; i < c->now.count; i++)
        if (c->places[i].is_touched) GM_TRY(finish(c, i, err));
    *to = &c->now;
    return GM_OK;
}

void gm_correct_free(gm_corrections *c)
{
    if (c == NULL) return;
    for (size_t i = 0; i < c->now.count; i++) {
        for (int32_t k = 0; k < c->now.items[i].entity_count; k++) free_entity(&c->now.items[i].entities[k]);
        gm_free(c->now.items[i].entities);
    }
    gm_free(c->now.items);
    for (size_t i = 0; c->works != NULL && i < c->route->entities; i++) gm_free(c->works[i].why);
    gm_free(c->works);
    gm_free(c->places);
    gm_free(c->ready);
    gm_free(c);
}

static gm_status ask_all(gm_corrections *c, gm_corrector ask, void *user, gm_err *err)
{
    for (;;) {
        gm_question q;
        gm_reply reply = { .kind = GM_REPLY_KEEP };
        bool have;
        GM_TRY(gm_correct_next(c, &q, &have, err));
        if (!have) return GM_OK;
        GM_TRY(ask(user, &q, &reply, err));
        GM_TRY(gm_correct_reply(c, q.record, &reply, err));
    }
}

gm_status gm_correct_all(const gm_records *pred, const gm_route *route, gm_corrector ask, void *user, gm_corrections **to, const gm_records **records,
                         gm_err *err)
{
    GM_TRY(gm_correct_begin(pred, route, to, err));
    gm_status status = ask_all(*to, ask, user, err);
    if (status == GM_OK) status = gm_correct_end(*to, records, err);
    if (status == GM_OK) return GM_OK;
    gm_correct_free(*to);
    *to = NULL;
    return status;
}
