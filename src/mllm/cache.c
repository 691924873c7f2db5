/* The cache in SQLite: write-ahead log, so that readers and one writer go on side by side; commits are in groups, and wait for
 * no disk (synchronous = NORMAL): a killed process loses nothing that was committed. */
#include "mllm/cache.h"

#include <string.h>

#include "base/memory.h"
#include "mllm/sha256.h"

gm_mllm_key gm_mllm_key_of(const char *endpoint, const char *body, size_t body_bytes)
{
    gm_mllm_key key;
    gm_sha256 h;
    gm_sha256_begin(&h);
    gm_sha256_add(&h, endpoint, strlen(endpoint) + 1); /* with its NUL, so that no part can move into the other */
    gm_sha256_add(&h, body, body_bytes);
    gm_sha256_end(&h, key.byte);
    return key;
}

#if GM_HAVE_SQLITE3

#include <sqlite3.h>

enum { VERSION = 1, BUSY_MS = 30000 };

typedef enum query { QUERY_GET, QUERY_SENDING, QUERY_PUT, QUERY_DROP, QUERY_COUNT, QUERY_BEGIN, QUERY_COMMIT, QUERIES } query;

static const char *const sql[QUERIES] = {
    [QUERY_GET] = "SELECT text, refusal, is_cut, tokens_in, tokens_out, latency FROM answer WHERE key = ?1",
    [QUERY_SENDING] = "INSERT OR IGNORE INTO sending (key) VALUES (?1)",
    [QUERY_PUT] = "INSERT OR IGNORE INTO answer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CAST(strftime('%s', 'now') AS INTEGER))",
    [QUERY_DROP] = "DELETE FROM sending WHERE key = ?1",
    [QUERY_COUNT] = "SELECT count(*) FROM answer",
    [QUERY_BEGIN] = "BEGIN IMMEDIATE",
    [QUERY_COMMIT] = "COMMIT",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, refusal TEXT NOT NULL,"
    " is_cut INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency REAL NOT NULL, time INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS sending (key BLOB PRIMARY KEY) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

struct gm_mllm_cache {
    sqlite3 *db;
    sqlite3_stmt *statement[QUERIES];
    char *path;
};

static gm_status failed(gm_mllm_cache *c, const char *what, gm_err *err)
{
    const int code = c->db != NULL ? sqlite3_errcode(c->db) : SQLITE_NOMEM;
    const char *text = c->db != NULL ? sqlite3_errmsg(c->db) : "out of memory";
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %s: %s; is it the cache of another program? Name another file", c->path, what, text);
    if (code == SQLITE_NOMEM) return gm_fail(err, GM_ERR_NOMEM, "%s: %s: %s", c->path, what, text);
    return gm_fail(err, GM_ERR_IO, "%s: %s: %s", c->path, what, text);
}

static gm_status run(gm_mllm_cache *c, const char *text, const char *what, gm_err *err)
{
    return sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK ? GM_OK : failed(c, what, err);
}

static gm_status version_of(gm_mllm_cache *c, int *version, gm_err *err)
{
    sqlite3_stmt *s = NULL;
    *version = 0;
    const bool read = sqlite3_prepare_v2(c->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    const gm_status status = read ? GM_OK : failed(c, "cannot be read", err);
    if (read) *version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return status;
}

/* Processes that open a new file at the same moment take turns: the schema is made inside a transaction. */
static gm_status make_tables(gm_mllm_cache *c, gm_err *err)
{
    int version;
    GM_TRY(run(c, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", "cannot be opened", err));
    GM_TRY(version_of(c, &version, err));
    if (version == VERSION) return GM_OK;
    GM_TRY(run(c, "BEGIN IMMEDIATE", "cannot be written", err));
    gm_status status = version_of(c, &version, err);
    if (status == GM_OK && version == 0) status = run(c, schema, "cannot be written", err);
    if (status != GM_OK) {
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        return status;
    }
    return run(c, "COMMIT", "cannot be written", err);
}

static gm_status open_file(gm_mllm_cache *c, bool is_read_only, gm_err *err)
{
    const int mode = is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int version;
    if (sqlite3_open_v2(c->path, &c->db, mode | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) return failed(c, "cannot be opened", err);
    sqlite3_busy_timeout(c->db, BUSY_MS);
    if (!is_read_only) GM_TRY(make_tables(c, err));
    GM_TRY(version_of(c, &version, err));
    if (version != VERSION)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the cache has version %d, this release knows %d: name another file", c->path, version, VERSION);
    for (int q = 0; q < QUERIES; q++)
        if (sqlite3_prepare_v3(c->db, sql[q], -1, SQLITE_PREPARE_PERSISTENT, &c->statement[q], NULL) != SQLITE_OK)
            return failed(c, "is not a cache of answers", err);
    return GM_OK;
}

gm_status gm_mllm_cache_open(const char *path, bool is_read_only, gm_mllm_cache **to, gm_err *err)
{
    gm_mllm_cache *c = gm_calloc(1, sizeof *c);
    *to = NULL;
    if (c == NULL || (c->path = gm_strdup(path)) == NULL) {
        gm_free(c);
        return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", path);
    }
    const gm_status status = open_file(c, is_read_only, err);
    if (status != GM_OK) {
        gm_mllm_cache_close(c);
        return status;
    }
    *to = c;
    return GM_OK;
}

void gm_mllm_cache_close(gm_mllm_cache *c)
{
    if (c == NULL) return;
    for (int q = 0; q < QUERIES; q++) sqlite3_finalize(c->statement[q]);
    sqlite3_close(c->db);
    gm_free(c->path);
    gm_free(c);
}

/* A statement with its key; its last use is over. */
static sqlite3_stmt *with_key(gm_mllm_cache *c, query q, const gm_mllm_key *key)
{
    sqlite3_stmt *s = c->statement[q];
    sqlite3_reset(s);
    sqlite3_bind_blob(s, 1, key->byte, (int)sizeof key->byte, SQLITE_TRANSIENT);
    return s;
}

static gm_status step(gm_mllm_cache *c, sqlite3_stmt *s, const char *what, gm_err *err)
{
    const int code = sqlite3_step(s);
    if (code == SQLITE_DONE) {
        sqlite3_reset(s);
        return GM_OK;
    }
    const gm_status status = failed(c, what, err);
    sqlite3_reset(s);
    return status;
}

gm_status gm_mllm_cache_get(gm_mllm_cache *c, const gm_mllm_key *key, bool *have, gm_mllm_cached *to, gm_err *err)
{
    static const char *const nothing = "";
    sqlite3_stmt *s = with_key(c, QUERY_GET, key);
    const int code = sqlite3_step(s);
    *have = code == SQLITE_ROW;
    if (code == SQLITE_DONE) {
        sqlite3_reset(s);
        return GM_OK;
    }
    if (code != SQLITE_ROW) return failed(c, "cannot be read", err);
    const char *text = (const char *)sqlite3_column_text(s, 0), *refusal = (const char *)sqlite3_column_text(s, 1);
    *to = (gm_mllm_cached) {
        .text = text != NULL ? text : nothing,
        .text_bytes = (size_t)sqlite3_column_bytes(s, 0),
        .refusal = refusal != NULL ? refusal : nothing,
        .is_cut = sqlite3_column_int(s, 2) != 0,
        .tokens_in = sqlite3_column_int64(s, 3),
        .tokens_out = sqlite3_column_int64(s, 4),
        .latency_s = sqlite3_column_double(s, 5),
    };
    return GM_OK;
}

gm_status gm_mllm_cache_begin(gm_mllm_cache *c, gm_err *err)
{
    sqlite3_reset(c->statement[QUERY_GET]); /* a reader left open would hold the log and see old answers */
    return step(c, c->statement[QUERY_BEGIN], "cannot be written", err);
}

gm_status gm_mllm_cache_sending(gm_mllm_cache *c, const gm_mllm_key *key, bool *was_sent, gm_err *err)
{
    GM_TRY(step(c, with_key(c, QUERY_SENDING, key), "cannot be written", err));
    *was_sent = sqlite3_changes(c->db) == 0;
    return GM_OK;
}

gm_status gm_mllm_cache_put(gm_mllm_cache *c, const gm_mllm_key *key, const char *id, const gm_mllm_cached *a, gm_err *err)
{
    sqlite3_stmt *s = with_key(c, QUERY_PUT, key);
    if (a->text_bytes > INT32_MAX) return gm_fail(err, GM_ERR_DATA, "%s: an answer of %zu bytes is too long to keep", c->path, a->text_bytes);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 3, a->text, (int)a->text_bytes, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 4, a->refusal, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(s, 5, a->is_cut);
    sqlite3_bind_int64(s, 6, a->tokens_in);
    sqlite3_bind_int64(s, 7, a->tokens_out);
    sqlite3_bind_double(s, 8, a->latency_s);
    GM_TRY(step(c, s, "cannot be written", err));
    return gm_mllm_cache_drop(c, key, err);
}

gm_status gm_mllm_cache_drop(gm_mllm_cache *c, const gm_mllm_key *key, gm_err *err)
{
    return step(c, with_key(c, QUERY_DROP, key), "cannot be written", err);
}

gm_status gm_mllm_cache_commit(gm_mllm_cache *c, gm_err *err) { return step(c, c->statement[QUERY_COMMIT], "cannot be written", err); }

void gm_mllm_cache_rollback(gm_mllm_cache *c)
{
    for (int q = 0; q < QUERIES; q++) sqlite3_reset(c->statement[q]);
    if (sqlite3_get_autocommit(c->db) == 0) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

gm_status gm_mllm_cache_count(gm_mllm_cache *c, int64_t *answers, gm_err *err)
{
    sqlite3_stmt *s = c->statement[QUERY_COUNT];
    const bool have = sqlite3_step(s) == SQLITE_ROW;
    const gm_status status = have ? GM_OK : failed(c, "cannot be read", err);
    *answers = have ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return status;
}

#else

gm_status gm_mllm_cache_open(const char *path, bool is_read_only, gm_mllm_cache **to, gm_err *err)
{
    (void)is_read_only;
    *to = NULL;
    return gm_fail(err, GM_ERR_MISSING, "%s: a cache of answers needs SQLite, which this build lacks: install libsqlite3-dev and build again", path);
}

/* Nothing below can be reached: no cache was ever opened. */
static gm_status missing(gm_err *err) { return gm_fail(err, GM_ERR_MISSING, "this build lacks SQLite"); }
void gm_mllm_cache_close(gm_mllm_cache *c) { (void)c; }
gm_status gm_mllm_cache_get(gm_mllm_cache *c, const gm_mllm_key *key, bool *have, gm_mllm_cached *to, gm_err *err)
{
    (void)c, (void)key, (void)have, (void)to;
    return missing(err);
}
gm_status gm_mllm_cache_begin(gm_mllm_cache *c, gm_err *err)
{
    (void)c;
    return missing(err);
}
gm_status gm_mllm_cache_sending(gm_mllm_cache *c, const gm_mllm_key *key, bool *was_sent, gm_err *err)
{
    (void)c, (void)key, (void)was_sent;
    return missing(err);
}
gm_status gm_mllm_cache_put(gm_mllm_cache *c, const gm_mllm_key *key, const char *id, const gm_mllm_cached *answer, gm_err *err)
{
    (void)c, (void)key, (void)id, (void)answer;
    return missing(err);
}
gm_status gm_mllm_cache_drop(gm_mllm_cache *c, const gm_mllm_key *key, gm_err *err)
{
    (void)c, (void)key;
    return missing(err);
}
gm_status gm_mllm_cache_commit(gm_mllm_cache *c, gm_err *err)
{
    (void)c;
    return missing(err);
}
void gm_mllm_cache_rollback(gm_mllm_cache *c) { (void)c; }
gm_status gm_mllm_cache_count(gm_mllm_cache *c, int64_t *answers, gm_err *err)
{
    (void)c, (void)answers;
    return missing(err);
}

#endif
