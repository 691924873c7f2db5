/* A pipeline: stages that run one after another, each a command of this program, with the files that it reads and writes. Read
 * from a JSON file (docs/pipeline.md). Nothing is run here: `gmner run` does that. */
#ifndef GM_PIPELINE_PIPELINE_H
#define GM_PIPELINE_PIPELINE_H

#include <stddef.h>

#include "base/cli.h"
#include "base/status.h"

typedef struct gm_pipeline_stage {
    const char *name;       /* letters, digits, - and _; no two alike */
    const char *command;    /* of commands.def */
    const char **words;     /* the command line behind the program's name; words[0] is the command; NULL ends it */
    int32_t count;
    const char **stand_in;  /* the command line that the estimate uses while an input is not made yet; NULL: there is none */
    const char *to;         /* file that takes the standard output; NULL: none */
    const char *out;        /* the value of its option "out", or NULL */
    bool asks;              /* a language model: it has an option "endpoint" */
} gm_pipeline_stage;

typedef struct gm_pipeline {
    gm_pipeline_stage *stages;
    int32_t count;
    char **texts;           /* what all the above points into */
    size_t text_count, text_capacity;
} gm_pipeline;

/* `out` is the folder of the run, {out} in the file; sets are NAME=VALUE for its variables. An unknown key, placeholder or
 * variable, a name twice, a value of another form: GM_ERR_CONFIG with the place. */
gm_status gm_pipeline_read(const char *path, const char *out, const gm_str_list *sets, gm_pipeline *p, gm_err *err);
void gm_pipeline_free(gm_pipeline *p); /* takes a zeroed one */

enum { GM_FINGERPRINT = 65 }; /* 64 digits and a NUL */
/* Of the stage's command line, of the content of the files and the listing of the folders that it names (of those under `out`:
 * nothing, they are other stages' work), and of the stage before it. The same as long as the stage would do the same. */
gm_status gm_pipeline_fingerprint(const gm_pipeline_stage *s, const char *out, const char *before, char to[GM_FINGERPRINT], gm_err *err);

#endif
