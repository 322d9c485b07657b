# SPDX-License-Identifier: Apache-2.0
# Protection of all programs and plugins of this tree against memory errors. tests/packaging/test_hardening.py checks the
# binaries. Builds with sanitizers have checks of their own. External plugins choose their own options.
if(PIPELINE_SANITIZE)
  return()
endif()

target_compile_options(pl_build_flags INTERFACE -fstack-protector-strong -fstack-clash-protection)
# Control-flow protection: Intel CET, or branch target identification and pointer authentication.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(pl_build_flags INTERFACE -fcf-protection=full)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  target_compile_options(pl_build_flags INTERFACE -mbranch-protection=standard)
endif()
# Checks of the bounds of containers; the library's ABI stays the same.
target_compile_definitions(pl_build_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:_GLIBCXX_ASSERTIONS>)
# FORTIFY needs optimisation. Some compilers define it themselves.
target_compile_options(pl_build_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
  $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
# The table of imported functions is resolved at the start and then read-only; the stack is not executable.
target_link_options(pl_build_flags INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
