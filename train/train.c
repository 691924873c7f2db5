/* gmner train: trains the local model into a run folder. */
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/config.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/signals.h"
#include "train/trainer.h"

static gm_status configure(gm_config *config, const char *path, const gm_str_list *sets, bool has_seed, uint64_t seed,
                           gm_err *err)
{
    if (path != NULL) GM_TRY(gm_config_load(config, path, err));
    for (int i = 0; i < sets->count; i++) GM_TRY(gm_config_set(config, sets->items[i], err));
    if (!has_seed) return GM_OK;
    char assignment[64];
    snprintf(assignment, sizeof assignment, "seed=%llu", (unsigned long long)seed);
    return gm_config_set(config, assignment, err);
}

static int train_main(int argc, char **argv);
const gm_command gm_train_command = { "train", "train the local model into a run folder",
                                      "gmner train --config FILE --out DIR [--set KEY=VALUE]... [--resume]",
                                      train_main };

/* Processes with a GPU each exchange device memory, which MPI does not see. */
static const char *kind_for(const char *kind, const char *device)
{
    const bool is_gpu = strcmp(device, "cpu") != 0 && strcmp(device, "auto") != 0;
    return strcmp(kind, "auto") == 0 && is_gpu && gm_comm_is_launched() ? "nccl" : kind;
}

/* Rank 0 speaks; the others only where something is wrong, and say who they are. */
static void name_rank(const gm_comm *comm)
{
    char place[32];
    if (gm_comm_size(comm) == 1) return;
    snprintf(place, sizeof place, "rank %d", gm_comm_rank(comm));
    gm_log_set_place(place);
    if (gm_comm_rank(comm) > 0 && gm_log_is_on(GM_LOG_INFO)) gm_log_set_level(GM_LOG_WARN);
}

/* What all ranks have agreed on is said once; what one alone has met ends the others, who may be waiting for it. */
static int finish(gm_comm *comm, gm_status status, gm_err *err)
{
    const bool is_own = status != GM_OK && !gm_comm_is_agreed(comm);
    if (is_own && err->status == status) (void)gm_fail_at(err, "rank %d", gm_comm_rank(comm));
    const int code = is_own || gm_comm_rank(comm) == 0 ? gm_cli_finish(&gm_train_command, status, err) : gm_status_exit(status);
    if (is_own) gm_comm_abort(comm, code);
    gm_comm_close(comm);
    return code;
}

static int train_main(int argc, char **argv)
{
    const char *path = NULL, *seed_text = NULL, *kind = "auto";
    gm_train_options o = { .device = "cpu", .isa = "auto", .signal = gm_signal_number };
    gm_comm_options meeting = { 0 };
    int64_t rank = 0, size = 0;
    gm_str_list sets = { 0 };
    bool print_config = false, done = false;
    gm_option options[] = {
        { "config", GM_OPT_STR, &path, "FILE", "configuration (docs/configuration.md lists the keys)", false },
        { "out", GM_OPT_STR, &o.out, "DIR", "run folder: checkpoints, metrics.jsonl, run.json", false },
        { "set", GM_OPT_LIST, &sets, "KEY=VALUE", "overrides one key", false },
        { "seed", GM_OPT_STR, &seed_text, "N", "short for --set seed=N", false },
        { "resume", GM_OPT_FLAG, &o.resume, NULL, "go on from the last checkpoint in --out", false },
        { "device", GM_OPT_STR, &o.device, "NAME", "cpu, cuda, sim or auto", false },
        { "comm", GM_OPT_STR, &kind, "NAME", "how the processes of mpirun or srun find each other: none, mpi, nccl or auto (docs/ranks.md)", false },
        { "comm-rank", GM_OPT_INT, &rank, "N", "with --comm nccl and no launcher: which process this is, from 0", false },
        { "comm-size", GM_OPT_INT, &size, "N", "of how many", false },
        { "comm-file", GM_OPT_STR, &meeting.file, "FILE", "by which they meet, in a folder that all see", false },
        { "cpu-isa", GM_OPT_STR, &o.isa, "NAME", "instruction set of the cpu kernels: auto, v2, v3 or v4", false },
        { "print-config", GM_OPT_FLAG, &print_config, NULL, "print every key with its value and origin, and stop",
          false },
    };
    gm_err err = { 0 };
    gm_config *config = NULL;
    uint64_t seed = 0;
    gm_status status =
        gm_cli_parse(&gm_train_command, options, (int)GM_LEN(options), NULL, 0, NULL, argc, argv, &done, &err);
    if (status == GM_OK && done) return 0;
    if (status == GM_OK && seed_text != NULL && (status = gm_parse_u64(seed_text, &seed, &err)) != GM_OK)
        status = gm_fail_at(&err, "--seed");
    if (status == GM_OK) status = gm_config_create(&config, &err);
    if (status == GM_OK) status = configure(config, path, &sets, seed_text != NULL, seed, &err);
    if (status == GM_OK && print_config)
        gm_config_print(config, stdout);
    else if (status == GM_OK && o.out == NULL)
        status = gm_fail(&err, GM_ERR_USAGE, "--out DIR is missing: name the run folder");
    else if (status == GM_OK) {
        gm_signals_catch();
        meeting.kind = kind_for(kind, o.device);
        meeting.timeout_s = (double)gm_config_int(config, GM_KEY_COMM_TIMEOUT);
        meeting.device = o.device;
        meeting.rank = (int32_t)rank;
        meeting.size = (int32_t)size;
        status = gm_comm_open_as(&meeting, &o.comm, &err);
        name_rank(o.comm);
        if (status == GM_OK) status = gm_train(config, &o, &err);
    }
    gm_config_destroy(config);
    gm_free((void *)sets.items);
    return finish(o.comm, status, &err);
}
