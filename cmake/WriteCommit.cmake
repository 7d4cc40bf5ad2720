# Writes HEADER, a string literal WEFT_COMMIT: what git says of the folder SOURCE. A header that says
# so already is left alone, and nothing is compiled anew.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git describe --always --dirty --tags WORKING_DIRECTORY "${SOURCE}"
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "no git")
endif()
file(CONFIGURE OUTPUT "${HEADER}" CONTENT "#define WEFT_COMMIT \"@commit@\"\n" @ONLY)
