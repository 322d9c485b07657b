# SPDX-License-Identifier: Apache-2.0
# pl_plugin(name sources... [LIBRARIES libs...]): a plugin of this tree. Its sources are compiled once, into the object
# library <name>_parts, which its tests and benchmarks link as well.
function(pl_plugin name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  add_library(${name}_parts OBJECT ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name}_parts PUBLIC ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/..)
  target_link_libraries(${name}_parts PUBLIC pipeline_host::sdk ${arg_LIBRARIES} PRIVATE pl_build_flags)
  pl_use_precompiled(${name}_parts pl_precompiled_standard)

  pipeline_add_plugin(${name} $<TARGET_OBJECTS:${name}_parts> LIBRARIES ${arg_LIBRARIES})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${name} PRIVATE pl_build_flags)
endfunction()

# pl_plugin_bench(plugin name sources...): a benchmark, linked with the plugin's parts.
function(pl_plugin_bench plugin name)
  if(NOT PIPELINE_BUILD_BENCH)
    return()
  endif()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE ${plugin}_parts pipeline_host::testing pl_build_flags)
  pl_use_precompiled(${name} pl_precompiled_standard)
  add_dependencies(${name} ${plugin})
endfunction()
