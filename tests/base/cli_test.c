/* Command lines. */
#include "base_test.h"

#include <stdlib.h>

#include "base/cli.h"
#include "base/log.h"

static const gm_command command = { "train", "Trains a model.", "gmner train --config FILE --out DIR", NULL };

typedef struct parsed {
    const char *config, *out, *words[2];
    int64_t threads;
    uint64_t seed;
    double rate;
    bool resume, done;
    gm_str_list set;
    int word_count;
} parsed;

/* Parses the words of `line`, cut at blanks; "_" stands for an empty word. */
static gm_status parse(const char *line, parsed *p, gm_err *err)
{
    static char copy[512];
    char *argv[32], *rest = NULL;
    int argc = 0;
    *p = (parsed) { .threads = 2, .seed = 42, .rate = 0.5, .out = "run" };
    gm_option options[] = {
        { "config", GM_OPT_STR, &p->config, "FILE", "the configuration", true },
        { "out", GM_OPT_STR, &p->out, "DIR", "the run folder", false },
        { "set", GM_OPT_LIST, &p->set, "KEY=VALUE", "changes a key", false },
        { "threads", GM_OPT_INT, &p->threads, "N", "worker threads", false },
        { "seed", GM_OPT_U64, &p->seed, "SEED", "the seed", false },
        { "rate", GM_OPT_NUM, &p->rate, "RATE", "a rate", false },
        { "resume", GM_OPT_FLAG, &p->resume, NULL, "goes on", false },
    };
    snprintf(copy, sizeof copy, "train %s", line);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "_") == 0) word[0] = '\0';
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return gm_cli_parse(&command, options, (int)GM_LEN(options), p->words, 2, &p->word_count, argc, argv, &p->done,
                        err);
}

static void all_kinds_of_options(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    assert_ok(parse("--config c.json --out=o=p --set a=1 --threads -3 --set=b=2 --seed 18446744073709551615 --rate "
                    "1e-3 --resume in - ",
                    &p, &err));
    assert_string_equal(p.config, "c.json");
    assert_string_equal(p.out, "o=p");
    assert_int_equal(p.set.count, 2);
    assert_string_equal(p.set.items[0], "a=1");
    assert_string_equal(p.set.items[1], "b=2");
    assert_true(p.threads == -3);
    assert_true(p.seed == UINT64_MAX);
    assert_true(p.rate == 1e-3);
    assert_true(p.resume);
    assert_false(p.done);
    assert_int_equal(p.word_count, 2);
    assert_string_equal(p.words[0], "in");
    assert_string_equal(p.words[1], "-");
    gm_free(p.set.items);
}

static void defaults_stay_without_options(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    assert_ok(parse("--config=c", &p, &err));
    assert_true(p.threads == 2 && p.seed == 42 && p.rate == 0.5 && !p.resume && p.set.count == 0);
    assert_string_equal(p.out, "run");
}

static void empty_value_and_words_behind_two_dashes(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    assert_ok(parse("--config= --out _ -- --help", &p, &err));
    assert_string_equal(p.config, "");
    assert_string_equal(p.out, "");
    assert_string_equal(p.words[0], "--help");
}

static void wrong_lines_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        { "", "--config is missing" },
        { "--out o", "--config is missing" },
        { "--config c --thread 3", "unknown option --thread: did you mean --threads?" },
        { "--config c --log-levle info", "unknown option --log-levle: did you mean --log-level?" },
        { "--config c --quantum", "unknown option --quantum" },
        { "--config c --verylongoptionname_verylongoptionname_verylongoptionname_xx=1", "unknown option --verylong" },
        { "--config c -t 3", "unknown option -t: options begin with two dashes" },
        { "--config", "--config needs a value: --config FILE" },
        { "--config --resume",
          "--config needs a value, found the option --resume (a value like that is written --config=--resume)" },
        { "--config c --resume=yes", "--resume takes no value, found \"yes\"" },
        { "--config c --threads 12x", "--threads: expected a whole number, found \"12x\"" },
        { "--config c --threads 1.0", "--threads: expected a whole number, found \"1.0\"" },
        { "--config c --threads=", "--threads: expected a whole number, found \"\"" },
        { "--config c --seed -1", "--seed: expected a whole number from 0, found \"-1\"" },
        { "--config c --rate 1,5", "--rate: expected a number, found \"1,5\"" },
        { "--config c --config d", "--config is given twice" },
        { "--config c --resume --resume", "--resume is given twice" },
        { "--config c a b surplus", "unexpected word \"surplus\"" },
        { "--config c --log-level loud", "\"loud\"" },
        { "--config c --log-level", "--log-level needs a value" },
        { "--config c --log-level info --log-level info", "--log-level is given twice" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        parsed p;
        gm_err err;
        assert_fails(parse(cases[i].line, &p, &err), GM_ERR_USAGE, cases[i].message);
    }
    parsed p;
    assert_int_equal(parse("--config c --threads 12x", &p, NULL), GM_ERR_USAGE);
}

static void log_level_is_set(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    assert_ok(parse("--config c --log-level=debug", &p, &err));
    assert_true(gm_log_is_on(GM_LOG_DEBUG));
    assert_ok(parse("--config c --log-level info", &p, &err));
    assert_false(gm_log_is_on(GM_LOG_DEBUG));
}

