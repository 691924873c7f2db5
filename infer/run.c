/* gmner run: the stages of a pipeline one after another, each in a process of its own. A stage that is done is not done again:
 * state/<stage>.json in the run's folder holds the fingerprint of what it did. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/signals.h"
#include "pipeline/pipeline.h"

static int run_main(int argc, char **argv);
const gm_command gm_run_command = { "run", "runs a whole pipeline: synthesis, training, refinement, grounding, scores",
                                    "gmner run CONFIG --out DIR [--set NAME=VALUE]... [--estimate]", run_main };

typedef struct run {
    const char *config, *out, *until;
    gm_str_list sets;
    bool is_estimate;
    gm_pipeline p;
    char (*fingerprint)[GM_FINGERPRINT]; /* [stages] */
    bool *is_done;                       /* [stages] */
    bool *is_told;                       /* [stages]: what it will ask, by its own inputs */
} run;

/* ---- what was done before ---- */

static char *state_path(const run *r, const gm_pipeline_stage *s, const char *ending)
{
    char *folder = gm_path_join(r->out, "state"), name[256];
    snprintf(name, sizeof name, "%.200s%s", s->name, ending);
    char *path = folder != NULL ? gm_path_join(folder, name) : NULL;
    gm_free(folder);
    return path;
}

/* The fingerprint that stands in state/<stage><ending>, or "". */
static gm_status read_state(const run *r, const gm_pipeline_stage *s, const char *ending, char to[GM_FINGERPRINT], gm_err *err)
{
    char *path = state_path(r, s, ending), *text = NULL;
    size_t size = 0;
    to[0] = '\0';
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_status status = gm_path_exists(path) ? gm_file_read(path, &text, &size, err) : GM_OK;
    cJSON *root = text != NULL ? cJSON_Parse(text) : NULL;
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(root, "fingerprint");
    if (cJSON_IsString(value)) snprintf(to, GM_FINGERPRINT, "%s", value->valuestring); /* a broken file means: not done */
    cJSON_Delete(root);
    gm_free(text);
    gm_free(path);
    return status;
}

static gm_status write_state(const run *r, int32_t i, const char *ending, double seconds, gm_err *err)
{
    const gm_pipeline_stage *s = &r->p.stages[i];
    char *path = state_path(r, s, ending);
    gm_buffer b = { 0 };
    gm_status status = path == NULL ? gm_fail(err, GM_ERR_NOMEM, "out of memory for a path") : GM_OK;
    if (status == GM_OK) status = gm_buffer_printf(&b, err, "{\"fingerprint\": \"%s\", \"seconds\": %.1f, \"command\": [", r->fingerprint[i], seconds);
    for (int32_t k = 0; k < s->count && status == GM_OK; k++) {
        if (k > 0) status = gm_buffer_add(&b, ", ", 2, err);
        if (status == GM_OK) status = gm_buffer_json_string(&b, s->words[k], err);
    }
    if (status == GM_OK) status = gm_buffer_add(&b, "]}\n", 3, err);
    if (status == GM_OK) status = gm_file_write(path, b.data, b.size, err);
    gm_buffer_free(&b);
    gm_free(path);
    return status;
}

/* A stage is done when its own fingerprint stands there and all before it are done. */
static gm_status find_done(run *r, gm_err *err)
{
    const char *before = "";
    bool all = true;
    r->fingerprint = gm_calloc((size_t)r->p.count, sizeof *r->fingerprint);
    r->is_done = gm_calloc((size_t)r->p.count, sizeof *r->is_done);
    r->is_told = gm_calloc((size_t)r->p.count, sizeof *r->is_told);
    if (r->fingerprint == NULL || r->is_done == NULL || r->is_told == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for fingerprints");
    for (int32_t i = 0; i < r->p.count; i++) {
        char done[GM_FINGERPRINT];
        GM_TRY(gm_pipeline_fingerprint(&r->p.stages[i], r->out, before, r->fingerprint[i], err));
        GM_TRY(read_state(r, &r->p.stages[i], ".json", done, err));
        before = r->fingerprint[i];
        r->is_done[i] = all = all && strcmp(done, before) == 0;
    }
    return GM_OK;
}

/* ---- processes ---- */

/* What the child becomes; returns only where that failed. `to` takes its standard output. */
static void become(const char *const *words, int32_t count, const char *more, const char *to)
{
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    const char **argv = gm_calloc((size_t)count + 3, sizeof *argv);
    const int file = to != NULL ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (length <= 0 || argv == NULL || (to != NULL && (file < 0 || dup2(file, STDOUT_FILENO) < 0))) return;
    program[length] = '\0';
    argv[0] = "gmner";
    memcpy(argv + 1, words, (size_t)count * sizeof *argv);
    argv[count + 1] = more;
    execv(program, (char *const *)argv);
}

/* Waits for the child and hands signals on to it. */
static gm_status wait_for(pid_t child, const char *name, gm_err *err)
{
    int status = 0, passed = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return gm_fail(err, GM_ERR_IO, "stage %s: waiting for it failed: %s", name, strerror(errno));
        if (*gm_signal_number != 0 && passed == 0) kill(child, passed = (int)*gm_signal_number);
    }
    if (passed != 0) return gm_signals_check("stopped: the same command goes on where it was", err);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return GM_OK;
    if (WIFSIGNALED(status)) return gm_fail(err, GM_ERR_IO, "stage %s was killed by signal %d; the same command goes on from there", name, WTERMSIG(status));
    return gm_fail(err, GM_ERR_DATA, "stage %s failed with exit status %d, and says why above; the same command goes on from there", name,
                   WEXITSTATUS(status));
}

