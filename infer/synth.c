/* gmner synth: writes synthetic tweets as records, for first runs and tests without a data set; with --llm a language model writes
 * sentences like labelled ones (synth_llm.c). */
#include "infer/synth_llm.h"

#include <string.h>

#include "base/cli.h"
#include "base/progress.h"
#include "data/synth.h"

static int synth_main(int argc, char **argv);
const gm_command gm_synth_command = { "synth", "writes synthetic tweets as records",
                                      "gmner synth --out FILE --count N [--split train|dev|test] [--seed S] [--hard]\n"
                                      "       gmner synth --llm --in FILE --endpoint FILE --out DIR [--cache FILE] ...",
                                      synth_main };

enum { AT_ONCE = 1000 }; /* records in memory */

static gm_status write_part(const gm_synth_options *o, gm_out *out, gm_err *err)
{
    gm_records all = { 0 };
    gm_buffer text = { 0 };
    gm_status status = gm_synth(o, &all, err);
    for (size_t i = 0; i < all.count && status == GM_OK; i++) status = gm_record_write(&all.items[i], &text, err);
    if (status == GM_OK) status = gm_out_write(out, text.data, text.size, err);
    gm_buffer_free(&text);
    gm_records_free(&all);
    return status;
}

static gm_status write_all(const char *path, gm_synth_options o, int64_t count, gm_err *err)
{
    gm_out out = { 0 };
    gm_progress progress;
    GM_TRY(gm_out_open(&out, path, err));
    gm_status status = GM_OK;
    gm_progress_start(&progress, "synth", count, 100 * AT_ONCE);
    for (o.first = 0; o.first < count && status == GM_OK; o.first += o.count) {
        o.count = count - o.first < AT_ONCE ? count - o.first : AT_ONCE;
        status = write_part(&o, &out, err);
        if (status == GM_OK) gm_progress_update(&progress, o.first + o.count, NULL);
    }
    gm_progress_end(&progress);
    if (status == GM_OK) return gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

static int synth_main(int argc, char **argv)
{
    gm_err err = { 0 };
    const char *path = NULL;
    int64_t count = 0;
    gm_synth_options o = { .split = "train", .seed = 42 };
    bool done = false;
    int words = 0;
    bool is_llm = false;
    if (gm_synth_wants_llm(argc, argv)) return gm_synth_llm_main(argc, argv);
    gm_option options[] = {
        { "llm", GM_OPT_FLAG, &is_llm, NULL, "have a language model write them, like labelled ones: see --llm --help", false },
        { "out", GM_OPT_STR, &path, "FILE", "where the records go, - for stdout", true },
        { "count", GM_OPT_INT, &count, "N", "how many records", true },
        { "split", GM_OPT_STR, &o.split, "train|dev|test", "dev and test also use names that train never has", false },
        { "seed", GM_OPT_U64, &o.seed, "S", "seed of every choice", false },
        { "hard", GM_OPT_FLAG, &o.is_hard, NULL, "more noise, more ambiguous and more unseen names", false },
    };
    gm_status status =
        gm_cli_parse(&gm_synth_command, options, (int)GM_LEN(options), NULL, 0, &words, argc, argv, &done, &err);
    if (status != GM_OK || done) return gm_cli_finish(&gm_synth_command, status, &err);
    if (count < 1 || count > UINT32_MAX)
        status = gm_fail(&err, GM_ERR_USAGE, "--count is %lld; it lies between 1 and %u", (long long)count,
                         (unsigned)UINT32_MAX);
    else
        status = write_all(path, o, count, &err);
    return gm_cli_finish(&gm_synth_command, status, &err);
}
