# GM_CUDA_TOOLKIT: the folder of the CUDA toolkit, where tools/get-cuda finds it; a configuration downloads nothing.
set(GM_CUDA_TOOLKIT "" CACHE PATH "folder of the CUDA toolkit (bin/nvcc, include); empty: as tools/get-cuda finds it")
if(NOT GM_CUDA_TOOLKIT)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/get-cuda --no-install OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "GM_CUDA and GM_SIM need the CUDA toolkit: tools/get-cuda installs it, -DGM_CUDA_TOOLKIT=folder names one")
  endif()
  set(GM_CUDA_TOOLKIT ${found} CACHE PATH "" FORCE)
endif()