/* A process group of its own: Ctrl-C reaches it once, by us. It must not outlive us. */
static gm_status spawn(const char *name, const char *const *words, int32_t count, const char *more, const char *to, gm_err *err)
{
    GM_TRY(gm_signals_check("stopped: the same command goes on where it was", err));
    fflush(NULL);
    const pid_t parent = getpid(), child = fork();
    if (child < 0) return gm_fail(err, GM_ERR_IO, "stage %s: no process could be made: %s", name, strerror(errno));
    if (child == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() == parent) become(words, count, more, to);
        fprintf(stderr, "gmner run: stage %s: cannot be started: %s\n", name, strerror(errno));
        _exit(1);
    }
    return wait_for(child, name, err);
}

/* ---- one stage ---- */

static int32_t count_of(const char *const *words)
{
    int32_t n = 0;
    while (words[n] != NULL) n++;
    return n;
}

/* Training goes on from its last checkpoint where it was begun as it is now; a run folder made in another way is not touched. */
static gm_status resume_of(const run *r, int32_t i, const char **more, gm_err *err)
{
    const gm_pipeline_stage *s = &r->p.stages[i];
    char begun[GM_FINGERPRINT];
    *more = NULL;
    if (strcmp(s->command, "train") != 0 || s->out == NULL || !gm_path_is_dir(s->out)) return GM_OK;
    GM_TRY(read_state(r, s, ".begun.json", begun, err));
    if (strcmp(begun, r->fingerprint[i]) != 0)
        return gm_fail(err, GM_ERR_CONFIG, "stage %s: %s was made by other settings or other data: move it away, or give another --out", s->name, s->out);
    char *last = gm_path_join(s->out, "last");
    if (last != NULL && gm_path_is_dir(last)) *more = "--resume";
    gm_free(last);
    return GM_OK;
}

