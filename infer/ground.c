/* gmner ground: a language model says where the entities of each record are seen, by analogy with solved samples that resemble it
 * (docs/ground.md). Answers come in any order; what is written depends on none. */
#include "infer/ground.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

static int ground_main(int argc, char **argv);
const gm_command gm_ground_command = { "ground", "has entities grounded by a language model that is shown solved samples",
                                       "gmner ground --in FILE --samples FILE --images DIR --endpoint FILE --out DIR [--vision DIR] [--cache FILE] [--never TYPES]", ground_main };

static gm_status no_memory(gm_err *err) { return gm_fail(err, GM_ERR_NOMEM, "out of memory for grounding"); }

/* ---- input ---- */

static gm_status gather_types(const gm_records *all, gm_labels *types, gm_err *err)
{
    for (size_t i = 0; i < all->count; i++)
        for (int32_t k = 0; k < all->items[i].entity_count; k++) {
            const char *type = all->items[i].entities[k].type;
            if (gm_labels_find(types, type) < 0) GM_TRY(gm_labels_add(types, type, strlen(type), err));
        }
    return GM_OK;
}

/* A type of --never that nothing has is a slip of the pen, most likely. */
static gm_status read_never(ground_job *job, gm_err *err)
{
    if (job->s->never == NULL || job->s->never[0] == '\0') return GM_OK;
    if (gm_labels_parse(job->s->never, &job->never, err) != GM_OK) return gm_fail_at(err, "--never");
    for (int32_t i = 0; i < job->never.count; i++)
        if (gm_labels_find(&job->types, job->never.names[i]) < 0)
            gm_log(GM_LOG_WARN, "ground", "--never %s: no entity of the predictions or samples has this type", job->never.names[i]);
    return GM_OK;
}

static gm_status read_input(ground_job *job, gm_err *err)
{
    const ground_settings *s = job->s;
    GM_TRY(gm_kept_read(s->in, &job->in, err));
    if (s->gold != NULL) GM_TRY(gm_records_load(s->gold, &job->gold, err));
    if (s->calls != 0 && s->samples != NULL) GM_TRY(gm_records_load(s->samples, &job->samples, err));
    GM_TRY(gather_types(&job->in.records, &job->types, err));
    GM_TRY(gather_types(&job->samples, &job->types, err));
    return read_never(job, err);
}

static void free_job(ground_job *job)
{
    for (size_t i = 0; i < job->in.count; i++) {
        if (job->shown != NULL) gm_shown_free(&job->shown[i]);
        if (job->results != NULL) gm_ground_result_free(&job->results[i]);
    }
    for (size_t j = 0; job->sample_shown != NULL && j < job->samples.count; j++) gm_shown_free(&job->sample_shown[j]);
    gm_correct_free(job->c);
    gm_route_free(&job->route);
    gm_similar_free(&job->similar);
    gm_grounder_free(job->grounder);
    gm_kept_free(&job->in);
    gm_records_free(&job->gold);
    gm_records_free(&job->samples);
    gm_labels_free(&job->types);
    gm_labels_free(&job->never);
    void *const blocks[] = { job->prompts, job->shown, job->sample_shown, job->is_barred, job->is_known, job->is_barred_here, job->row, job->chosen, job->state, job->results };
    for (size_t i = 0; i < GM_LEN(blocks); i++) gm_free(blocks[i]);
}

/* ---- asking ---- */

static bool has_askable(const ground_job *job, const gm_record *r)
{
    for (int32_t k = 0; k < r->entity_count; k++)
        if (!gm_is_never_grounded(&job->options, r->entities[k].type)) return true;
    return false;
}

/* What becomes of the next record; its picture is looked at only where something is to be asked. */
static gm_status look_at_next(ground_job *job, gm_err *err)
{
    const size_t i = job->next++;
    const gm_record *r = &job->in.records.items[i];
    if (r->entity_count == 0) job->state[i] = GROUND_EMPTY;
    else if (job->s->calls >= 0 && job->asked >= job->s->calls) job->state[i] = GROUND_LEFT;
    else if (!has_askable(job, r)) job->state[i] = GROUND_NEVER;
    else {
        GM_TRY(gm_shown_look(job->s->images, r, &job->shown[i], err));
        job->state[i] = job->shown[i].path != NULL ? GROUND_ASKED : GROUND_NO_PICTURE;
        if (job->state[i] == GROUND_NO_PICTURE) GM_TRY(gm_ground_fail(&job->results[i], job->shown[i].why, err));
        else job->asked++;
    }
    return GM_OK;
}

