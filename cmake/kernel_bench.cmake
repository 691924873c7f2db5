# bench_kernels times the operations of a device module (benchmarks/gpu). It opens the module by its path and needs nothing else
# of the program. With the simulator a test calls everything once, so that it is known to run before it meets a GPU.
function(gm_kernel_bench)
  add_executable(bench_kernels ${CMAKE_SOURCE_DIR}/benchmarks/gpu/kernels.c)
  target_compile_definitions(bench_kernels PRIVATE _POSIX_C_SOURCE=200809L)
  gm_link(bench_kernels gm_base ${CMAKE_DL_LIBS} m)
  if(GM_SIM AND GM_TESTS)
    foreach(precision fp32 bf16)
      set(test sim_bench_kernels_${precision})
      add_test(NAME ${test} COMMAND bench_kernels --module $<TARGET_FILE:gm_module_sim_check> --model tiny --batch few --precision ${precision} --once
               WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
      gm_test_properties(${test} 300 sim)
    endforeach()
  endif()
endfunction()
