/* The scripted server. Its memory of requests is a table by their hash; connections are small machines that poll moves. */
#define _GNU_SOURCE /* memmem, prctl, accept4 */
#include "tests/mllm/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/json.h"

enum { MAX_CONNECTIONS = 1200, BLOCK = 65536, KNOWN = 1 << 16, BIG = 100 * 1024 * 1024 };

typedef struct act { char name[24]; double argument; bool has_argument; } act;

typedef struct known { uint64_t hash; int32_t tries; bool is_answered, is_over; double not_before; } known;

typedef struct answer { char *find, *text; } answer;

typedef struct connection {
    int fd; /* -1: free */
    char *in;
    size_t in_size, in_capacity;
    gm_buffer out;
    size_t sent;
    double ready_at;   /* nothing is written before */
    size_t flood;      /* bytes still to come behind `out` */
    double drip_s;     /* seconds between bytes */
    bool is_answering, is_silent, closes, ends_server;
} connection;

typedef struct server {
    const gmt_server_options *o;
    int log;
    connection *connections;
    known *requests;
    answer *answers;
    size_t answer_count;
    int64_t served;
} server;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void note(const server *s, const char *format, ...) GM_PRINTF(2, 3);
static void note(const server *s, const char *format, ...)
{
    char line[512];
    va_list args;
    if (s->log < 0) return;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0 && write(s->log, line, (size_t)n) < 0) perror("log");
}

static uint64_t hash_of(const char *bytes, size_t size)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    return h;
}

static known *known_of(server *s, uint64_t hash)
{
    known *k = &s->requests[hash % KNOWN];
    while (k->tries > 0 && k->hash != hash) k = k + 1 == s->requests + KNOWN ? s->requests : k + 1;
    k->hash = hash;
    return k;
}

/* The act of try `number` (0-based) in a list; an empty one behind its end. */
static act act_at(const char *list, size_t size, int64_t number)
{
    act a = { .name = "ok" };
    const char *end = list + size;
    for (const char *at = list; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma != NULL ? comma : end;
        const char *star = memchr(at, '*', (size_t)(stop - at)), *colon = memchr(at, ':', (size_t)(stop - at));
        const int64_t count = star != NULL ? strtoll(star + 1, NULL, 10) : 1;
        if (number < count) {
            const char *name_end = colon != NULL ? colon : star != NULL ? star : stop;
            snprintf(a.name, sizeof a.name, "%.*s", (int)(name_end - at), at);
            a.has_argument = colon != NULL;
            a.argument = colon != NULL ? strtod(colon + 1, NULL) : 0.0;
            return a;
        }
        number -= count;
        at = stop + 1;
    }
    return a;
}

/* ---- answers ---- */

static void respond(connection *c, int status, const char *more_headers, const char *body, size_t size)
{
    gm_buffer_printf(&c->out, NULL, "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status, size, more_headers);
    gm_buffer_add(&c->out, body, size, NULL);
}

static void respond_error(connection *c, int status, const char *more_headers, const char *message, const char *type)
{
    char body[512];
    const int n = snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"code\":%d}}", message, type, status);
    respond(c, status, more_headers, body, (size_t)n);
}

