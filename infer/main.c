/* The program: `gmner COMMAND ...`, or the same command through its link `gmner-COMMAND ...`. Here alone a status becomes
 * text and an exit code, and here alone it is checked that all of the output has left: a full disk or a reader that
 * went away ends with a message and exit code 1, never with half a result and success. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cli.h"
#include "base/config.h"

#define GM_COMMAND(name) extern const gm_command gm_##name##_command;
#include "infer/commands.def"
#undef GM_COMMAND

static const gm_command *const commands[] = {
#define GM_COMMAND(name) &gm_##name##_command,
#include "infer/commands.def"
#undef GM_COMMAND
};
enum { COMMANDS = (int)GM_LEN(commands) };

static void print_help(FILE *to)
{
    fputs("usage: gmner COMMAND [OPTIONS]\n\ngrounded multimodal named entity recognition: train, predict, score\n\ncommands:\n",
          to);
    for (int i = 0; i < COMMANDS; i++) fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "\n`gmner COMMAND --help` lists a command's options; `gmner --version` prints the version.\n");
}

static const gm_command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COMMANDS];
    gm_err err;
    for (int i = 0; i < COMMANDS; i++) names[i] = commands[i]->name;
    const char *near = gm_nearest(name, names, COMMANDS);
    const char *kind = name[0] == '-' ? "option" : "command";
    gm_status status;
    if (near == NULL) status = gm_fail(&err, GM_ERR_USAGE, "unknown %s %s", kind, name);
    else status = gm_fail(&err, GM_ERR_USAGE, "unknown %s %s: did you mean %s?", kind, name, near);
    return gm_cli_finish(NULL, status, &err);
}

static int run(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *called = argc == 0 ? "gmner" : slash != NULL ? slash + 1 : argv[0];
    const gm_command *linked = strncmp(called, "gmner-", 6) == 0 ? find(called + 6) : NULL;
    if (linked != NULL) return linked->main(argc, argv);
    if (argc < 2) {
        print_help(stderr);
        return gm_status_exit(GM_ERR_USAGE);
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("gmner %s\n", GM_VERSION);
        return 0;
    }
    const gm_command *command = find(argv[1]);
    return command != NULL ? command->main(argc - 1, argv + 1) : unknown_command(argv[1]);
}

/* A descriptor that the caller closed would be given to the next file opened, and messages would land in it. The null
 * device takes its place, opened the wrong way round so that using it still fails. */
static void keep_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1) (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* True when everything printed has reached where stdout leads; else says why not. */
static bool output_has_left(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    const char *why = errno == EPIPE ? "its reader has gone" : errno != 0 ? strerror(errno) : "an earlier write failed";
    fprintf(stderr, "gmner: cannot write to standard output: %s; what was printed is not complete\n", why);
    return false;
}

int main(int argc, char **argv)
{
    keep_standard_descriptors();
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore, NULL); /* a write into a closed pipe then fails like any other */
    sigaction(SIGXFSZ, &ignore, NULL); /* and so does one beyond the limit of a file's size */
    const int code = run(argc, argv);
    return !output_has_left() && code == 0 ? gm_status_exit(GM_ERR_IO) : code;
}
