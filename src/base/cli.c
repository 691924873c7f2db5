/* Command lines from option tables. Strict on purpose: an option given twice, a word too many or a number with
 * something behind it is refused, because each of them is a slip that would otherwise start hours of wrong work. */
#include "base/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"

/* ---- --help ---- */

static void print_default(const gm_option *o)
{
    switch (o->type) {
    case GM_OPT_STR:
        if (*(const char **)o->value != NULL && **(const char **)o->value != '\0')
            printf(" (default %s)", *(const char **)o->value);
        break;
    case GM_OPT_INT: printf(" (default %" PRId64 ")", *(int64_t *)o->value); break;
    case GM_OPT_U64: printf(" (default %" PRIu64 ")", *(uint64_t *)o->value); break;
    case GM_OPT_NUM: printf(" (default %g)", *(double *)o->value); break;
    case GM_OPT_LIST: printf(" (may be repeated)"); break;
    case GM_OPT_FLAG: break;
    }
}

static void print_option(const char *name, const char *argument, const char *help)
{
    const int used = (int)(strlen(name) + strlen(argument)) + (argument[0] != '\0');
    printf("  --%s%s%s%*s  %s", name, argument[0] != '\0' ? " " : "", argument, used < 22 ? 22 - used : 0, "", help);
}

static void print_help(const gm_command *command, const gm_option *options, int count)
{
    printf("usage: %s\n\n%s\n\noptions:\n", command->usage, command->summary);
    for (int i = 0; i < count; i++) {
        const gm_option *o = &options[i];
        print_option(o->name, o->type != GM_OPT_FLAG && o->argument != NULL ? o->argument : "", o->help);
        if (o->is_required)
            printf(" (required)");
        else
            print_default(o);
        printf("\n");
    }
    print_option("log-level", "LEVEL", "error, warn, info or debug (default info)\n");
    print_option("version", "", "print the version\n");
    print_option("help", "", "print this text\n");
}

/* --help and --version win wherever they stand, so that the defaults shown are not yet changed. */
static bool answer(const gm_command *command, const gm_option *options, int count, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(command, options, count);
            return true;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("gmner %s\n", GM_VERSION);
            return true;
        }
    }
    return false;
}

/* ---- parsing ---- */

typedef struct parsing {
    gm_option *options;
    int count;
    bool *given; /* [count] */
    bool has_level;
    const char **words;
    int max_words, word_count;
    gm_err *err;
} parsing;

static gm_status unknown_option(const parsing *p, const char *name)
{
    const char *near = NULL, **names = gm_calloc((size_t)p->count + 3, sizeof *names);
    if (names == NULL) return gm_fail(p->err, GM_ERR_NOMEM, "out of memory for the command line");
    static const char *const common[] = { "log-level", "version", "help" };
    for (int i = 0; i < p->count; i++) names[i] = p->options[i].name;
    memcpy(names + p->count, common, sizeof common);
    near = gm_nearest(name, names, p->count + (int)GM_LEN(common));
    gm_free(names);
    if (near == NULL) return gm_fail(p->err, GM_ERR_USAGE, "unknown option --%s", name);
    return gm_fail(p->err, GM_ERR_USAGE, "unknown option --%s: did you mean --%s?", name, near);
}

