/* The libraries of this build. Each has a function or a macro that tells its version; one that the build lacks is named with its
 * Debian package. OpenMP, cJSON, oneDNN and utf8proc are always there, since nothing is built without them. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "backend/backend.h"
#include "gemm.h"
#include "infer/env.h"

#if GM_HAVE_LIBXML2
#include <libxml/xmlversion.h>
#define XML_VERSION LIBXML_DOTTED_VERSION
#else
#define XML_VERSION NULL
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#if GM_HAVE_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#define PCRE_VERSION TEXT(PCRE2_MAJOR) "." TEXT(PCRE2_MINOR)
#else
#define PCRE_VERSION NULL
#endif

#if GM_HAVE_PNG
#include <png.h>
#define PNG_VERSION PNG_LIBPNG_VER_STRING
#else
#define PNG_VERSION NULL
#endif

#if GM_HAVE_JPEG
#include <jpeglib.h>
#ifdef LIBJPEG_TURBO_VERSION
#define JPEG_VERSION "turbo " TEXT(LIBJPEG_TURBO_VERSION)
#else
#define JPEG_VERSION TEXT(JPEG_LIB_VERSION)
#endif
#else
#define JPEG_VERSION NULL
#endif

#if GM_HAVE_ZLIB
#include <zlib.h>
#define Z_VERSION zlibVersion()
#else
#define Z_VERSION NULL
#endif

#if GM_HAVE_CURL
#include <curl/curl.h>
#define HTTP_VERSION curl_version() /* with that of TLS */
#else
#define HTTP_VERSION NULL
#endif

#if GM_HAVE_SQLITE3
#include <sqlite3.h>
#define SQL_VERSION sqlite3_libversion()
#else
#define SQL_VERSION NULL
#endif

#if GM_HAVE_SENTENCEPIECE
#define PIECE_VERSION "there"
#else
#define PIECE_VERSION NULL
#endif

#if GM_HAVE_MPI
#include <mpi.h>
static const char *mpi_version(char *text, int size)
{
    char all[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    if (MPI_Get_library_version(all, &length) != MPI_SUCCESS) return "there";
    (void)snprintf(text, (size_t)size, "%.*s", (int)strcspn(all, ",\n"), all);
    return text;
}
#else
static const char *mpi_version(char *text, int size)
{
    (void)text;
    (void)size;
    return NULL;
}
#endif

gm_status gm_env_libraries(gm_env *e, gm_err *err)
{
    char openmp[16], mpi[128];
    (void)snprintf(openmp, sizeof openmp, "%d", _OPENMP);
    const struct {
        const char *name, *version, *package;
    } all[] = {
        { "openmp", openmp, NULL },
        { "cjson", cJSON_Version(), NULL },
        { "products", gm_gemm_library(), NULL },
        { "utf8proc", utf8proc_version(), NULL },
        { "libxml2", XML_VERSION, "libxml2-dev (boxes of Twitter-GMNER)" },
        { "pcre2", PCRE_VERSION, "libpcre2-dev (tokenizers of RoBERTa and CLIP)" },
        { "sentencepiece", PIECE_VERSION, "libsentencepiece-dev, g++ (tokenizer of XLM-R)" },
        { "png", PNG_VERSION, "libpng-dev (pictures)" },
        { "jpeg", JPEG_VERSION, "libjpeg62-turbo-dev (pictures)" },
        { "zlib", Z_VERSION, "zlib1g-dev (features in .npz)" },
        { "curl", HTTP_VERSION, "libcurl4-openssl-dev (language models)" },
        { "mpi", mpi_version(mpi, (int)sizeof mpi), "libopenmpi-dev, openmpi-bin (several processes)" },
        { "sqlite3", SQL_VERSION, "libsqlite3-dev (answers of language models kept)" },
    };
    for (size_t i = 0; i < GM_LEN(all); i++) GM_TRY(gm_env_add(e, "libraries", all[i].name, all[i].version, all[i].package, err));
    return GM_OK;
}
