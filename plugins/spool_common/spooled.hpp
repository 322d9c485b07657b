// SPDX-License-Identifier: Apache-2.0
// The host-facing part of a source with a spool: streams, positions, batches. Used only by the lane's thread.
#pragma once

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>

#include <spool_common/options.hpp>
#include <spool_common/spool.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spool {

// Records of one log::append_all may share what they start with, which then is stored only in some of them.
struct shared_start {
  std::size_t size = 0;               // this record starts with this many bytes that others may refer to
  std::uint32_t back = 0, ahead = 0;  // distances to the records that it refers to; 0: to none
};

class spooled {
 public:
  // The columns of the batch under construction: to[column][row].
  using columns = std::vector<std::span<pl::cell>>;
  // Fills a row from a record and the start that it shares with others, and returns when the record arrived (ns since
  // 1970; INT64_MIN: unknown). Views into both are valid as long as the batch. Records of a batch that share a start get
  // the same view.
  using fill = std::function<std::int64_t(pl::batch_builder& in, columns& to, std::uint32_t row,
                                          std::string_view record, std::string_view shared)>;
  using start_of_record = std::function<shared_start(std::string_view record)>;

  // plugin: the name of the plugin, whose format the records have. start_of: empty if its records share nothing.
  spooled(pl::context ctx, const options& given, std::string_view plugin, start_of_record start_of = {})
      : ctx_(ctx),
        given_(given),
        plugin_(plugin),
        start_of_(std::move(start_of)),
        live_(ctx.liveness()),
        bytes_(ctx.gauge("spool_bytes", "Bytes on the disk of messages that are not settled",
                         {{"lane", std::to_string(ctx.lane())}})),
        expired_(
            ctx.counter("spool_expired_total", "Messages that were dropped because they waited longer than max_age")),
        damaged_(ctx.counter("spool_damaged_total",
                             "Messages that were lost because the spool's files are damaged, or were deleted")),
        faults_(ctx.counter("spool_faults_total",
                            "Writes and syncs of the spool that failed; nothing was acknowledged until they worked")) {}

  // Open this lane's spool, and the spools of lanes that no longer exist and of adopted spools, which are distributed by
  // lane number modulo the number of lanes.
  pl::result<void> open();
  void close();
  [[nodiscard]] bool is_open() const noexcept { return !streams_.empty(); }
  [[nodiscard]] bool has_unsettled() const;
  // Return the spool that new records are appended to.
  [[nodiscard]] const std::shared_ptr<log>& own() const noexcept { return streams_.front().spool; }
  [[nodiscard]] std::filesystem::path folder() const { return source_folder() / std::to_string(ctx_.lane()); }
  // Return this lane's spool as a resource of one instance.
  [[nodiscard]] pl::exclusive_user::resource resource() const;

  // Call both at each poll, including polls under back-pressure. `tend` drops expired records, and settled ones if new
  // ones have no room, and logs and counts what happened to the disk; `observe` reports how far records have
  // arrived.
  void tend();
  void observe() const;
  pl::result<pl::batch> read(const pl::poll_request& request, const pl_schema* schema, const fill& row);
  void settle(std::span<const pl_range> ranges);

 private:
  struct stream {
    std::shared_ptr<log> spool;
    std::filesystem::path folder;
    std::string name;
    std::uint64_t next = 0;  // read position
    std::uint64_t skip = 0;  // records below are expired
    bool placed = false;
    std::uint64_t lost = 0, faults = 0;  // counted
    // The last start that records referred to, and the number of its record; nothing: it is damaged.
    std::uint64_t start_of = PL_UNKNOWN;
    std::optional<std::string> start;
  };
  struct piece {
    std::size_t at = 0, size = 0;  // in text_
  };
  struct record {
    std::uint64_t number;
    piece body, shared;
  };
  // Records whose shared start is damaged.
  struct incomplete {
    std::uint64_t first = 0, next = 0;
    std::string bytes;
  };

  [[nodiscard]] std::filesystem::path source_folder() const;
  pl::result<void> open(const std::filesystem::path& folder);
  [[nodiscard]] pl::result<void> check_plugin(const log& opened, const std::filesystem::path& folder) const;
  void open_others();
  pl::result<void> place(stream& s);
  pl::result<pl::batch> read(stream& s, const pl::poll_request& request, const pl_schema* schema, const fill& row);
  void gather(std::chrono::nanoseconds at_most) const;
  void note_read(const pl::poll_request& request);
  pl::result<void> take(stream& s, std::uint64_t number, std::string_view body);
  pl::result<void> use_start(stream& s, std::uint64_t number, const shared_start& refers);
  void lose(const stream& s, std::uint64_t number, std::string_view body);
  void report_incomplete(const stream& s);
  pl::batch make_batch(const stream& s, std::uint64_t next, const pl_schema* schema, const fill& row);
  void report(severity how, std::string_view text) const;
  void report_events(log& of);
  void count_damage(stream& s);
  void report_bytes() const;

  const pl::context ctx_;
  const options given_;
  const std::string plugin_;
  const start_of_record start_of_;
  const pl::liveness live_;
  pl::gauge bytes_;
  pl::counter expired_, damaged_, faults_;
  std::vector<stream> streams_;  // the first is the lane's own
  std::chrono::steady_clock::time_point looked_for_others_{};
  std::chrono::steady_clock::time_point gathered_at_{};  // when records that follow few others may be read
  std::size_t turn_ = 0;
  std::string text_;
  std::vector<record> found_;
  std::uint64_t shared_of_ = PL_UNKNOWN;  // number of the record that starts with shared_
  piece shared_;
  std::size_t bytes_of_rows_ = 0;  // of found_, each with its start
  incomplete incomplete_;
};

}  // namespace spool
