/* gmner synth --llm: the part of gmner synth that asks a language model. It has options of its own. */
#ifndef GM_INFER_SYNTH_LLM_H
#define GM_INFER_SYNTH_LLM_H

#include <stdbool.h>

bool gm_synth_wants_llm(int argc, char **argv);
int gm_synth_llm_main(int argc, char **argv);

#endif
