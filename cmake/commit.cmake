# cmake -DSOURCE=folder -DHEADER=file -P commit.cmake: writes the commit that the sources stand at, "-dirty" where they differ
# from it, "unknown" where there is no git. A file that would stay the same is not touched.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=* WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define GM_COMMIT \"${commit}\"\n")
