// SPDX-License-Identifier: Apache-2.0
// Positions and state of a sink, as the host uses them, and batches that were read under a claim.
#pragma once

#include "database.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace timescale_test {

using entries = std::map<std::pair<std::string, std::string>, std::string>;  // node and key, value

// An instance that is created but not started, like the one that the host uses in addition to the writer's.
class store {
 public:
  explicit store(const std::string& table, config_fields options = {}, const std::string& at = url())
      : sink_(table, std::move(options), at) {
    REQUIRE(sink_.create() == PL_OK);
    ext_ = static_cast<const pl_ext_position_store*>(
        component().extension(sink_.instance_.self(), pl::borrow(PL_EXT_POSITION_STORE)));
    REQUIRE(ext_ != nullptr);
  }
  pl_position position(std::string_view stream = "s/0") {
    pl_position at{};
    sink_.host.forget();
    REQUIRE_MESSAGE(ext_->position(self(), pl::borrow("src"), pl::borrow(stream), &at) == PL_OK,
                    sink_.host.error_text());
    return at;
  }
  // Return why the position cannot be read.
  std::string refusal() {
    pl_position at{};
    sink_.host.forget();
    CHECK(ext_->position(self(), pl::borrow("src"), pl::borrow("s/0"), &at) == PL_RETRY);
    return sink_.host.error_text();
  }
  pl_status claim(pl_position seen, pl_position wanted, std::string_view stream = "s/0",
                  const pl_state_watermark& watermark = {}) {
    return ext_->claim(self(), pl::borrow("src"), pl::borrow(stream), seen, wanted, watermark);
  }
  // restore: takes some time for each entry, as transforms do.
  entries load(
      std::string_view stream = "s/0", const std::function<void()>& restore = [] {}) {
    struct target {
      entries all;
      const std::function<void()>& restore;
    } to{{}, restore};
    const auto take = [](void* ctx, pl_str node, pl_str key, pl_str value) {
      auto& t = *static_cast<target*>(ctx);
      t.all[{std::string(pl::view(node)), std::string(pl::view(key))}] = pl::view(value);
      t.restore();
    };
    sink_.host.forget();
    REQUIRE_MESSAGE(ext_->load(self(), pl::borrow("src"), pl::borrow(stream), &to, take) == PL_OK,
                    sink_.host.error_text());
    return to.all;
  }
  // Return the position of the stream as "next@epoch".
  std::string at(std::string_view stream = "s/0") {
    const auto p = position(stream);
    return std::to_string(p.next) + "@" + std::to_string(p.epoch);
  }

 private:
  void* self() { return sink_.instance_.self(); }
  sink sink_;
  const pl_ext_position_store* ext_ = nullptr;
};

// Return a batch as the engine passes it to a sink: its range was read under a claim.
inline pl::batch read(pl::batch b, std::uint64_t epoch, std::string_view stream = "s/0") {
  auto& range = const_cast<pl_range&>(b.get().ranges()[0]);
  range.source = pl::borrow("src");
  range.stream = pl::borrow(stream);
  range.epoch = epoch;
  return b;
}
inline pl::batch read(fake_host& host, std::size_t rows, std::int64_t first, std::uint64_t epoch,
                      std::string_view stream = "s/0") {
  return read(numbered(host, std::vector<pl::cell>(rows, pl::real_cell(1.5)), first), epoch, stream);
}
// Return a position-only batch.
inline pl::batch read_nothing(fake_host& host, std::uint64_t first, std::uint64_t next, std::uint64_t epoch,
                              std::string_view stream = "s/0") {
  auto b = read(host.make_batch({{"n", {}}, {"v", {}}}, "test/0", first), epoch, stream);
  const_cast<pl_range&>(b.get().ranges()[0]).next = next;
  return b;
}

inline pl_state_change change(std::string_view key, std::string_view value, std::string_view node = "alerts") {
  return {0, 0, pl::borrow(node), pl::borrow(key), pl::borrow(value)};
}
inline pl_state_change erased(std::string_view key, std::string_view node = "alerts") {
  return {0, 1, pl::borrow(node), pl::borrow(key), {}};
}
inline void attach(const pl::batch& b, const std::vector<pl_state_change>& changes) {
  b.get().raw()->state_changes = changes.data();
  b.get().raw()->nstate_changes = static_cast<std::uint32_t>(changes.size());
}

}  // namespace timescale_test
