// SPDX-License-Identifier: Apache-2.0
// A running source for tests.
#pragma once

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <http/testing/client.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http::testing {

using namespace std::chrono_literals;
using pl::http::testing::client;
using pl::http::testing::gzipped;
using pl::http::testing::post;
using pl::http::testing::reply;
using pl::testing::config_fields;

inline const pl_component& component() {
  const auto* directory = std::getenv("PIPELINE_PLUGIN_DIR");
  REQUIRE(directory != nullptr);
  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(directory) + "/http_source.so", error);
  REQUIRE_MESSAGE(plugin != nullptr, error);
  return *plugin->components[0];
}

using row = std::map<std::string, std::string>;

// A running source that listens on a free port.
struct running {
  pl::testing::temp_dir dir;
  std::string state = dir / "state";
  pl::testing::fake_host host;
  std::unique_ptr<pl::testing::instance> source;
  pl::column_set stated;  // what the source declares
  std::uint16_t port = 0;
  std::uint64_t position = 0;

  explicit running(config_fields options = {}) {
    host.raw().state_dir = pl::borrow(state);
    start(std::move(options));
  }
  void start(config_fields options = {}) {
    options.emplace_back("listen", "127.0.0.1:0");
    if (std::none_of(options.begin(), options.end(), [](auto& o) { return o.first == "path"; }))
      options.emplace_back("path", "/t");
    source = std::make_unique<pl::testing::instance>(host, component(), options);
    REQUIRE_MESSAGE(source->create() == PL_OK, host.error_text());
    REQUIRE(pl::testing::ask_columns(component(), source->self(), {}, 0, stated) == PL_OK);
    REQUIRE_MESSAGE(source->start() == PL_OK, host.error_text());
    const auto said = host.logs().back().message;
    const auto begin = said.find("127.0.0.1:") + 10;
    port = static_cast<std::uint16_t>(std::stoi(said.substr(begin)));
  }
  reply ask(std::string_view request) const { return client(port).ask(request); }
  // Return the rows since the last call.
  std::vector<row> rows() {
    std::vector<row> all;
    pl::batch b;
    while (source->poll(b, 1000, 1 << 20, 0ns) == PL_OK) {
      pl::testing::problems wrong;
      pl::testing::detail::check_batch("batch", b.get(), wrong);
      pl::testing::detail::check_stated("batch", b.get(), stated, wrong);
      CHECK(wrong.empty());
      for (const auto r : b.get().selection()) {
        auto& one = all.emplace_back();
        for (pl::column_index c = 0; c < b.get().columns(); ++c)
          if (!pl::is_null(b.get().at(c, r))) one[std::string(b.get().name(c))] = pl::bytes_of(b.get().at(c, r));
      }
      b = {};
    }
    return all;
  }
  std::vector<std::string> values() {
    std::vector<std::string> all;
    for (auto& r : rows()) all.push_back(r["value"]);
    return all;
  }
};

}  // namespace http::testing
