/* The scripted server of the tests as a program, for tests of commands:
 *     faulty_server [--port N] [--latency-ms N] [--acts LIST] [--key KEY] [--log FILE] [--answers FILE]
 * It prints its port and serves until it is killed. server.h says what acts are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mllm/server.h"

int main(int argc, char **argv)
{
    gmt_server_options o = { 0 };
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--port") == 0) o.port = (int)strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--latency-ms") == 0) o.latency_ms = (int)strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--acts") == 0) o.acts = value;
        else if (strcmp(argv[i], "--key") == 0) o.key = value;
        else if (strcmp(argv[i], "--log") == 0) o.log = value;
        else if (strcmp(argv[i], "--answers") == 0) o.answers = value;
        else {
            fprintf(stderr, "faulty_server: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    int port = 0;
    const int listener = gmt_server_listen(o.port, &port);
    if (listener < 0) {
        perror("faulty_server");
        return 1;
    }
    printf("%d\n", port);
    fflush(stdout);
    gmt_server_run(listener, &o);
    return 0;
}
