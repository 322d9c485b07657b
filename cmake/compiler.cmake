# SPDX-License-Identifier: Apache-2.0
# Warnings, sanitizers and build speed for the code of this tree. External plugins do not get these options.
add_library(pl_build_flags INTERFACE)
target_compile_options(pl_build_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor $<$<COMPILE_LANGUAGE:CXX>:-Wconversion -Woverloaded-virtual>)
if(PIPELINE_WERROR)
  target_compile_options(pl_build_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 and 14 report false positives for "x" + std::string (GCC bugs 105651 and 105329).
  target_compile_options(pl_build_flags INTERFACE -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()

# Binaries do not depend on the folder in which they are built, so that packages are reproducible.
target_compile_options(pl_build_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}=.>)

if(PIPELINE_FAILPOINTS)
  target_compile_definitions(pl_build_flags INTERFACE PIPELINE_FAILPOINTS)
endif()
if(PIPELINE_SANITIZE)
  target_compile_options(pl_build_flags INTERFACE -fsanitize=${PIPELINE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(pl_build_flags INTERFACE -fsanitize=${PIPELINE_SANITIZE})
endif()
if(PIPELINE_BUILD_FUZZERS)
  target_compile_options(pl_build_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_program(PIPELINE_CCACHE ccache)
if(PIPELINE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache needs these settings for precompiled headers (see "Precompiled headers" in its manual).
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${PIPELINE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_C_COMPILER_LAUNCHER})
endif()
find_program(PIPELINE_MOLD mold)
if(PIPELINE_MOLD)
  target_link_options(pl_build_flags INTERFACE -fuse-ld=mold)
endif()

# Compile programs as position-independent code, like libraries, so that they share one set of precompiled headers.
set(CMAKE_CXX_COMPILE_OPTIONS_PIE ${CMAKE_CXX_COMPILE_OPTIONS_PIC})

# pl_starts_once(target): optimise less to compile faster. Use it for code that runs once, at start or for a command.
function(pl_starts_once target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
endfunction()

# pl_is_test(target): do not optimise the tests themselves, to compile faster. The code that they test is optimised.
function(pl_is_test target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O0>)
endfunction()