static gm_status do_stage(const run *r, int32_t i, gm_err *err)
{
    const gm_pipeline_stage *s = &r->p.stages[i];
    const char *more;
    const double start = gm_now_s();
    char *part = NULL;
    if (s->asks && !r->is_told[i]) GM_TRY(spawn(s->name, s->words, s->count, "--estimate", NULL, err));
    GM_TRY(resume_of(r, i, &more, err));
    GM_TRY(write_state(r, i, ".begun.json", 0, err));
    if (s->to != NULL) {
        part = gm_malloc(strlen(s->to) + sizeof ".part");
        if (part == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
        snprintf(part, strlen(s->to) + sizeof ".part", "%s.part", s->to);
    }
    gm_status status = spawn(s->name, s->words, s->count, more, part, err);
    if (status == GM_OK && part != NULL && rename(part, s->to) != 0) status = gm_fail(err, GM_ERR_IO, "%s: %s", s->to, strerror(errno));
    if (status != GM_OK && part != NULL) unlink(part);
    gm_free(part);
    return status == GM_OK ? write_state(r, i, ".json", gm_now_s() - start, err) : status;
}

/* ---- the estimate ---- */

/* Of a stage whose inputs are there, its own; else that of its stand-in, else when it can be told. */
static gm_status estimate_stage(const run *r, int32_t i, gm_err *err)
{
    const gm_pipeline_stage *s = &r->p.stages[i];
    r->is_told[i] = i == 0 || r->is_done[i - 1];
    if (r->is_told[i]) return spawn(s->name, s->words, s->count, "--estimate", NULL, err);
    if (s->stand_in == NULL) {
        printf("%s: can be estimated when the stages before it are done, and is before it begins\n", s->name);
        return GM_OK;
    }
    printf("%s, by what stands in for its inputs until they are made:\n", s->name);
    return spawn(s->name, s->stand_in, count_of(s->stand_in), "--estimate", NULL, err);
}

static gm_status estimate(const run *r, gm_err *err)
{
    for (int32_t i = 0; i < r->p.count; i++)
        if (r->p.stages[i].asks && !r->is_done[i]) GM_TRY(estimate_stage(r, i, err));
    return GM_OK;
}

/* ---- all of them ---- */

/* Stages first .. end - 1; *is_enough behind the one that --until names. */
static gm_status do_stages(const run *r, int32_t first, int32_t end, bool *is_enough, gm_err *err)
{
    for (int32_t i = first; i < end && !*is_enough; i++) {
        const gm_pipeline_stage *s = &r->p.stages[i];
        gm_log(GM_LOG_INFO, "run", "stage %d of %d: %s%s", (int)i + 1, (int)r->p.count, s->name, r->is_done[i] ? " is done" : "");
        if (!r->is_done[i]) GM_TRY(do_stage(r, i, err));
        r->is_done[i] = true;
        *is_enough = r->until != NULL && strcmp(r->until, s->name) == 0;
    }
    return GM_OK;
}

/* What comes before the first training and the first question takes little, and tells how much there is to ask. */
static gm_status do_all(const run *r, gm_err *err)
{
    int32_t first = 0;
    bool is_enough = false;
    while (first < r->p.count && !r->p.stages[first].asks && strcmp(r->p.stages[first].command, "train") != 0) first++;
    GM_TRY(do_stages(r, 0, first, &is_enough, err));
    if (!is_enough) GM_TRY(estimate(r, err));
    if (!r->is_estimate) GM_TRY(do_stages(r, first, r->p.count, &is_enough, err));
    if (!r->is_estimate && r->is_done[r->p.count - 1]) gm_log(GM_LOG_INFO, "run", "all %d stages are done: %s", (int)r->p.count, r->out);
    return GM_OK;
}

/* One run at a time in a folder. Stages inherit the lock: one that outlives a killed run for a moment still holds it. */
static gm_status lock(const run *r, int *file, gm_err *err)
{
    char *path = gm_path_join(r->out, "state/lock");
    *file = path != NULL ? open(path, O_RDWR | O_CREAT, 0666) : -1;
    gm_free(path);
    if (*file < 0) return gm_fail(err, GM_ERR_IO, "%s/state/lock: %s", r->out, strerror(errno));
    if (flock(*file, LOCK_EX | LOCK_NB) == 0) return GM_OK;
    return gm_fail(err, GM_ERR_IO, "%s: another gmner run is at work in this folder", r->out);
}

static gm_status prepare(const run *r, int *file, gm_err *err)
{
    bool is_known = r->until == NULL;
    char *folder = gm_path_join(r->out, "state");
    const gm_status status = folder != NULL ? gm_make_dirs(folder, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    gm_free(folder);
    GM_TRY(status);
    for (int32_t i = 0; i < r->p.count; i++) is_known = is_known || strcmp(r->until, r->p.stages[i].name) == 0;
    if (!is_known) return gm_fail(err, GM_ERR_USAGE, "--until %s: the pipeline has no such stage", r->until);
    return lock(r, file, err);
}

static gm_status do_run(run *r, gm_err *err)
{
    int file = -1;
    gm_signals_catch();
    gm_status status = gm_pipeline_read(r->config, r->out, &r->sets, &r->p, err);
    if (status == GM_OK) status = prepare(r, &file, err);
    if (status == GM_OK) status = find_done(r, err);
    if (status == GM_OK) status = do_all(r, err);
    if (file >= 0) close(file);
    gm_pipeline_free(&r->p);
    gm_free(r->fingerprint);
    gm_free(r->is_done);
    gm_free(r->is_told);
    return status;
}

static int run_main(int argc, char **argv)
{
    run r = { 0 };
    gm_option options[] = {
        { "out", GM_OPT_STR, &r.out, "DIR", "folder of the run; called again, it goes on where it was", true },
        { "set", GM_OPT_LIST, &r.sets, "NAME=VALUE", "a variable of the pipeline: where data, model and endpoint are", false },
        { "until", GM_OPT_STR, &r.until, "STAGE", "the last stage to be done", false },
        { "estimate", GM_OPT_FLAG, &r.is_estimate, NULL, "neither train nor ask: print the calls and tokens it would take at most", false },
    };
    gm_err err = { 0 };
    bool done = false;
    int words = 0;
    gm_status status = gm_cli_parse(&gm_run_command, options, (int)GM_LEN(options), &r.config, 1, &words, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && words == 0) status = gm_fail(&err, GM_ERR_USAGE, "expected a pipeline: configs/unco-gmner.json");
    if (status == GM_OK) status = do_run(&r, &err);
    gm_free((void *)r.sets.items);
    return gm_cli_finish(&gm_run_command, status, &err);
}