static void help_goes_to_stdout_wherever_it_stands(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    caught c;
    catch_start(&c, STDOUT_FILENO);
    const gm_status status = parse("--threads 9 --bogus --help", &p, &err);
    const char *text = catch_end(&c);
    assert_int_equal(status, GM_OK);
    assert_true(p.done);
    static const char *const wanted[] = {
        "usage: gmner train --config FILE --out DIR\n\nTrains a model.\n",
        "  --config FILE",
        "the configuration (required)\n",
        "the run folder (default run)\n",
        "  --set KEY=VALUE",
        "changes a key (may be repeated)\n",
        "worker threads (default 2)\n",
        "the seed (default 42)\n",
        "a rate (default 0.5)\n",
        "  --resume  ",
        "  --log-level LEVEL",
        "  --version",
        "  --help",
    };
    for (size_t i = 0; i < GM_LEN(wanted); i++)
        if (strstr(text, wanted[i]) == NULL) fail_msg("--help lacks \"%s\":\n%s", wanted[i], text);
}

static void version_goes_to_stdout(void **state)
{
    (void)state;
    parsed p;
    gm_err err;
    caught c;
    catch_start(&c, STDOUT_FILENO);
    const gm_status status = parse("--version", &p, &err);
    assert_string_equal(catch_end(&c), "gmner " GM_VERSION "\n");
    assert_int_equal(status, GM_OK);
    assert_true(p.done);
}

static gm_status parse_sample(void *state, gm_err *err)
{
    (void)state;
    parsed p;
    const gm_status status = parse("--config c --set a=1 --set b=2", &p, err);
    gm_free(p.set.items);
    return status;
}

static void each_failed_allocation_is_reported(void **state)
{
    (void)state;
    fail_each_allocation(parse_sample, NULL);
}

static void whole_numbers_only(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "-", "12x", "1.0", " 1", "1 ", "+1", "--1", "0x10", "1e3", "9223372036854775808", "-9223372036854775809"
    };
    gm_err err;
    int64_t value = 5;
    uint64_t u = 5;
    for (size_t i = 0; i < GM_LEN(bad); i++) assert_int_equal(gm_parse_int(bad[i], &value, &err), GM_ERR_USAGE);
    assert_true(value == 5);
    assert_ok(gm_parse_int("9223372036854775807", &value, &err));
    assert_true(value == INT64_MAX);
    assert_ok(gm_parse_int("-9223372036854775808", &value, &err));
    assert_true(value == INT64_MIN);
    assert_ok(gm_parse_int("007", &value, &err));
    assert_true(value == 7);
    assert_fails(gm_parse_u64("-1", &u, &err), GM_ERR_USAGE, "\"-1\"");
    assert_fails(gm_parse_u64("18446744073709551616", &u, &err), GM_ERR_USAGE, "does not fit in 64 bits");
    assert_true(u == 5);
    assert_ok(gm_parse_u64("18446744073709551615", &u, &err));
    assert_true(u == UINT64_MAX);
}

static void finite_decimal_numbers_only(void **state)
{
    (void)state;
    static const char *const bad[] = { "",    "nan", "inf", "-inf",  "0x1p3", " 1", "1 ",
                                       "1,5", "1e",  "e5",  "1e999", "-",     ".",  "1.5.2" };
    static const struct {
        const char *text;
        double value;
    } good[] = {
        { "1", 1.0 },  { "-2.5", -2.5 }, { "1e-4", 1e-4 },  { "+3E2", 300.0 },
        { ".5", 0.5 }, { "5.", 5.0 },    { "1e-999", 0.0 },
    };
    gm_err err;
    double value = 7.0;
    for (size_t i = 0; i < GM_LEN(bad); i++) assert_int_equal(gm_parse_num(bad[i], &value, &err), GM_ERR_USAGE);
    assert_true(value == 7.0);
    for (size_t i = 0; i < GM_LEN(good); i++) {
        assert_ok(gm_parse_num(good[i].text, &value, &err));
        assert_true(value == good[i].value);
    }
}

static void finish_prints_one_line_and_gives_the_code(void **state)
{
    (void)state;
    static const struct {
        gm_status status;
        bool has_message;
        int code;
        const char *printed;
    } cases[] = {
        { GM_OK, false, 0, "" },
        { GM_ERR_DATA, true, 1, "gmner train: the message\n" },
        { GM_ERR_USAGE, true, 2, "gmner train: the message\ntry gmner train --help\n" },
        { GM_STOP_INT, false, 130, "gmner train: stopped by SIGINT after saving\n" },
        { GM_STOP_TERM, false, 143, "gmner train: stopped by SIGTERM after saving\n" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        gm_err err = { 0 };
        caught c;
        if (cases[i].has_message) gm_fail(&err, cases[i].status, "the message");
        catch_start(&c, STDERR_FILENO);
        const int code = gm_cli_finish(&command, cases[i].status, &err);
        assert_string_equal(catch_end(&c), cases[i].printed);
        assert_int_equal(code, cases[i].code);
    }
    caught c;
    catch_start(&c, STDERR_FILENO);
    const int code = gm_cli_finish(NULL, GM_ERR_USAGE, NULL);
    assert_string_equal(catch_end(&c), "gmner: wrong usage of the command line\ntry gmner --help\n");
    assert_int_equal(code, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_options),
        cmocka_unit_test(defaults_stay_without_options),
        cmocka_unit_test(empty_value_and_words_behind_two_dashes),
        cmocka_unit_test(wrong_lines_are_refused),
        cmocka_unit_test(log_level_is_set),
        cmocka_unit_test(help_goes_to_stdout_wherever_it_stands),
        cmocka_unit_test(version_goes_to_stdout),
        cmocka_unit_test(each_failed_allocation_is_reported),
        cmocka_unit_test(whole_numbers_only),
        cmocka_unit_test(finite_decimal_numbers_only),
        cmocka_unit_test(finish_prints_one_line_and_gives_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
