# SPDX-License-Identifier: Apache-2.0
# Precompiled headers: the headers of the standard library and fmt take a third of the compile time. All targets share
# three sets, each of which is compiled once in a build. The sources must not rely on them: the presets without
# precompiled headers (tsan, fuzz) detect a missing #include.
option(PIPELINE_PRECOMPILED_HEADERS "Use precompiled headers" ON)

set(standard_headers
  <algorithm> <array> <atomic> <charconv> <chrono> <cstdint> <cstring> <deque> <filesystem> <functional> <map> <memory> <mutex>
  <optional> <span> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>)

# pl_add_precompiled(name headers... [LIBRARIES libs...]): a set of headers for targets with the same compiler options.
# g++ 14 rejects the set if the level of optimisation differs.
function(pl_add_precompiled name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  if(PIPELINE_PRECOMPILED_HEADERS)
    file(GENERATE OUTPUT ${name}.cpp CONTENT "// The headers of ${name} are compiled with this file.\n")
    add_library(${name} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp)
    target_link_libraries(${name} PRIVATE pl_build_flags ${arg_LIBRARIES})
    target_precompile_headers(${name} PRIVATE ${arg_UNPARSED_ARGUMENTS})
  endif()
endfunction()

# pl_use_precompiled(target name)
function(pl_use_precompiled target name)
  if(PIPELINE_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM ${name})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)  # for ccache
  endif()
endfunction()

pl_add_precompiled(pl_precompiled_standard ${standard_headers})
pl_add_precompiled(pl_precompiled_fmt ${standard_headers} <fmt/format.h> LIBRARIES fmt::fmt)
pl_add_precompiled(pl_precompiled_once ${standard_headers} <fmt/format.h> LIBRARIES fmt::fmt)
if(TARGET pl_precompiled_once)
  pl_starts_once(pl_precompiled_once)
endif()
