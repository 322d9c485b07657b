# SPDX-License-Identifier: Apache-2.0
# The libraries that the project depends on, each as an imported target. All are packages of Debian 12 and 13
# (scripts/install-deps.sh build).
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Boost 1.74 REQUIRED CONFIG COMPONENTS filesystem)
find_package(yaml-cpp REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp REQUIRED CONFIG)
find_package(SQLite3 REQUIRED)
find_package(OpenSSL REQUIRED)  # the config files of later packages use its targets without finding them
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(eclipse-paho-mqtt-c REQUIRED)
find_package(date REQUIRED CONFIG)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(MOSQUITTO REQUIRED IMPORTED_TARGET libmosquitto)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
find_path(RAPIDJSON_INCLUDE_DIR rapidjson/reader.h REQUIRED)

# RE2's package adds -pthread, with which g++ rejects precompiled headers of other targets. Threads::Threads is sufficient.
list(REMOVE_ITEM RE2_CFLAGS_OTHER -pthread)
set_property(TARGET PkgConfig::RE2 PROPERTY INTERFACE_COMPILE_OPTIONS ${RE2_CFLAGS_OTHER})

# yaml-cpp's target has no namespace before 0.8
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

add_library(pl_rapidjson INTERFACE)
target_include_directories(pl_rapidjson SYSTEM INTERFACE ${RAPIDJSON_INCLUDE_DIR})
