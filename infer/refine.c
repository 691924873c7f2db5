/* gmner refine: the parts of predictions that are unsure are handed to a corrector, and what it says is put in. A corrector is a language model
 * behind an endpoint, recorded answers of one, or an oracle made of gold, which tells what delegation could reach at best. */
#include "infer/refine.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

static int refine_main(int argc, char **argv);
const gm_command gm_refine_command = {
    "refine", "has unsure parts of predictions corrected",
    "gmner refine --in FILE --out DIR --endpoint FILE [--images DIR] [--cache FILE] [--calls N | --share X | "
    "--thresholds FILE]\n"
    "       gmner refine --in FILE --gold FILE [--answers FILE] [--out DIR] [--sweep]",
    refine_main
};

/* ---- input ---- */

static gm_status read_input(const refine_settings *s, refine_input *in, gm_err *err)
{
    GM_TRY(gm_kept_read(s->in, &in->pred, err));
    if (s->gold != NULL) GM_TRY(gm_records_load(s->gold, &in->gold, err));
    if (s->types == NULL) return gm_type_set_of(&in->pred.records, &in->types, err);
    return gm_type_set_parse(s->types, &in->types, err) == GM_OK ? GM_OK : gm_fail_at(err, "--types");
}

static void free_input(refine_input *in)
{
    gm_kept_free(&in->pred);
    gm_records_free(&in->gold);
    gm_type_set_free(&in->types);
}

gm_route_options refine_route_of(const refine_settings *s)
{
    return (gm_route_options) {
        .thresholds = s->thresholds, .calls = s->calls, .share = s->share, .asks = { true, true, !s->without_regions }
    };
}

gm_status refine_open_answers(const refine_settings *s, const refine_input *in, gm_recorded **to, gm_err *err)
{
    gm_recorded_counts n;
    GM_TRY(gm_recorded_open(&in->pred.records, &in->types, to, err));
    const gm_status status = gm_recorded_read(*to, s->answers, &n, err);
    if (status != GM_OK) {
        gm_recorded_free(*to);
        *to = NULL;
        return status;
    }
    gm_log(GM_LOG_INFO, "refine", "%s: %lld answers about these predictions, %lld about others", s->answers,
           (long long)n.answers, (long long)n.strange);
    return GM_OK;
}

/* ---- correctors ---- */

static gm_status by_oracle(const refine_settings *s, const refine_input *in, refine_outcome *o, gm_err *err)
{
    gm_oracle *oracle;
    GM_TRY(gm_oracle_open(&in->gold, &in->pred.records, !s->never_removes, &oracle, err));
    const gm_status status = gm_correct_all(&in->pred.records, &o->route, gm_oracle_ask, oracle, &o->c, &o->now, err);
    gm_oracle_free(oracle);
    return status;
}

static gm_status by_answers(const refine_settings *s, const refine_input *in, refine_outcome *o, gm_err *err)
{
    gm_recorded *answers;
    GM_TRY(refine_open_answers(s, in, &answers, err));
    const gm_status status = gm_correct_all(&in->pred.records, &o->route, gm_recorded_ask, answers, &o->c, &o->now, err);
    gm_recorded_free(answers);
    return status;
}

static gm_status ask_nobody(void *user, const gm_question *q, gm_reply *reply, gm_err *err)
{
    (void)user;
    (void)q;
    (void)reply;
    return gm_fail(err, GM_ERR_USAGE,
                   "something is delegated, but there is no corrector: give --endpoint FILE, --answers FILE, --gold "
                   "FILE for the oracle, or --calls 0");
}

/* Where nothing is delegated nobody is asked. */
static gm_status by_nobody(refine_settings *s, const refine_input *in, refine_outcome *o, gm_err *err)
{
    s->stage.command = "refine";
    GM_TRY(gm_correct_all(&in->pred.records, &o->route, ask_nobody, NULL, &o->c, &o->now, err));
    if (s->stage.is_estimate) gm_stage_tell(&s->stage);
    return GM_OK;
}

static gm_status pump(refine_settings *s, const refine_input *in, const char *prompts, gm_recorded *record,
                      refine_outcome *o, gm_err *err)
{
    const gm_asking_options how = { .endpoint = &s->stage.endpoint,
                                    .prompts = prompts,
                                    .images = s->images,
                                    .types = &in->types,
                                    .thresholds = s->thresholds,
                                    .record = record };
    gm_asking *asking;
    GM_TRY(gm_asking_open(&how, &in->pred.records, o->c, &asking, err));
    /* A folder that cannot be made is said before calls are paid for. */
    gm_status status = s->stage.is_estimate ? GM_OK : gm_make_dirs(s->out, err);
    if (status == GM_OK)
        status = gm_stage_ask(&s->stage, o->route.calls[0] + o->route.calls[1] + o->route.calls[2], gm_asking_next,
                              gm_asking_got, asking, err);
    o->without_picture = gm_asking_without_picture(asking);
    gm_asking_free(asking);
    return status;
}

