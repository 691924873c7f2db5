/* Command lines: each command lists its options in one table, which makes the parser and --help.
 * Long options only, `--name value` or `--name=value`. Numbers are parsed whole: `12x` is refused. */
#ifndef GM_BASE_CLI_H
#define GM_BASE_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/parse.h"
#include "base/status.h"

typedef enum gm_option_type { GM_OPT_FLAG, GM_OPT_STR, GM_OPT_INT, GM_OPT_NUM, GM_OPT_U64, GM_OPT_LIST } gm_option_type;

typedef struct gm_str_list { const char **items; int count; } gm_str_list; /* of a repeatable option: gm_free items; the texts are argv's */

typedef struct gm_option {
    const char *name;     /* without the dashes */
    gm_option_type type;
    void *value;          /* bool, const char *, int64_t, double, uint64_t or gm_str_list, holding the default */
    const char *argument; /* how --help calls the value: "FILE" */
    const char *help;     /* one line */
    bool is_required;
} gm_option;

typedef struct gm_command {
    const char *name;      /* "train" */
    const char *summary;   /* one line */
    const char *usage;     /* "gmner train --config FILE --out DIR" */
    int (*main)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} gm_command;

/* Parses argv[1..]; all commands also take --help, --version and --log-level. *done is set (and the text printed to
 * stdout) after --help or --version. Positional words fill `words` (at most max_words). GM_ERR_USAGE names the option. */
gm_status gm_cli_parse(const gm_command *command, gm_option *options, int count, const char **words, int max_words,
                       int *word_count, int argc, char **argv, bool *done, gm_err *err);

/* Turns a failed status into one `gmner COMMAND: message` line on stderr and the exit code. */
int gm_cli_finish(const gm_command *command, gm_status status, const gm_err *err);

#define GM_VERSION "0.1.0"

#endif
