# SPDX-License-Identifier: Apache-2.0
# pipeline_add_plugin(name sources... [LIBRARIES libs...])
#
# Build the plugin <name>.so from C or C++ sources, with the SDK's headers and hidden visibility (the SDK exports the
# only symbol that the host looks up). This file is installed with the package: after find_package(pipeline_host), a
# plugin's CMakeLists.txt needs only this function.
include_guard(GLOBAL)

set(PIPELINE_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin.map CACHE INTERNAL "linker script: one exported symbol")

function(pipeline_add_plugin name)
  cmake_parse_arguments(arg "" "" "LIBRARIES" ${ARGN})
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  set_target_properties(${name} PROPERTIES
    PREFIX "" C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_compile_features(${name} PRIVATE cxx_std_20)
  # Hidden visibility does not hide the standard library's weak symbols. The linker script does.
  target_link_options(${name} PRIVATE -Wl,--version-script=${PIPELINE_PLUGIN_EXPORTS} -Wl,--no-undefined)
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${PIPELINE_PLUGIN_EXPORTS})
  target_link_libraries(${name} PRIVATE pipeline_host::sdk ${arg_LIBRARIES})
  if(PIPELINE_PLUGIN_OUTPUT_DIR)
    set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PIPELINE_PLUGIN_OUTPUT_DIR})
  endif()
  install(TARGETS ${name} LIBRARY DESTINATION ${PIPELINE_PLUGIN_INSTALL_DIR})
endfunction()
