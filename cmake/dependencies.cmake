# SPDX-License-Identifier: Apache-2.0
# Every library we stand on, as one imported target each. All are Debian 12 packages (scripts/install-deps.sh build).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS filesystem)
find_package(yaml-cpp REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp REQUIRED CONFIG)
find_package(SQLite3 REQUIRED)
find_package(OpenSSL REQUIRED)  # the next one names its targets without looking for them
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(eclipse-paho-mqtt-c REQUIRED)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(MOSQUITTO REQUIRED IMPORTED_TARGET libmosquitto)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
find_path(RAPIDJSON_INCLUDE_DIR rapidjson/reader.h REQUIRED)

# yaml-cpp's target has no namespace before 0.8
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

add_library(pl_rapidjson INTERFACE)
target_include_directories(pl_rapidjson SYSTEM INTERFACE ${RAPIDJSON_INCLUDE_DIR})
