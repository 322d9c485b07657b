# SPDX-License-Identifier: Apache-2.0
# Installs the files for plugin authors: headers, and find_package(pipeline_host) with pipeline_add_plugin().
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pipeline_host)

install(DIRECTORY core/abi/pipeline core/sdk/pipeline core/sdk/testing/pipeline DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT dev)
install(TARGETS pipeline_abi pipeline_sdk pipeline_testing EXPORT pipeline_host_targets COMPONENT dev)
install(EXPORT pipeline_host_targets NAMESPACE pipeline_host:: DESTINATION ${package_dir} COMPONENT dev)
install(FILES cmake/pipeline_add_plugin.cmake cmake/plugin.map DESTINATION ${package_dir} COMPONENT dev)
configure_package_config_file(cmake/pipeline_hostConfig.cmake.in ${CMAKE_BINARY_DIR}/pipeline_hostConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS PIPELINE_PLUGIN_INSTALL_DIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/pipeline_hostConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/pipeline_hostConfig.cmake ${CMAKE_BINARY_DIR}/pipeline_hostConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT dev)
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/pipeline-host)