static gm_status next_request(void *user, gm_mllm_request *request, bool *have, gm_err *err)
{
    ground_job *job = user;
    int32_t count;
    *have = false;
    while (!*have && job->next < job->in.count) {
        const size_t i = job->next;
        GM_TRY(look_at_next(job, err));
        if (job->state[i] != GROUND_ASKED) continue;
        gm_demonstration shown[GM_GROUND_SAMPLES];
        GM_TRY(ground_choose(job, i, &count, err));
        for (int32_t k = 0; k < count; k++) {
            const int32_t j = job->chosen[i * (size_t)job->s->k + (size_t)k];
            shown[k] = (gm_demonstration){ &job->samples.items[j], &job->sample_shown[j] };
        }
        GM_TRY(gm_grounder_request(job->grounder, &job->in.records.items[i], &job->shown[i], shown, count, request, err));
        request->tag = &job->results[i];
        *have = true;
    }
    return GM_OK;
}

static gm_status got_answer(void *user, const gm_mllm_answer *answer, gm_err *err)
{
    ground_job *job = user;
    gm_ground_result *result = answer->tag;
    const size_t i = (size_t)(result - job->results);
    return gm_ground_read(&job->options, &job->in.records.items[i], &job->shown[i], answer, result, err);
}

static gm_status open_grounder(ground_job *job, gm_err *err)
{
    ground_settings *s = job->s;
    GM_TRY(gm_stage_open(&s->stage, "ground", err));
    GM_TRY(gm_stage_prompts(&s->stage, &job->prompts, err));
    job->options = (gm_ground_options){ .endpoint = &s->stage.endpoint, .prompts = job->prompts, .types = &job->types, .never = &job->never };
    return gm_grounder_open(&job->options, &job->grounder, err);
}

static gm_status ask_all(ground_job *job, gm_err *err)
{
    int64_t expected = 0;
    GM_TRY(open_grounder(job, err)); /* before the samples are compared: what is wrong with it is said at once */
    GM_TRY(ground_compare(job, err));
    for (size_t i = 0; i < job->in.count; i++) expected += has_askable(job, &job->in.records.items[i]);
    if (job->s->calls >= 0 && expected > job->s->calls) expected = job->s->calls;
    GM_TRY(gm_stage_ask(&job->s->stage, expected, next_request, got_answer, job, err));
    gm_stage_tell(&job->s->stage);
    return GM_OK;
}

/* ---- what comes of it ---- */

/* The regions of all entities that something came of; of a type that is never grounded where there is a box to take. */
static gm_status make_route(ground_job *job, gm_err *err)
{
    gm_route *route = &job->route;
    size_t entities = 0, at = 0;
    for (size_t i = 0; i < job->in.count; i++) entities += (size_t)job->in.records.items[i].entity_count;
    *route = (gm_route){ .parts = gm_calloc(entities + 1, sizeof *route->parts), .first = gm_calloc(job->in.count + 1, sizeof *route->first), .entities = entities };
    if (route->parts == NULL || route->first == NULL) return no_memory(err);
    for (size_t i = 0; i < job->in.count; i++) {
        const gm_record *r = &job->in.records.items[i];
        route->first[i] = at;
        for (int32_t k = 0; k < r->entity_count; k++, at++) {
            const bool never = gm_is_never_grounded(&job->options, r->entities[k].type);
            const bool touched = job->state[i] != GROUND_LEFT && (!never || r->entities[k].box_count > 0);
            if (!touched) continue;
            route->parts[at] = 1u << GM_PART_REGION;
            route->delegated++;
            route->calls[GM_PART_REGION]++;
        }
    }
    return GM_OK;
}

static gm_status finish(ground_job *job, gm_err *err)
{
    gm_ground_results results = { &job->options, job->results };
    GM_TRY(make_route(job, err));
    GM_TRY(gm_correct_all(&job->in.records, &job->route, gm_ground_reply, &results, &job->c, &job->now, err));
    return ground_write(job, err);
}

static gm_status ground(ground_job *job, gm_err *err)
{
    GM_TRY(read_input(job, err));
    job->options = (gm_ground_options){ .types = &job->types, .never = &job->never };
    job->shown = gm_calloc(job->in.count + 1, sizeof *job->shown);
    job->state = gm_calloc(job->in.count + 1, sizeof *job->state);
    job->results = gm_calloc(job->in.count + 1, sizeof *job->results);
    if (job->shown == NULL || job->state == NULL || job->results == NULL) return no_memory(err);
    if (job->s->calls != 0) GM_TRY(ask_all(job, err));
    return job->s->stage.is_estimate ? GM_OK : finish(job, err);
}

/* ---- the command ---- */

static gm_status check_folder(const char *option, const char *folder, gm_err *err)
{
    return folder == NULL || gm_path_is_dir(folder) ? GM_OK : gm_fail(err, GM_ERR_IO, "%s: there is no folder %s", option, folder);
}

