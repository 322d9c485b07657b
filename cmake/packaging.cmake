# SPDX-License-Identifier: Apache-2.0
# Debian packages (`make deb`): pipeline-host, and pipeline-host-dev for plugin authors. `cmake --install` omits the
# files that only a package needs: the unit, /etc, and documentation in Debian's form.
set(packaging ${PROJECT_SOURCE_DIR}/cmake/packaging)
set(made ${PROJECT_BINARY_DIR}/packaging)

# Install all example configurations as services. pipeline-host@quickstart runs without any server.
file(GLOB configurations CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/configs/*.yaml)
install(FILES ${configurations} DESTINATION /etc/pipeline-host COMPONENT host EXCLUDE_FROM_ALL)
list(TRANSFORM configurations REPLACE ".*/" "/etc/pipeline-host/" OUTPUT_VARIABLE conffiles)
list(JOIN conffiles "\n" conffiles)
file(WRITE ${made}/conffiles "${conffiles}\n")

install(FILES ${packaging}/pipeline-host@.service DESTINATION lib/systemd/system COMPONENT host EXCLUDE_FROM_ALL)

foreach(program pipeline-host load-tester)
  configure_file(${packaging}/${program}.1.in ${made}/${program}.1 @ONLY)
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/CHANGELOG.md ${made}/changelog COPYONLY)
set(CPACK_PACKAGE_CONTACT "The pipeline-host authors <pipeline-host@localhost.localdomain>" CACHE STRING
  "Maintainer of the packages: name <address>")
set(CPACK_DEBIAN_PACKAGE_RELEASE 1 CACHE STRING "Debian revision of the packages")
string(TIMESTAMP package_date "%a, %d %b %Y %H:%M:%S +0000" UTC)  # uses SOURCE_DATE_EPOCH if it is set
configure_file(${packaging}/changelog.Debian.in ${made}/changelog.Debian @ONLY)
find_program(PIPELINE_GZIP gzip REQUIRED)
foreach(file pipeline-host.1 load-tester.1 changelog changelog.Debian)
  execute_process(COMMAND ${PIPELINE_GZIP} -9nc ${made}/${file} OUTPUT_FILE ${made}/${file}.gz COMMAND_ERROR_IS_FATAL ANY)
endforeach()
install(FILES ${made}/pipeline-host.1.gz ${made}/load-tester.1.gz DESTINATION share/man/man1 COMPONENT host EXCLUDE_FROM_ALL)
install(FILES docs/cli.md docs/concepts.md docs/deploy.md docs/expressions.md docs/glossary.md docs/limits.md docs/load-tester.md docs/messages.md
  docs/operations.md DESTINATION share/doc/pipeline-host COMPONENT host EXCLUDE_FROM_ALL)
install(DIRECTORY docs/pictures DESTINATION share/doc/pipeline-host COMPONENT host EXCLUDE_FROM_ALL OPTIONAL
  FILES_MATCHING PATTERN "*.svg")
install(DIRECTORY docs/reference DESTINATION share/doc/pipeline-host COMPONENT host EXCLUDE_FROM_ALL)
install(FILES docs/abi.md docs/writing-a-plugin.md DESTINATION share/doc/pipeline-host-dev COMPONENT dev EXCLUDE_FROM_ALL)
install(DIRECTORY examples DESTINATION share/doc/pipeline-host-dev COMPONENT dev EXCLUDE_FROM_ALL)
foreach(component host dev)
  string(REPLACE "host-host" "host" package pipeline-host-${component})
  install(FILES ${packaging}/copyright ${made}/changelog.gz ${made}/changelog.Debian.gz DESTINATION share/doc/${package}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
  install(FILES ${packaging}/${package}.lintian-overrides DESTINATION share/lintian/overrides RENAME ${package}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()

# The bill of materials lists the installed files with their hashes, so it is made after they are installed and stripped.
find_program(PIPELINE_PYTHON python3)
install(CODE "
  set(root \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  file(GLOB installed \"\${root}/bin/*\" \"\${root}/${PIPELINE_PLUGIN_INSTALL_DIR}/*.so\")
  execute_process(COMMAND \"${PIPELINE_PYTHON}\" \"${PROJECT_SOURCE_DIR}/scripts/generate_sbom.py\" ${PROJECT_VERSION}
    \"\${root}/share/doc/pipeline-host/sbom.cdx.json\" \${installed} COMMAND_ERROR_IS_FATAL ANY)
" COMPONENT host EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pipeline-host)
# CPack treats this default text as unset, so that each package has only its own summary.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${CMAKE_PROJECT_NAME} built using CMake")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL host dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_HOST_PACKAGE_NAME pipeline-host)
set(CPACK_DEBIAN_HOST_PACKAGE_SECTION net)
set(CPACK_DEBIAN_HOST_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_HOST_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_HOST_PACKAGE_CONTROL_EXTRA
  "${made}/conffiles;${packaging}/postinst;${packaging}/prerm;${packaging}/postrm")
set(CPACK_COMPONENT_HOST_DESCRIPTION "stream processing for device telemetry
pipeline-host reads telemetry of devices from Kafka, MQTT or HTTP, parses it,
checks it against alert rules, and writes it to TimescaleDB, MQTT, Kafka, HTTP
or files. Sources, transforms and sinks are plugins, wired together in one YAML
file.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME pipeline-host-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "pipeline-host (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "g++, cmake (>= 3.25)")
set(CPACK_COMPONENT_DEV_DESCRIPTION "headers and CMake files to write plugins for pipeline-host
The plugin interface in C, the SDK in C++20, a testing kit with conformance
tests, and find_package(pipeline_host) with pipeline_add_plugin().")

include(CPack)
