/* A program of a test that serves on a port: it prints the port once it is ready, and ends when its standard input does, so
 * also when the test crashes. */
#ifndef GM_TESTS_MLLM_HELPER_H
#define GM_TESTS_MLLM_HELPER_H

#include "tests/support/support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct gmt_helper { pid_t process; int port, keep_alive; } gmt_helper;

static inline gmt_helper gmt_helper_start(const char *const argv[])
{
    int in[2], out[2];
    gmt_helper h = { 0 };
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    fcntl(in[1], F_SETFD, FD_CLOEXEC); /* a second helper that kept it open would keep the first one alive */
    h.process = fork();
    if (h.process == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(out[0]), close(out[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    h.keep_alive = in[1];
    FILE *said = fdopen(out[0], "r");
    if (said == NULL || fscanf(said, "%d", &h.port) != 1) fail_msg("%s %s does not start", argv[0], argv[1]);
    fclose(said);
    return h;
}

static inline void gmt_helper_stop(gmt_helper *h)
{
    if (h->process <= 0) return;
    close(h->keep_alive);
    waitpid(h->process, NULL, 0);
    h->process = 0;
}

static inline void gmt_helper_kill(gmt_helper *h)
{
    kill(h->process, SIGKILL);
    gmt_helper_stop(h);
}

#endif
