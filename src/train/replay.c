#include "backend/module.h"
#include "train/run.h"

static gm_status of_worker(const gm_worker *w, gm_status status, gm_err *err)
{
    if (status != GM_OK && err != &w->err) *err = w->err;
    return status;
}

void gm_replay_forget(gm_replay *r, gm_worker *w)
{
    for (int32_t i = 0; i < r->count; i++) w->dev.module->graph_release(&w->dev, r->known[i].graph);
    r->count = 0;
    r->moves = w->moves;
}

static int32_t find(const gm_replay *r, int32_t bucket)
{
    int32_t i = 0;
    while (i < r->count && r->known[i].bucket != bucket) i++;
    return i;
}

/* The first step of a bucket: the arena gets the size it needs, and products their plans. */
static gm_status meet(gm_replay *r, gm_worker *w, int32_t bucket, gm_pass measure, gm_body body, void *context, gm_err *err)
{
    size_t bytes;
    GM_TRY(of_worker(w, gm_worker_measure(w, measure, context, &bytes), err));
    GM_TRY(of_worker(w, gm_worker_reserve(w, bytes), err));
    if (r->moves != w->moves || r->count == GM_REPLAY_BUCKETS) gm_replay_forget(r, w);
    GM_TRY(body(context, err));
    r->known[r->count].bucket = bucket;
    r->known[r->count++].graph = NULL;
    return GM_OK;
}

static gm_status record(gm_worker *w, gm_body body, void *context, void **graph, gm_err *err)
{
    const gm_module *m = w->dev.module;
    GM_TRY(of_worker(w, m->graph_begin(&w->dev), err));
    const gm_status status = body(context, err);
    if (status == GM_OK) return of_worker(w, m->graph_end(&w->dev, graph), err);
    const gm_err kept = *err; /* ending the capture of a failed step may fail as well: the first reason counts */
    if (m->graph_end(&w->dev, graph) == GM_OK) m->graph_release(&w->dev, *graph);
    *graph = NULL;
    *err = kept;
    return status;
}

gm_status gm_replay_run(gm_replay *r, gm_worker *w, int32_t bucket, gm_pass measure, gm_body body, void *context, gm_err *err)
{
    if (w->dev.module == NULL) return body(context, err);
    if (r->moves != w->moves) gm_replay_forget(r, w); /* evaluation may have moved the arena */
    const int32_t i = find(r, bucket);
    if (i == r->count) return meet(r, w, bucket, measure, body, context, err);
    if (r->known[i].graph == NULL) GM_TRY(record(w, body, context, &r->known[i].graph, err));
    return of_worker(w, w->dev.module->graph_run(&w->dev, r->known[i].graph), err);
}