static gm_status by_endpoint(refine_settings *s, const refine_input *in, refine_outcome *o, gm_err *err)
{
    char *prompts = NULL;
    gm_recorded *record = NULL;
    if (o->route.calls[GM_PART_REGION] > 0 && s->images == NULL)
        return gm_fail(
            err, GM_ERR_USAGE,
            "regions are handed on, and a model must see the picture: give --images DIR, or --without-regions");
    if (s->images != NULL && !gm_path_is_dir(s->images))
        return gm_fail(err, GM_ERR_IO, "images: there is no folder %s", s->images);
    gm_status status = gm_stage_open(&s->stage, "refine", err);
    if (status == GM_OK) status = gm_stage_prompts(&s->stage, &prompts, err);
    if (status == GM_OK && s->record != NULL) status = gm_recorded_open(&in->pred.records, &in->types, &record, err);
    if (status == GM_OK) status = gm_correct_begin(&in->pred.records, &o->route, &o->c, err);
    if (status == GM_OK) status = pump(s, in, prompts, record, o, err);
    if (status == GM_OK) gm_stage_tell(&s->stage);
    if (status == GM_OK) status = gm_correct_end(o->c, &o->now, err);
    if (status == GM_OK && record != NULL && !s->stage.is_estimate) status = gm_recorded_write(record, s->record, err);
    gm_recorded_free(record);
    gm_free(prompts);
    return status;
}

static gm_status refine(refine_settings *s, const refine_input *in, gm_err *err)
{
    const gm_route_options how = refine_route_of(s);
    refine_outcome o = { .without_picture = 0 };
    GM_TRY(gm_route_make(&in->pred.records, &how, &o.route, err));
    gm_status status;
    if (o.route.delegated == 0)
        status = by_nobody(s, in, &o, err);
    else if (strcmp(s->corrector, "endpoint") == 0)
        status = by_endpoint(s, in, &o, err);
    else if (strcmp(s->corrector, "answers") == 0)
        status = by_answers(s, in, &o, err);
    else if (strcmp(s->corrector, "oracle") == 0)
        status = by_oracle(s, in, &o, err);
    else
        status = ask_nobody(NULL, NULL, NULL, err);
    if (status == GM_OK && !s->stage.is_estimate) status = refine_write(s, in, &o, err);
    if (status == GM_OK)
        gm_log(GM_LOG_INFO, "refine", "%zu of %zu entities delegated, %lld calls", o.route.delegated, o.route.entities,
               (long long)(o.route.calls[0] + o.route.calls[1] + o.route.calls[2]));
    gm_correct_free(o.c);
    gm_route_free(&o.route);
    return status;
}

/* ---- the command ---- */

/* Who corrects: what --corrector says, else whoever there is. */
static gm_status choose(refine_settings *s, gm_err *err)
{
    static const char *const names[] = { "endpoint", "answers", "oracle" };
    static const char *const options[] = { "endpoint", "answers", "gold" };
    const bool has[] = { s->stage.endpoint_path != NULL, s->answers != NULL, s->gold != NULL };
    size_t i = 0;
    if (s->corrector == NULL && has[0] && has[1])
        return gm_fail(err, GM_ERR_USAGE, "--endpoint and --answers are two correctors: give one of them");
    if (s->corrector == NULL) {
        while (i < GM_LEN(names) && !has[i]) i++;
        s->corrector = i < GM_LEN(names) ? names[i] : "none";
        return GM_OK;
    }
    while (i < GM_LEN(names) && strcmp(s->corrector, names[i]) != 0) i++;
    if (i == GM_LEN(names))
        return gm_fail(err, GM_ERR_USAGE, "--corrector is \"%s\"; it is endpoint, answers or oracle", s->corrector);
    return has[i] ? GM_OK : gm_fail(err, GM_ERR_USAGE, "--corrector %s needs --%s FILE", names[i], options[i]);
}

static gm_status check_sweep(const refine_settings *s, gm_err *err)
{
    if (s->stage.endpoint_path != NULL)
        return gm_fail(err, GM_ERR_USAGE,
                       "--sweep asks nobody: record the answers first (--share 1 --record FILE), then give them by "
                       "--answers FILE");
    return s->gold == NULL ? gm_fail(err, GM_ERR_USAGE, "--sweep compares with gold: give --gold FILE") : GM_OK;
}

