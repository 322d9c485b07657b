// SPDX-License-Identifier: Apache-2.0
// What a source on a spool does towards the host: streams, positions, batches. Used by the lane's thread alone.
#pragma once

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <spool_common/options.hpp>
#include <spool_common/spool.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spool {

class spooled {
 public:
  // The columns of a row that is being made: to[column][row].
  using columns = std::vector<std::span<pl::cell>>;
  // Fills in a row from a record. Text that is part of `record` lives as long as the batch.
  using fill = std::function<void(pl::batch_builder& in, columns& to, std::uint32_t row, std::string_view record)>;

  spooled(pl::context ctx, const options& given)
      : ctx_(ctx),
        given_(given),
        bytes_(ctx.gauge("spool_bytes", "Bytes on the disk of what no sink has yet")),
        expired_(
            ctx.counter("spool_expired_total", "Messages that were dropped because they waited longer than max_age")) {}

  // This lane's own spool; and those of lanes that were more once, each by the lane whose number is what is left of it.
  pl::result<void> open();
  void close() { streams_.clear(); }
  [[nodiscard]] bool is_open() const noexcept { return !streams_.empty(); }
  [[nodiscard]] bool has_unsettled() const;
  // The one that is written to.
  [[nodiscard]] const std::shared_ptr<log>& own() const noexcept { return streams_.front().spool; }
  [[nodiscard]] std::filesystem::path folder() const { return folder(ctx_.lane()); }

  // Drops what is too old. At each poll, also at those that have no room.
  void expire();
  pl::result<pl::batch> read(const pl::poll_request& request, const pl_schema* schema, const fill& row);
  void seek(std::string_view stream, std::uint64_t next);
  void settle(std::span<const pl_range> ranges);

 private:
  struct stream {
    std::shared_ptr<log> spool;
    std::string name;
    std::uint64_t next = 0;  // up to here it was handed on
    std::uint64_t skip = 0;  // up to here it is dropped
    bool placed = false;
  };
  struct record {
    std::uint64_t number;
    std::size_t at, size;  // in text_
  };

  [[nodiscard]] std::filesystem::path folder(std::uint32_t lane) const;
  pl::result<void> open(std::uint32_t lane);
  pl::result<void> place(stream& s);
  pl::result<pl::batch> read(stream& s, const pl::poll_request& request, const pl_schema* schema, const fill& row);
  pl::batch make_batch(const stream& s, std::uint64_t next, const pl_schema* schema, const fill& row);
  void say(std::string_view text) const;

  const pl::context ctx_;
  const options given_;
  pl::gauge bytes_;
  pl::counter expired_;
  std::vector<stream> streams_;  // the first is our own
  std::size_t turn_ = 0;
  std::string text_;
  std::vector<record> found_;
};

}  // namespace spool