static void completion(gm_buffer *to, const char *text, const char *finish, size_t request_bytes)
{
    gm_buffer_printf(to, NULL, "{\"id\":\"x\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    gm_buffer_json_string(to, text, NULL);
    gm_buffer_printf(to, NULL, "},\"finish_reason\":\"%s\"}],\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu}}", finish, request_bytes / 4, strlen(text) / 4);
}

static void answer_text(const server *s, const char *body, size_t size, uint64_t hash, char text[4096])
{
    for (size_t i = 0; i < s->answer_count; i++)
        if (memmem(body, size, s->answers[i].find, strlen(s->answers[i].find)) != NULL) {
            snprintf(text, 4096, "%s", s->answers[i].text);
            return;
        }
    snprintf(text, 4096, "{\"answer\": \"%016llx\"}", (unsigned long long)hash);
}

static bool is(const act *a, const char *name) { return strcmp(a->name, name) == 0; }

/* Acts that answer with 200 and a body that is or is not an answer; false: another act. */
static bool answers(const server *s, connection *c, const act *a, const char *body, size_t size, uint64_t hash)
{
    char text[4096], prose[5000];
    gm_buffer b = { 0 };
    gm_buffer_add(&b, "", 0, NULL);
    answer_text(s, body, size, hash, text);
    snprintf(prose, sizeof prose, "Of course! Here is the JSON:\n```json\n%s\n```\nI hope this helps.", text);
    bool does = true;
    if (is(a, "ok") || is(a, "cut") || is(a, "drip") || is(a, "half"))
        completion(&b, text, "stop", size);
    else if (is(a, "prose"))
        completion(&b, prose, "stop", size);
    else if (is(a, "schema"))
        completion(&b, "{\"something\": [\"else\", 1]}", "stop", size);
    else if (is(a, "outside"))
        completion(&b, "{\"bounding_box\": [-50, -50, 99999, 99999]}", "stop", size);
    else if (is(a, "reversed"))
        completion(&b, "{\"bounding_box\": [300, 200, 100, 50]}", "stop", size);
    else if (is(a, "length"))
        completion(&b, "{\"answer\": \"cut in the mi", "length", size);
    else if (is(a, "filter"))
        completion(&b, "", "content_filter", size);
    else if (is(a, "html"))
        gm_buffer_printf(&b, NULL, "<html><body>Bad gateway</body></html>");
    else if (is(a, "broken"))
        gm_buffer_printf(&b, NULL, "{\"choices\":[{\"message\":{\"content\":\"no en");
    else if (is(a, "nothing"))
        gm_buffer_printf(&b, NULL, "{}");
    else if (is(a, "hidden"))
        gm_buffer_printf(&b, NULL, "{\"error\":{\"message\":\"overloaded\",\"code\":503}}");
    else if (!is(a, "empty"))
        does = false;
    if (does) respond(c, 200, "", b.data, b.size);
    gm_buffer_free(&b);
    return does;
}

/* What follows the bytes of an act that answers. */
static void spoil(connection *c, const act *a, double now)
{
    if (is(a, "cut")) {
        c->out.size -= 20;
        c->closes = true;
    } else if (is(a, "half")) { /* the server dies in the middle of its answer */
        c->out.size -= 20;
        c->ends_server = true;
    } else if (is(a, "drip")) {
        c->drip_s = a->has_argument ? a->argument : 0.05;
        c->ready_at = now + c->drip_s;
    }
}

/* `is_final`: a client that understands will not come again; `retry_after` < 0: the act gives none. */
static const struct fault { const char *name; int status; bool is_final; const char *message, *type; } faults[] = {
    { "429", 429, false, "Rate limit reached for requests", "rate_limit_exceeded" },
    { "503", 503, false, "Loading model", "unavailable_error" },
    { "500", 500, false, "Internal server error", "server_error" },
    { "502", 502, false, "Bad gateway", "gateway" },
    { "permanent", 500, true, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "server_error" },
    { "400", 400, true, "the request exceeds the available context size", "exceed_context_size_error" },
    { "401", 401, true, "Incorrect API key provided: sk-faulty", "authentication_error" },
    { "404", 404, true, "no such model", "model_not_found" },
    { "quota", 429, true, "You exceeded your quota", "insufficient_quota" },
};

static bool fails(connection *c, const act *a, known *k, double now)
{
    for (size_t i = 0; i < GM_LEN(faults); i++) {
        if (!is(a, faults[i].name)) continue;
        char header[64] = "";
        if (a->has_argument) snprintf(header, sizeof header, "Retry-After: %.0f\r\n", a->argument);
        respond_error(c, faults[i].status, header, faults[i].message, faults[i].type);
        if (k != NULL) {
            k->is_over = faults[i].is_final;
            k->not_before = now + a->argument;
        }
        return true;
    }
    return false;
}

/* An error of the status in the argument whose text repeats the client's key. */
static void say_key(const server *s, connection *c, const act *a, known *k)
{
    char message[256];
    const int status = a->has_argument ? (int)a->argument : 400;
    snprintf(message, sizeof message, "the key %s was seen", s->o->key != NULL ? s->o->key : "(none)");
    respond_error(c, status, "", message, "an_error");
    if (k != NULL) k->is_over = status == 400;
}

static void perform(server *s, connection *c, const act *a, known *k, const char *body, size_t size, uint64_t hash)
{
    const double now = now_s();
    c->ready_at = now + 1e-3 * s->o->latency_ms;
    if (is(a, "ok") && a->has_argument) c->ready_at = now + a->argument;
    c->is_answering = true;
    if (answers(s, c, a, body, size, hash)) {
        const bool counts = is(a, "ok") || is(a, "prose") || is(a, "schema") || is(a, "outside") || is(a, "reversed") || is(a, "length") || is(a, "filter");
        if (k != NULL) k->is_answered = counts;
        spoil(c, a, now);
    } else if (fails(c, a, k, now)) {
        return;
    } else if (is(a, "says-key")) {
        say_key(s, c, a, k);
    } else if (is(a, "big")) {
        gm_buffer_printf(&c->out, NULL, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"");
        c->flood = BIG;
        c->closes = true;
        if (k != NULL) k->is_over = true;
    } else if (is(a, "stall")) {
        c->is_silent = true;
    } else if (is(a, "reset")) {
        c->closes = true;
    } else if (is(a, "garbage")) {
        gm_buffer_printf(&c->out, NULL, "\x16\x03\x01 this is no HTTP\r\n\r\n");
        c->closes = true;
    } else if (is(a, "redirect")) {
        respond_error(c, 307, "Location: http://127.0.0.1:1/elsewhere\r\n", "moved", "moved");
        if (k != NULL) k->is_over = true;
    } else if (is(a, "gone")) {
        c->ends_server = true;
    } else {
        note(s, "violation: the script names no act \"%s\"\n", a->name);
        respond_error(c, 400, "", "unknown act", "invalid_request_error");
    }
}

/* ---- requests ---- */

static bool has_key(const server *s, const char *head, size_t size)
{
    char line[256];
    if (s->o->key == NULL) return true;
    const int n = snprintf(line, sizeof line, "Authorization: Bearer %s\r\n", s->o->key);
    return memmem(head, size, line, (size_t)n) != NULL;
}

static void handle(server *s, connection *c, size_t head, size_t size)
{
    const char *body = c->in + head, *open = memmem(body, size, "[[", 2);
    const char *close = open != NULL ? memmem(open, size - (size_t)(open - body), "]]", 2) : NULL;
    const uint64_t hash = hash_of(body, size);
    known *k = s->o->is_forgetful ? NULL : known_of(s, hash);
    act a = { .name = "ok" };
    if (close != NULL)
        a = act_at(open + 2, (size_t)(close - open) - 2, k != NULL ? k->tries : 0);
    else if (s->o->acts != NULL)
        a = act_at(s->o->acts, strlen(s->o->acts), s->served);
    if (!has_key(s, c->in, head)) a = (act) { .name = "401" };
    s->served++;
    if (k != NULL) {
        note(s, "request %016llx try %d act %s\n", (unsigned long long)hash, k->tries + 1, a.name);
        if (k->is_answered) note(s, "repeat %016llx\n", (unsigned long long)hash);
        if (k->is_over) note(s, "violation: %016llx was tried again after an error that does not get better\n", (unsigned long long)hash);
        if (k->tries > 0 && now_s() < k->not_before - 0.001) note(s, "violation: %016llx was tried again before Retry-After\n", (unsigned long long)hash);
        k->tries++;
    }
    perform(s, c, &a, k, body, size, hash);
}

static size_t length_of(const char *head, size_t size)
{
    const char *at = memmem(head, size, "Content-Length:", 15);
    return at != NULL ? strtoull(at + 15, NULL, 10) : 0;
}

/* Takes the next request off the buffer once it is whole. */
static void parse(server *s, connection *c)
{
    while (!c->is_answering) {
        const char *end = c->in_size > 0 ? memmem(c->in, c->in_size, "\r\n\r\n", 4) : NULL;
        if (end == NULL) return;
        const size_t head = (size_t)(end - c->in) + 4, size = length_of(c->in, head);
        if (c->in_size < head + size) return;
        handle(s, c, head, size);
        memmove(c->in, c->in + head + size, c->in_size - head - size);
        c->in_size -= head + size;
    }
}

/* ---- connections ---- */

static void drop(connection *c)
{
    close(c->fd);
    free(c->in);
    gm_buffer_free(&c->out);
    *c = (connection) { .fd = -1 };
}

static void take_in(server *s, connection *c)
{
    if (c->in_capacity - c->in_size < BLOCK) {
        c->in_capacity = 2 * c->in_capacity + BLOCK;
        c->in = realloc(c->in, c->in_capacity);
        if (c->in == NULL) _exit(3);
    }
    const ssize_t n = read(c->fd, c->in + c->in_size, c->in_capacity - c->in_size);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        drop(c);
        return;
    }
    if (n > 0) c->in_size += (size_t)n;
    parse(s, c);
}

