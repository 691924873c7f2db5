# Stand-ins for libraries that a GPU machine may lack (tests/gpu/standin): `make test-gpu` needs the CUDA toolkit, cmake and a
# C compiler only. Nothing that is used or installed is built with them.
set(GM_STANDIN_FOLDER ${CMAKE_SOURCE_DIR}/tests/gpu/standin)

# gm_dep_<name> out of the folder <name>; for dnnl the file of the backend that uses it is another one (gm_room).
function(gm_standin name)
  message(STATUS "${name} is stood in for")
  add_library(gm_dep_${name} INTERFACE)
  if(name STREQUAL dnnl)
    set_property(GLOBAL PROPERTY GM_PLAIN_GEMM ON)
    return()
  endif()
  add_library(gm_standin_${name} STATIC ${GM_STANDIN_FOLDER}/${name}/${name}.c)
  target_include_directories(gm_standin_${name} PUBLIC ${GM_STANDIN_FOLDER}/${name})
  target_link_libraries(gm_dep_${name} INTERFACE gm_standin_${name})
endfunction()
