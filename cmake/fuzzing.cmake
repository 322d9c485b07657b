# SPDX-License-Identifier: Apache-2.0
# pl_fuzz_target(name sources... CORPUS folder LIBRARIES libs...): a program that gives any bytes to one parser, through
# LLVMFuzzerTestOneInput. With PIPELINE_BUILD_FUZZERS libFuzzer drives it (`make fuzz`); its sources are compiled for it
# alone, since only what is instrumented guides the fuzzer. Else it is a unit test, which goes through the committed corpus.
function(pl_fuzz_target name)
  cmake_parse_arguments(arg "" "CORPUS" "LIBRARIES" ${ARGN})
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/${arg_CORPUS})
  if(PIPELINE_BUILD_FUZZERS)
    add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_property(GLOBAL APPEND_STRING PROPERTY PIPELINE_FUZZ_TARGETS "${name} ${corpus}\n")
  elseif(PIPELINE_BUILD_TESTS)
    add_executable(${name} ${arg_UNPARSED_ARGUMENTS} ${PROJECT_SOURCE_DIR}/tests/corpus_main.cpp)
    add_test(NAME unit.${name} COMMAND ${name} ${corpus})
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300)
  else()
    return()
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} pl_build_flags)
endfunction()

# For scripts/fuzz.sh: a line for each target, with its corpus.
function(pl_write_fuzz_targets)
  get_property(lines GLOBAL PROPERTY PIPELINE_FUZZ_TARGETS)
  file(WRITE ${CMAKE_BINARY_DIR}/fuzz_targets.txt "${lines}")
endfunction()
