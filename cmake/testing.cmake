# SPDX-License-Identifier: Apache-2.0
# Functions that add tests. Without PIPELINE_BUILD_TESTS they have no effect.
if(PIPELINE_BUILD_TESTS)
  find_package(doctest REQUIRED)
  # Use Debian's interpreter, because pytest and the modules of the tests are Debian packages.
  if(NOT DEFINED Python3_EXECUTABLE)
    set(Python3_EXECUTABLE /usr/bin/python3)
  endif()
  find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
  add_library(pl_doctest INTERFACE)
  target_link_libraries(pl_doctest INTERFACE doctest::doctest)
  target_compile_definitions(pl_doctest INTERFACE DOCTEST_CONFIG_SUPER_FAST_ASSERTS)  # less code for each assertion
  pl_add_precompiled(pl_precompiled_test ${standard_headers} <doctest/doctest.h> LIBRARIES pl_doctest)
  if(TARGET pl_precompiled_test)
    pl_is_test(pl_precompiled_test)
  endif()
  add_library(pl_unit_main OBJECT ${PROJECT_SOURCE_DIR}/tests/unit_main.cpp)
  target_link_libraries(pl_unit_main PUBLIC pl_doctest PRIVATE pl_build_flags)
  add_library(pl_corpus_main OBJECT ${PROJECT_SOURCE_DIR}/tests/corpus_main.cpp)
  target_link_libraries(pl_corpus_main PRIVATE pl_build_flags)
endif()

# Tests run side by side. A test that computes takes two of ctest's slots, and a test that mostly waits takes one, so that
# scripts/test.sh can run more tests than there are processors. Tests with two slots start first, because tests with one
# would otherwise take each slot that becomes free; among the others, the longest start first.

# pl_unit_test(name sources... [LIBRARIES libs...] [SEPARATE words...] [LONG]): one doctest program (its main is in
# tests/unit_main.cpp) and one ctest entry labelled "unit". Unit tests are in the folder of the code that they test.
# SEPARATE: each <word>_test.cpp, whose tests wait for time-outs, has its own ctest entry. LONG: the tests take a minute.
function(pl_unit_test name)
  if(NOT PIPELINE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "LONG" "" "LIBRARIES;SEPARATE" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} pl_unit_main pl_build_flags)
  pl_use_precompiled(${name} pl_precompiled_test)
  pl_is_test(${name})
  foreach(word IN LISTS arg_SEPARATE)
    add_test(NAME unit.${name}.${word} COMMAND ${name} --source-file=*/${word}_test.cpp)
    set_tests_properties(unit.${name}.${word} PROPERTIES LABELS unit TIMEOUT 900 COST 10)
  endforeach()
  list(TRANSFORM arg_SEPARATE REPLACE "(.+)" "*/\\1_test.cpp" OUTPUT_VARIABLE separate)
  list(JOIN separate "," separate)
  add_test(NAME unit.${name} COMMAND ${name} "--source-file-exclude=${separate}")
  set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 900)
  if(arg_LONG)
    set_tests_properties(unit.${name} PROPERTIES COST 10)
  endif()
endfunction()

# pl_plugin_test(plugin sources... [LIBRARIES libs...]): unit tests of one plugin, linked with its object library. The
# tests also run the conformance tests on the shared library. PIPELINE_PLUGIN_DIR is the folder of the built plugins.
function(pl_plugin_test plugin)
  if(NOT PIPELINE_BUILD_TESTS)
    return()
  endif()
  pl_unit_test(${plugin}_test ${ARGN})
  target_link_libraries(${plugin}_test PRIVATE ${plugin}_parts pipeline_host::testing)
  add_dependencies(${plugin}_test ${plugin})
  cmake_parse_arguments(arg "LONG" "" "LIBRARIES;SEPARATE" ${ARGN})
  set(entries unit.${plugin}_test)
  foreach(word IN LISTS arg_SEPARATE)
    list(APPEND entries unit.${plugin}_test.${word})
  endforeach()
  set_tests_properties(${entries} PROPERTIES ENVIRONMENT "PIPELINE_PLUGIN_DIR=${PIPELINE_PLUGIN_OUTPUT_DIR}")
endfunction()

# pl_integration_test(name file.py [ALONE | WAITS]): one pytest module, which starts its own servers, as one ctest entry
# labelled "integration". ALONE: no other test runs at the same time, because this one measures performance. WAITS: it
# mostly waits for time-outs. A test that hangs is ended after ten minutes, with the stack traces of its threads; the
# preparation of servers does not count.
function(pl_integration_test name file)
  if(NOT PIPELINE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "ALONE;WAITS" "" "" ${ARGN})
  add_test(NAME integration.${name}
           COMMAND ${Python3_EXECUTABLE} -m pytest -q -x --tb=short --timeout=600 -o timeout_func_only=true
           ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set_tests_properties(integration.${name} PROPERTIES LABELS integration TIMEOUT 1800
    RUN_SERIAL ${arg_ALONE}
    ENVIRONMENT "PIPELINE_BUILD_DIR=${CMAKE_BINARY_DIR};PIPELINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
  if(arg_WAITS)
    set_tests_properties(integration.${name} PROPERTIES COST 10)
  else()
    set_tests_properties(integration.${name} PROPERTIES PROCESSORS 2 COST 100)
  endif()
endfunction()

# pl_integration_program(name sources... LIBRARIES libs...): a program that an integration test runs. Integration tests use
# the release build, so a build with sanitizers contains the program only if it is named as a target.
function(pl_integration_program name)
  if(NOT PIPELINE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} pl_build_flags)
  if(pl_doctest IN_LIST arg_LIBRARIES)
    pl_use_precompiled(${name} pl_precompiled_test)
    pl_is_test(${name})
  else()
    pl_use_precompiled(${name} pl_precompiled_standard)
  endif()
  if(PIPELINE_SANITIZE)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
endfunction()

# pl_fault_test(name files...): pytest modules, which start their own servers, as one ctest entry labelled "faults".
# The tests mostly wait for time-outs, so they may run in parallel. They need a build with PIPELINE_FAILPOINTS, by
# default build/dev (environment variable PIPELINE_FAULT_BUILD_DIR). A test that hangs is ended after 15 minutes.
function(pl_fault_test name)
  if(NOT PIPELINE_BUILD_TESTS)
    return()
  endif()
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE files)
  add_test(NAME faults.${name}
           COMMAND ${Python3_EXECUTABLE} -m pytest -v --tb=short --timeout=900 -o timeout_func_only=true ${files})
  set_tests_properties(faults.${name} PROPERTIES LABELS faults TIMEOUT 2400
    ENVIRONMENT "PIPELINE_BUILD_DIR=${CMAKE_BINARY_DIR};PIPELINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()