static gm_status check(refine_settings *s, gm_err *err)
{
    int score = 0;
    while (score < GM_SCORES && strcmp(s->score_name, gm_score_names[score]) != 0) score++;
    s->score = (gm_score_kind)score;
    if (score == GM_SCORES)
        return gm_fail(err, GM_ERR_USAGE, "--score is \"%s\"; it is mner, eeg, gmner, fine-mner or fmnerg",
                       s->score_name);
    if (s->is_sweep) GM_TRY(check_sweep(s, err));
    GM_TRY(choose(s, err));
    if (!s->is_sweep && s->out == NULL && !s->stage.is_estimate)
        return gm_fail(err, GM_ERR_USAGE, "--out DIR is missing: the corrected predictions go there");
    if ((s->record != NULL || s->stage.is_estimate) && strcmp(s->corrector, "endpoint") != 0)
        return gm_fail(err, GM_ERR_USAGE, "--record and --estimate go with --endpoint");
    if (s->share > 1 || (s->share < 0 && s->share > -1))
        return gm_fail(err, GM_ERR_USAGE, "--share is %g; it is 0 to 1", s->share);
    if (!(s->call_cost >= 0))
        return gm_fail(err, GM_ERR_USAGE, "--call-cost is %g; it is a number from 0", s->call_cost);
    return s->thresholds_path != NULL ? gm_thresholds_read(s->thresholds_path, &s->thresholds, err) : GM_OK;
}

static gm_status run(refine_settings *s, gm_err *err)
{
    refine_input in = { .gold = { 0 } };
    GM_TRY(check(s, err));
    gm_status status = read_input(s, &in, err);
    if (status == GM_OK) status = s->is_sweep ? refine_sweep(s, &in, err) : refine(s, &in, err);
    free_input(&in);
    return status;
}

static int refine_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    refine_settings s = {
        .score_name = "mner", .share = -1, .calls = -1, .call_cost = 0.05, .thresholds = { { 0.4, 0.5, 0.3 } }
    };
    gm_option options[] = {
        { "in", GM_OPT_STR, &s.in, "FILE", "predicted records with uncertainties, - for stdin", true },
        { "out", GM_OPT_STR, &s.out, "DIR", "folder of predictions.jsonl and report.json", false },
        { "gold", GM_OPT_STR, &s.gold, "FILE",
          "gold records: scores before and after, and the oracle where nobody else answers", false },
        { "corrector", GM_OPT_STR, &s.corrector, "NAME",
          "endpoint, answers or oracle (default: the first of these that --endpoint, --answers or --gold gives)",
          false },
        GM_STAGE_OPTIONS(&s.stage),
        { "images", GM_OPT_STR, &s.images, "DIR", "folder of the records' pictures", false },
        { "types", GM_OPT_STR, &s.types, "LIST",
          "types to choose from, PER,LOC or person/actor,... (default: those of the predictions)", false },
        { "answers", GM_OPT_STR, &s.answers, "FILE", "recorded answers in the place of an endpoint", false },
        { "record", GM_OPT_STR, &s.record, "FILE", "write the endpoint's answers there", false },
        { "calls", GM_OPT_INT, &s.calls, "N", "hand on at most so many parts, the least sure entities first", false },
        { "share", GM_OPT_NUM, &s.share, "X", "hand on this share of the entities, the least sure first", false },
        { "threshold-span", GM_OPT_NUM, &s.thresholds.of[GM_PART_SPAN], "X",
          "without a budget: hand spans on above this uncertainty", false },
        { "threshold-type", GM_OPT_NUM, &s.thresholds.of[GM_PART_TYPE], "X", "the same for types", false },
        { "threshold-region", GM_OPT_NUM, &s.thresholds.of[GM_PART_REGION], "X", "the same for regions", false },
        { "thresholds", GM_OPT_STR, &s.thresholds_path, "FILE",
          "JSON with all three, in the place of the options above", false },
        { "without-regions", GM_OPT_FLAG, &s.without_regions, NULL, "hand no regions on", false },
        { "keep-all", GM_OPT_FLAG, &s.never_removes, NULL, "the oracle takes no entity back", false },
        { "sweep", GM_OPT_FLAG, &s.is_sweep, NULL,
          "print the share delegated against F1 and pick thresholds (--call-cost, --calls)", false },
        { "score", GM_OPT_STR, &s.score_name, "NAME", "whose F1 a sweep shows: mner, eeg, gmner, fine-mner or fmnerg",
          false },
        { "call-cost", GM_OPT_NUM, &s.call_cost, "X", "points of F1 that a delegated percent costs", false },
    };
    gm_status status =
        gm_cli_parse(&gm_refine_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_refine_command, status, &err);
    status = run(&s, &err);
    gm_stage_close(&s.stage);
    return gm_cli_finish(&gm_refine_command, status, &err);
}
