# SPDX-License-Identifier: Apache-2.0
# pl_fuzz_target(name sources... CORPUS folder LIBRARIES libs...): a program that passes arbitrary bytes to one parser
# through LLVMFuzzerTestOneInput. LIBRARIES contain the parser. With PIPELINE_BUILD_FUZZERS it is a libFuzzer target
# (`make fuzz`), and all code is instrumented (compiler.cmake). Otherwise it is a unit test that runs the committed corpus.
function(pl_fuzz_target name)
  cmake_parse_arguments(arg "" "CORPUS" "LIBRARIES" ${ARGN})
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/${arg_CORPUS})
  if(PIPELINE_BUILD_FUZZERS)
    add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set_property(GLOBAL APPEND_STRING PROPERTY PIPELINE_FUZZ_TARGETS "${name} ${corpus}\n")
  elseif(PIPELINE_BUILD_TESTS)
    add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
    target_link_libraries(${name} PRIVATE pl_corpus_main)
    add_test(NAME unit.${name} COMMAND ${name} ${corpus})
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300)
  else()
    return()
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} pl_build_flags)
  pl_use_precompiled(${name} pl_precompiled_standard)
endfunction()

# Write one line for each target, with its corpus, for scripts/fuzz.sh.
function(pl_write_fuzz_targets)
  get_property(lines GLOBAL PROPERTY PIPELINE_FUZZ_TARGETS)
  file(WRITE ${CMAKE_BINARY_DIR}/fuzz_targets.txt "${lines}")
endfunction()
