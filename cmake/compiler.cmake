# SPDX-License-Identifier: Apache-2.0
# Warnings, sanitizers and build speed, for our own code only (never exported to plugin authors).
add_library(pl_build_flags INTERFACE)
target_compile_options(pl_build_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor $<$<COMPILE_LANGUAGE:CXX>:-Wconversion -Woverloaded-virtual>
  -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(pl_build_flags INTERFACE -Wno-restrict)  # false alarms on "x" + std::string (GCC bug 105651)
endif()

if(PIPELINE_FAILPOINTS)
  target_compile_definitions(pl_build_flags INTERFACE PIPELINE_FAILPOINTS)
endif()
if(PIPELINE_SANITIZE)
  target_compile_options(pl_build_flags INTERFACE -fsanitize=${PIPELINE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(pl_build_flags INTERFACE -fsanitize=${PIPELINE_SANITIZE})
endif()

find_program(PIPELINE_CCACHE ccache)
if(PIPELINE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${PIPELINE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PIPELINE_CCACHE})
endif()
find_program(PIPELINE_MOLD mold)
if(PIPELINE_MOLD)
  target_link_options(pl_build_flags INTERFACE -fuse-ld=mold)
endif()
