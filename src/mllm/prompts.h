/* Prompts: text files with {named} placeholders (configs/prompts, docs/refine.md). A file has the parts [system] and [user], each begun
 * by such a line; what stands before the first is a comment. A brace that does not enclose a lower-case name is text, so that the form of
 * an answer can be shown as it is. What is put in is never looked at for placeholders again. */
#ifndef GM_MLLM_PROMPTS_H
#define GM_MLLM_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/status.h"
#include "mllm/request.h"

typedef enum gm_prompt_kind {
#define GM_PROMPT(name, needs, may) GM_PROMPT_##name,
#include "mllm/prompts.def"
#undef GM_PROMPT
    GM_PROMPTS
} gm_prompt_kind;
extern const char *const gm_prompt_names[GM_PROMPTS];

typedef struct gm_prompt_piece {
    const char *text;      /* of the prompt's text, or the placeholder's name */
    size_t size;
    bool is_placeholder, is_system;
} gm_prompt_piece;

typedef struct gm_prompt {
    gm_prompt_kind kind;
    char *place, *text;    /* where it came from, and all of it */
    gm_prompt_piece *pieces;
    size_t count, capacity;
} gm_prompt;

/* An unknown placeholder, a missing one, one with pictures in [system], an unknown part: errors that name place, line and column. */
gm_status gm_prompt_parse(gm_prompt_kind kind, const char *place, const char *text, size_t size, gm_prompt *p, gm_err *err);
gm_status gm_prompt_read(gm_prompt_kind kind, const char *folder, gm_prompt *p, gm_err *err);
void gm_prompt_free(gm_prompt *p); /* takes a zeroed one */

/* What a placeholder becomes: a text, or pieces of a message (pictures, demonstrations). */
typedef struct gm_prompt_value {
    const char *name, *text;
    const gm_mllm_part *parts; /* where text is NULL */
    int32_t part_count;
} gm_prompt_value;

/* Ready to be sent: the request's system text and parts. Pictures are those of the values, which must outlive it. */
typedef struct gm_prompt_message {
    char *system;          /* NULL: none */
    gm_mllm_part *parts;
    int32_t part_count;
    size_t capacity;
} gm_prompt_message;

/* A placeholder of the prompt without a value is an error; values that it does not use are not. */
gm_status gm_prompt_fill(const gm_prompt *p, const gm_prompt_value *values, size_t count, gm_prompt_message *to, gm_err *err);
void gm_prompt_message_free(gm_prompt_message *m); /* takes a zeroed one */

#endif
