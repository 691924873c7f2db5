# NCCL, where tools/get-nccl finds it: GM_NCCL_INCLUDE and GM_NCCL_LIBRARY, false where there is none. Optional: a module built
# without it answers at run time with a message. A toolkit may have the header alone, which is enough for the simulator.
set(GM_NCCL "" CACHE PATH "folder of NCCL (include/nccl.h, lib/libnccl.so); empty: as tools/get-nccl finds it")
if(NOT GM_NCCL)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/get-nccl --no-install OUTPUT_VARIABLE nccl_found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
else()
  set(nccl_found ${GM_NCCL})
endif()
find_path(GM_NCCL_INCLUDE nccl.h PATHS ${nccl_found}/include ${GM_CUDA_TOOLKIT}/include NO_DEFAULT_PATH)
find_library(GM_NCCL_LIBRARY nccl PATHS ${nccl_found}/lib ${nccl_found}/lib64 ${nccl_found}/lib/x86_64-linux-gnu NO_DEFAULT_PATH)
if(NOT GM_NCCL_LIBRARY)
  message(STATUS "without NCCL (tools/get-nccl, or libnccl-dev of NVIDIA's packages): training on several GPUs says so")
endif()
