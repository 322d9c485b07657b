# SPDX-License-Identifier: Apache-2.0
find_package(doctest REQUIRED)
find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)

# pl_unit_test(name sources... [LIBRARIES libs...]): one doctest program (its main comes from tests/unit_main.cpp), one
# ctest entry labelled "unit". Tests stand beside the code that they test.
function(pl_unit_test name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS} ${PROJECT_SOURCE_DIR}/tests/unit_main.cpp)
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} doctest::doctest pl_build_flags)
  add_test(NAME unit.${name} COMMAND ${name})
  set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 900)
endfunction()

# pl_plugin_test(plugin sources... [LIBRARIES libs...]): unit tests of one plugin; also runs the conformance battery on
# the built shared library. PIPELINE_PLUGIN_DIR tells a test where the built plugins are.
function(pl_plugin_test plugin)
  pl_unit_test(${plugin}_test ${ARGN})
  target_link_libraries(${plugin}_test PRIVATE pipeline_host::testing)
  add_dependencies(${plugin}_test ${plugin})
  set_tests_properties(unit.${plugin}_test PROPERTIES
    ENVIRONMENT "PIPELINE_PLUGIN_DIR=${PIPELINE_PLUGIN_OUTPUT_DIR}")
endfunction()

# pl_integration_test(name file.py): one pytest module as one ctest entry labelled "integration". It starts its own servers.
function(pl_integration_test name file)
  add_test(NAME integration.${name}
           COMMAND ${Python3_EXECUTABLE} -m pytest -q -x --tb=short ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set_tests_properties(integration.${name} PROPERTIES LABELS integration TIMEOUT 3600 RUN_SERIAL ON
    ENVIRONMENT "PIPELINE_BUILD_DIR=${CMAKE_BINARY_DIR};PIPELINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

# pl_fault_test(name files...): pytest modules as one ctest entry labelled "faults", with servers of its own: most of the
# time they wait for a time-out, so they may run beside each other. Besides this build they need one with
# PIPELINE_FAILPOINTS: PIPELINE_FAULT_BUILD_DIR in the environment says where, by default build/dev. It says what it is at
# (-v), and where it hangs (faulthandler).
function(pl_fault_test name)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE files)
  add_test(NAME faults.${name}
           COMMAND ${Python3_EXECUTABLE} -m pytest -v --tb=short -o faulthandler_timeout=900 ${files})
  set_tests_properties(faults.${name} PROPERTIES LABELS faults TIMEOUT 3600
    ENVIRONMENT "PIPELINE_BUILD_DIR=${CMAKE_BINARY_DIR};PIPELINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()
