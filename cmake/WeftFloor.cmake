# One folder = one namespace = one CMake target: weft_floor(NAME DEPS ...) makes the static
# library weft_NAME out of all src/NAME/*.cpp and gives it the project's compile rules.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
find_program(WEFT_CCACHE ccache)
if(WEFT_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${WEFT_CCACHE}")
endif()

# Which processors' instructions may be used: "x86", "arm" (64 bits each) or "none".
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(WEFT_FAMILY x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(WEFT_FAMILY arm)
else()
  set(WEFT_FAMILY none)
endif()

# weft_of_this_family(LIST): takes away what is written for processors of another family, by its
# name: NAME_avx2.cpp, NAME_neon.cpp, NAME_x86_test.cpp.
function(weft_of_this_family list)
  if(NOT WEFT_FAMILY STREQUAL x86)
    list(FILTER ${list} EXCLUDE REGEX "_(avx2|avx512|x86_test)\\.cpp$")
  endif()
  if(NOT WEFT_FAMILY STREQUAL arm)
    list(FILTER ${list} EXCLUDE REGEX "_(neon|arm_test)\\.cpp$")
  endif()
  set(${list} "${${list}}" PARENT_SCOPE)
endfunction()

add_library(weft_flags INTERFACE)
# -ffp-contract=off: a product and a sum are fused only where fma is written (DESIGN.md 1.7).
target_compile_options(weft_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers
  -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(WEFT_WERROR)
  target_compile_options(weft_flags INTERFACE -Werror)
endif()
if(WEFT_SANITIZE)
  # GCC 12 warns of overlaps and uninitialised values that only its instrumentation brings in.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(weft_flags INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
  endif()
  # Line tables alone: reports name the same lines. -Og where AddressSanitizer is: what takes GCC 35 s
  # at -O1 takes it 20 (docs/testing.md), but for the text floor, whose tests look through megabytes.
  # Tests at -O0: assertions compile for longer than they run.
  set(level -O1)
  if(WEFT_SANITIZE MATCHES "address")
    set(level "$<IF:$<STREQUAL:$<TARGET_PROPERTY:NAME>,weft_text>,-O1,-Og>")
  endif()
  target_compile_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE} -fno-omit-frame-pointer
    $<IF:$<BOOL:$<TARGET_PROPERTY:WEFT_IS_TEST>>,-O0,${level}> -g1)
  target_link_options(weft_flags INTERFACE -fsanitize=${WEFT_SANITIZE})
endif()
target_include_directories(weft_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")

# weft_join_sources(TARGET SOURCE...): compiles several files as one where WEFT_JOIN_SOURCES names the
# target, or is "all". From nothing that takes a fraction of the time, after an edit longer. For CI,
# whose usual build of src is file by file, so that each is known to include what it uses.
function(weft_join_sources target)
  string(REPLACE "," ";" joined "${WEFT_JOIN_SOURCES}")
  if(NOT joined STREQUAL "all" AND NOT target IN_LIST joined)
    return()
  endif()
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  execute_process(COMMAND "${Python3_EXECUTABLE}" -B "${CMAKE_SOURCE_DIR}/tools/join_sources.py" ${ARGN}
                  OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${lines}")
  foreach(line ${lines})
    string(REGEX MATCH "^([0-9]+) (.*)$" line "${line}")
    set_source_files_properties("${CMAKE_MATCH_2}" PROPERTIES UNITY_GROUP "${target}_${CMAKE_MATCH_1}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

function(weft_floor name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(weft_${name} STATIC ${sources})
  target_link_libraries(weft_${name} PUBLIC weft_flags ${ARG_LIBS})
  foreach(dep ${ARG_DEPS})
    target_link_libraries(weft_${name} PUBLIC weft_${dep})
  endforeach()
  if(NOT name STREQUAL "kernels")  # what its object files export is tested
    weft_join_sources(weft_${name} ${sources})
  endif()
endfunction()

# weft_test_program(NAME DEPS ...): one GoogleTest program, NAME_test, out of tests/NAME/*.cpp, less
# what is for processors of another family. Its caller says how ctest runs it.
function(weft_test_program name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/${name}/*.cpp")
  weft_of_this_family(sources)
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE weft_flags GTest::gmock GTest::gtest GTest::gtest_main)
  foreach(dep ${ARG_DEPS})
    if(TARGET weft_${dep})
      target_link_libraries(${name}_test PRIVATE weft_${dep})
    endif()
  endforeach()
  target_include_directories(${name}_test PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  set_target_properties(${name}_test PROPERTIES WEFT_IS_TEST ON)
  if(NOT WEFT_SANITIZE)
    target_compile_options(${name}_test PRIVATE -O1)  # a quarter less to compile than at -O3
  endif()
  weft_join_sources(${name}_test ${sources})
endfunction()

# weft_tests(NAME DEPS ... ALONE ...): such a program, every case of it a test of ctest's own; those
# that ALONE matches run beside no other. A case with a parameter keeps the name that the program
# gives it: a printed parameter can hold an address, and ctest knows a test again (its cost,
# --rerun-failed) by its name only.
function(weft_tests name)
  cmake_parse_arguments(ARG "" "ALONE" "DEPS" ${ARGN})
  weft_test_program(${name} DEPS ${ARG_DEPS})
  set(properties TIMEOUT 600)
  set(how DISCOVERY_TIMEOUT 60 DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES)
  if(NOT ARG_ALONE)
    gtest_discover_tests(${name}_test PROPERTIES ${properties} ${how})
    return()
  endif()
  gtest_discover_tests(${name}_test TEST_FILTER "-${ARG_ALONE}" PROPERTIES ${properties} ${how})
  gtest_discover_tests(${name}_test TEST_FILTER "${ARG_ALONE}"
                       PROPERTIES ${properties} RUN_SERIAL ON ${how})
endfunction()
