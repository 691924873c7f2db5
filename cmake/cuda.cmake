# The cuda module: host code in src/backend/cuda, kernels/<op>/<op>_cuda.cu. A shared object of its own, so that the program
# starts where CUDA is missing; of its names only gm_module_open can be seen.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/toolkit.cmake)
if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
  set(CMAKE_CUDA_COMPILER ${GM_CUDA_TOOLKIT}/bin/nvcc)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
include(${CMAKE_CURRENT_LIST_DIR}/nccl.cmake)

function(gm_cuda_module)
  file(GLOB host CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.c)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/*/*_cuda.cu)
  # Statuses and memory once more: a module shares no symbols with the program, and the room's library is not position independent.
  add_library(gm_module_cuda MODULE ${host} ${kernels} ${CMAKE_SOURCE_DIR}/src/base/status.c ${CMAKE_SOURCE_DIR}/src/base/memory.c
                ${CMAKE_SOURCE_DIR}/src/backend/plans.c)
  set_target_properties(gm_module_cuda PROPERTIES PREFIX "" OUTPUT_NAME gmner-cuda C_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
                        CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Shared)
  # The toolkit's libraries are found again where they lie, which need not be a folder of the system.
  get_filename_component(libraries ${CUDA_cublasLt_LIBRARY} DIRECTORY)
  if(GM_NCCL_INCLUDE AND GM_NCCL_LIBRARY)
    target_include_directories(gm_module_cuda SYSTEM PRIVATE ${GM_NCCL_INCLUDE})
    target_compile_definitions(gm_module_cuda PRIVATE GM_HAVE_NCCL=1)
    target_link_libraries(gm_module_cuda PRIVATE ${GM_NCCL_LIBRARY})
    get_filename_component(of_nccl ${GM_NCCL_LIBRARY} DIRECTORY)
    list(APPEND libraries ${of_nccl})
    list(REMOVE_DUPLICATES libraries)
  endif()
  set_target_properties(gm_module_cuda PROPERTIES BUILD_RPATH "${libraries}" INSTALL_RPATH "${libraries}")
  # The folder's options are gcc's; nvcc takes none of them.
  get_target_property(options gm_module_cuda COMPILE_OPTIONS)
  set(for_nvcc -Xcompiler=-Wall)
  if(GM_WERROR)
    list(APPEND for_nvcc -Werror=all-warnings)
  endif()
  set_property(TARGET gm_module_cuda PROPERTY COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:C>:${options}>;$<$<COMPILE_LANGUAGE:CUDA>:${for_nvcc}>")
  target_link_libraries(gm_module_cuda PRIVATE CUDA::cudart CUDA::cublasLt)
  if(NOT GM_SANITIZE) # the sanitizers' functions come with the program
    target_link_options(gm_module_cuda PRIVATE -Wl,-z,defs)
  endif()
  install(TARGETS gm_module_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/gmner)
endfunction()

# The operations' tests and whole steps on the GPU at hand (label gpu), and the operations' tests with small shapes under
# compute-sanitizer (labels memcheck, racecheck, synccheck, initcheck). Target gpu_tests builds what they need. tests/gpu/run
# runs them; a test that finds it cannot run has failed there.
function(gm_gpu_tests)
  include(${CMAKE_SOURCE_DIR}/cmake/module_tests.cmake)
  find_program(GM_COMPUTE_SANITIZER compute-sanitizer HINTS ${GM_CUDA_TOOLKIT}/bin ${GM_CUDA_TOOLKIT}/extras/compute-sanitizer REQUIRED)
  set(check_with ${GM_COMPUTE_SANITIZER} --error-exitcode 9 --tool)
  gm_module_test_programs(gpu)
  list(FILTER gpu_tests EXCLUDE REGEX "_fixture_test$") # these compare with files that such a machine lacks
  add_custom_target(gpu_tests DEPENDS gm_module_cuda)
  foreach(name ${gpu_tests})
    add_dependencies(gpu_tests gpu_${name})
    gm_gpu_test(gpu_${name} gpu "" $<TARGET_FILE:gpu_${name}>)
    foreach(tool memcheck racecheck synccheck initcheck)
      gm_gpu_test(gpu_${name}_${tool} ${tool} GM_TEST_SMALL=1 ${check_with} ${tool} $<TARGET_FILE:gpu_${name}>)
    endforeach()
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/device/*_test.c)
  list(FILTER sources EXCLUDE REGEX "/comm_device_test.c$") # needs as many GPUs as ranks: on the simulator only
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(gpu_${name} ${source})
    target_compile_options(gpu_${name} PRIVATE -Wno-missing-prototypes)
    gm_link(gpu_${name} gm_train gm_test_support)
    add_dependencies(gpu_tests gpu_${name})
    gm_gpu_test(gpu_${name} gpu GM_TEST_DEVICE=cuda $<TARGET_FILE:gpu_${name}>)
  endforeach()
  gm_gpu_test(gpu_short_device_test_memcheck memcheck GM_TEST_DEVICE=cuda ${check_with} memcheck $<TARGET_FILE:gpu_short_device_test>)
endfunction()

function(gm_gpu_test name label environment)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS ${label})
  set_property(TEST ${name} PROPERTY ENVIRONMENT GM_TEST_MODULE=$<TARGET_FILE:gm_module_cuda> ${environment})
endfunction()