static void put_out(server *s, connection *c)
{
    static const char flood[BLOCK] = { [0 ... BLOCK - 1] = 'x' };
    const size_t left = c->out.size - c->sent;
    ssize_t n = 0;
    if (left > 0)
        n = send(c->fd, c->out.data + c->sent, c->drip_s > 0.0 ? 1 : left, MSG_NOSIGNAL);
    else if (c->flood > 0)
        n = send(c->fd, flood, c->flood < BLOCK ? c->flood : BLOCK, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        drop(c);
        return;
    }
    if (n > 0 && left > 0) c->sent += (size_t)n;
    if (n > 0 && left == 0) c->flood -= (size_t)n;
    if (c->drip_s > 0.0) c->ready_at = now_s() + c->drip_s;
    if (c->sent < c->out.size || c->flood > 0) return;
    if (c->ends_server) _exit(0);
    if (c->closes) {
        drop(c);
        return;
    }
    c->out.size = c->sent = 0;
    c->is_answering = false;
    c->drip_s = 0.0;
    parse(s, c);
}

static void take_connections(server *s, int listener)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        connection *c = s->connections;
        const int on = 1;
        while (c < s->connections + MAX_CONNECTIONS && c->fd >= 0) c++;
        if (c == s->connections + MAX_CONNECTIONS) {
            close(fd);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *c = (connection) { .fd = fd };
    }
}