static gm_status append(gm_str_list *list, const char *text, gm_err *err)
{
    const char **moved = gm_realloc(list->items, ((size_t)list->count + 1) * sizeof *moved);
    if (moved == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the command line");
    list->items = moved;
    list->items[list->count++] = text;
    return GM_OK;
}

static gm_status store(const gm_option *o, const char *text, gm_err *err)
{
    gm_status status = GM_OK;
    switch (o->type) {
    case GM_OPT_FLAG: *(bool *)o->value = true; break;
    case GM_OPT_STR: *(const char **)o->value = text; break;
    case GM_OPT_INT: status = gm_parse_int(text, o->value, err); break;
    case GM_OPT_U64: status = gm_parse_u64(text, o->value, err); break;
    case GM_OPT_NUM: status = gm_parse_num(text, o->value, err); break;
    case GM_OPT_LIST: status = append(o->value, text, err); break;
    }
    return status == GM_OK ? GM_OK : gm_fail_at(err, "--%s", o->name);
}

/* The value of option `name`: behind '=' or the next word, which *i is moved to. */
static gm_status take_value(const char *name, const char *argument, const char *inline_value, int argc, char **argv,
                            int *i, const char **value, gm_err *err)
{
    *value = inline_value;
    if (inline_value != NULL) return GM_OK;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (next == NULL) return gm_fail(err, GM_ERR_USAGE, "--%s needs a value: --%s %s", name, name, argument);
    if (strncmp(next, "--", 2) == 0)
        return gm_fail(err, GM_ERR_USAGE,
                       "--%s needs a value, found the option %s (a value like that is written --%s=%s)", name, next,
                       name, next);
    *value = next;
    (*i)++;
    return GM_OK;
}

static gm_status parse_level(parsing *p, const char *inline_value, int argc, char **argv, int *i)
{
    const char *text;
    gm_log_level level;
    if (p->has_level) return gm_fail(p->err, GM_ERR_USAGE, "--log-level is given twice");
    p->has_level = true;
    GM_TRY(take_value("log-level", "LEVEL", inline_value, argc, argv, i, &text, p->err));
    GM_TRY(gm_log_parse_level(text, &level, p->err));
    gm_log_set_level(level);
    return GM_OK;
}

static gm_status parse_option(parsing *p, int argc, char **argv, int *i)
{
    char name[64];
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    const size_t n = equals != NULL ? (size_t)(equals - text) : strlen(text);
    const char *inline_value = equals != NULL ? equals + 1 : NULL;
    if (n >= sizeof name) return gm_fail(p->err, GM_ERR_USAGE, "unknown option %s", argv[*i]);
    memcpy(name, text, n);
    name[n] = '\0';
    if (strcmp(name, "log-level") == 0) return parse_level(p, inline_value, argc, argv, i);
    int k = 0;
    while (k < p->count && strcmp(p->options[k].name, name) != 0) k++;
    if (k == p->count) return unknown_option(p, name);
    const gm_option *o = &p->options[k];
    if (p->given[k] && o->type != GM_OPT_LIST) return gm_fail(p->err, GM_ERR_USAGE, "--%s is given twice", name);
    p->given[k] = true;
    const char *value = NULL;
    if (o->type == GM_OPT_FLAG && inline_value != NULL)
        return gm_fail(p->err, GM_ERR_USAGE, "--%s takes no value, found \"%s\"", name, inline_value);
    if (o->type != GM_OPT_FLAG)
        GM_TRY(
            take_value(name, o->argument != NULL ? o->argument : "VALUE", inline_value, argc, argv, i, &value, p->err));
    return store(o, value, p->err);
}

static gm_status parse_word(parsing *p, const char *word)
{
    if (p->word_count >= p->max_words) return gm_fail(p->err, GM_ERR_USAGE, "unexpected word \"%s\"", word);
    p->words[p->word_count++] = word;
    return GM_OK;
}

static gm_status parse_all(parsing *p, int argc, char **argv)
{
    bool only_words = false; /* behind "--" */
    for (int i = 1; i < argc; i++) {
        if (only_words || argv[i][0] != '-' || strcmp(argv[i], "-") == 0)
            GM_TRY(parse_word(p, argv[i]));
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (argv[i][1] != '-')
            return gm_fail(p->err, GM_ERR_USAGE, "unknown option %s: options begin with two dashes", argv[i]);
        else
            GM_TRY(parse_option(p, argc, argv, &i));
    }
    for (int k = 0; k < p->count; k++)
        if (p->options[k].is_required && !p->given[k])
            return gm_fail(p->err, GM_ERR_USAGE, "--%s is missing", p->options[k].name);
    return GM_OK;
}

gm_status gm_cli_parse(const gm_command *command, gm_option *options, int count, const char **words, int max_words,
                       int *word_count, int argc, char **argv, bool *done, gm_err *err)
{
    gm_err scratch; /* places are put before messages, so there must be one */
    parsing p = {
        .options = options, .count = count, .words = words, .max_words = max_words, .err = err != NULL ? err : &scratch
    };
    if (word_count != NULL) *word_count = 0;
    *done = answer(command, options, count, argc, argv);
    if (*done) return GM_OK;
    p.given = gm_calloc((size_t)count, sizeof *p.given);
    if (p.given == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the command line");
    const gm_status status = parse_all(&p, argc, argv);
    if (word_count != NULL) *word_count = p.word_count;
    gm_free(p.given);
    return status;
}

int gm_cli_finish(const gm_command *command, gm_status status, const gm_err *err)
{
    if (status == GM_OK) return 0;
    const char *name = command != NULL ? command->name : "", *blank = command != NULL ? " " : "";
    const char *message = err != NULL && err->status == status ? err->text : gm_status_text(status);
    if (status == GM_ERR_USAGE)
        fprintf(stderr, "gmner%s%s: %s\ntry gmner%s%s --help\n", blank, name, message, blank, name);
    else
        fprintf(stderr, "gmner%s%s: %s\n", blank, name, message);
    return gm_status_exit(status);
}
