/* TLS: a certificate made here is accepted where the endpoint's file names it, and nowhere else; a name that is not the
 * host's is refused as well. No request reaches a server whose certificate is refused. */
#define _POSIX_C_SOURCE 200809L
#include "tests/mllm/ask.h"

#include "tests/mllm/helper.h"

static char folder[256], log_path[512];
static gmt_server server;
static gmt_helper right, other;

static const char *at(char out[512], const char *name)
{
    snprintf(out, 512, "%s/%s", folder, name);
    return out;
}

static bool run(const char *command)
{
    const int code = system(command);
    return WIFEXITED(code) && WEXITSTATUS(code) == 0;
}

/* A certificate for `host` that signs itself, and its key. */
static void make_certificate(const char *name, const char *host)
{
    char command[2048];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=gmner-test -addext subjectAltName=%s"
             " -keyout %s/%s.key -out %s/%s.pem > %s/openssl.log 2>&1", host, folder, name, folder, name, folder);
    if (!run(command)) fail_msg("openssl makes no certificate: %s/openssl.log", folder);
}

static gmt_helper start_front(const char *name)
{
    char pem[512], key[512], port[16], file[64];
    snprintf(file, sizeof file, "%s.pem", name);
    at(pem, file);
    snprintf(file, sizeof file, "%s.key", name);
    at(key, file);
    snprintf(port, sizeof port, "%d", server.port);
    return gmt_helper_start((const char *const[]) { "python3", GM_SOURCE_DIR "/tests/mllm/tls_front.py", pem, key, port, NULL });
}

/* One request to https://`host`:port; its reason or text goes to `said`. */
static gm_mllm_outcome ask_one(const char *host, int port, const char *more, int *requests, char said[640])
{
    char json[1024];
    gm_mllm_endpoint e;
    gm_err err = { 0 };
    const int before = ask_log_count(log_path, "request");
    const int n = snprintf(json, sizeof json, "{\"url\":\"https://%s:%d/v1/chat/completions\",\"model\":\"m\",\"connect_s\":20,\"backoff_s\":0.01%s}", host, port, more);
    assert_ok(gm_mllm_endpoint_parse("endpoint", json, (size_t)n, &e, &err));
    asked *a = ask_new();
    ask_for(a, "what is it?");
    ask_all(a, &e, NULL, false);
    const gm_mllm_outcome outcome = a->outcome[0];
    snprintf(said, 640, "%s%s", a->text[0], a->why[0]);
    *requests = ask_log_count(log_path, "request") - before;
    ask_free(a);
    gm_mllm_endpoint_free(&e);
    return outcome;
}

static void own_certificate_is_accepted_where_it_is_named(void **state)
{
    char more[768], pem[512], said[640];
    int requests;
    (void)state;
    snprintf(more, sizeof more, ",\"ca_file\":\"%s\"", at(pem, "right.pem"));
    assert_int_equal(ask_one("localhost", right.port, more, &requests, said), GM_MLLM_ANSWERED);
    assert_int_equal(requests, 1);
    assert_int_equal(ask_one("127.0.0.1", right.port, more, &requests, said), GM_MLLM_ANSWERED);
}

static void own_certificate_is_refused_elsewhere(void **state)
{
    char said[640];
    int requests;
    (void)state;
    assert_int_equal(ask_one("localhost", right.port, "", &requests, said), GM_MLLM_FAILED);
    assert_int_equal(requests, 0);
    if (strstr(said, "the endpoint's certificate is not accepted") == NULL || strstr(said, "\"ca_file\"") == NULL) fail_msg("%s", said);
}

static void certificate_of_another_host_is_refused(void **state)
{
    char more[768], pem[512], said[640];
    int requests;
    (void)state;
    snprintf(more, sizeof more, ",\"ca_file\":\"%s\"", at(pem, "other.pem"));
    assert_int_equal(ask_one("localhost", other.port, more, &requests, said), GM_MLLM_FAILED);
    assert_int_equal(requests, 0);
    if (strstr(said, "the endpoint's certificate is not accepted") == NULL || strstr(said, "localhost") == NULL) fail_msg("%s", said);
}

static void bad_ca_files_are_named(void **state)
{
    char more[768], path[512], said[640];
    int requests;
    gm_mllm_client *c = NULL;
    gm_err err = { 0 };
    (void)state;
    gmt_write_file(at(path, "empty.pem"), "no certificate\n", 15);
    snprintf(more, sizeof more, ",\"ca_file\":\"%s\"", path);
    assert_int_equal(ask_one("localhost", right.port, more, &requests, said), GM_MLLM_FAILED);
    if (strstr(said, "\"ca_file\"") == NULL || strstr(said, "empty.pem") == NULL) fail_msg("%s", said);
    snprintf(more, sizeof more, ",\"ca_file\":\"%s/none.pem\"", folder);
    gm_mllm_endpoint e = ask_endpoint(right.port, more);
    assert_int_equal(gm_mllm_open(&e, &(gm_mllm_options) { 0 }, &c, &err), GM_ERR_CONFIG);
    if (strstr(err.text, "\"ca_file\": cannot read") == NULL || strstr(err.text, "none.pem") == NULL) fail_msg("%s", err.text);
    gm_mllm_endpoint_free(&e);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", gmt_temp_dir());
    make_certificate("right", "DNS:localhost,IP:127.0.0.1");
    make_certificate("other", "DNS:other.example");
    server = gmt_server_start(&(gmt_server_options) { .log = at(log_path, "log") });
    right = start_front("right");
    other = start_front("other");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gmt_helper_stop(&right);
    gmt_helper_stop(&other);
    gmt_server_stop(&server);
    return 0;
}

int main(void)
{
    ask_skip_without_parts(NULL);
    if (!run("openssl version > /dev/null 2>&1 && python3 -c 'import ssl' > /dev/null 2>&1")) {
        printf("skipped: the certificates and the server of this test need openssl and python3\n");
        return 77;
    }
    const struct CMUnitTest tests[] = { cmocka_unit_test(own_certificate_is_accepted_where_it_is_named), cmocka_unit_test(own_certificate_is_refused_elsewhere),
                                        cmocka_unit_test(certificate_of_another_host_is_refused), cmocka_unit_test(bad_ca_files_are_named) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