static void serve(server *s, int listener)
{
    static struct pollfd polls[MAX_CONNECTIONS + 1];
    static connection *who[MAX_CONNECTIONS + 1];
    for (;;) {
        double now = now_s(), wake = now + 1.0;
        nfds_t n = 1;
        polls[0] = (struct pollfd) { .fd = listener, .events = POLLIN };
        for (connection *c = s->connections; c < s->connections + MAX_CONNECTIONS; c++) {
            if (c->fd < 0) continue;
            const bool waits = c->is_answering && !c->is_silent, may_write = waits && c->ready_at <= now;
            if (waits && !may_write && c->ready_at < wake) wake = c->ready_at;
            who[n] = c;
            polls[n++] = (struct pollfd) { .fd = c->fd, .events = (short)(POLLIN | (may_write ? POLLOUT : 0)) };
        }
        const double left = (wake - now) * 1000.0;
        const struct timespec pause = { (time_t)(left / 1000.0), (long)((left - 1000.0 * (double)(time_t)(left / 1000.0)) * 1e6) };
        if (ppoll(polls, n, &pause, NULL) < 0 && errno != EINTR) _exit(4);
        for (nfds_t i = 1; i < n; i++) {
            if (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) take_in(s, who[i]);
            if (polls[i].revents & POLLOUT && who[i]->fd >= 0) put_out(s, who[i]);
        }
        if (polls[0].revents & POLLIN) take_connections(s, listener);
    }
}

/* ---- start and end ---- */

static void read_answers(server *s)
{
    if (s->o->answers == NULL) return;
    FILE *f = fopen(s->o->answers, "r");
    char *line = NULL;
    size_t capacity = 0;
    if (f == NULL) _exit(5);
    while (getline(&line, &capacity, f) > 0) {
        cJSON *j = cJSON_Parse(line);
        const cJSON *find = cJSON_GetObjectItem(j, "find"), *text = cJSON_GetObjectItem(j, "text");
        if (cJSON_IsString(find) && cJSON_IsString(text)) {
            s->answers = realloc(s->answers, (s->answer_count + 1) * sizeof *s->answers);
            if (s->answers == NULL) _exit(3);
            s->answers[s->answer_count++] = (answer) { strdup(find->valuestring), strdup(text->valuestring) };
        }
        cJSON_Delete(j);
    }
    free(line);
    fclose(f);
}

int gmt_server_listen(int port, int *actual)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
    socklen_t size = sizeof a;
    const int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, size) != 0 || listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)&a, &size) != 0) {
        close(fd);
        return -1;
    }
    *actual = ntohs(a.sin_port);
    return fd;
}

void gmt_server_run(int listener, const gmt_server_options *o)
{
    server s = { .o = o, .log = -1 };
    if (o->log != NULL) s.log = open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    s.connections = calloc(MAX_CONNECTIONS, sizeof *s.connections);
    s.requests = calloc(KNOWN, sizeof *s.requests);
    if (s.connections == NULL || s.requests == NULL) _exit(3);
    for (int i = 0; i < MAX_CONNECTIONS; i++) s.connections[i].fd = -1;
    read_answers(&s);
    serve(&s, listener);
}

gmt_server gmt_server_start(const gmt_server_options *o)
{
    gmt_server s = { 0 };
    const int listener = gmt_server_listen(o->port, &s.port);
    if (listener < 0) {
        perror("server");
        exit(1);
    }
    const pid_t parent = getpid();
    s.process = fork();
    if (s.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        gmt_server_run(listener, o);
        _exit(0);
    }
    close(listener);
    return s;
}

void gmt_server_stop(gmt_server *s)
{
    if (s->process <= 0) return;
    kill(s->process, SIGKILL);
    waitpid(s->process, NULL, 0);
    s->process = 0;
}
