/* A scripted server of chat completions that also fails, lies, hangs and cuts off: one thread, any number of connections.
 *
 * What it does with a request is a list of acts, separated by commas, each `name`, `name:argument` or either with `*count`:
 *     429:2*3,503,ok        three times 429 with Retry-After 2, then 503, then an answer
 * The list stands in the request itself as [[...]], and then counts the tries of that request; or in the options, and then
 * counts all requests. Behind the end of a list all is well. docs/endpoint-faults.md lists the acts.
 *
 * The answer to a request depends on the request alone. The server writes a line of log for each request before it answers,
 * and a line that begins with "violation" for each thing that a client ought not to do: to try again what can never succeed,
 * what was answered, or before the time that Retry-After gave. */
#ifndef GM_TESTS_MLLM_SERVER_H
#define GM_TESTS_MLLM_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct gmt_server_options {
    int port;            /* 0: any */
    int latency_ms;      /* of each answer */
    const char *acts;    /* for requests that hold no [[...]]; NULL: all is well */
    const char *key;     /* what the client must send; NULL: nothing is checked */
    const char *log;     /* path, or NULL */
    const char *answers; /* JSON lines {"find": text, "text": answer}: the first whose `find` stands in the request; or NULL */
    bool is_forgetful;   /* requests are not remembered: no verdict, memory flat over any number */
} gmt_server_options;

typedef struct gmt_server { pid_t process; int port; } gmt_server;

/* In a process of its own, which ends with this one. */
gmt_server gmt_server_start(const gmt_server_options *o);
void gmt_server_stop(gmt_server *s); /* takes one that is gone */

/* Listens and serves until it is killed or an act ends it; *port gets the number before the first request. */
int gmt_server_listen(int port, int *actual);
void gmt_server_run(int listener, const gmt_server_options *o);

#endif
