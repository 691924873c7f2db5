/* The part of the module that exchanges device memory between processes. */
#ifndef GM_CUDA_PEERS_H
#define GM_CUDA_PEERS_H

#include "backend/module.h"

gm_module_peers gm_cuda_peers(void); /* all zeros in a build without NCCL */

#endif