static gm_status check(ground_settings *s, gm_err *err)
{
    if (s->out == NULL && !s->stage.is_estimate) return gm_fail(err, GM_ERR_USAGE, "--out DIR is missing: the grounded predictions go there");
    if (s->k < 0 || s->k > GM_GROUND_SAMPLES) return gm_fail(err, GM_ERR_USAGE, "--k is %lld; it is 0 to %d", (long long)s->k, (int)GM_GROUND_SAMPLES);
    if (s->threads < 1 || s->threads > 1024) return gm_fail(err, GM_ERR_USAGE, "--threads is 1 to 1024, not %lld", (long long)s->threads);
    for (int i = 0; i < GM_LIKENESSES; i++)
        if (!(s->similar.weight[i] >= 0 && s->similar.weight[i] <= 1e6))
            return gm_fail(err, GM_ERR_USAGE, "--weight-%s is %g; it is a number from 0", gm_likeness_names[i], s->similar.weight[i]);
    if (!(s->similar.same_type >= 0 && s->similar.same_type <= 1e6)) return gm_fail(err, GM_ERR_USAGE, "--same-type is %g; it is a number from 0", s->similar.same_type);
    if (s->calls == 0) return GM_OK;
    if (s->images == NULL) return gm_fail(err, GM_ERR_USAGE, "--images DIR is missing: a model must see the pictures (or give --calls 0)");
    if (s->k > 0 && s->samples == NULL) return gm_fail(err, GM_ERR_USAGE, "--samples FILE is missing: labelled records to show (or give --k 0)");
    if (s->sample_images == NULL) s->sample_images = s->images;
    GM_TRY(check_folder("--images", s->images, err));
    GM_TRY(check_folder("--samples-images", s->sample_images, err));
    return check_folder("--vision", s->vision, err);
}

static gm_status run(ground_settings *s, gm_err *err)
{
    ground_job job = { .s = s };
    GM_TRY(check(s, err));
    const gm_status status = ground(&job, err);
    free_job(&job);
    return status;
}

static int ground_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    ground_settings s = { .encoder = "weights/minilm", .features = "", .device = "cpu", .k = 3, .calls = -1, .threads = 2, .similar = gm_similar_usual };
    gm_option options[] = {
        { "in", GM_OPT_STR, &s.in, "FILE", "predicted records, - for stdin", true },
        { "out", GM_OPT_STR, &s.out, "DIR", "folder of predictions.jsonl, demonstrations.jsonl and report.json", false },
        { "samples", GM_OPT_STR, &s.samples, "FILE", "labelled records, of which the most similar ones are shown", false },
        { "images", GM_OPT_STR, &s.images, "DIR", "folder of the records' pictures", false },
        { "samples-images", GM_OPT_STR, &s.sample_images, "DIR", "folder of the samples' pictures, where it is another one", false },
        GM_STAGE_OPTIONS(&s.stage),
        { "k", GM_OPT_INT, &s.k, "N", "samples shown with each record", false },
        { "calls", GM_OPT_INT, &s.calls, "N", "ask about at most so many records, the first ones", false },
        { "never", GM_OPT_STR, &s.never, "TYPES", "types whose entities have no box, with commas (CCKS: location)", false },
        { "gold", GM_OPT_STR, &s.gold, "FILE", "gold records: the report then has scores before and after", false },
        { "encoder", GM_OPT_STR, &s.encoder, "DIR", "encoder that compares texts and names", false },
        { "vision", GM_OPT_STR, &s.vision, "DIR", "CLIP that compares pictures", false },
        { "features", GM_OPT_STR, &s.features, "DIR", "folder where its vectors of pictures are kept from run to run", false },
        { "weight-text", GM_OPT_NUM, &s.similar.weight[GM_LIKENESS_TEXT], "X", "weight of texts in the likeness of samples", false },
        { "weight-image", GM_OPT_NUM, &s.similar.weight[GM_LIKENESS_IMAGE], "X", "weight of pictures", false },
        { "weight-entity", GM_OPT_NUM, &s.similar.weight[GM_LIKENESS_ENTITY], "X", "weight of entities", false },
        { "same-type", GM_OPT_NUM, &s.similar.same_type, "X", "what a pair of entities of one type has besides the cosine of its names", false },
        { "entity-mean", GM_OPT_FLAG, &s.similar.is_mean, NULL, "pairs of entities count by their mean, not by their sum", false },
        { "threads", GM_OPT_INT, &s.threads, "N", "threads of the encoders", false },
        { "device", GM_OPT_STR, &s.device, "NAME", "cpu, cuda, sim or auto: where the encoders run", false },
    };
    gm_status status = gm_cli_parse(&gm_ground_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_ground_command, status, &err);
    status = run(&s, &err);
    gm_stage_close(&s.stage);
    return gm_cli_finish(&gm_ground_command, status, &err);
}
